"""The pictures of a comparison, as PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from nodepert.agents.compare.curves import Curve, curves, profiles
from nodepert.agents.compare.run import Record
from nodepert.agents.compare.summary import grouped, lower_is_better
from nodepert.agents.files.formats import as_png
from nodepert.agents.plots import use_log_scale

__all__ = ["draw_curves", "draw_profile"]

COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7",
    "#56b4e9", "#8c564b", "#f0e442", "#7f7f7f", "#17becf",
)  # fmt: skip
AXES = {"env_steps": "env steps (every probe counted)", "seconds": "wall-clock seconds of learning"}


def draw_curves(records: list[Record]) -> bytes:
    """A row for each environment: its metric against env steps, and against wall-clock."""
    groups = grouped(records)
    agents = _agents(records)
    figure = Figure(figsize=(11, 3.6 * len(groups) + 0.6), layout="constrained")
    panels = figure.subplots(len(groups), len(AXES), squeeze=False)
    for row, (env, runs) in zip(panels, groups.items(), strict=True):
        together = [run for own in runs.values() for run in own]
        metric = together[0]["points"][-1]["metric"]
        for axes, (axis, label) in zip(row, AXES.items(), strict=True):
            lines = curves(together, axis)
            _draw(axes, lines, agents)
            axes.set(xlabel=label, ylabel=metric.replace("_", " "), title=env)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            if lower_is_better(metric) and min(min(line.centre) for line in lines.values()) > 0:
                use_log_scale(axes)
    _legend(figure, list(panels.flat), agents)
    return as_png(figure, 110)


def draw_profile(records: list[Record]) -> bytes:
    """Share of runs above each normalised score."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, profiles(records), _agents(records))
    axes.set(
        xlabel="normalised score τ (0: random or the worst agent, 1: the best agent)",
        ylabel="share of runs with a score above τ",
        title="Performance profile",
    )
    _legend(figure, [axes], _agents(records))
    return as_png(figure, 110)


def _agents(records: list[Record]) -> list[str]:
    """All agents in a fixed order, so that each keeps its colour in every panel."""
    return list(dict.fromkeys(agent for runs in grouped(records).values() for agent in runs))


def _draw(axes: Axes, lines: dict[str, Curve], agents: Sequence[str]) -> None:
    for agent, curve in lines.items():
        number = agents.index(agent)
        colour = COLOURS[number % len(COLOURS)]
        dashes = "-" if number < len(COLOURS) else "--"
        width = 2.4 if agent == "np" else 1.4
        if curve.x[-1] == 0:  # chance takes no time to learn
            axes.axhline(curve.centre[-1], color=colour, linewidth=width, label=agent)
            continue
        axes.plot(curve.x, curve.centre, dashes, color=colour, linewidth=width, label=agent)
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    axes.grid(alpha=0.3)


def _legend(figure: Figure, panels: Sequence[Axes], agents: Sequence[str]) -> None:
    shown: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        shown.update(zip(labels, handles, strict=True))
    names = [agent for agent in agents if agent in shown]
    handles = [shown[name] for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 6))
