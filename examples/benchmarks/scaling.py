"""What a network's size costs: seconds an env step, and env steps until the loss is a tenth.

    python examples/benchmarks/scaling.py [--only width noise] [--seeds 0 1 2] [--out DIR] [--quick]

One of width, depth, outputs (the action's dimension), K (probes a context, each on two lanes) and
contexts at once grows, the others stay at 64, 2, 8, 1 and 64; lines are least squares in log-log
axes, and the exponents are in the table. The last study makes the loss noisy, and asks from which
noise on several probes a context need fewer env steps than one. Each point takes the step size of
the grid that was fastest with a seed of its own. Seconds are of processor time on one thread. A
size that is in the CSV already is not run again.
"""

from __future__ import annotations

import argparse
import csv
import math
import pathlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import matplotlib
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from waves import Waves

from nodepert.agents import NodePerturbation
from nodepert.agents.files.formats import as_csv
from nodepert.agents.files.saving import write_atomically
from nodepert.envs import Draws

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator

TARGET = 0.1
"""Of the loss before training."""
SEARCH_SEED = 100
RATES = (1e-2, 3e-3, 1e-3, 3e-4)
STUDIES: dict[str, tuple[float, ...]] = {
    "width": (16, 64, 256, 1024),
    "depth": (1, 2, 4, 8),
    "outputs": (1, 8, 64, 512, 4096),
    "probes": (1, 2, 4, 8, 16),
    "contexts": (4, 16, 64, 256, 1024),
    "noise": (0.0, 0.1, 0.3),
}
NOISY_PROBES = (1, 4, 16)
FRACTIONS = ("noise", "learning_rate", "us_per_env_step")
"""Columns of the CSV; the others are whole numbers."""


@dataclass(frozen=True)
class Size:
    """One point of a study."""

    width: int = 64
    depth: int = 2
    outputs: int = 8
    probes: int = 1
    noise: float = 0.0
    contexts: int = 64


@dataclass(frozen=True)
class Limit:
    """When a run is given up."""

    env_steps: int
    seconds: float


class Watch(BaseCallback):
    """Ends a run once its loss on contexts of its own is low enough, or the limit is met."""

    def __init__(self, outputs: int, limit: Limit) -> None:
        super().__init__()
        self.task, self.limit = Waves(outputs), limit
        keys = np.arange(512, dtype=np.uint64)
        self.contexts = self.task.sample_contexts(Draws(keys, np.zeros(512, np.uint64)))
        self.due, self.reached, self.idle = 0.0, False, 0.0

    def _on_training_start(self) -> None:
        self.first = self.loss()
        self.started = time.process_time()

    def loss(self) -> float:
        """Without noise."""
        actions = np.asarray(self.model.predict(self.contexts["observation"])[0], np.float64)
        return float(self.task.loss(self.contexts, actions).mean())

    def seconds(self) -> float:
        """Of learning alone."""
        return time.process_time() - self.started - self.idle

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.due:
            paused = time.process_time()
            self.due = 1.03 * self.num_timesteps + 256
            self.reached = self.loss() <= TARGET * self.first
            self.idle += time.process_time() - paused
        over = self.num_timesteps >= self.limit.env_steps or self.seconds() >= self.limit.seconds
        return not (self.reached or over)


Result = dict[str, Any]


def learn(size: Size, rate: float, seed: int, limit: Limit) -> Result:
    """One run."""
    model = NodePerturbation(
        "MlpPolicy", Waves(size.outputs, size.noise), seed=seed, device="cpu",
        net_arch=(size.width,) * size.depth, activation="tanh", probes=size.probes,
        batch_size=size.contexts, learning_rate=rate, lr_schedule="constant",
    )  # fmt: skip
    watch = Watch(size.outputs, limit)
    model.learn(10 * limit.env_steps, callback=watch, log_interval=None)
    return {
        **asdict(size),
        "learning_rate": rate,
        "seed": seed,
        "env_steps": model.num_timesteps,
        "reached": int(watch.reached),
        "us_per_env_step": 1e6 * watch.seconds() / model.num_timesteps,
    }


def fastest_rate(size: Size, limit: Limit) -> float:
    """The step size that reaches the target in the fewest env steps; no run outlasts the best."""
    best, fewest = RATES[-1], limit.env_steps
    for rate in RATES:
        result = learn(size, rate, SEARCH_SEED, replace(limit, env_steps=fewest))
        if result["reached"]:
            best, fewest = rate, result["env_steps"]
    return best


def measured(size: Size, seeds: list[int], limit: Limit, quick: bool) -> list[Result]:
    """All seeds at one size."""
    rate = RATES[0] if quick else fastest_rate(size, limit)
    rows = [learn(size, rate, seed, limit) for seed in seeds]
    print(f"{size}, step size {rate:g}: {[row['env_steps'] for row in rows]}", flush=True)
    return rows


def size_of(row: Result) -> Size:
    """The size of a row of the CSV."""
    return Size(**{name: row[name] for name in Size.__dataclass_fields__})


def read_rows(path: pathlib.Path) -> list[Result]:
    """What is in the CSV already, as numbers."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            {name: float(v) if name in FRACTIONS else int(v) for name, v in row.items()}
            for row in csv.DictReader(file)
        ]


def write_rows(path: pathlib.Path, rows: list[Result]) -> None:
    """The CSV, whole."""
    write_atomically(path, as_csv(list(rows[0]), rows))


def sizes(study: str, quick: bool) -> Iterator[Size]:
    """The points of a study."""
    values = STUDIES[study][:3] if quick else STUDIES[study]
    for value in values:
        if study == "noise":
            for probes in NOISY_PROBES[:2] if quick else NOISY_PROBES:
                yield Size(noise=value, probes=probes)
        else:
            yield Size(**{study: int(value)})


def exponent(x: list[float], y: list[float]) -> tuple[float, float]:
    """Slope p and log c of the least-squares line of y = c xᵖ in log-log axes."""
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope), float(intercept)


def points(rows: list[Result], study: str, column: str) -> tuple[list[float], list[float]]:
    """Sizes and medians over seeds; of env steps, only where most seeds reached the target."""
    x, y = [], []
    for value in sorted({row[study] for row in rows}):
        own = [row for row in rows if row[study] == value]
        if column == "us_per_env_step" or statistics.median(row["reached"] for row in own) == 1:
            x.append(value)
            y.append(statistics.median(row[column] for row in own))
    return x, y


def crossover(rows: list[Result]) -> str:
    """From which noise on another number of probes than one is the fastest."""
    for noise in sorted({row["noise"] for row in rows}):
        at = [row for row in rows if row["noise"] == noise]
        probes, steps = points(at, "probes", "env_steps")
        if probes and (best := probes[int(np.argmin(steps))]) > 1:
            return f"K = {best} is the fastest from noise {noise:g} on"
    return "K = 1 is the fastest at every noise"


def table(results: dict[str, list[Result]]) -> str:
    """Exponents as Markdown."""
    seeds = len({row["seed"] for rows in results.values() for row in rows})
    lines = [f"Medians of {seeds} seed(s); seconds of processor time, torch on one thread.", "",
             "| what grows | µs an env step ∝ | env steps to a tenth of the loss ∝ | points |",
             "|---|---|---|---|"]  # fmt: skip
    for study, rows in results.items():
        if study == "noise":
            continue
        fits = [points(rows, study, column) for column in ("us_per_env_step", "env_steps")]
        shown = [f"n^{exponent(*fit)[0]:.2f}" if len(fit[0]) > 1 else "–" for fit in fits]
        reached = f"{len(fits[1][0])} of {len(fits[0][0])} reached it"
        lines.append(f"| {study} | {shown[0]} | {shown[1]} | {reached} |")
    if "noise" in results:
        lines += ["", f"Noise in the loss: {crossover(results['noise'])}."]
    return "\n".join(lines) + "\n"


def draw(results: dict[str, list[Result]], path: pathlib.Path) -> None:
    """A column for each study, cost of a step above, env steps below."""
    figure, panels = plt.subplots(
        2, len(results), figsize=(3.3 * len(results), 6), layout="constrained", squeeze=False
    )
    labels = {"us_per_env_step": "µs an env step", "env_steps": "env steps to a tenth"}
    for column, (study, rows) in zip(panels.T, results.items(), strict=True):
        for axes, (name, label) in zip(column, labels.items(), strict=True):
            for probes in NOISY_PROBES if study == "noise" else (None,):
                own = [row for row in rows if probes is None or row["probes"] == probes]
                x, y = points(own, study, name)
                axes.plot(x, y, "o-" if probes else "o", label=probes and f"K = {probes}")
                if probes is None and len(x) > 1:
                    slope, start = exponent(x, y)
                    line = [math.exp(start) * value**slope for value in x]
                    axes.plot(x, line, "--", color="C0", label=f"∝ n^{slope:.2f}")
            axes.set(xlabel=study, ylabel=label, yscale="log")
            axes.set_xscale("symlog" if study == "noise" else "log", **threshold(study))
            if study != "noise":
                axes.set_xticks(x, [f"{value:g}" for value in x])
                axes.xaxis.set_minor_locator(NullLocator())
            axes.legend(fontsize=8)
            axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def threshold(study: str) -> dict[str, float]:
    """Where a symmetric axis, which has a 0, becomes linear."""
    return {"linthresh": 0.03} if study == "noise" else {}


def main() -> None:
    """Runs all, then writes CSV, table and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2_000_000, help="of a run, at most")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a run, at most")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/scaling"))
    parser.add_argument("--quick", action="store_true", help="the first sizes, one step size")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    limit = Limit(arguments.steps, arguments.seconds)
    if arguments.quick:
        limit, arguments.seeds = Limit(20_000, 1.0), [0]
    path = arguments.out / ("scaling_quick.csv" if arguments.quick else "scaling.csv")
    done = read_rows(path)
    for study in arguments.only:
        for size in sizes(study, arguments.quick):
            if not [row for row in done if size_of(row) == size]:
                done += measured(size, arguments.seeds, limit, arguments.quick)
                write_rows(path, done)
    results = {
        study: [row for size in sizes(study, arguments.quick) for row in done
                if size_of(row) == size]
        for study in arguments.only
    }  # fmt: skip
    path.with_suffix(".md").write_text(table(results), "utf-8")
    draw(results, path.with_suffix(".png"))
    print(f"{table(results)}\nwrote {path}, {path.stem}.md and {path.stem}.png")


if __name__ == "__main__":
    main()
