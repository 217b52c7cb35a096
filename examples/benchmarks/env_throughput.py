"""Environment steps per second on one core, stepping alone: no policy, the same actions each time.

Compares the native vector environment of each task with Gymnasium's SyncVectorEnv, with copies of
the observations and without, AsyncVectorEnv, and Stable-Baselines3's DummyVecEnv of the same single
environment. The native one has no ``copy``: it makes its observations anew. AsyncVectorEnv takes a
process a lane, so it has eight lanes only. Peak memory is what the process grows by, from making
the environment on; AsyncVectorEnv's workers count, too. Prints a table and writes
``env_throughput.csv`` and ``env_throughput.png``.

    python examples/benchmarks/env_throughput.py --out runs/throughput
"""

from __future__ import annotations

import argparse
import csv
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import matplotlib
import numpy as np
from memory import peak_mb, with_peak_memory
from stable_baselines3.common.vec_env import DummyVecEnv

import nodepert.envs  # noqa: F401 - registers the environments

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TASKS = (("DelayedXOR-v0", 4096), ("MNIST-v0", 1024), ("MNISTAutoencoder-v0", 256))
ASYNC_LANES = 8
KINDS: dict[str, dict[str, Any]] = {
    "native": {},
    "SyncVectorEnv": {"vectorization_mode": "sync"},
    "SyncVectorEnv, copy=False": {
        "vectorization_mode": "sync",
        "vector_kwargs": {"copy": False},
    },
    "AsyncVectorEnv": {"vectorization_mode": "async"},
    "DummyVecEnv": {},
}
"""What ``gymnasium.make_vec`` takes; DummyVecEnv is Stable-Baselines3's."""


class Row(NamedTuple):
    """Env steps per second of one kind of vector environment, and what it needs of memory."""

    env: str
    kind: str
    lanes: int
    median: float
    lowest: float
    highest: float
    peak_mb: float


def main() -> None:
    args = parse_args()
    repeats, seconds, share = (2, 0.1, 16) if args.quick else (7, 1.0, 1)
    for env_id, _ in TASKS:
        gym.make(env_id)  # loads the images, which all kinds share
    rows = [
        measure(env_id, kind, lanes, repeats, seconds)
        for env_id, most_lanes in TASKS
        for kind in KINDS
        for lanes in [ASYNC_LANES if kind == "AsyncVectorEnv" else most_lanes // share]
    ]
    print_table(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(rows, args.out / "env_throughput.csv")
    plot(rows, args.out / "env_throughput.png")
    print(f"\nWrote env_throughput.csv and env_throughput.png to {args.out}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few lanes and short, less exact")
    parser.add_argument("--out", type=Path, default=Path("runs/env_throughput"), metavar="DIR")
    return parser.parse_args()


def make_env(env_id: str, kind: str, lanes: int) -> Any:
    """A vector environment that was just reset."""
    if kind == "DummyVecEnv":
        dummy = DummyVecEnv([lambda: gym.make(env_id)] * lanes)
        dummy.reset()
        return dummy
    env = gym.make_vec(env_id, num_envs=lanes, **KINDS[kind])
    env.reset(seed=0)
    return env


def measure(env_id: str, kind: str, lanes: int, repeats: int, seconds: float) -> Row:
    """Steps for ``seconds``, ``repeats`` times over, in a process of its own."""
    (rates, workers_mb), own_mb = with_peak_memory(
        rates_and_workers, env_id, kind, lanes, repeats, seconds
    )
    rates.sort()
    peak = round(own_mb + workers_mb, 1)
    return Row(env_id, kind, lanes, statistics.median(rates), rates[0], rates[-1], peak)


def rates_and_workers(
    env_id: str, kind: str, lanes: int, repeats: int, seconds: float
) -> tuple[list[float], float]:
    """Env steps per second of each repeat, and the MB by which worker processes grew together."""
    start = peak_mb()
    env = make_env(env_id, kind, lanes)
    space = gym.make(env_id).action_space
    actions = np.stack([space.sample() for _ in range(lanes)])
    env.step(actions)  # warm up
    rates = [steps_per_second(env.step, actions, seconds) for _ in range(repeats)]
    env.close()
    # The largest worker's growth over the process that it was forked from, for each of them.
    largest = peak_mb(resource.RUSAGE_CHILDREN)
    return rates, lanes * max(largest - start, 0.0)


def steps_per_second(step: Callable[[Any], Any], actions: Any, seconds: float) -> float:
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        step(actions)
        calls += 1
    return calls * len(actions) / elapsed


def print_table(rows: list[Row]) -> None:
    head = f"{'environment':<20} {'kind':<26} {'lanes':>6} {'steps/s':>12} {'peak MB':>8}"
    print(f"{head}   lowest to highest")
    for row in rows:
        spread = f"{row.lowest:,.0f} to {row.highest:,.0f}"
        print(
            f"{row.env:<20} {row.kind:<26} {row.lanes:>6} {row.median:>12,.0f} {row.peak_mb:>8,.0f}"
            f"   {spread}"
        )


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
        label = f"{kind}, {ASYNC_LANES} lanes" if kind == "AsyncVectorEnv" else kind
        axes.bar(places + 0.17 * (shift - 2), heights, 0.16, yerr=spread, capsize=2, label=label)
    labels = [f"{row.env}\n{row.lanes} lanes" for row in rows if row.kind == "native"]
    axes.set_xticks(places, labels)
    axes.set(yscale="log", ylabel="env steps per second, one core")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
