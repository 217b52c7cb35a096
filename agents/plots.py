"""Learning curves as pictures."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from nodepert.agents.errors import FileFormatError, explain
from nodepert.agents.files.formats import as_png
from nodepert.agents.files.saving import write_atomically

__all__ = ["Curve", "plot_curve", "plot_dashboard", "read_curves", "use_log_scale"]

Curve = tuple[list[float], list[float]]
"""Env steps and values."""

PANELS = {
    "score": "eval/",
    "loss": "train/loss",
    "angle(W, B), degrees": "alignment/weight_angle_",
    "angle of the error that B carries, degrees": "alignment/error_angle_",
    "‖W‖": "weights/norm_",
}
"""Titles of a dashboard's panels, and how the columns that they show begin."""


def read_curves(path: pathlib.Path) -> dict[str, Curve]:
    """The columns of a run's ``progress.csv`` by name, where they have a value.

    Args:
        path: The file; a last line that is still being written is left out.

    Raises:
        FileFormatError: It can't be read.
    """
    curves: dict[str, Curve] = {}
    try:
        text = path.read_text("utf-8")
        for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
            steps = row.get("time/total_timesteps")
            for name, value in row.items() if steps else ():
                if value:
                    known = curves.setdefault(name, ([], []))
                    known[0].append(float(steps or 0))
                    known[1].append(float(value))
    except (TypeError, ValueError, csv.Error) as error:
        raise FileFormatError(
            f"{path}: not the log of a run, or damaged ({explain(error)})"
        ) from error
    return curves


def plot_curve(
    path: pathlib.Path, steps: Sequence[float], values: Sequence[float], metric: str, title: str
) -> None:
    """A metric against env steps, as a PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")  # without pyplot: no global state
    axes = figure.add_subplot()
    axes.plot(steps, values, marker="o", markersize=3)
    _finish(axes, metric.replace("_", " "), title)
    if metric in ("test_error", "test_mse") and min(values, default=0) > 0:
        use_log_scale(axes)
    axes.grid(alpha=0.3, which="both")
    write_atomically(path, as_png(figure, 120))


def use_log_scale(axes: Axes) -> None:
    """For errors, of which it matters how many times as large they are."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def plot_dashboard(path: pathlib.Path, curves: Mapping[str, Curve], title: str) -> None:
    """A panel for each kind of curve that a run has, as a PNG, the whole of it or nothing."""
    panels = {
        name: {column: curve for column, curve in curves.items() if column.startswith(start)}
        for name, start in PANELS.items()
    }
    shown = {name: columns for name, columns in panels.items() if columns}
    figure = Figure(figsize=(6, 2.5 * max(len(shown), 1)), layout="constrained")
    figure.suptitle(title)
    for place, (name, columns) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(len(shown), 1, place)
        for column, (steps, values) in sorted(columns.items()):
            axes.plot(steps, values, marker="o", markersize=3, label=column.partition("/")[2])
        _finish(axes, name, "")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    write_atomically(path, as_png(figure, 120))


def _finish(axes: Axes, what: str, title: str) -> None:
    axes.set(xlabel="env steps (every probe counted)", ylabel=what, title=title)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.2M
