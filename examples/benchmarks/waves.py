"""A task of any number of outputs, with as much noise as wanted: match a random network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs import Draws, LossEnv
from nodepert.envs.base import Context
from nodepert.envs.losses import mse

__all__ = ["Waves"]

Array = NDArray[Any]
INPUTS = 8


class Waves(LossEnv):
    """Match t(x) = sin(x Aᵀ) Cᵀ, a random network, whose outputs all have the same variance.

    **Observation**: Box(−10, 10, (8,)): x ~ N(0, I). **Action**: Box(−1, 1, (outputs,)), a quarter
    of the prediction. **Reward**: −½ Σ (prediction − t(x))², less noise. **End**: after one action.

    Args:
        outputs: d.
        noise: Standard deviation of the noise, in loss at the start. It is a ripple so fine that
            each probe meets another phase of it, which leaves the loss a function of the action.
    """

    action_scale = 4.0

    def __init__(self, outputs: int = 8, noise: float = 0.0) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-10.0, 10.0, (INPUTS,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (outputs,), np.float32)
        random = np.random.default_rng(0)
        self.inner = random.standard_normal((INPUTS, INPUTS)) / math.sqrt(INPUTS)  # A
        outer = random.standard_normal((outputs, INPUTS))
        self.outer = outer / np.linalg.norm(outer, axis=1, keepdims=True)  # C
        self.height = noise * math.sqrt(2) * 0.2 * outputs  # a loss at the start: ≈ 0.2 an output
        self.ripple = random.uniform(1e4, 2e4, outputs)

    def sample_contexts(self, draws: Draws) -> Context:
        """Inputs and targets, one row a lane."""
        x = draws.normal(INPUTS)
        inside = np.einsum("ni,fi->nf", x, self.inner)
        target = np.einsum("nf,df->nd", np.sin(inside), self.outer)
        return {"observation": x.astype(np.float32), "target": target}

    def loss(self, context: Context, actions: Array) -> Array:
        """Shape (N,)."""
        clean = mse(actions * self.action_scale, context["target"])
        if not self.height:
            return clean
        return clean + self.height * np.sin(np.einsum("nd,d->n", actions, self.ripple))
