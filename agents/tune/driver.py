"""Carrying out what of a search is not done yet."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from nodepert.agents.executors import Executor
from nodepert.agents.tune.results import best_of, values_of, write_picture, write_tables
from nodepert.agents.tune.search import Search
from nodepert.agents.tune.study import finished, open_study, record, tasks
from nodepert.agents.tune.trial import TrialTask, carry_out_trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["tune"]


def tune(
    search: Search,
    env: gym.Env[Any, Any],
    folder: pathlib.Path,
    executor: Executor,
    say: Callable[[str], None] = print,
) -> int:
    """Carries out the trials that the folder's study lacks.

    Args:
        search: What is searched.
        env: The environment.
        folder: For the study, logs/, trials.csv, best.yml and search.png.
        executor: Where trials are carried out.
        say: Told of each trial as it ends.

    Returns:
        How many trials had a process that died; the next call carries them out again.

    Raises:
        ConfigError: A range with values that are not valid, or see :func:`open_study`.
    """
    search.check(env)
    with open_study(search, folder) as study:
        (folder / "logs").mkdir(exist_ok=True)
        say(f"{len(finished(study))} of {search.trials} trials are finished already")
        died = 0
        for outcome in executor.run(carry_out_trial, tasks(study, search, env), log_of(folder)):
            task = outcome.task
            if outcome.result is None:
                died += 1
                say(f"trial {task.number} FAILED: {outcome.failure} (see {log_of(folder)(task)})")
                continue
            record(study, search, task.number, outcome.result)
            trials = finished(study)
            write_tables(trials, search, folder)
            (trial,) = (one for one in trials if one.number == task.number)
            say(f"{len(trials)}/{search.trials} {told(trial, search)}{told_best(trials)}")
        write_picture(finished(study), search, folder)
        return died


def log_of(folder: pathlib.Path) -> Callable[[TrialTask], pathlib.Path]:
    """Where the log of a trial is."""
    return lambda task: folder / "logs" / f"{task.number}.log"


def told(trial: FrozenTrial, search: Search) -> str:
    """How a trial ended, in a line."""
    values = ", ".join(f"{name}={short(v)}" for name, v in values_of(trial, search).items())
    kept = trial.user_attrs
    if trial.state.name == "FAIL":
        return f"trial {trial.number} ({values}) failed: {kept['error']}"
    pruned = "pruned " if trial.state.name == "PRUNED" else ""
    return (
        f"trial {trial.number} ({values}): score {trial.value:.5g} {pruned}after "
        f"{kept['env_steps']:,} env steps, {kept['seconds']:.1f} s"
    )


def short(value: Any) -> str:
    """A hyperparameter for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def told_best(trials: list[FrozenTrial]) -> str:
    """The best so far, if there is one."""
    best = best_of(trials)
    return "" if best is None else f"; best {best.value:.5g} (trial {best.number})"
