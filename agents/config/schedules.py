"""How step sizes and noise fall over a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nodepert.agents.config.config import Config

__all__ = ["SCHEDULES", "Schedule", "learning_rate_schedule"]

Schedule = Literal["constant", "linear", "cosine"]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda remaining: 1.0,
    "linear": lambda remaining: remaining,
    "cosine": lambda remaining: 0.5 * (1 - math.cos(math.pi * remaining)),
}
"""A factor from the progress remaining, which goes from 1 to 0."""


def learning_rate_schedule(config: Config) -> Callable[[float], float]:
    """The step size as a function of the progress remaining, from 1 to 0."""
    base = config.learning_rate
    if callable(base):
        return lambda remaining: base(clipped(remaining))
    shape = SCHEDULES[config.lr_schedule]
    return lambda remaining: float(base) * shape(clipped(remaining))


def clipped(remaining: float) -> float:
    """From 1 to 0, also where the last update goes past the end of the run."""
    return min(max(remaining, 0.0), 1.0)
