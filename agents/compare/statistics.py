"""Statistics of few runs: interquartile mean, stratified bootstrap, probability of improvement.

All from Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep reinforcement learning at the
edge of the statistical precipice", NeurIPS 2021, arXiv 2108.13264; the numbers are those of their
package ``rliable``. Scores are a sequence with one array for each task, shape (..., runs): tasks
may have different numbers of runs, and leading axes hold resamples of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Scores",
    "bootstrap_interval",
    "iqm",
    "median",
    "performance_profile",
    "probability_of_improvement",
]

Array = NDArray[np.float64]
Scores = Sequence[Array]
"""One array for each task, (..., runs). Higher is better."""


def iqm(scores: Scores) -> Array:
    """The interquartile mean over the runs of all tasks (§4.3 of the paper).

    Of n scores the lowest ⌊n/4⌋ and the highest ⌊n/4⌋ are left out, and the rest averaged.

    Returns:
        The leading axes, (...).
    """
    together = np.sort(np.concatenate(list(scores), axis=-1), axis=-1)
    n = together.shape[-1]
    return together[..., n // 4 : n - n // 4].mean(axis=-1)


def median(scores: Scores) -> Array:
    """The median over the runs of all tasks, (...)."""
    return np.asarray(np.median(np.concatenate(list(scores), axis=-1), axis=-1))


def probability_of_improvement(ours: Scores, theirs: Scores) -> Array:
    """P(X > Y): how probable it is that a run of ours is better than one of theirs, (...).

    Within a task the share of pairs (x, y) with x > y, ties counted by half (the Mann-Whitney U
    statistic over its greatest value; §4.3 of the paper), then the mean over tasks.
    """
    of_tasks = []
    for x, y in zip(ours, theirs, strict=True):
        pairs = x[..., :, None], y[..., None, :]
        wins = (pairs[0] > pairs[1]) + 0.5 * (pairs[0] == pairs[1])
        of_tasks.append(wins.mean(axis=(-2, -1)))
    return np.mean(of_tasks, axis=0)


def performance_profile(scores: Scores, thresholds: Array) -> Array:
    """The share of runs with a score above each threshold τ (equation 2 of the paper).

    Args:
        scores: Of tasks on a common scale.
        thresholds: τ, shape (T,).

    Returns:
        (..., T).
    """
    together = np.concatenate(list(scores), axis=-1)
    return (together[..., None, :] > thresholds[:, None]).mean(axis=-1)


def bootstrap_interval(
    statistic: Callable[..., Array],
    *samples: Scores,
    level: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[Array, Array]:
    """A percentile interval by the stratified bootstrap (§4.1 of the paper).

    Each resample draws as many runs as there are, with replacement, within each task (stratum) and
    for each agent on its own.

    Args:
        statistic: A function of one or several ``Scores`` that keeps leading axes.
        samples: What it takes.
        level: Coverage.
        resamples: How many.
        seed: Of the draws, so that a report can be made again.

    Returns:
        The lower and the upper end, each of the statistic's shape.
    """
    rng = np.random.default_rng(seed)
    drawn = [[_resampled(task, resamples, rng) for task in scores] for scores in samples]
    values = statistic(*drawn)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high


def _resampled(runs: NDArray[Any], resamples: int, rng: np.random.Generator) -> Array:
    """(runs,) → (resamples, runs)."""
    return runs[rng.integers(len(runs), size=(resamples, len(runs)))]
