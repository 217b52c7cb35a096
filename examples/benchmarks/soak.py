"""Long runs: does memory grow, are files left open, does training get slower?

    python examples/benchmarks/soak.py [--only xor cartpole] [--out DIR] [--quick]

Trains on DelayedXOR-v0 for 50 M env steps and on CartPole-v1 for 10 M, with many lanes, and writes
a checkpoint after each 2 % of the run. There, memory of the process (resident set size), open file
handles and env steps a second since the last time are read, of the wall-clock and of the process's
own time, which other processes on the machine do not change; Linux only, from /proc. Memory is flat
where, from the first fifth of the run on, it stays within 1 % of its median.
"""

from __future__ import annotations

import argparse
import csv
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import gymnasium as gym
import matplotlib
import torch

from nodepert.agents import Checkpoints, NodePerturbation
from nodepert.agents.bookkeeping.periodic import Periodic

matplotlib.use("Agg")
from matplotlib import pyplot as plt

POINTS = 50
STEPS = {"xor": 50_000_000, "cartpole": 10_000_000}
QUICK_STEPS = {"xor": 400_000, "cartpole": 200_000}


def xor() -> NodePerturbation:
    """A recurrent network with probes on 4,096 lanes."""
    return NodePerturbation(
        "RnnPolicy", "DelayedXOR-v0", seed=0, batch_size=2048, net_arch=(16,), device="cpu"
    )


def cartpole() -> NodePerturbation:
    """Score mode on 64 lanes."""
    return NodePerturbation(
        "MlpPolicy", gym.make("CartPole-v1", disable_env_checker=True), seed=0, credit="score",
        n_envs=64, n_steps=128, batch_size=2048, n_epochs=2, net_arch=(32, 32), device="cpu",
    )  # fmt: skip


MODELS: dict[str, Callable[[], NodePerturbation]] = {"xor": xor, "cartpole": cartpole}


class Watch(Periodic):
    """Reads memory, file handles and speed, between updates."""

    def __init__(self, every: int) -> None:
        super().__init__(every)
        self.rows: list[dict[str, float]] = []

    def _on_training_start(self) -> None:
        super()._on_training_start()
        self._note()

    def _note(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._steps = self.num_timesteps

    def act(self) -> None:
        """One reading."""
        steps = self.num_timesteps - self._steps
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        self.rows.append(
            {
                "env_steps": self.num_timesteps,
                "memory_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
                "open_files": len(os.listdir("/proc/self/fd")),
                "env_steps_per_second": round(steps / (time.perf_counter() - self._wall)),
                "env_steps_per_cpu_second": round(steps / (time.process_time() - self._cpu)),
            }
        )
        self._note()


def soak(name: str, steps: int) -> list[dict[str, float]]:
    """Trains, and returns the readings."""
    watch = Watch(steps // POINTS)
    with tempfile.TemporaryDirectory() as folder:
        MODELS[name]().learn(steps, [Checkpoints(folder, steps // POINTS), watch])
    return watch.rows


def verdict(name: str, rows: list[dict[str, float]]) -> str:
    """A line of the table."""
    rows = rows[len(rows) // 5 :]
    memory = [row["memory_mb"] for row in rows]
    files = [row["open_files"] for row in rows]
    speed = [row["env_steps_per_cpu_second"] for row in rows]
    middle, half = statistics.median(memory), len(speed) // 2
    off = max(abs(one - middle) for one in memory) / middle
    return (
        f"| {name} | {rows[-1]['env_steps']:,.0f} | {middle:.0f} MB ± {off:.2%} | "
        f"{min(files):.0f}-{max(files):.0f} | {statistics.median(speed[:half]):,.0f}, "
        f"{statistics.median(speed[half:]):,.0f} |"
    )


def write(path: pathlib.Path, rows: list[dict[str, float]]) -> None:
    """The readings as a CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def plot(path: pathlib.Path, name: str, rows: list[dict[str, float]]) -> None:
    """Memory, file handles and speed against env steps."""
    units = {"memory_mb": "memory, MB", "open_files": "open files",
             "env_steps_per_cpu_second": "env steps per CPU second"}  # fmt: skip
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for one, (key, label) in zip(axes, units.items(), strict=True):
        one.plot([row["env_steps"] / 1e6 for row in rows], [row[key] for row in rows])
        one.set(ylim=(0, 1.2 * max(row[key] for row in rows)), title=label)
        one.set_xlabel("million env steps")
        one.grid(alpha=0.3)
    figure.suptitle(name)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Runs, writes a CSV and a PNG for each run, prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/soak"))
    parser.add_argument("--quick", action="store_true", help="short runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print("| run | env steps | memory | open files | env steps per CPU second in each half |")
    print("|---|---|---|---|---|")
    for name in arguments.only:
        rows = soak(name, (QUICK_STEPS if arguments.quick else STEPS)[name])
        write(arguments.out / f"soak_{name}.csv", rows)
        plot(arguments.out / f"soak_{name}.png", name, rows)
        print(verdict(name, rows), flush=True)
    print(f"\nwrote soak_*.csv and .png to {arguments.out}")


if __name__ == "__main__":
    main()
