"""Wall-clock per image: the agent on MNIST-v0 beside a plain torch loop with the true gradient.

    python examples/benchmarks/training_speed.py [--batch-sizes 64 1024] [--out DIR] [--quick]

Both sides train 784-256-128-10 with Adam on one thread. The plain loop is nn.Linear, autograd and
the squared error; the agent pays for two env steps an image, probes, feedback learning and logs.
Each repeat times both sides, one after the other; the table has medians over repeats.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import statistics
import time

import matplotlib
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nodepert.agents import NodePerturbation
from nodepert.envs import MNIST

matplotlib.use("Agg")
from matplotlib import pyplot as plt


class PlainLoop:
    """Backpropagation as one would write it.

    Args:
        batch_size: Images an update.
        fused: Of Adam; None is torch's default.
    """

    def __init__(self, batch_size: int, fused: bool | None) -> None:
        examples = MNIST().examples
        self.images = torch.from_numpy(examples.images.astype(np.float32) / 255)
        self.targets = F.one_hot(torch.from_numpy(examples.labels.astype(np.int64)), 10).float()
        self.batch_size = batch_size
        self.network = nn.Sequential(
            nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
        )
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, fused=fused)

    def train(self, images: int) -> None:
        """So many images."""
        for _ in range(images // self.batch_size):
            rows = torch.randint(len(self.images), (self.batch_size,))
            error = self.network(self.images[rows]) - self.targets[rows]
            self.optimizer.zero_grad()
            (0.5 * error.square().sum(1).mean()).backward()
            self.optimizer.step()


class Agent:
    """The agent with its default preset.

    Args:
        batch_size: Contexts an update.
    """

    def __init__(self, batch_size: int) -> None:
        self.model = NodePerturbation("MlpPolicy", "MNIST-v0", batch_size=batch_size, seed=0)

    def train(self, images: int) -> None:
        """So many images, each on two lanes."""
        self.model.learn(2 * images, reset_num_timesteps=False)


def measure(batch_size: int, repeats: int, images: int) -> dict[str, list[float]]:
    """Microseconds an image, of each side in each repeat."""
    sides = {
        "plain loop": PlainLoop(batch_size, fused=None),
        "plain loop, fused Adam": PlainLoop(batch_size, fused=True),
        "nodepert": Agent(batch_size),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side.train(images)
            if repeat:  # the first one warms up
                times[name].append(1e6 * (time.perf_counter() - started) / images)
    return times


def main() -> None:
    """Measures, prints a table, writes CSV and PNG."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/training_speed"))
    parser.add_argument("--quick", action="store_true", help="two short repeats")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    repeats, updates = (2, 5) if arguments.quick else (11, 200)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for batch_size in arguments.batch_sizes:
        images = batch_size * max(updates * 64 // batch_size, 3)
        times = measure(batch_size, repeats, images)
        for name, values in times.items():
            ratios = [a / b for a, b in zip(values, times["plain loop"], strict=True)]
            ratio = statistics.median(ratios)
            rows.append(
                (batch_size, name, statistics.median(values), min(values), max(values), ratio)
            )
            print(f"batch {batch_size:5}  {name:23} {rows[-1][2]:6.1f} µs an image, "
                  f"{ratio:.2f} × the plain loop", flush=True)  # fmt: skip
    with (arguments.out / "training_speed.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["batch_size", "side", "us_per_image", "lowest", "highest", "ratio"])
        writer.writerows(rows)
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    names = [f"{name}, batch {batch_size}" for batch_size, name, *_ in rows]
    axes.barh(names, [row[2] for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="µs an image, one thread")
    figure.savefig(arguments.out / "training_speed.png", dpi=120)
    print(f"wrote training_speed.csv and training_speed.png to {arguments.out}")


if __name__ == "__main__":
    main()
