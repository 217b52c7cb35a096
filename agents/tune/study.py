"""The study of a search: an Optuna study in a file, which the next command goes on with."""

from __future__ import annotations

import json
import pathlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from nodepert.agents.errors import ConfigError, explain
from nodepert.agents.tune.search import Search
from nodepert.agents.tune.trial import Curve, Result, TrialTask

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

__all__ = ["finished", "open_study", "record", "tasks"]

FILE, LOCK = "study.db", "study.lock"
SETTINGS = "settings"  # an attribute of the study


@contextmanager
def open_study(search: Search, folder: pathlib.Path) -> Iterator[Study]:
    """The study of a folder, new or as it was left; nobody else has it meanwhile.

    Only this process writes to it: SQLite's transactions are whole or not at all, also where the
    process is killed, and many writers, for which SQLite is not made, there are none.

    Raises:
        ConfigError: Optuna is not installed, the folder can't be written to or is in use, or it
            has a study with other settings.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"nodepert tune: {error}; it comes with pip install 'nodepert[optuna]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _alone(folder):
        try:
            study = optuna.create_study(
                storage=f"sqlite:///{(folder / FILE).resolve()}",
                study_name=f"{search.agent} on {search.env}",
                direction="maximize",
                load_if_exists=True,
            )
        except Exception as error:  # of Optuna, or of the database below it
            raise ConfigError(
                f"--out {folder}: {FILE} can't be read or written ({explain(error)}); expected a "
                "study that nodepert tune wrote, or another folder"
            ) from error
        settings = json.loads(json.dumps(search.settings()))
        before = study.user_attrs.get(SETTINGS, settings)
        for name in settings:
            if before.get(name) != settings[name]:
                raise ConfigError(
                    f"--out {folder}: has a study with {name}={before.get(name)!r}, now "
                    f"{settings[name]!r}; expected the same settings, or another folder"
                )
        study.set_user_attr(SETTINGS, settings)
        yield study


@contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Keeps the folder from other commands; a lock of SQLite's ends with its process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(folder / LOCK, timeout=0, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"--out {folder}: can't be written to: {error}") from error
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        raise ConfigError(f"--out {folder}: is another search going on in it? {error}") from error
    try:
        yield
    finally:
        lock.close()


def finished(study: Study) -> list[FrozenTrial]:
    """Trials that are not carried out again: complete, pruned or failed."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def tasks(study: Study, search: Search, env: gym.Env[Any, Any]) -> Iterator[TrialTask]:
    """The trials to carry out, each decided on when it is asked for.

    First those that were running when an earlier command was cut off, with the values that they
    had, then new ones up to the number of trials.
    """
    cut_off = [
        one.number for one in study.get_trials(deepcopy=False) if not one.state.is_finished()
    ]
    for number in cut_off:
        yield _task(study, search, env, _trial(study, number))
    while len(study.get_trials(deepcopy=False)) < search.trials:
        study.sampler = _sampler(search, len(study.get_trials(deepcopy=False)))
        yield _task(study, search, env, study.ask())


def _task(study: Study, search: Search, env: gym.Env[Any, Any], trial: Trial) -> TrialTask:
    values = {name: one.suggest(trial, name) for name, one in search.space.ranges.items()}
    complete = [one for one in finished(study) if one.state.name == "COMPLETE"]
    return TrialTask(
        trial.number,
        search.runs(values, env),
        search.score,
        [_curves(one.intermediate_values, search) for one in complete],
    )


def _trial(study: Study, number: int) -> Trial:
    """A trial of the study that has not ended, to go on with."""
    from optuna import Trial

    (found,) = (one for one in study.get_trials(deepcopy=False) if one.number == number)
    return Trial(study, found._trial_id)


def _sampler(search: Search, number: int) -> Any:
    """For one trial: a study that was cut off goes on with other draws than it began with."""
    import optuna

    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    return kinds[search.space.sampler](seed=seed)


def _curves(values: dict[int, float], search: Search) -> list[Curve]:
    """The curve of each run, from the steps of a trial: those of one run follow the other's."""
    stride = search.evaluations + 1
    runs = range(search.seeds)
    return [{s % stride: value for s, value in values.items() if s // stride == k} for k in runs]


def record(study: Study, search: Search, number: int, result: Result) -> None:
    """Keeps how a trial ended."""
    from optuna.trial import TrialState

    trial = _trial(study, number)
    for name in ("metric", "env_steps", "seconds", "error"):
        trial.set_user_attr(name, getattr(result, name))
    for run, curve in enumerate(result.curves):
        for place, score in curve.items():
            trial.report(score, run * (search.evaluations + 1) + place)
    if result.error is not None:
        study.tell(number, state=TrialState.FAIL)
    elif result.pruned:  # its value is the one that it last reported
        study.tell(number, state=TrialState.PRUNED)
    else:
        study.tell(number, result.score)
