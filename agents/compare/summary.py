"""What the runs of a comparison say, in numbers."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from nodepert.agents.compare.run import Record
from nodepert.agents.compare.statistics import (
    Scores,
    bootstrap_interval,
    iqm,
    median,
    probability_of_improvement,
)

__all__ = [
    "Estimate",
    "Line",
    "centre",
    "grouped",
    "lower_is_better",
    "normalised",
    "overall",
    "table",
]

FEWEST_FOR_IQM = 4  # of fewer runs none would be left out
US = "np"


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval; without one where there is a single seed."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Line:
    """One agent on one environment."""

    env: str
    agent: str
    metric: str
    seeds: int
    score: Estimate
    """Interquartile mean of the last evaluations; the median of fewer than four seeds."""
    improvement: Estimate | None
    """P(np is better); None for np itself."""
    env_steps: int
    seconds: float
    """Both the median over seeds."""
    cut: tuple[int, ...]
    """Env steps of the seeds whose time was up."""
    target: float | None
    """A score to be reached, if there is one."""
    reached: tuple[int, ...]
    """Env steps at the first evaluation that was as good, of the seeds that had one."""


def lower_is_better(metric: str) -> bool:
    """Whether a metric of :func:`nodepert.agents.evaluation.evaluate` is an error."""
    return metric.endswith(("_error", "_mse"))


def grouped(records: list[Record]) -> dict[str, dict[str, list[Record]]]:
    """Environment → agent → its runs; our agent first, chance last."""
    order = {"random": 2}

    def place(record: Record) -> tuple[str, int, str]:
        agent = record["agent"]
        return record["env"], order.get(agent, 0 if agent.split(":")[0] == US else 1), agent

    groups: dict[str, dict[str, list[Record]]] = {}
    for record in sorted(records, key=place):
        groups.setdefault(record["env"], {}).setdefault(record["agent"], []).append(record)
    return groups


def finals(records: list[Record]) -> NDArray[np.float64]:
    """The last evaluation of each run, (runs,)."""
    return np.array([record["points"][-1]["value"] for record in records], np.float64)


def centre(scores: Scores) -> NDArray[np.float64]:
    """The interquartile mean, or the median where a task has fewer than four runs."""
    enough = min(task.shape[-1] for task in scores) >= FEWEST_FOR_IQM
    return iqm(scores) if enough else median(scores)


def estimate(scores: Scores) -> Estimate:
    """Centre and bootstrap interval."""
    value = float(centre(scores))
    if min(map(len, scores)) < 2:
        return Estimate(value, None)
    low, high = bootstrap_interval(centre, scores)
    return Estimate(value, (float(low), float(high)))


def improvement(ours: Scores, theirs: Scores) -> Estimate:
    """How probable it is that ours is better, with an interval."""
    value = float(probability_of_improvement(ours, theirs))
    if min(map(len, (*ours, *theirs))) < 2:
        return Estimate(value, None)
    low, high = bootstrap_interval(probability_of_improvement, ours, theirs)
    return Estimate(value, (float(low), float(high)))


def target_of(env_id: str) -> float | None:
    """The mean return at which an environment counts as solved: its spec's reward_threshold."""
    try:
        return gym.spec(env_id.rpartition(":")[2]).reward_threshold
    except gym.error.Error:  # of a module that is not imported here
        return None


def reached_at(record: Record, target: float) -> int | None:
    """Env steps at the first evaluation as good as the target, or None."""
    sign = -1.0 if lower_is_better(record["points"][-1]["metric"]) else 1.0
    good = (p["env_steps"] for p in record["points"] if sign * p["value"] >= sign * target)
    return next(good, None)


def table(records: list[Record], target: float | None = None) -> list[Line]:
    """One line for each agent on each environment.

    Args:
        records: Of finished runs.
        target: A score to be reached; None for what the environments' own specs ask for.
    """
    lines = []
    for env, agents in grouped(records).items():
        for agent, runs in agents.items():
            metric = runs[0]["points"][-1]["metric"]
            sign = -1.0 if lower_is_better(metric) else 1.0
            better = None
            if agent != US and US in agents:
                better = improvement([sign * finals(agents[US])], [sign * finals(runs)])
            last = [run["points"][-1] for run in runs]
            goal = target_of(env) if target is None and metric == "mean_return" else target
            reached = [] if goal is None else [reached_at(run, goal) for run in runs]
            lines.append(
                Line(
                    env=env,
                    agent=agent,
                    metric=metric,
                    seeds=len(runs),
                    score=estimate([finals(runs)]),
                    improvement=better,
                    env_steps=round(statistics.median(point["env_steps"] for point in last)),
                    seconds=statistics.median(point["seconds"] for point in last),
                    cut=tuple(run["cut"] for run in runs if run["cut"] is not None),
                    target=goal,
                    reached=tuple(steps for steps in reached if steps is not None),
                )
            )
    return lines


def normalised(records: list[Record]) -> dict[str, list[NDArray[np.float64]]]:
    """Agent → one array of scores for each environment, on a scale common to all of them.

    On each environment 0 is the ``random`` agent's centre (the worst agent's, where it was not
    compared) and 1 the best agent's. Agents that lack an environment are left out.
    """
    groups = grouped(records)
    scaled: dict[str, list[NDArray[np.float64]]] = {}
    for agents in groups.values():
        metric = next(iter(agents.values()))[0]["points"][-1]["metric"]
        sign = -1.0 if lower_is_better(metric) else 1.0
        centres = {agent: float(centre([sign * finals(runs)])) for agent, runs in agents.items()}
        zero = centres.get("random", min(centres.values()))
        span = max(centres.values()) - zero or 1.0
        for agent, runs in agents.items():
            scaled.setdefault(agent, []).append((sign * finals(runs) - zero) / span)
    return {agent: scores for agent, scores in scaled.items() if len(scores) == len(groups)}


def overall(records: list[Record]) -> dict[str, tuple[Estimate, Estimate | None]]:
    """Agent → its normalised score over all environments, and P(np is better)."""
    scores = normalised(records)
    ours = scores.get(US)
    return {
        agent: (
            estimate(own),
            None if ours is None or agent == US else improvement(ours, own),
        )
        for agent, own in scores.items()
    }
