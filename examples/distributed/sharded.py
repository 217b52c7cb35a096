"""One training run whose lanes are spread over 1, 2 and 4 Ray workers: speed, bytes, equal results.

The environment is MNIST with a loss that takes no time or 1 ms. It is sharded both ways: as a loss
environment (only actions go, only losses come back), and as anybody's environment (observations
come back too). Prints a table, writes ``sharded.csv`` and ``sharded.png``.

    pip install -e '.[ray]'
    python examples/distributed/sharded.py
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import ray
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from workload import CONFIG, CONTEXTS, LANES, SlowMNIST, maker, train, write_csv

from nodepert.agents import NodePerturbation
from nodepert.agents.distributed import make_ray_vec

matplotlib.use("Agg")
from matplotlib import pyplot as plt

KINDS = ("losses", "observations")
WORKERS = (1, 2, 4)


class Row(NamedTuple):
    """One run: vector steps of 64 lanes, each with one update of the network."""

    kind: str
    cost_ms: float
    workers: int  # 0: in the process of the learner
    ms_a_vector_step: float
    fastest_ms: float
    speed_up: float  # over one worker
    payload_bytes: float  # an env step, both ways, pickled
    wire_bytes: float  # an env step, all that went over the loopback device meanwhile
    equal: bool  # weights, bit for bit, to those of the run in one process


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    # Ray's workers have niceness 15 by default: they would wait for all else that runs here.
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"})
    ray.init(num_cpus=max(WORKERS), include_dashboard=False, log_to_driver=False)
    repeats, updates, costs = (2, 4, (1.0,)) if args.quick else (5, 20, (0.0, 1.0))
    rows: list[Row] = []
    for kind in KINDS:
        for cost in costs:
            rows += compare(kind, cost, WORKERS[:2] if args.quick else WORKERS, repeats, updates)
    ray.shutdown()
    write_csv(rows, args.out / "sharded.csv")
    plot(rows, args.out / "sharded.png")
    print(f"\nWrote sharded.csv and sharded.png to {args.out}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps, 1 and 2 workers only")
    parser.add_argument("--out", type=Path, default=Path("runs/distributed"), metavar="DIR")
    return parser.parse_args()


def compare(
    kind: str, cost: float, workers: tuple[int, ...], repeats: int, updates: int
) -> list[Row]:
    """The runs with all numbers of workers, none of them first."""
    rows: list[Row] = []
    one_worker = np.nan
    reference: NodePerturbation | None = None
    for count in (0, *workers):
        env = make_env(kind, cost / 1e3, count)
        model = NodePerturbation("MlpPolicy", env, CONFIG, seed=0, device="cpu")
        seconds, wire = train(model, repeats, updates)
        payload = payload_of_a_step(env) if count else 0.0
        env.close()
        reference = reference or model
        median = 1e3 * statistics.median(seconds)
        one_worker = median if count == 1 else one_worker
        rows.append(
            Row(
                kind,
                cost,
                count,
                round(median, 3),
                round(1e3 * min(seconds), 3),
                round(one_worker / median, 2),
                round(payload / LANES, 1),
                round(wire / LANES, 1),
                same_weights(model, reference),
            )
        )
        print(", ".join(f"{k}={v}" for k, v in rows[-1]._asdict().items()), flush=True)
    return rows


def make_env(kind: str, cost: float, workers: int) -> VectorEnv[Any, Any, Any]:
    if workers:
        return make_ray_vec(maker(kind, cost), LANES, workers=workers)
    if kind == "losses":
        return SlowMNIST.vector(LANES, cost=cost)
    return SyncVectorEnv([maker(kind, cost)] * LANES, autoreset_mode=AutoresetMode.SAME_STEP)


def payload_of_a_step(env: Any) -> float:
    """Bytes of what is asked and answered in one vector step, pickled."""
    ask, sizes = env.workers.ask, []

    def weigh(method: str, arguments: Any) -> Any:
        answers = ask(method, arguments)
        sizes.extend(len(pickle.dumps(one, 5)) for one in (*arguments, *answers))
        return answers

    env.workers.ask = weigh
    env.step(np.zeros((LANES, 10), np.float32))
    return sum(sizes)


def same_weights(one: NodePerturbation, other: NodePerturbation) -> bool:
    ours, theirs = one.policy.state_dict(), other.policy.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def plot(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for kind in KINDS:
        shown = [row for row in rows if row.kind == kind and row.cost_ms and row.workers]
        workers = [row.workers for row in shown]
        axes.plot(workers, [row.speed_up for row in shown], "o-", label=f"{kind} come back")
    axes.plot(workers, workers, "k:", label="in proportion")
    axes.set(xlabel="Ray workers", ylabel="speed-up over one worker", xticks=workers)
    axes.set_title(f"MNIST at 1 ms an env step, {CONTEXTS} contexts, {LANES} lanes", fontsize=10)
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
