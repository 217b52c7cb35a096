"""Folders of runs that were killed, in which settings or log are damaged."""

from __future__ import annotations

import contextlib
import json
import pathlib
from functools import cache
from random import Random
from typing import Any

from driver import Target
from wild import damaged, replaced

from nodepert.agents.cli.train import resume
from nodepert.agents.cli.train_arguments import (
    ResumeArguments,
    arguments_to_json,
    default_arguments,
)
from nodepert.agents.cli.watch import table
from nodepert.agents.plots import read_curves
from targets.command_line import STAND_INS, Begun

__all__ = ["TARGET"]

LOG = b"""eval/go_accuracy,train/loss,weights/norm_1,time/total_timesteps,time/time_elapsed
0.488,nan,7.2,0,0
0.75,4.7,7.3,320,1
"""


@cache
def settings() -> dict[str, Any]:
    """As a run writes them."""
    return arguments_to_json(default_arguments("DelayedXOR-v0", "default"))


def make(random: Random) -> tuple[bytes, bytes]:
    """Settings and log, one of which has another value or other bytes."""
    if random.random() < 0.5:
        return json.dumps(settings()).encode(), damaged(random, LOG)
    content = json.dumps(replaced(random, settings())).encode("utf-8", "surrogatepass")
    return damaged(random, content) if random.random() < 0.2 else content, LOG


def feed(files: tuple[bytes, bytes]) -> None:
    """Shows the curves, and goes on with the run, up to where training would begin."""
    folder = pathlib.Path("input")
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/run.json").write_bytes(files[0])
    (folder / "progress.csv").write_bytes(files[1])
    table("run", read_curves(folder / "progress.csv"), ended=True)
    with contextlib.ExitStack() as stack:
        for stand_in in STAND_INS:
            stack.enter_context(stand_in)
        stack.enter_context(contextlib.redirect_stdout(None))
        stack.enter_context(contextlib.redirect_stderr(None))
        with contextlib.suppress(Begun):
            resume(ResumeArguments(folder))


TARGET = Target("folders of runs", make, feed, share=0.02)
