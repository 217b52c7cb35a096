"""Learning curves as pictures."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

__all__ = ["plot_curve", "read_columns"]


def read_columns(path: pathlib.Path, x: str, y: str) -> tuple[list[float], list[float]]:
    """Two columns of a CSV file, where both have a value."""
    with path.open(newline="") as file:
        rows = [(row.get(x), row.get(y)) for row in csv.DictReader(file)]
    pairs = [(float(a), float(b)) for a, b in rows if a and b]
    return [a for a, _ in pairs], [b for _, b in pairs]


def plot_curve(
    path: pathlib.Path, steps: Sequence[float], values: Sequence[float], metric: str, title: str
) -> None:
    """A metric against env steps, as a PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")  # without pyplot: no global state
    axes = figure.add_subplot()
    axes.plot(steps, values, marker="o", markersize=3)
    axes.set(xlabel="env steps (every probe counted)", ylabel=metric.replace("_", " "), title=title)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.2M
    if metric in ("test_error", "test_mse") and min(values, default=0) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)
