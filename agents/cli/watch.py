"""``nodepert watch DIR``: the curves of a run in the terminal, while it trains or afterwards."""

from __future__ import annotations

import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.live import Live
from rich.table import Table

from nodepert.agents.cli.run_folder import RunFolder
from nodepert.agents.errors import ConfigError
from nodepert.agents.plots import Curve, plot_dashboard, read_curves

__all__ = ["WatchArguments", "watch"]

BLOCKS = "▁▂▃▄▅▆▇█"
UNINTERESTING = ("time/total_timesteps", "time/time_elapsed", "train/n_updates")


@dataclass(frozen=True)
class WatchArguments:
    """Show the curves of a run, again and again until it has ended or Ctrl-C is pressed.

    The same as a picture is DIR/watch.png, drawn anew with each score.
    """

    run: Annotated[tyro.conf.Positional[pathlib.Path], tyro.conf.arg(metavar="DIR")]
    """The folder of a `nodepert train` run."""
    every: float = 2.0
    """Seconds between looks at the folder."""


def watch(arguments: WatchArguments) -> None:
    """Runs ``nodepert watch``; returns when the run has its result, or on Ctrl-C.

    Raises:
        ConfigError: There is no run in the folder, or an argument is not valid.
    """
    if not arguments.every > 0:
        raise ConfigError(f"--every {arguments.every:g}: expected a positive number of seconds")
    folder = RunFolder(arguments.run)
    if not folder.progress.is_file():
        raise ConfigError(
            f"{arguments.run}: has no progress.csv; expected the folder of a `nodepert train` run, "
            "as its --out says"
        )
    drawn = 0
    with Live(auto_refresh=False) as live:
        try:
            while True:
                ended = folder.result.is_file()  # asked first: then the last row is there, too
                curves = read_curves(folder.progress)
                live.update(table(arguments.run.name, curves, ended), refresh=True)
                rows = sum(len(values) for _, values in curves.values())
                if rows > drawn:
                    plot_dashboard(folder.dashboard, curves, arguments.run.name)
                    drawn = rows
                if ended:
                    break
                time.sleep(arguments.every)
        except KeyboardInterrupt:
            pass
    print(f"\npicture: {folder.dashboard}")


def table(name: str, curves: Mapping[str, Curve], ended: bool) -> Table:
    """What is known of a run, a line for each column of its log."""
    steps = max((steps[-1] for steps, _ in curves.values()), default=0)
    state = "ended" if ended else "running, or cut off"
    shown = Table("", "first", "now", "course", title=f"{name}: {steps:,.0f} env steps, {state}")
    order = sorted(curves, key=lambda column: (not column.startswith("eval/"), column))
    for column in order:
        values = [value for value in curves[column][1] if math.isfinite(value)]
        if values and column not in UNINTERESTING:
            shown.add_row(column, f"{values[0]:.4g}", f"{values[-1]:.4g}", sparkline(values))
    return shown


def sparkline(values: Sequence[float], width: int = 30) -> str:
    """A curve in one line of text; of more values than fit, the last ones."""
    last = values[-width:]
    low, span = min(last), max(last) - min(last) or 1.0
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in last)
