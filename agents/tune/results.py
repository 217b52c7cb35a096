"""What a search leaves in its folder for people: trials.csv, best.yml and a picture."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import yaml

from nodepert.agents.files.formats import as_csv
from nodepert.agents.files.saving import write_atomically
from nodepert.agents.tune.plots import draw
from nodepert.agents.tune.search import Search

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["best_of", "values_of", "write_picture", "write_tables"]

COLUMNS = ("trial", "state", "score", "metric", "env_steps", "seconds", "error")


def best_of(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the highest score, the first of equals."""
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    return max(complete, key=lambda trial: trial.value or 0.0, default=None)


def values_of(trial: FrozenTrial, search: Search) -> dict[str, Any]:
    """A trial's hyperparameters, in the form in which they are set."""
    ranges = search.space.ranges
    return {name: ranges[name].written(value) for name, value in trial.params.items()}


def write_picture(trials: list[FrozenTrial], search: Search, folder: pathlib.Path) -> None:
    """Writes ``search.png``."""
    write_atomically(folder / "search.png", draw(trials, search))


def write_tables(trials: list[FrozenTrial], search: Search, folder: pathlib.Path) -> None:
    """Writes ``trials.csv``, and ``best.yml`` where a trial is complete."""
    columns = (*COLUMNS, *search.space.ranges)
    rows = as_csv(columns, [_row(trial, search) for trial in trials])
    write_atomically(folder / "trials.csv", rows)
    best = best_of(trials)
    if best is None:
        return
    head = (
        f"# The best of {len(trials)} trials of {search.agent} on {search.env}: trial "
        f"{best.number}, score {best.value:.6g}.\n"
    )
    table = {search.agent: {search.env: search.entry(values_of(best, search))}}
    text_of_best = head + yaml.safe_dump(table, sort_keys=False)
    write_atomically(folder / "best.yml", text_of_best.encode())


def _row(trial: FrozenTrial, search: Search) -> dict[str, Any]:
    kept = {
        name: trial.user_attrs.get(name) for name in ("metric", "env_steps", "seconds", "error")
    }
    state = {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
    values = values_of(trial, search)
    return {"trial": trial.number, "state": state, "score": trial.value, **kept, **values}
