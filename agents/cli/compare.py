"""``nodepert compare ENV …``: our agent beside rivals, with the same env steps for all."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from nodepert.agents.cli.arguments import ExecutorArguments, Pairs, make_env, parse_env_kwargs
from nodepert.agents.compare import (
    DEFAULT_AGENTS,
    Folder,
    Plan,
    compare,
    plan_runs,
    read_table,
    write_report,
)
from nodepert.agents.compare.rivals import DESCRIBED
from nodepert.agents.errors import ConfigError, RunError

__all__ = ["CompareArguments", "compare_agents"]


@dataclass(frozen=True)
class CompareArguments(ExecutorArguments):
    """Compare agents on environments, with the same env steps for all.

    A comparison that was cut off goes on where it stopped.
    """

    envs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="ENV [ENV ...]")]
    """Environment ids, such as MNIST-v0, or module:Id."""
    agents: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="AGENT [AGENT ...]", help=DESCRIBED),
    ] = DEFAULT_AGENTS
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Env steps of each run, every probe counted. Default: those of the preset of the first agent,
    or of the environment where that is no np."""
    seeds: int = 5
    """Runs of each agent on each environment, with seeds 0, 1, and so on."""
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for report.html, report.md, comparison.csv, pictures and the finished runs. Default:
    runs/compare, with --quick runs/compare-quick."""
    evaluations: int = 20
    """How often to score an agent, at equal distances; the last score is the result."""
    target: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """A score of which the table says after how many env steps it was reached. Default: the
    reward_threshold of the environment's spec, where it has one."""
    minutes: float = 30.0
    """A run ends after so much wall-clock without its evaluations, and the table says so."""
    split: Literal["test", "validation"] = "test"
    """Where scores of MNIST tasks come from. For a search of hyperparameters: validation, together
    with --env-kwarg holdout=true, which leaves those examples out of the training."""
    hyperparameters: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML over the hyperparameters that come with nodepert: agent, environment, settings as
    rl_zoo3 writes them."""
    env_kwarg: Pairs = ()
    """An argument of the environments, such as loss=mse."""
    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """One seed and a fiftieth of the env steps, to see that all works."""


def compare_agents(arguments: CompareArguments) -> None:
    """Runs ``nodepert compare``.

    Raises:
        ConfigError: An argument that is not valid; no run was started.
        RunError: Runs that failed; the others are in the report.
    """
    executor = arguments.make_executor()
    if not arguments.envs:
        raise ConfigError("ENV: expected at least one environment, such as MNIST-v0")
    plan = Plan(
        agents=arguments.agents,
        steps=arguments.steps,
        seeds=arguments.seeds,
        evaluations=arguments.evaluations,
        minutes=arguments.minutes,
        split=arguments.split,
        quick=arguments.quick,
    )
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    envs = {env_id: make_env(env_id, env_kwargs) for env_id in arguments.envs}
    file = arguments.hyperparameters
    overrides = None if file is None else read_table(file)
    runs = plan_runs(envs, plan, env_kwargs, overrides)
    for env in envs.values():
        env.close()
    default = "runs/compare-quick" if arguments.quick else "runs/compare"
    folder = Folder(arguments.out or pathlib.Path(default))
    failures = compare(runs, folder, executor)
    if len(failures) < len(runs):
        write_report(folder, failures, arguments.target)
        print((folder.path / "report.md").read_text("utf-8").partition("## Learning curves")[0])
        print(f"report: {folder.path / 'report.html'}")
    if failures:
        raise RunError(
            f"{len(failures)} of {len(runs)} runs failed: {'; '.join(failures)}. The same command "
            f"tries them again; what they printed is in {folder.path / 'logs'}"
        )
