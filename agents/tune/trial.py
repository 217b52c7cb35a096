"""One trial: its runs, ended early where it falls behind the trials before it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from nodepert.agents.compare.run import Point, Run, carry_out
from nodepert.agents.compare.summary import lower_is_better
from nodepert.agents.errors import explain
from nodepert.agents.tune.search import Kind

if TYPE_CHECKING:
    from optuna import Trial

__all__ = ["Curve", "Result", "TrialTask", "carry_out_trial"]

Curve = dict[int, float]
"""Evaluation → score so far, higher is better."""
FEWEST_TO_PRUNE = 5  # finished trials
WARMUP = 4  # nothing is pruned in this part of a run


class Behind(Exception):
    """Ends a run that falls behind."""


@dataclass(frozen=True)
class TrialTask:
    """What is to be done."""

    number: int
    runs: list[Run]
    score: Kind
    finished: list[list[Curve]]
    """Of each trial that finished before: the curve of each of its runs."""


@dataclass(frozen=True)
class Result:
    """What a trial leaves behind."""

    curves: list[Curve]
    """Of each run that began."""
    metric: str
    env_steps: int
    """Of all runs together."""
    seconds: float
    pruned: bool = False
    error: str | None = None
    """What a run raised, such as that its weights were not finite any more."""

    @property
    def score(self) -> float:
        """Of a trial whose runs all went to their end: their mean, higher is better."""
        return fmean(curve[max(curve)] for curve in self.curves)


class Watch:
    """Keeps the curve of a run, and ends it where it is behind.

    Args:
        run: Which.
        kind: What it is scored by.
        finished: Curves of the same run of the trials before.
    """

    def __init__(self, run: Run, kind: Kind, finished: list[Curve]) -> None:
        self.run, self.kind = run, kind
        self.judge = judge_of(run, finished)
        self.curve: Curve = {}
        self.last: Point = {"env_steps": 0, "seconds": 0.0, "metric": ""}

    def __call__(self, points: list[Point]) -> None:
        """Sees the points so far."""
        self.last = points[-1]
        place = self.last["env_steps"] * self.run.evaluations // self.run.steps
        self.curve[place] = score_of(points, self.kind, self.last["env_steps"])
        self.judge.report(self.curve[place], place)
        if place < self.run.evaluations and self.judge.should_prune():
            raise Behind

    def finish(self, points: list[Point]) -> None:
        """Sees all points of a run that went to its end."""
        self.curve[self.run.evaluations] = score_of(points, self.kind, self.run.steps)


def carry_out_trial(task: TrialTask) -> Result:
    """One run after another, until one falls behind or fails."""
    watches: list[Watch] = []
    pruned, error = False, None
    for number, run in enumerate(task.runs):
        watch = Watch(run, task.score, [curves[number] for curves in task.finished])
        watches.append(watch)
        try:
            watch.finish(carry_out(run, watch)["points"])
        except Behind:
            pruned = True
            break
        except Exception as raised:
            traceback.print_exc()
            error = explain(raised)
            break
    return Result(
        [watch.curve for watch in watches],
        metric=watches[0].last["metric"],
        env_steps=sum(watch.last["env_steps"] for watch in watches),
        seconds=round(sum(watch.last["seconds"] for watch in watches), 3),
        pruned=pruned,
        error=error,
    )


def judge_of(run: Run, finished: list[Curve]) -> Trial:
    """A trial that Optuna's median rule compares with the same run of those before it.

    It is of a study in memory: runs may be on machines that can't reach the study's file.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(FEWEST_TO_PRUNE, max(run.evaluations // WARMUP, 1))
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.add_trials(
        [
            optuna.trial.create_trial(value=curve[max(curve)], intermediate_values=curve)
            for curve in finished
        ]
    )
    return study.ask()


def score_of(points: list[Point], kind: Kind, steps: int) -> float:
    """A learning curve in one number, higher is better.

    Args:
        points: Evaluations.
        kind: The last value, or the mean over the env steps.
        steps: Where the curve ends; its last value holds from the last evaluation on.
    """
    sign = -1.0 if lower_is_better(points[-1]["metric"]) else 1.0
    if kind == "final" or steps == 0:
        return sign * points[-1]["value"]
    at = np.array([*(point["env_steps"] for point in points), steps])
    values = np.array([*(point["value"] for point in points), points[-1]["value"]])
    return sign * float((np.diff(at) * (values[1:] + values[:-1])).sum() / (2 * steps))
