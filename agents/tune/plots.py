"""The picture of a search: scores over trials, and against each hyperparameter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from nodepert.agents.files.formats import as_png
from nodepert.agents.tune.search import Search

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["draw"]

MARKERS = {"COMPLETE": ("o", "#0072b2", "complete"), "PRUNED": ("x", "#d55e00", "pruned")}
ACROSS = 3  # panels


def draw(trials: list[FrozenTrial], search: Search) -> bytes:
    """PNG; trials that failed have no score and are left out."""
    scored = [trial for trial in trials if trial.state.name in MARKERS]
    down = math.ceil((1 + len(search.space.ranges)) / ACROSS)
    figure = Figure(figsize=(4 * ACROSS, 3.2 * down), layout="constrained")
    panels = figure.subplots(down, ACROSS, sharey=True, squeeze=False)
    first, *others = panels.flat
    _scatter(first, [trial.number for trial in scored], scored)
    complete = [trial for trial in scored if trial.state.name == "COMPLETE"]
    best = np.maximum.accumulate(np.array([trial.value for trial in complete], np.float64))
    first.step([trial.number for trial in complete], best, where="post", color="#009e73")
    first.set(xlabel="trial (line: the best so far)")
    for axes, (name, one) in zip(others, search.space.ranges.items(), strict=False):
        numbers = one.kind != "choice"
        values = [trial.params[name] if numbers else str(trial.params[name]) for trial in scored]
        if not numbers:
            order = [str(value) for value in one.values]
            values = [order.index(value) for value in values]
            axes.set_xticks(range(len(order)), order)
        elif one.kind != "uniform":
            axes.set(xscale="log", xlim=one.values)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        _scatter(axes, values, scored)
        axes.set(xlabel=name)
    for axes in others[len(search.space.ranges) :]:
        axes.set_axis_off()
    for row in panels:
        row[0].set(ylabel=f"score ({search.score}), higher is better")
    figure.suptitle(f"{search.agent} on {search.env}")
    first.legend()
    return as_png(figure, 100)


def _scatter(axes: Axes, x: list[Any], trials: list[FrozenTrial]) -> None:
    for state, (marker, colour, label) in MARKERS.items():
        shown = [(at, trial.value) for at, trial in zip(x, trials, strict=True)
                 if trial.state.name == state]  # fmt: skip
        if shown:
            axes.scatter(*zip(*shown, strict=True), marker=marker, color=colour, label=label)
    axes.grid(alpha=0.3)
