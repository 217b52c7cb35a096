"""One run of a comparison: one agent learns one environment with one seed, scored as it goes."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents.compare.models import Predictor, make_model
from nodepert.agents.evaluation import evaluate
from nodepert.agents.versions import versions

__all__ = ["Point", "Record", "Run", "carry_out"]

Point = dict[str, Any]
"""An evaluation: env_steps, seconds, metric and value."""

Record = dict[str, Any]
"""What a run leaves behind, as JSON: the fields of :class:`Run`; ``points``; ``cut``, the env steps
where its time was up, or None; ``versions``."""
NEVER = 10**9  # updates or episodes between the logs of a run


@dataclass(frozen=True)
class Run:
    """What is to be done."""

    env: str
    agent: str
    seed: int
    env_kwargs: dict[str, Any]
    steps: int
    """Env steps, at most: an update that would need more is not made."""
    evaluations: int
    """At equal distances, besides the one at the start."""
    minutes: float
    """Of wall-clock, evaluations left out."""
    hyperparameters: dict[str, Any]
    split: str = "test"
    """Of MNIST tasks, where scores come from: "validation" for a search of hyperparameters."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.agent} on {self.env}, seed {self.seed}"

    @property
    def file_name(self) -> str:
        """Of the run's record."""
        words = f"{self.env}-{self.agent}-{self.seed}"
        return re.sub(r"[^\w.-]", "_", words) + ".json"


class BudgetSpent(Exception):
    """Ends a run, also of algorithms that do not heed what a callback returns."""


class Scoring(BaseCallback):
    """Scores the model at fixed intervals of env steps, between updates; ends it in time.

    Works with every Stable-Baselines3 algorithm. Neither the env steps nor the seconds of
    evaluations count.
    """

    def __init__(self, run: Run, watch: Callable[[list[Point]], None]) -> None:
        super().__init__()
        self.run = run
        self.watch = watch
        self.points: list[Point] = []
        self.cut: int | None = None
        self._idle = 0.0
        self._started = math.nan

    def _on_training_start(self) -> None:
        self._started = time.perf_counter()
        self.score()

    def _on_rollout_start(self) -> None:
        # All updates from the steps so far are made here, whatever the algorithm.
        intervals = self.model.num_timesteps * self.run.evaluations // self.run.steps
        scored = self.points[-1]["env_steps"] * self.run.evaluations // self.run.steps
        if scored < intervals < self.run.evaluations:
            self.score()

    def _on_step(self) -> bool:
        if self.model.num_timesteps > self.run.steps:
            raise BudgetSpent
        if self.seconds() > 60 * self.run.minutes:
            self.cut = self.model.num_timesteps
            raise BudgetSpent
        return True

    def seconds(self) -> float:
        """Of learning, so far."""
        return time.perf_counter() - self._started - self._idle

    def score(self) -> None:
        """One point of the learning curve."""
        seconds, paused = self.seconds(), time.perf_counter()
        score = evaluate(
            Predictor(self.model), self.run.env, self.run.env_kwargs, split=self.run.split
        )
        self.points.append(
            {
                "env_steps": min(self.model.num_timesteps, self.run.steps),
                "seconds": round(seconds, 3),
                "metric": score.metric,
                "value": score.value,
            }
        )
        self.watch(self.points)
        self._idle += time.perf_counter() - paused


def carry_out(run: Run, watch: Callable[[list[Point]], None] = lambda points: None) -> Record:
    """Learns and scores, on one thread.

    Args:
        run: What is to be done.
        watch: Shown the points so far after each evaluation; what it raises ends the run.
    """
    torch.set_num_threads(1)
    model = make_model(run.agent, run.env, run.env_kwargs, run.hyperparameters, run.seed)
    scoring = Scoring(run, watch)
    with suppress(BudgetSpent):
        model.learn(run.steps, callback=scoring, log_interval=NEVER)
    scoring.score()
    env = model.get_env()
    if env is not None:
        env.close()
    return {**asdict(run), "cut": scoring.cut, "points": scoring.points, "versions": versions()}
