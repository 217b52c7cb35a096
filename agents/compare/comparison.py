"""Planning a comparison, and carrying out what of it is not done yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from nodepert.agents.compare.hyperparameters import Table, packaged
from nodepert.agents.compare.models import check_settings, settings_for
from nodepert.agents.compare.records import Folder
from nodepert.agents.compare.rivals import check_actions, check_agent, own_preset
from nodepert.agents.compare.run import Record, Run, carry_out
from nodepert.agents.errors import ConfigError
from nodepert.agents.executors import Executor

__all__ = ["DEFAULT_AGENTS", "QUICK", "Plan", "compare", "plan_runs"]

DEFAULT_AGENTS = ("np", "np:fixed", "np:backprop", "ppo", "random")
"""Our agent, the same with other feedback rules, a rival, and chance."""
QUICK = 50
"""A quick comparison has one seed and this share of the env steps."""

MOST_SEEDS = 10_000
"""All runs are planned before the first one."""


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Raises:
        ConfigError: A number that is not valid.
    """

    agents: Sequence[str] = DEFAULT_AGENTS
    steps: int | None = None
    """Env steps of each run; None for those of the first agent's preset."""
    seeds: int = 5
    evaluations: int = 20
    minutes: float = 30.0
    """Wall-clock of each run, at most."""
    split: str = "test"
    """Where scores of MNIST tasks come from."""
    quick: bool = False
    """One seed, a fiftieth of the env steps, at most five evaluations."""

    def __post_init__(self) -> None:
        for name in ("steps", "seeds", "evaluations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: expected a positive integer")
        if self.seeds > MOST_SEEDS:
            raise ConfigError(f"--seeds {self.seeds}: expected at most {MOST_SEEDS}")
        if not 0 < self.minutes < float("inf"):
            raise ConfigError(f"--minutes {self.minutes}: expected a positive number")
        if not self.agents:
            raise ConfigError("--agents: expected at least one")

    def steps_on(self, env_id: str, env_kwargs: dict[str, Any]) -> int:
        """Env steps of a run."""
        steps = self.steps or own_preset(self.agents[0], env_id, env_kwargs).steps
        return max(steps // QUICK, 1) if self.quick else steps


def plan_runs(
    envs: Mapping[str, gym.Env[Any, Any]],
    plan: Plan,
    env_kwargs: dict[str, Any],
    overrides: Table | None = None,
) -> list[Run]:
    """All runs, with one seed of everything before the next seed.

    Args:
        envs: The environments by id, ``module:Id`` where a module registers one.
        plan: Which agents, how long.
        env_kwargs: What each environment is made with.
        overrides: Hyperparameters over those that come with nodepert.

    Raises:
        ConfigError: An agent that there is not, that can't act in one of the environments, or
            whose hyperparameters are not valid.
    """
    tables = [overrides or {}, packaged()]
    for agent in overrides or {}:
        check_agent(agent)
    runs = []
    for seed in range(1 if plan.quick else plan.seeds):
        for env_id, env in envs.items():
            for agent in dict.fromkeys(plan.agents):
                check_actions(agent, env_id, env.action_space)
                try:
                    settings = settings_for(agent, env_id, tables, env_kwargs)
                    check_settings(agent, settings, env.action_space)
                except ConfigError as error:
                    raise ConfigError(f"{agent} on {env_id}: {error}") from error
                runs.append(
                    Run(
                        env=env_id,
                        agent=agent,
                        seed=seed,
                        env_kwargs=env_kwargs,
                        steps=plan.steps_on(env_id, env_kwargs),
                        evaluations=min(plan.evaluations, 5) if plan.quick else plan.evaluations,
                        minutes=plan.minutes,
                        hyperparameters=settings,
                        split=plan.split,
                    )
                )
    return runs


def compare(
    runs: Sequence[Run], folder: Folder, executor: Executor, say: Callable[[str], None] = print
) -> dict[str, str]:
    """Carries out the runs that the folder has no file of.

    Args:
        runs: From :func:`plan_runs`.
        folder: Where finished runs are kept.
        executor: Where they are carried out.
        say: Told of each run as it ends.

    Returns:
        Names of the runs that failed, with why. They are tried again the next time.

    Raises:
        ConfigError: The folder's earlier runs had other settings, or it can't be written to.
    """
    folder.check(list(runs))
    folder.create()
    missing = [run for run in runs if not folder.record_of(run).exists()]
    say(f"{len(runs) - len(missing)} of {len(runs)} runs are finished already")
    failures = {}
    outcomes = executor.run(carry_out, missing, folder.log_of)
    for done, outcome in enumerate(outcomes, start=1):
        run, record = outcome.task, outcome.result
        if record is None:
            failures[run.name] = str(outcome.failure)
            told = f"FAILED: {outcome.failure} (see {folder.log_of(run)})"
        else:
            folder.write(run, record)
            told = _told(record)
        say(f"{done}/{len(missing)} {run.name}: {told}")
    return failures


def _told(record: Record) -> str:
    """How a run ended, in a line."""
    last = record["points"][-1]
    cut = "" if record["cut"] is None else ", cut: its time was up"
    return (
        f"{last['metric']} {last['value']:.5g} after {last['env_steps']:,} env steps, "
        f"{last['seconds']:.1f} s{cut}"
    )
