"""Folders of a comparison in which files of finished runs are damaged."""

from __future__ import annotations

import json
import pathlib
from random import Random
from typing import Any

from driver import Target
from wild import damaged, replaced

from nodepert.agents.compare import Folder, write_report
from nodepert.agents.compare.run import Run

__all__ = ["TARGET"]

RUN = Run("Pendulum-v1", "np", 0, {}, 100, 2, 30.0, {"learning_rate": 0.1, "net_arch": [8]})


def record(agent: str, seed: int) -> dict[str, Any]:
    """Of a run that nobody made."""
    points = [
        {
            "env_steps": 50 * i,
            "seconds": float(i),
            "metric": "mean_return",
            "value": -9.0 + i + seed,
        }
        for i in range(3)
    ]
    return {
        "env": RUN.env, "agent": agent, "seed": seed, "env_kwargs": {}, "steps": 100,
        "evaluations": 2, "minutes": 30.0, "split": "test",
        "hyperparameters": {"learning_rate": 0.1, "net_arch": [8]}, "cut": None, "points": points,
    "versions": {"python": "3.11.0"}, }  # fmt: skip


def make(random: Random) -> list[bytes]:
    """Three files, the last of them with other values or other bytes."""
    last: Any = record("random", 0)
    for _ in range(random.choice((1, 1, 2))):
        last = replaced(random, last)
    content = json.dumps(last).encode("utf-8", "surrogatepass")
    if random.random() < 0.3:
        content = damaged(random, content)
    return [*(json.dumps(record("np", seed)).encode() for seed in range(2)), content]


def feed(contents: list[bytes]) -> None:
    """Checks the folder as ``nodepert compare`` does before it runs, and reports."""
    folder = Folder(pathlib.Path("input"))
    (folder.path / "runs").mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder.path / "runs" / f"{number}.json").write_bytes(content)
    folder.check([RUN])
    try:
        write_report(folder, {})
    finally:
        assert not list(folder.path.glob(".*")), "half a file stayed"


TARGET = Target("records of runs", make, feed, share=0.001)
