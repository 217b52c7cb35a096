"""Losses of a batch of predictions, and their gradients: pure functions of arrays.

Each takes predictions of shape (N, d) and returns one loss a row, shape (N,). Predictions are what
the network means; an environment multiplies an action by its ``action_scale`` to get one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "cross_entropy",
    "cross_entropy_gradient",
    "mse",
    "mse_gradient",
    "one_hot",
]

Array = NDArray[Any]  # of floats or integers; losses and gradients come out as floats


def one_hot(labels: NDArray[np.integer], num_classes: int) -> NDArray[np.float32]:
    """Labels (N,) as rows (N, num_classes) with a single 1."""
    return np.eye(num_classes, dtype=np.float32)[labels]


def mse(prediction: Array, target: Array) -> Array:
    """½ Σ_k (prediction_k − target_k)², the paper's squared error (arXiv 1906.00889, §3)."""
    difference = prediction - target
    return 0.5 * np.einsum("nd,nd->n", difference, difference)


def mse_gradient(prediction: Array, target: Array) -> Array:
    """∂mse/∂prediction = prediction − target, shape (N, d)."""
    return prediction - target


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy(logits: Array, labels: NDArray[np.integer]) -> Array:
    """−log softmax(logits)[label], in nats."""
    return -_log_softmax(logits)[np.arange(len(labels)), labels]


def cross_entropy_gradient(logits: Array, labels: NDArray[np.integer]) -> Array:
    """∂cross_entropy/∂logits = softmax(logits) − one_hot(label), shape (N, d)."""
    return np.exp(_log_softmax(logits)) - one_hot(labels, logits.shape[1])
