"""Wall-clock per image: the agent on MNIST-v0 beside a plain torch loop with the true gradient.

    python examples/benchmarks/training_speed.py [--batch-sizes 64 1024] [--quick]
    python examples/benchmarks/training_speed.py --device cuda [--net-arch 4096 4096]

The plain loop is nn.Linear, autograd and the squared error, on one thread. Two comparisons: from
the scalar reward alone, 784-256-128-10 ReLU with Adam, where the agent pays for one or two env
steps an image, probes, feedback learning and logs; and the paper's figure 2, 784-50-20-10 sigmoid
with SGD and batches of 32, where the gradient is given to the agent, too. DelayedXOR-v0 stands
alone: there the table is of env steps, with 20, 64 and 256 contexts. Each repeat times all sides,
one after the other; the table has medians over repeats. On a GPU, memory is the GPU's.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gymnasium as gym
import matplotlib
import numpy as np
import torch
from memory import with_peak_memory
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
        sizes: Widths of the layers, from the pixels to the classes.
        activation: σ.
        optimizer: From the weights.
        device: Where all is, the images too.
    """

    def __init__(
        self,
        batch_size: int,
        sizes: tuple[int, ...],
        activation: type[nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        device: str,
    ) -> None:
        examples = MNIST().examples
        labels = torch.from_numpy(examples.labels.astype(np.int64)).to(device)
        self.images = torch.from_numpy(examples.images.astype(np.float32) / 255).to(device)
        self.targets = F.one_hot(labels, 10).float()
        self.batch_size = batch_size
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), activation()]
        self.network = nn.Sequential(*layers[:-1]).to(device)
        self.optimizer = optimizer(self.network.parameters())

    def train(self, images: int) -> None:
        """So many images."""
        for _ in range(images // self.batch_size):
            rows = torch.randint(len(self.images), (self.batch_size,), device=self.images.device)
            error = self.network(self.images[rows]) - self.targets[rows]
            self.optimizer.zero_grad()
            (0.5 * error.square().sum(1).mean()).backward()
            self.optimizer.step()


class Agent:
    """The agent.

    Args:
        env: The task.
        policy: As NodePerturbation takes it.
        hyperparameters: Those that differ from the default.
    """

    def __init__(
        self, env: gym.Env[Any, Any], policy: str = "MlpPolicy", **hyperparameters: Any
    ) -> None:
        self.model = NodePerturbation(policy, env, seed=0, **hyperparameters)

    def train(self, images: int) -> None:
        """So many images, each on all lanes of its context."""
        steps = images * self.model.lanes_per_context
        self.model.learn(steps, reset_num_timesteps=False)


class Player(Agent):
    """The agent where what counts is env steps."""

    def train(self, images: int) -> None:
        """So many env steps."""
        self.model.learn(images, reset_num_timesteps=False)


Sides = dict[str, Callable[[], PlainLoop | Agent]]
"""By name, what makes each; the first is what the others are divided by."""


def scalar_sides(net_arch: tuple[int, ...], batch_size: int, device: str) -> Sides:
    """Of the comparison from the scalar reward."""
    adam, fused = partial(torch.optim.Adam, lr=1e-3), partial(torch.optim.Adam, lr=1e-3, fused=True)
    plain = partial(PlainLoop, batch_size, (784, *net_arch, 10), nn.ReLU, device=device)
    agent = partial(
        Agent, gym.make("MNIST-v0"), batch_size=batch_size, net_arch=net_arch, device=device
    )
    one_point = partial(agent, credit="one_point", probe_std=3)
    return {
        "plain loop": partial(plain, adam),
        "plain loop, fused Adam": partial(plain, fused),
        "nodepert, pairs": partial(agent, credit="paired"),
        "nodepert, one-point": one_point,
        "the same, B every 4 updates": partial(one_point, feedback_interval=4),
    }


def figure2_sides(batch_size: int, device: str) -> Sides:
    """Of the paper's figure 2, gradient given."""
    settings = {
        "credit": "given", "net_arch": (50, 20), "activation": "sigmoid", "optimizer": "sgd",
        "learning_rate": 0.05, "batch_size": batch_size, "device": device,
    }  # fmt: skip
    env = gym.make("MNIST-v0", expose_gradient=True)
    ridge = {"rule": "loss_ridge", "node_baseline": "clean", "node_std": 1e-2}
    sgd = partial(torch.optim.SGD, lr=0.05)
    return {
        "figure 2: plain loop": partial(
            PlainLoop, batch_size, (784, 50, 20, 10), nn.Sigmoid, sgd, device
        ),
        "figure 2: backprop": partial(Agent, env, rule="backprop", **settings),
        "figure 2: response": partial(Agent, env, rule="response", **settings),
        "figure 2: loss_ridge": partial(Agent, env, **ridge, **settings),
    }


def xor_sides(batch_size: int, device: str) -> Sides:
    """Of the recurrent network of 50 units, an env step."""
    player = partial(
        Player, gym.make("DelayedXOR-v0"), "RnnPolicy",
        batch_size=batch_size, net_arch=(50,), device=device,
    )  # fmt: skip
    return {
        "DelayedXOR-v0: pairs": partial(player, credit="paired"),
        "DelayedXOR-v0: one-point": partial(player, credit="one_point", probe_std=3),
    }


def train_one(make: Callable[[], PlainLoop | Agent], images: int) -> None:
    """Makes one side, and trains it a little."""
    make().train(images)


def peak_memory(make: Callable[[], PlainLoop | Agent], images: int, device: str) -> float:
    """MB that making and training one side takes at most."""
    if device == "cpu":
        return with_peak_memory(train_one, make, images)[1]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train_one(make, images)
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def measure(sides: dict[str, Any], repeats: int, images: int) -> dict[str, list[float]]:
    """Microseconds an image, of each side in each repeat."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side.train(images)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:  # the first one warms up
                times[name].append(1e6 * (time.perf_counter() - started) / images)
    return times


def main() -> None:
    """Measures, prints a table, writes CSV and PNG."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 1024])
    parser.add_argument(
        "--net-arch", type=int, nargs="+", default=[256, 128], help="of the first comparison"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda, of all sides")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/training_speed"))
    parser.add_argument("--only", choices=["scalar", "figure2", "xor"], nargs="+", help="of these")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="two short repeats")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    repeats, updates = (2, 5) if arguments.quick else (arguments.repeats, 200)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    MNIST()  # loads the images, which all sides share
    scalar = partial(scalar_sides, tuple(arguments.net_arch))
    by_name = {
        "scalar": [(size, scalar) for size in arguments.batch_sizes],
        "figure2": [(32, figure2_sides)],
        "xor": [(size, xor_sides) for size in ((20,) if arguments.quick else (20, 64, 256))],
    }
    comparisons = [pair for name in arguments.only or by_name for pair in by_name[name]]
    if arguments.quick:  # imports much, once for all processes
        torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    # Before the rest: torch's autograd does not work in a process forked after its first use.
    peaks = {
        (batch_size, name): peak_memory(make, 10 * batch_size, arguments.device)
        for batch_size, sides in comparisons
        for name, make in sides(batch_size, arguments.device).items()
    }
    for batch_size, sides in comparisons:
        # An update of the recurrent network takes windows of several steps.
        updates_each = max(updates * 64 // batch_size, 3) * (16 if sides is xor_sides else 1)
        images = batch_size * updates_each
        made = {name: make() for name, make in sides(batch_size, arguments.device).items()}
        times = measure(made, repeats, images)
        plain = next(iter(times.values()))
        for name, values in times.items():
            ratios = [a / b for a, b in zip(values, plain, strict=True)]
            ratio, peak = statistics.median(ratios), round(peaks[batch_size, name], 1)
            rows.append(
                (batch_size, name, statistics.median(values), min(values), max(values), ratio, peak)
            )
            print(f"batch {batch_size:5}  {name:27} {rows[-1][2]:6.2f} µs, "
                  f"{ratio:.2f} × the first, {peak:5.0f} MB", flush=True)  # fmt: skip
    with (arguments.out / "training_speed.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        header = ["batch_size", "side", "us_per_image", "lowest", "highest", "ratio", "peak_mb"]
        writer.writerow(header)
        writer.writerows(rows)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    names = [f"{name}, batch {batch_size}" for batch_size, name, *_ in rows]
    axes.barh(names, [row[2] for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="µs an image (DelayedXOR-v0: an env step), one thread", xscale="log")
    figure.savefig(arguments.out / "training_speed.png", dpi=120)
    print(f"wrote training_speed.csv and training_speed.png to {arguments.out}")


if __name__ == "__main__":
    main()
