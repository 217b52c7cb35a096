"""A regression task of any number of outputs: match a random network of sines."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs import Draws, LossEnv
from nodepert.envs.base import Context
from nodepert.envs.losses import mse, mse_gradient

__all__ = ["INPUTS", "Teacher", "contexts", "unexplained"]

Array = NDArray[Any]
INPUTS = 8
FEATURES = 8
SLOPE = 1.5
"""Standard deviation of what is in the sines; 1.5 leaves half of the variance to no linear map."""


class Teacher(LossEnv):
    """Match t(x) = sin(x Aᵀ) Cᵀ, each of whose outputs has unit variance.

    Every output is a mixture of the same few sines, so that a task of many outputs asks for no
    other hidden units than one of few.

    **Observation**: Box(−10, 10, (8,)): x ~ N(0, I). **Action**: Box(−1, 1, (outputs,)), a quarter
    of the prediction. **Reward**: −½ Σ (prediction − t(x))². **End of episode**: after one action.

    Args:
        outputs: d.
        seed: Which teacher, A and C.
        expose_gradient: See :class:`nodepert.envs.LossEnv`.
    """

    action_scale = 4.0

    def __init__(self, outputs: int, seed: int, expose_gradient: bool = False) -> None:
        super().__init__(expose_gradient)
        self.observation_space = spaces.Box(-10.0, 10.0, (INPUTS,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (outputs,), np.float32)
        generator = np.random.default_rng(seed)
        self.inner = orthogonal(generator, FEATURES, INPUTS) * SLOPE  # A
        variance = (1 - np.exp(-2 * SLOPE**2)) / 2  # of sin(u), u ~ N(0, SLOPE²)
        outer = generator.standard_normal((outputs, FEATURES))
        self.outer = outer / np.linalg.norm(outer, axis=1, keepdims=True) / np.sqrt(variance)  # C

    def sample_contexts(self, draws: Draws) -> Context:
        """Inputs and targets, one row a lane."""
        x = draws.normal(INPUTS)
        # Not by BLAS, whose rounding of one row depends on how many others there are.
        inside = np.einsum("ni,fi->nf", x, self.inner)
        target = np.einsum("nf,df->nd", np.sin(inside), self.outer)
        return {"observation": x.astype(np.float32), "target": target}

    def loss(self, context: Context, actions: Array) -> Array:
        """½ Σ_k (prediction_k − target_k)², shape (N,)."""
        return mse(actions * self.action_scale, context["target"])

    def loss_gradient(self, context: Context, actions: Array) -> Array:
        """∂loss/∂action, shape (N, d)."""
        return self.action_scale * mse_gradient(actions * self.action_scale, context["target"])


def orthogonal(generator: np.random.Generator, rows: int, columns: int) -> Array:
    """A random matrix whose rows are orthogonal, as far as there are columns, and of length 1."""
    rotation, _ = np.linalg.qr(generator.standard_normal((max(rows, columns),) * 2))
    return rotation[:rows, :columns]


def contexts(task: Teacher, count: int, stream: int, batch: int = 0) -> Context:
    """Contexts of a stream of batches; no two streams share one."""
    keys = np.arange(count, dtype=np.uint64) + np.uint64(stream << 32)
    return task.sample_contexts(Draws(keys, np.full(count, batch, np.uint64)))


def unexplained(predictions: Array, context: Context) -> float:
    """The part of the targets' variance that is left as error: 1 for a prediction of 0."""
    target = context["target"]
    return float(np.square(predictions - target).sum() / np.square(target).sum())
