"""Losses against independent formulas, and their gradients against finite differences."""

import numpy as np
import pytest
from scipy.special import log_softmax

from nodepert.envs.losses import (
    cross_entropy,
    cross_entropy_gradient,
    mse,
    mse_gradient,
    one_hot,
)

RNG = np.random.default_rng(0)
PREDICTION, LABELS = RNG.standard_normal((6, 4)), RNG.integers(4, size=6)
TARGET = one_hot(LABELS, 4)


def finite_differences(loss, prediction, other, size=1e-6):
    """Central differences along each axis of each row."""
    gradient = np.empty_like(prediction)
    for axis in range(prediction.shape[1]):
        step = np.zeros(prediction.shape[1])
        step[axis] = size
        gradient[:, axis] = loss(prediction + step, other) - loss(prediction - step, other)
    return gradient / (2 * size)


def test_one_hot():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])


def test_mse_is_half_the_sum_of_squares():
    assert mse(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])) == pytest.approx(2.5)


def test_cross_entropy_is_the_log_probability():
    expected = -log_softmax(PREDICTION, axis=1)[np.arange(6), LABELS]
    np.testing.assert_allclose(cross_entropy(PREDICTION, LABELS), expected)


def test_cross_entropy_of_huge_logits_is_finite():
    loss = cross_entropy(np.array([[1e4, -1e4], [-1e4, 1e4]]), np.array([0, 0]))
    np.testing.assert_allclose(loss, [0, 2e4])


@pytest.mark.parametrize(
    ("loss", "gradient", "other"),
    [(mse, mse_gradient, TARGET), (cross_entropy, cross_entropy_gradient, LABELS)],
)
def test_gradients(loss, gradient, other):
    expected = finite_differences(loss, PREDICTION, other)
    np.testing.assert_allclose(gradient(PREDICTION, other), expected, rtol=1e-5, atol=1e-8)
