"""On paper: traffic and speed-up of 1 to 1,024 workers, from what the other scripts measured.

A vector step plays N = 4,096 lanes of MNIST and makes one update. With W workers it takes

    losses, observations   l(N) + W · call + N · bytes / bandwidth + 2 · latency + N · c / W
    gradients              l(N / W) + 2 (W − 1)/W · G / bandwidth + 2 (W − 1) · latency + N · c / W

c: what an env step costs. l: the learner's own work, measured here. call: the learner's time for
one worker's call; bytes: of an env step; both from ``sharded.csv``. G: bytes of a gradient, from
``data_parallel.csv``, which a ring of processes averages. Bandwidth and latency are assumed.
Writes ``traffic.csv``, ``traffic.md`` and ``traffic.png``.

    python examples/distributed/traffic.py --measured examples/distributed/results
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from workload import CONFIG, maker, train, write_csv

from nodepert.agents import NodePerturbation

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LANES = 4096
WORKERS = tuple(2**n for n in range(11))
COSTS = {"1 µs": 1e-6, "1 ms": 1e-3, "1 s": 1.0}
KINDS = ("losses", "observations", "gradients")
BANDWIDTH = 10e9 / 8  # bytes a second: 10 Gbit/s
LATENCY = 50e-6  # seconds a message


class Row(NamedTuple):
    """What is expected of one way to share a vector step."""

    comes_back: str
    cost: str
    workers: int
    mbytes_a_step: float  # through the busiest network link
    seconds_a_step: float
    speed_up: float  # over the learner's process alone


@dataclass(frozen=True)
class Measured:
    """Seconds and bytes."""

    fixed: float  # of the learner's work on a vector step
    a_lane: float
    call: float
    env_step_bytes: dict[str, float]
    gradient_bytes: float

    def learner(self, lanes: float) -> float:
        """Seconds of the learner's work on so many lanes."""
        return self.fixed + self.a_lane * lanes

    def traffic(self, kind: str, workers: int) -> float:
        """Bytes of a vector step through the busiest link."""
        if kind == "gradients":
            return 2 * (workers - 1) / workers * self.gradient_bytes
        return LANES * self.env_step_bytes[kind]

    def seconds(self, kind: str, workers: int, cost: float) -> float:
        """Of a vector step."""
        playing = LANES * cost / workers + self.traffic(kind, workers) / BANDWIDTH
        if kind == "gradients":
            return playing + self.learner(LANES / workers) + 2 * (workers - 1) * LATENCY
        return playing + self.learner(LANES) + workers * self.call + 2 * LATENCY


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    measured = read_measurements(args.measured, repeats=2 if args.quick else 10)
    rows = [expect(measured, *one) for one in cases()]
    write_csv(rows, args.out / "traffic.csv")
    table = to_markdown(rows, measured)
    (args.out / "traffic.md").write_text(table)
    plot(rows, args.out / "traffic.png")
    print(f"{table}\nWrote traffic.csv, traffic.md and traffic.png to {args.out}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="measure the learner less exactly")
    default = Path(__file__).parent / "results"
    parser.add_argument("--measured", type=Path, default=default, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("runs/distributed"), metavar="DIR")
    return parser.parse_args()


def cases() -> list[tuple[str, str, int]]:
    return [(kind, cost, workers) for kind in KINDS for cost in COSTS for workers in WORKERS]


def read_measurements(folder: Path, repeats: int) -> Measured:
    """What the other scripts wrote, and the learner's work on few and on many lanes."""
    sharded = read_csv(folder / "sharded.csv")
    free = {
        int(row["workers"]): float(row["fastest_ms"]) / 1e3
        for row in sharded
        if row["kind"] == "losses" and float(row["cost_ms"]) == 0
    }
    few, many = (learner_seconds(contexts, repeats) for contexts in (8, 256))
    a_lane = (many - few) / (2 * (256 - 8))
    return Measured(
        fixed=max(few - a_lane * 2 * 8, 0.0),
        a_lane=a_lane,
        call=min((free[count] - free[0]) / count for count in free if count),
        env_step_bytes={
            r["kind"]: float(r["payload_bytes"]) for r in sharded if r["workers"] == "1"
        },
        gradient_bytes=float(read_csv(folder / "data_parallel.csv")[0]["gradient_bytes"]),
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def learner_seconds(contexts: int, repeats: int) -> float:
    """A vector step of an environment that costs nothing, at its fastest."""
    config = replace(CONFIG, batch_size=contexts)
    model = NodePerturbation("MlpPolicy", maker("losses", 0.0), config, seed=0, device="cpu")
    return min(train(model, repeats, updates=4, lanes=2 * contexts)[0])


def expect(measured: Measured, kind: str, cost: str, workers: int) -> Row:
    alone = measured.learner(LANES) + LANES * COSTS[cost]
    seconds = measured.seconds(kind, workers, COSTS[cost])
    mbytes = measured.traffic(kind, workers) / 1e6
    return Row(kind, cost, workers, round(mbytes, 4), round(seconds, 6), round(alone / seconds, 2))


def to_markdown(rows: list[Row], measured: Measured) -> str:
    """One line for each number of workers: the traffic of each kind, then all speed-ups."""
    found = {(row.comes_back, row.cost, row.workers): row for row in rows}
    columns = [(kind, cost) for kind in KINDS for cost in COSTS]
    heads = [f"MB, {kind}" for kind in KINDS] + [f"×, {kind}, {cost}" for kind, cost in columns]
    lines = [f"| workers | {' | '.join(heads)} |", "|---:|" + "---:|" * len(heads)]
    for workers in WORKERS:
        traffic = [f"{measured.traffic(kind, workers) / 1e6:.2g}" for kind in KINDS]
        speeds = [f"{found[kind, cost, workers].speed_up:,.3g}" for kind, cost in columns]
        lines.append(f"| {workers:,} | {' | '.join(traffic + speeds)} |")
    learner = f"{1e3 * measured.fixed:.2g} ms + {1e6 * measured.a_lane:.2g} µs a lane"
    note = (
        f"Of a vector step of {LANES:,} lanes: MB through the busiest link, and × the speed of one "
        f"process. Measured: learner {learner}, {1e3 * measured.call:.2g} ms a worker's call. "
        f"Assumed: 10 Gbit/s, {1e6 * LATENCY:.0f} µs a message."
    )
    return "\n".join([*lines, "", note, ""])


def plot(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharey=True)
    for axis, cost in zip(np.ravel(axes), COSTS, strict=True):
        for kind in KINDS:
            shown = [row.speed_up for row in rows if (row.comes_back, row.cost) == (kind, cost)]
            axis.plot(WORKERS, shown, "o-", markersize=3, label=kind)
        axis.plot(WORKERS, WORKERS, "k:")
        axis.set(xscale="log", yscale="log", xlabel="workers", title=f"{cost} an env step")
    axes[0].set_ylabel("expected speed-up")
    axes[0].legend(title="what comes back")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
