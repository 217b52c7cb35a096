"""A search of hyperparameters: its settings, and from a trial's values to its runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import gymnasium as gym

from nodepert.agents.compare.comparison import Plan, plan_runs
from nodepert.agents.compare.hyperparameters import Entry, entry, packaged
from nodepert.agents.compare.run import Run
from nodepert.agents.errors import ConfigError
from nodepert.agents.tune.space import Space
from nodepert.envs import MNIST, MNISTAutoencoder

__all__ = ["Kind", "Search"]

Kind = Literal["final", "area"]
FIRST_SEED = 1_000  # of the runs: those of `nodepert compare` stay fresh


@dataclass(frozen=True)
class Search:
    """What is searched, and how a trial is scored.

    Raises:
        ConfigError: A number that is not valid.
    """

    env: str
    agent: str
    env_kwargs: dict[str, Any]
    space: Space
    trials: int
    steps: int | None
    """Env steps of each run; None for those of the agent's preset."""
    seeds: int
    """Runs of a trial, one after another."""
    evaluations: int
    minutes: float
    score: Kind
    """``"final"``: the last evaluation; ``"area"``: the mean over the env steps, which rewards
    learning fast."""
    seed: int
    """Of the sampler."""

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(f"--trials {self.trials}: expected a positive integer")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: expected an integer of at least 0")

    def settings(self) -> dict[str, Any]:
        """All that trials of one study share, as JSON can hold it."""
        shared = asdict(self)
        del shared["trials"]
        return shared

    def entry(self, values: dict[str, Any]) -> Entry:
        """A trial's values over what the agent has otherwise, as ``nodepert compare`` reads it."""
        usual = entry(packaged(), self.agent, self.env) or {}
        return {**usual, "source": "nodepert tune", **values}

    def runs(self, values: dict[str, Any], env: gym.Env[Any, Any]) -> list[Run]:
        """The runs of a trial, scored where no report is made.

        MNIST tasks are learned without the validation examples and scored on them, others on
        episodes other than those of ``nodepert compare``.

        Raises:
            ConfigError: Hyperparameters or numbers that are not valid.
        """
        plan = Plan(
            agents=(self.agent,),
            steps=self.steps,
            seeds=self.seeds,
            evaluations=self.evaluations,
            minutes=self.minutes,
            split="validation",
        )
        images = isinstance(env.unwrapped, MNIST | MNISTAutoencoder)
        kwargs = {**self.env_kwargs, "holdout": True} if images else self.env_kwargs
        table = {self.agent: {self.env: self.entry(values)}}
        runs = plan_runs({self.env: env}, plan, kwargs, table)
        return [replace(run, seed=FIRST_SEED + run.seed) for run in runs]

    def check(self, env: gym.Env[Any, Any]) -> None:
        """Raises ConfigError where an end of a range is no value of its hyperparameter."""
        for number in (0, 1):
            self.runs({name: one.ends()[number] for name, one in self.space.ranges.items()}, env)
