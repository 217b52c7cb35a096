"""``nodepert tune ENV --agent AGENT …``: a search of hyperparameters, the same for any agent."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from nodepert.agents.cli.arguments import ExecutorArguments, Pairs, make_env, parse_env_kwargs
from nodepert.agents.compare.rivals import DESCRIBED, check_agent
from nodepert.agents.errors import RunError
from nodepert.agents.tune import Search, family_of, read_space, tune

__all__ = ["TuneArguments", "tune_agent"]


@dataclass(frozen=True)
class TuneArguments(ExecutorArguments):
    """Search for hyperparameters of an agent on an environment.

    Trials are scored on the validation split of MNIST tasks, and on episodes of their own in
    others, with seeds that `nodepert compare` does not use. Trials that fall behind are ended
    early. The same command goes on with a search that was cut off, or with more trials.
    """

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]
    """Environment id, such as MNIST-v0, or module:Id."""
    agent: Annotated[str, tyro.conf.arg(metavar="AGENT", help=DESCRIBED)] = "np"
    trials: int = 20
    """Of which each has its own hyperparameters; pruned and failed ones count."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Env steps of each run, every probe counted. Default: those of the agent's preset."""
    seeds: int = 1
    """Runs of a trial, one after another; its score is their mean."""
    score: Literal["final", "area"] = "final"
    """Of a run: its last evaluation, or the mean of its learning curve over env steps, which
    rewards learning fast."""
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for trials.csv, best.yml, search.png and the study. Default: runs/tune/ENV-AGENT."""
    space: Annotated[str, tyro.conf.arg(metavar="FILE")] = "default"
    """YAML with the ranges that are searched, in place of the packaged ones; or paper, the random
    search of arXiv 1906.00889."""
    seed: int = 0
    """Of the values that are tried."""
    evaluations: int = 20
    """How often a run is scored, at equal distances."""
    minutes: float = 30.0
    """A run ends after so much wall-clock without its evaluations."""
    env_kwarg: Pairs = ()
    """An argument of the environment, such as loss=mse."""


def tune_agent(arguments: TuneArguments) -> None:
    """Runs ``nodepert tune``.

    Raises:
        ConfigError: An argument that is not valid; no trial was started.
        RunError: Trials whose process died.
    """
    executor = arguments.make_executor()
    check_agent(arguments.agent)
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    env = make_env(arguments.env, env_kwargs)
    family = family_of(arguments.agent, arguments.env, env, env_kwargs)
    search = Search(
        env=arguments.env,
        agent=arguments.agent,
        env_kwargs=env_kwargs,
        space=read_space(arguments.space, family),
        trials=arguments.trials,
        steps=arguments.steps,
        seeds=arguments.seeds,
        evaluations=arguments.evaluations,
        minutes=arguments.minutes,
        score=arguments.score,
        seed=arguments.seed,
    )
    name = f"{arguments.env}-{arguments.agent}".replace(":", "_").replace("/", "_")
    folder = arguments.out or pathlib.Path("runs/tune") / name
    died = tune(search, env, folder, executor)
    env.close()
    if (folder / "best.yml").exists():
        print(
            f"{folder / 'best.yml'}: nodepert compare {arguments.env} --agents {arguments.agent} "
            f"--hyperparameters {folder / 'best.yml'}"
        )
    if died:
        raise RunError(
            f"{died} trials had a process that died. The same command tries them again; what they "
            f"printed is in {folder / 'logs'}"
        )
