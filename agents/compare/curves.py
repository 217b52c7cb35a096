"""Learning curves and performance profiles over the seeds of each agent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodepert.agents.compare.run import Record
from nodepert.agents.compare.statistics import Scores, bootstrap_interval, performance_profile
from nodepert.agents.compare.summary import centre, grouped, normalised

__all__ = ["Curve", "curves", "profiles"]


@dataclass(frozen=True)
class Curve:
    """Centre and interval over seeds along an axis, each of shape (points,)."""

    x: NDArray[np.float64]
    centre: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def curves(records: list[Record], axis: str, points: int = 101) -> dict[str, Curve]:
    """Agent → its learning curve on one environment.

    Runs are interpolated linearly between their evaluations, as far as the shortest of them goes.

    Args:
        records: All of one environment.
        axis: ``"env_steps"`` or ``"seconds"``.
        points: How many along the axis.
    """
    made = {}
    for agents in grouped(records).values():
        for agent, runs in agents.items():
            end = min(run["points"][-1][axis] for run in runs)
            x = np.linspace(0.0, end, points)
            values = np.stack([interpolated(run, axis, x) for run in runs])  # (runs, points)
            along = values.T  # each point of the axis has its runs last
            middle = centre([along])
            low, high = _interval_along(values)
            made[agent] = Curve(x, middle, low, high)
    return made


def interpolated(run: Record, axis: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A run's values at ``x``."""
    points = run["points"]
    at = [point[axis] for point in points]
    return np.interp(x, at, [point["value"] for point in points])


def _interval_along(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval at each point, (points,), from resamples of whole runs (runs, points)."""
    runs = np.arange(len(values), dtype=np.float64)

    def statistic(drawn: Scores) -> NDArray[np.float64]:
        resamples = values[drawn[0].astype(np.int64)]  # (resamples, runs, points)
        return centre([np.swapaxes(resamples, -1, -2)])

    return bootstrap_interval(statistic, [runs], resamples=1_000)


def profiles(records: list[Record], points: int = 101) -> dict[str, Curve]:
    """Agent → the share of its runs above each normalised score, with bootstrap intervals."""
    scores = normalised(records)
    every = np.concatenate([runs for own in scores.values() for runs in own])
    x = np.linspace(min(every.min(), 0.0) - 0.05, every.max() + 0.05, points)

    def profile(drawn: Scores) -> NDArray[np.float64]:
        return performance_profile(drawn, x)

    return {
        agent: Curve(x, profile(own), *bootstrap_interval(profile, own))
        for agent, own in scores.items()
    }
