"""A script for torchrun: processes share runs, and the first compares them with one process's.

torchrun --nproc-per-node N shared_run.py FOLDER DEVICE
"""

import json
import pathlib
import sys

import torch
import torch.distributed as dist

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.cli import main
from nodepert.agents.distributed import DistributedNodePerturbation

RUNS = {
    "MNIST": (("MlpPolicy", "MNIST-v0"), 8 * 2 * 12, {"net_arch": (20, 10)}),
    "XOR": (
        ("RnnPolicy", "DelayedXOR-v0"),
        8 * 2 * 8 * 12,
        {"net_arch": (10,), "max_grad_norm": 0.01, "node_noise": "gaussian"},
    ),
    "loss rule": (
        ("MlpPolicy", "DelayedXOR-v0"),
        8 * 3 * 12,
        {"net_arch": (10, 10), "rule": "loss", "credit": "one_sided", "learning_rate": 0.01,
         "optimizer": "sgd", "feedback_learning_rate": 0.1, "node_baseline": "clean"},
    ),
    "one-point": (
        ("RnnPolicy", "DelayedXOR-v0"),
        8 * 8 * 12,
        {"net_arch": (10,), "credit": "one_point", "probe_std": 3.0},
    ),
    "matched": (("MlpPolicy", "DelayedXOR-v0"), 8 * 2 * 12, {"rule": "matched"}),
}  # fmt: skip
REFUSED = {
    "batch_size=7": {"batch_size": 7},
    "memory": {"error_model": True},
    "credit='score'": {"credit": "score"},
    "device='cuda'": {"device": "cuda"},
}


def weights(model):
    return torch.cat([value.flatten() for value in model.policy.state_dict().values()])


def compare(arguments, steps, options):
    """How far a shared run is from one process's, and how far that one learned."""
    options = {"batch_size": 8, "device": sys.argv[2], **options}
    shared = DistributedNodePerturbation(*arguments, seed=5, **options)
    start = weights(shared)
    shared.learn(steps)
    alone = NodePerturbation(*arguments, seed=5, **options).learn(steps)
    assert shared.num_timesteps == alone.num_timesteps == steps
    ends = [torch.empty_like(start) for _ in range(dist.get_world_size())]
    dist.all_gather(ends, weights(shared))
    assert all(torch.equal(ends[0], end) for end in ends)
    return {
        "difference": float((weights(shared) - weights(alone)).abs().max()),
        "learned": float((weights(alone) - start).abs().max()),
    }


def refused(options):
    """The error's message."""
    try:
        DistributedNodePerturbation("MlpPolicy", "DelayedXOR-v0", seed=0, **options)
    except ConfigError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = pathlib.Path(sys.argv[1])
    found = {name: compare(*run) for name, run in RUNS.items()}
    found["refused"] = {name: refused(options) for name, options in REFUSED.items()}
    unseeded = DistributedNodePerturbation("MlpPolicy", "DelayedXOR-v0", device="cpu")
    found["unseeded"] = unseeded.seed is not None
    main(
        [
            "train",
            "DelayedXOR-v0",
            "--steps",
            "640",
            "--evaluations",
            "1",
            "--out",
            str(out / "run"),
        ]
    )
    unseeded.save(out / f"model{dist.get_rank()}.zip")
    if dist.get_rank() == 0:
        (out / "found.json").write_text(json.dumps(found))
