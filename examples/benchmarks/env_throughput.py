"""Environment steps per second on one core, stepping alone: no policy, the same actions each time.

Compares the native vector environment of each task with Gymnasium's SyncVectorEnv and
Stable-Baselines3's DummyVecEnv of the same single environment. Prints a table and writes
``env_throughput.csv`` and ``env_throughput.png``.

    python examples/benchmarks/env_throughput.py --out runs/throughput
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import matplotlib
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

import nodepert.envs  # noqa: F401 - registers the environments

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TASKS = (("DelayedXOR-v0", 4096), ("MNIST-v0", 1024), ("MNISTAutoencoder-v0", 256))
KINDS = ("native", "SyncVectorEnv", "DummyVecEnv")


class Row(NamedTuple):
    """Env steps per second of one kind of vector environment: median, lowest, highest."""

    env: str
    kind: str
    lanes: int
    median: float
    lowest: float
    highest: float


def main() -> None:
    args = parse_args()
    repeats, seconds = (3, 0.2) if args.quick else (7, 1.0)
    rows = [
        measure(env_id, kind, lanes, repeats, seconds) for env_id, lanes in TASKS for kind in KINDS
    ]
    print_table(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(rows, args.out / "env_throughput.csv")
    plot(rows, args.out / "env_throughput.png")
    print(f"\nWrote env_throughput.csv and env_throughput.png to {args.out}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds in all, less exact")
    parser.add_argument("--out", type=Path, default=Path("runs/env_throughput"), metavar="DIR")
    return parser.parse_args()


def make_step(env_id: str, kind: str, lanes: int) -> Callable[[Any], Any]:
    """The step function of a vector environment that was just reset."""
    if kind == "native":
        native = gym.make_vec(env_id, num_envs=lanes)
        native.reset(seed=0)
        return native.step
    if kind == "SyncVectorEnv":
        sync = gym.make_vec(env_id, num_envs=lanes, vectorization_mode="sync")
        sync.reset(seed=0)
        return sync.step
    dummy = DummyVecEnv([lambda: gym.make(env_id)] * lanes)
    dummy.reset()
    return dummy.step


def measure(env_id: str, kind: str, lanes: int, repeats: int, seconds: float) -> Row:
    """Steps for ``seconds``, ``repeats`` times over."""
    step = make_step(env_id, kind, lanes)
    space = gym.make(env_id).action_space
    actions = np.stack([space.sample() for _ in range(lanes)])
    step(actions)  # warm up
    rates = sorted(steps_per_second(step, actions, seconds) for _ in range(repeats))
    return Row(env_id, kind, lanes, statistics.median(rates), rates[0], rates[-1])


def steps_per_second(step: Callable[[Any], Any], actions: Any, seconds: float) -> float:
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        step(actions)
        calls += 1
    return calls * len(actions) / elapsed


def print_table(rows: list[Row]) -> None:
    print(f"{'environment':<20} {'kind':<14} {'lanes':>6} {'steps/s':>12}   lowest to highest")
    for row in rows:
        spread = f"{row.lowest:,.0f} to {row.highest:,.0f}"
        print(f"{row.env:<20} {row.kind:<14} {row.lanes:>6} {row.median:>12,.0f}   {spread}")


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)


def plot(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    places = np.arange(len(TASKS))
    for shift, kind in enumerate(KINDS):
        bars = [row for row in rows if row.kind == kind]
        heights = np.array([row.median for row in bars])
        spread = [heights - [row.lowest for row in bars], [row.highest for row in bars] - heights]
        axes.bar(places + 0.27 * (shift - 1), heights, 0.25, yerr=spread, capsize=2, label=kind)
    axes.set_xticks(places, [f"{env_id}\n{lanes} lanes" for env_id, lanes in TASKS])
    axes.set(yscale="log", ylabel="env steps per second, one core")
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
