"""What is measured here: MNIST whose loss takes time, a model that learns it, and its clock."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from nodepert.agents import Config, NodePerturbation
from nodepert.envs import MNIST
from nodepert.envs.remote import MakeEnv

CONTEXTS = 32
LANES = 2 * CONTEXTS
CONFIG = Config(batch_size=CONTEXTS, net_arch=(128, 64))


class SlowMNIST(MNIST):
    """Takes as long as it is told, as a simulator or a machine would, for one lane after another.

    It sleeps and does not compute, so that two cores serve many.

    Args:
        cost: Seconds an env step.
    """

    def __init__(self, cost: float) -> None:
        super().__init__()
        self.cost = cost

    def loss(self, context: Any, actions: Any) -> Any:
        """The task's, later."""
        time.sleep(self.cost * len(actions))
        return super().loss(context, actions)


class Opaque(gym.Wrapper[Any, Any, Any, Any]):
    """Hides that this is a loss environment, so that its lanes are played as anybody's."""


def make_opaque(cost: float) -> gym.Env[Any, Any]:
    return Opaque(SlowMNIST(cost))


def maker(kind: str, cost: float) -> MakeEnv:
    """A function that makes the environment of one lane."""
    return partial(SlowMNIST if kind == "losses" else make_opaque, cost)


def train(
    model: NodePerturbation, repeats: int, updates: int, lanes: int = LANES
) -> tuple[list[float], float]:
    """Seconds a vector step, in each repeat; and bytes over the loopback device, the fewest."""
    model.learn(2 * lanes, log_interval=None)  # warm up
    seconds, wires = [], []
    for _ in range(repeats):
        start, before = time.perf_counter(), loopback_bytes()
        model.learn(updates * lanes, log_interval=None, reset_num_timesteps=False)
        seconds.append((time.perf_counter() - start) / updates)
        wires.append((loopback_bytes() - before) / updates)
    return seconds, min(wires)


def loopback_bytes() -> float:
    """What the loopback device has received since the start of the system, headers included."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return float(numbers.split()[0])
    return np.nan


def write_csv(rows: Sequence[NamedTuple], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0]._fields)
        writer.writerows(rows)
