"""A script for torchrun: a run that dies with one of its processes, and goes on.

torchrun --nproc-per-node 2 shared_checkpoints.py FOLDER (dies | goes_on)
"""

import atexit
import json
import os
import pathlib
import signal
import sys

import torch
import torch.distributed as dist
from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents import Checkpoints, ConfigError, NodePerturbation, newest_checkpoint
from nodepert.agents.distributed import DistributedNodePerturbation

EVERY = 8 * 8  # env steps of an update
SETTINGS = {"credit": "one_point", "probe_std": 1.0, "batch_size": 8, "net_arch": (6,)}


def weights(model):
    return torch.cat([value.flatten() for value in model.policy.state_dict().values()])


class Dies(BaseCallback):
    """The second process is killed while the ninth window is played."""

    def _on_step(self):
        if self.num_timesteps > 8.5 * EVERY and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return True


def dies(out):
    """An undisturbed run, and one that is not."""
    model = DistributedNodePerturbation("RnnPolicy", "DelayedXOR-v0", seed=3, **SETTINGS)
    model.learn(16 * EVERY)
    if dist.get_rank() == 0:
        torch.save(weights(model), out / "undisturbed.pt")
    model = DistributedNodePerturbation("RnnPolicy", "DelayedXOR-v0", seed=3, **SETTINGS)
    model.learn(16 * EVERY, [Checkpoints(out / "checkpoints", 3 * EVERY), Dies()])


def goes_on(out):
    """The rest of the second one."""
    found = {}
    atexit.register(report, out, found)  # what is registered later is called before
    path = newest_checkpoint(out / "checkpoints").path
    model = DistributedNodePerturbation.load(path, "DelayedXOR-v0", force_reset=False)
    try:
        NodePerturbation.load(path, "DelayedXOR-v0", force_reset=False)
    except ConfigError as error:
        found["alone"] = str(error)
    found["from"] = model.num_timesteps
    checkpoints = Checkpoints(out / "checkpoints", 3 * EVERY)
    model.learn(16 * EVERY - model.num_timesteps, checkpoints, reset_num_timesteps=False)
    same = torch.equal(weights(model), torch.load(out / "undisturbed.pt"))
    found["same in each process"] = not model.anywhere(not same)


def report(out, found):
    """When Python ends: a thread of gloo's that is still there then can abort the process."""
    threads = [one.read_text() for one in pathlib.Path("/proc/self/task").glob("*/comm")]
    found["threads of gloo"] = sum("gloo" in name for name in threads)
    if os.environ["RANK"] == "0":
        (out / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"dies": dies, "goes_on": goes_on}[sys.argv[2]](pathlib.Path(sys.argv[1]))
