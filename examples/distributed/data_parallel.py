"""One training run in 1, 2 and 4 processes that average gradients: speed, bytes, equal results.

Each process plays its share of MNIST's contexts, with a loss that takes 1 ms an env step. Starts
torchrun for each number of processes, prints a table, writes ``data_parallel.csv``.

    python examples/distributed/data_parallel.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch.nn.utils import parameters_to_vector
from workload import CONFIG, maker, train, write_csv

from nodepert.agents import NodePerturbation
from nodepert.agents.distributed import DistributedNodePerturbation

COST = 1e-3


class Row(NamedTuple):
    """One run: vector steps of 64 lanes in all, each with one update of the network."""

    processes: int
    ms_a_vector_step: float
    fastest_ms: float
    speed_up: float  # over one process, from the medians
    gradient_bytes: int  # of one update
    wire_bytes: float  # of one update, all that went over the loopback device meanwhile
    difference: float  # of any weight from the run of one process without torchrun


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    if dist.is_torchelastic_launched():
        measure(args)
        return
    rows: list[Row] = []
    for processes in (1, 2) if args.quick else (1, 2, 4):
        found = launch(processes)
        first = rows[0].ms_a_vector_step if rows else found["ms_a_vector_step"]
        rows.append(Row(processes, **found, speed_up=round(first / found["ms_a_vector_step"], 2)))
        print(", ".join(f"{k}={v}" for k, v in rows[-1]._asdict().items()), flush=True)
    write_csv(rows, args.out / "data_parallel.csv")
    print(f"\nWrote data_parallel.csv to {args.out}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps, 1 and 2 processes only")
    parser.add_argument("--out", type=Path, default=Path("runs/distributed"), metavar="DIR")
    return parser.parse_args()


def launch(processes: int) -> dict[str, Any]:
    """What the first of so many processes prints."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, f"--nproc-per-node={processes}", *sys.argv]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(args: argparse.Namespace) -> None:
    """One process's part of a run; the first one compares and prints."""
    repeats, updates = (2, 4) if args.quick else (5, 20)
    shared = DistributedNodePerturbation(
        "MlpPolicy", maker("losses", COST), CONFIG, seed=0, device="cpu"
    )
    seconds, wire = train(shared, repeats, updates)
    if shared.share.rank:
        return
    alone = NodePerturbation("MlpPolicy", maker("losses", 0.0), CONFIG, seed=0, device="cpu")
    train(alone, repeats, updates)
    ours, theirs = (parameters_to_vector(one.policy.parameters()) for one in (shared, alone))
    weights = shared.policy.network.forward_weights
    found = {
        "ms_a_vector_step": round(1e3 * statistics.median(seconds), 3),
        "fastest_ms": round(1e3 * min(seconds), 3),
        "gradient_bytes": sum(4 * weight.numel() for weight in weights),
        "wire_bytes": round(wire, 1),
        "difference": (ours - theirs).abs().max().item(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
