"""Which probes for which loss: pairs or one-point probes, of what length, replayed or not.

    python examples/benchmarks/probes.py [--losses mse noisy] [--seeds 0 1 2] [--quick]

MNIST as ten numbers, with its own losses and with odd ones, at equal env steps; errors are of the
validation split, which training leaves out. One-point probes compare a context with the others:
what contexts differ by is noise to them, the less the longer the probes are, while a loss that is
not quadratic is read the worse the longer they are. Replays must do no harm on any loss.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import statistics
from typing import Any

import gymnasium as gym
import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from pool import carry_out

from nodepert.agents import NodePerturbation
from nodepert.agents.evaluation import evaluate
from nodepert.envs import MNIST
from nodepert.envs.base import Context
from nodepert.envs.draws import Draws
from nodepert.envs.losses import mse, one_hot

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

LOSSES = {
    "mse": "½ Σ (prediction − target)²",
    "cross_entropy": "−log softmax(prediction)[label]",
    "correlated": "mse + ¼ (Σ (prediction − target))²",
    "absolute": "Σ |prediction − target|",
    "quantised": "mse in steps of 1/8",
    "noisy": "mse, times exp(N(0, 1)) of each image",
}


def probes(credit: str, std: float, replays: int = 0) -> dict[str, Any]:
    """Hyperparameters."""
    return {"credit": credit, "probe_std": std, "replays": replays}


SETTINGS = {
    "pairs, 0.1": probes("paired", 0.1),
    "pairs, 0.1, 4 replays": probes("paired", 0.1, 4),
    "one-point, 0.1": probes("one_point", 0.1),
    "one-point, 0.3": probes("one_point", 0.3),
    "one-point, 1": probes("one_point", 1.0),
    "one-point, 3": probes("one_point", 3.0),
    "one-point, 1, 4 replays": probes("one_point", 1.0, 4),
    "one-point, 3, 4 replays": probes("one_point", 3.0, 4),
}
"""Probes, and their ``probe_std`` in prediction units."""


class OddMNIST(MNIST):
    """MNIST with a loss of another kind.

    Args:
        kind: One of LOSSES.
        arguments: Of :class:`~nodepert.envs.MNIST`.
    """

    def __init__(self, kind: str, **arguments: Any) -> None:
        super().__init__(loss="cross_entropy" if kind == "cross_entropy" else "mse", **arguments)
        self.kind = kind

    def sample_contexts(self, draws: Draws) -> Context:
        """The number of an example, and how it is to be exaggerated."""
        return {**super().sample_contexts(draws), "noise": draws.normal(1)[:, 0]}

    def loss(self, context: Context, actions: NDArray[Any]) -> NDArray[np.float64]:
        """See LOSSES."""
        if self.kind in ("mse", "cross_entropy"):
            return super().loss(context, actions)
        target = one_hot(self._labels(context), 10)
        prediction = self.action_scale * actions
        if self.kind == "absolute":
            return np.abs(prediction - target).sum(axis=1)
        squared = mse(prediction, target)
        if self.kind == "correlated":
            return squared + (prediction - target).sum(axis=1) ** 2 / 4
        if self.kind == "quantised":
            return np.round(8 * squared) / 8
        return squared * np.exp(context["noise"])


def run(job: tuple[str, str, int, int]) -> dict[str, Any]:
    """Trains and scores one model."""
    torch.set_num_threads(1)
    loss, setting, steps, seed = job
    env: gym.Env[Any, Any] = OddMNIST(loss, holdout=True)
    model = NodePerturbation("MlpPolicy", env, seed=seed, **SETTINGS[setting])
    score = evaluate(model.learn(steps), "MNIST-v0", split="validation")
    return {"loss": loss, "probes": setting, "env_steps": steps, "seed": seed,
            "validation_error": score.value}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Medians over seeds, as Markdown."""
    losses = list(dict.fromkeys(row["loss"] for row in rows))
    lines = ["| probes | " + " | ".join(losses) + " |", "|---" * (len(losses) + 1) + "|"]
    for setting in dict.fromkeys(row["probes"] for row in rows):
        cells = [
            statistics.median(
                row["validation_error"]
                for row in rows
                if (row["loss"], row["probes"]) == (loss, setting)
            )
            for loss in losses
        ]
        lines.append(f"| {setting} | " + " | ".join(f"{cell:.1%}" for cell in cells) + " |")
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """A panel a loss, a dot a seed."""
    losses = list(dict.fromkeys(row["loss"] for row in rows))
    figure, panels = plt.subplots(
        1, len(losses), figsize=(2 + 2.2 * len(losses), 3.2), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    names = list(dict.fromkeys(row["probes"] for row in rows))
    for axes, loss in zip(panels[0], losses, strict=True):
        own = [row for row in rows if row["loss"] == loss]
        places = [names.index(row["probes"]) for row in own]
        axes.plot([100 * row["validation_error"] for row in own], places, "o", alpha=0.6)
        axes.set(title=loss, xlabel="validation error, %", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, axis="x")
    panels[0, 0].set_yticks(range(len(names)), names)
    panels[0, 0].invert_yaxis()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Measures, prints a table, writes CSV and PNG."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--steps", type=int, default=60_000, help="env steps, probes counted")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/probes"))
    parser.add_argument("--quick", action="store_true", help="one seed, 1,000 env steps")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds, arguments.steps = [0], 1_000
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [
        (loss, setting, arguments.steps, seed)
        for loss in arguments.losses
        for setting in SETTINGS
        for seed in arguments.seeds
    ]
    rows = []
    for row in carry_out(run, jobs, arguments.jobs):
        rows.append(row)
        print(f"{len(rows)}/{len(jobs)} {row}", flush=True)
    with (arguments.out / "probes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report = table(rows)
    (arguments.out / "probes.md").write_text(report + "\n", "utf-8")
    picture(rows, arguments.out / "probes.png")
    print(f"{report}\n\nwrote probes.csv, probes.md and probes.png to {arguments.out}")


if __name__ == "__main__":
    main()
