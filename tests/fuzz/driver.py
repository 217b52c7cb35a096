"""Feeds a target with inputs, and sorts what comes of each."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nodepert.agents.checking.deadline import TimeIsUp, time_limit
from nodepert.agents.errors import NodepertError

__all__ = ["Outcome", "Target", "feed", "fuzz"]


@dataclass(frozen=True)
class Target:
    """Something that takes what users give it."""

    name: str
    make: Callable[[Random], Any]
    """One input."""
    feed: Callable[[Any], None]
    """Takes an input in an empty current folder. Returns where that is accepted; raises a
    ``NodepertError`` where it is rejected."""
    share: float
    """Of all inputs."""
    seconds: float = 30.0
    """After which an input counts as a hang."""


@dataclass
class Outcome:
    """What came of the inputs of a target."""

    target: str
    inputs: int = 0
    rejected: int = 0
    accepted: int = 0
    uncaught: int = 0
    seconds: float = 0.0
    """Of one CPU."""
    failures: dict[int, str] = field(default_factory=dict)
    """Number of an input → the input and its traceback, of the first few uncaught ones."""

    def add(self, other: Outcome) -> None:
        """Takes in what came of more inputs."""
        for name in ("inputs", "rejected", "accepted", "uncaught", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures.update(other.failures)


def feed(target: Target, given: Any) -> bool:
    """Feeds one input; whether it was accepted.

    Raises:
        AssertionError: It was rejected without a message, or something was left behind.
        TimeIsUp: It took too long.
        BaseException: Whatever the target let through.
    """
    with empty_folder() as folder:
        try:
            with time_limit(target.seconds):
                target.feed(given)
        except NodepertError as error:
            rejected: NodepertError | None = error
        else:
            rejected = None
        left = sorted(path.name for path in folder.iterdir() if path.name != "input")
    if rejected is not None:
        assert str(rejected).strip(), "an error without a message"
        assert not left, f"rejected, but left {left} behind"
    return rejected is None


def fuzz(target: Target, numbers: range, seed: int) -> Outcome:
    """Feeds the inputs of these numbers; a number and a seed fix an input."""
    outcome, started = Outcome(target.name), time.process_time()
    for number in numbers:
        given = target.make(Random(f"{seed}/{target.name}/{number}"))
        outcome.inputs += 1
        try:
            if feed(target, given):
                outcome.accepted += 1
            else:
                outcome.rejected += 1
        except KeyboardInterrupt:
            raise
        except (Exception, SystemExit, TimeIsUp):
            outcome.uncaught += 1
            if len(outcome.failures) < 20:
                outcome.failures[number] = f"{given!r}\n\n{traceback.format_exc()}"
    outcome.seconds = time.process_time() - started
    return outcome


@contextlib.contextmanager
def empty_folder() -> Iterator[pathlib.Path]:
    """A new current folder, gone in the end."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.chdir(folder)
        try:
            yield pathlib.Path(folder)
        finally:
            os.chdir(before)
