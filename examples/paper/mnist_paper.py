"""The paper's MNIST network, 784-50-20-10 sigmoid, and what figure 2 measures of it."""

from __future__ import annotations

import functools
import math
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from torch.nn import functional as F

from nodepert.agents import NodePerturbation
from nodepert.agents.algorithm.window import Window
from nodepert.agents.evaluation import evaluate
from nodepert.agents.metrics import error_angles, weight_alignment
from nodepert.envs import MNIST

__all__ = ["BATCH", "EPOCH", "Curve", "make_model", "measure"]

BATCH = 32
EPOCH = 60_000
"""Contexts; images are drawn with replacement."""


def make_model(seed: int, holdout: bool, credit: str, **hyperparameters: Any) -> NodePerturbation:
    """An agent with the paper's network, He-scaled normal weights, MSE and batches of 32.

    Args:
        seed: Of everything.
        holdout: Leave the validation split out of training.
        credit: ``"given"`` for the true output gradient, else from scalar rewards.
        hyperparameters: Of the agent.
    """
    env = gym.make("MNIST-v0", expose_gradient=credit == "given", holdout=holdout)
    return NodePerturbation(
        "MlpPolicy",
        env,
        policy_kwargs={"init_gain": math.sqrt(2)},
        net_arch=(50, 20),
        activation="sigmoid",
        batch_size=BATCH,
        credit=credit,
        seed=seed,
        **hyperparameters,
    )


@functools.cache
def probe_batch() -> tuple[Tensor, Tensor]:
    """1,000 training images and their targets."""
    examples = MNIST().examples
    images = torch.from_numpy(examples.images[:1000] / 255.0).float()
    labels = torch.from_numpy(examples.labels[:1000].astype(int))
    return images, F.one_hot(labels, 10).float()


def measure(model: NodePerturbation, split: str) -> dict[str, float]:
    """Test error; of each layer ‖W−B‖/‖W‖, equal signs, and the angle of ẽ to the true gradient.

    The angles are of errors carried down from the true error at the output of 1,000 training
    images, so that they measure the feedback alone.
    """
    network = model.policy.network
    images, targets = probe_batch()
    window = Window(start=None, inputs=[images], started=[torch.zeros(len(images)).bool()])
    with torch.no_grad():
        error = network.step(images, None).prediction - targets
    metrics = {**weight_alignment(network), **error_angles(network, window, error[None])}
    kept = ("relative_error", "sign_congruence", "error_angle")
    return {
        "test_error": evaluate(model, "MNIST-v0", split=split).value,
        **{name: value for name, value in metrics.items() if name.startswith(kept)},
    }


class Curve(BaseCallback):
    """Measures the model when it has played so many env steps.

    Args:
        wanted: Env steps by epoch, rising.
    """

    def __init__(self, wanted: dict[int, int]) -> None:
        super().__init__()
        self.wanted = dict(wanted)
        self.rows: list[dict[str, float]] = []

    def _on_rollout_start(self) -> None:
        self.catch_up()

    def _on_step(self) -> bool:
        return True

    def catch_up(self) -> None:
        """Measures what is due."""
        for epoch in [e for e, steps in self.wanted.items() if self.num_timesteps >= steps]:
            del self.wanted[epoch]
            steps = {"epoch": epoch, "env_steps": self.num_timesteps}
            self.rows.append({**steps, **measure(self.model, "test")})  # type: ignore[arg-type]
