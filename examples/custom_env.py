"""A task of your own that has no gradient: drive two joints with motors that know five voltages.

    python examples/custom_env.py [--steps 300000] [--seed 0] [--quick]

The torque is a staircase of the command. Its slope is 0 almost everywhere, so that backpropagation
through the task would learn nothing; probes that reach over the edge of a step still do.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.agents import NodePerturbation
from nodepert.envs import Draws, LossEnv, register
from nodepert.envs.base import Context
from nodepert.envs.testing import check_loss_env

Array = NDArray[Any]


class Motors(LossEnv):
    """Hold an arm of two joints against its weight.

    **Observation**: Box(−1, 1, (2,)): the joints' angles, in half turns. **Action**: Box(−1, 1,
    (2,)): a command for each motor, which gives the nearest of the torques −1, −½, 0, ½, 1.
    **Reward**: −Σ |torque − load|. **End of episode**: after one action.
    """

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def sample_contexts(self, draws: Draws) -> Context:
        """Angles of the joints, and the loads that follow from them, one row a lane."""
        angles = draws.uniform(2) * 2 - 1
        lower = 0.5 * np.sin(np.pi * angles.sum(axis=1))
        upper = 0.5 * np.sin(np.pi * angles[:, 0]) + lower
        return {"observation": angles.astype(np.float32), "load": np.stack([upper, lower], axis=1)}

    def loss(self, context: Context, actions: Array) -> Array:
        """The torque that is missing or too much, one number a lane."""
        return np.abs(torque(actions) - context["load"]).sum(axis=1)


def torque(commands: Array) -> Array:
    """What the motors make of commands."""
    return np.clip(np.round(2 * commands), -2, 2) / 2


register("Motors-v0", Motors)


def main() -> None:
    """Checks the task, trains on it, and prints the loss before and after beside references."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300_000, help="env steps, probes counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="60,000 env steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    check_loss_env(Motors)
    print("Motors keeps to the contract of loss environments")

    keys, first_episode = np.arange(10_000, dtype=np.uint64), np.zeros(10_000, np.uint64)
    context = Motors().sample_contexts(Draws(keys, first_episode))  # 10,000 new arms

    def mean_loss(commands: Array) -> float:
        return float(Motors().loss(context, commands).mean())

    # probe_std: wide enough to reach over the edges of steps, which are 1/2 apart.
    model = NodePerturbation(
        "MlpPolicy",
        "Motors-v0",
        net_arch=(64, 64),
        probe_std=0.25,
        learning_rate=3e-3,
        seed=arguments.seed,
    )
    before = mean_loss(model.predict(context["observation"])[0])
    model.learn(60_000 if arguments.quick else arguments.steps)
    after = mean_loss(model.predict(context["observation"])[0])
    for name, value in (
        ("motors off", mean_loss(0 * context["load"])),
        ("before learning", before),
        (f"after {model.num_timesteps:,} env steps", after),
        ("the best there is", mean_loss(context["load"])),  # the torques nearest to the loads
    ):
        print(f"mean loss, {name + ':':26}{value:.3f}")


if __name__ == "__main__":
    main()
