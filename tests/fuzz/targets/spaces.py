"""Files for ``nodepert tune --space``: YAML that is broken or hostile."""

from __future__ import annotations

import pathlib
from random import Random
from typing import Any

from driver import Target

from nodepert.agents.tune import read_space
from targets.hyperparameters import broken_yaml

__all__ = ["TARGET"]

RANGES: dict[str, Any] = {
    "sampler": "random",
    "np/score": {
        "learning_rate": {"log": [1e-4, 1e-2]},
        "gamma": {"uniform": [0.9, 0.999]},
        "batch_size": {"choice": [64, 256]},
        "optimizer": {"choice": ["adam", "sgd"]},
    },
    "ppo": {"n_steps": {"choice": [32, 128]}},
}


def make(random: Random) -> bytes:
    """A file with a value replaced, damaged bytes, or lines that mean something else."""
    return broken_yaml(random, RANGES)


def feed(content: bytes) -> None:
    """Reads the ranges of two agents."""
    path = pathlib.Path("input")
    path.write_bytes(content)
    for family in ("np/score", "ppo"):
        read_space(str(path), family)
    assert not pathlib.Path("executed").exists(), "a tag was run"


TARGET = Target("spaces of searches", make, feed, share=0.025)
