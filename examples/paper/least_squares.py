"""Node perturbation and least squares in small networks, in float64: sample → V, S → B.

The estimator of the two theorems (arXiv 1906.00889, supplement). Noise ξ[i] on all hidden layers at
once, δ = L̃ − L, λ̂[i] = δ ξ[i] / c². In a linear network ẽ[i] = e P[i] with P[i] = B[N+1] … B[i+1],
so that V = Σ eᵀe and S[i] = Σ eᵀλ̂[i] at the output are all that least squares needs:

    B[i+1] = (P[i+1]ᵀ V P[i+1] + γI)⁻¹ P[i+1]ᵀ S[i],    P[N+1] = I
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nodepert.agents.maths import node_perturbation, ridge_feedback

__all__ = [
    "CORRELATION",
    "LOSSES",
    "NOISES",
    "Loss",
    "Moments",
    "Net",
    "make_net",
    "projections",
    "sample",
    "sample_bias",
    "solve",
]

RIDGE = 0.1  # γ of the paper: nothing beside V after a thousand samples
MEAN = 0.5
"""Of the inputs. Were they symmetric, third moments would vanish for all losses odd in z and t."""
CORRELATION = 0.3
"""ρ of the noise "correlated"."""


@dataclass(frozen=True)
class Loss:
    """L(z, t) of the network's last linear output z (N, d) and scores t (N, d) of a teacher."""

    value: Callable[[Tensor, Tensor], Tensor]
    """To (N,)."""
    error: Callable[[Tensor, Tensor], Tensor]
    """∂L/∂z almost everywhere, (N, d)."""


def _sigmoid_error(z: Tensor, scores: Tensor) -> Tensor:
    y = z.sigmoid()
    return (y - scores.sigmoid()) * y * (1 - y)


LOSSES = {
    # Analytic.
    "mse": Loss(lambda z, t: 0.5 * (z - t).square().sum(1), lambda z, t: z - t),
    "sigmoid": Loss(lambda z, t: 0.5 * (z.sigmoid() - t.sigmoid()).square().sum(1), _sigmoid_error),
    # Analytic, and its errors sum to 0: V is singular.
    "softmax": Loss(
        lambda z, t: F.cross_entropy(z, t.argmax(1), reduction="none"),
        lambda z, t: z.softmax(1) - F.one_hot(t.argmax(1), z.shape[1]),
    ),
    # A kink, and a jump that no derivative sees.
    "absolute": Loss(lambda z, t: (z - t).abs().sum(1), lambda z, t: (z - t).sign()),
    "jump": Loss(lambda z, t: 0.5 * (z - t).square().sum(1) + (z > 0).sum(1), lambda z, t: z - t),
}

Shape = tuple[int, int]


def _normal(shape: Shape, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _exponential(shape: Shape, generator: torch.Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).exponential_(generator=generator)


def _student(shape: Shape, generator: torch.Generator) -> Tensor:
    """Three degrees of freedom: finite variance, infinite kurtosis."""
    squared = sum(_normal(shape, generator).square() for _ in range(3))
    return _normal(shape, generator) / squared.sqrt()


def _correlated(shape: Shape, generator: torch.Generator) -> Tensor:
    common = _normal((shape[0], 1), generator)
    return math.sqrt(1 - CORRELATION) * _normal(shape, generator) + math.sqrt(CORRELATION) * common


NOISES: dict[str, Callable[[Shape, torch.Generator], Tensor]] = {
    "gaussian": _normal,
    "skewed": lambda shape, generator: _exponential(shape, generator) - 1,
    "student": _student,
    "cauchy": lambda shape, generator: _normal(shape, generator) / _normal(shape, generator),
    "correlated": _correlated,
}
"""Of mean 0 and variance 1; "cauchy" has neither, and unit scale."""
SYMMETRIC = NOISES.keys() - {"skewed"}


@dataclass(frozen=True)
class Net:
    """W[1] … W[N+1], one activation for all hidden layers, a loss and a teacher (n_out, n_in)."""

    weights: tuple[Tensor, ...]
    hidden: Callable[[Tensor], Tensor]
    loss: Loss
    teacher: Tensor

    def output(self, x: Tensor, noise: Sequence[Tensor] = ()) -> Tensor:
        """z[N+1], shape (R, n_out), with ξ[i] (R, n_i) added to h[i] where there is noise."""
        h = x
        for i, weight in enumerate(self.weights[:-1]):
            h = self.hidden(h @ weight.t())
            if noise:
                h = h + noise[i]
        return h @ self.weights[-1].t()


def make_net(
    widths: Sequence[int],
    hidden: Callable[[Tensor], Tensor],
    loss: str,
    generator: torch.Generator,
) -> Net:
    """Weights ~ N(0, 1/n_in)."""
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    weights = tuple(_normal(shape, generator) / math.sqrt(shape[1]) for shape in shapes)
    teacher = _normal((widths[-1], widths[0]), generator) / math.sqrt(widths[0])
    return Net(weights, hidden, LOSSES[loss], teacher)


@dataclass(frozen=True)
class Moments:
    """V = Σ eᵀe (d, d) and S[i] = Σ eᵀλ̂[i] (d, n_i) of each hidden layer."""

    second: Tensor
    cross: tuple[Tensor, ...]

    def __add__(self, other: Moments) -> Moments:
        """Of both samples."""
        crosses = zip(self.cross, other.cross, strict=True)
        return Moments(self.second + other.second, tuple(a + b for a, b in crosses))

    def scaled(self, factor: float) -> Moments:
        """All of them times a factor."""
        return Moments(factor * self.second, tuple(factor * cross for cross in self.cross))


def sample(net: Net, noise: str, std: float, count: int, generator: torch.Generator) -> Moments:
    """V and S of new samples.

    Args:
        net: The network.
        noise: A key of NOISES.
        std: c.
        count: Samples.
        generator: Of inputs and noise.
    """
    x, scores, error = draw_inputs(net, count, generator)
    noises = draw_noise(net, noise, std, count, generator)
    change = loss_change(net, x, scores, noises)
    return Moments(error.t() @ error, correlate(error, change, noises, std))


def sample_bias(
    net: Net, noise: str, std: float, count: int, generator: torch.Generator
) -> Moments:
    """V, and S of λ̂ − λ, for a single hidden layer or a linear network.

    (δ − Σ λ·ξ) ξ / c² has the mean of λ̂ − λ, and a variance that falls with c: it measures the
    bias alone. Symmetric noise is averaged over ξ and −ξ. Arguments: see :func:`sample`.
    """
    x, scores, error = draw_inputs(net, count, generator)
    noises = draw_noise(net, noise, std, count, generator)
    change = loss_change(net, x, scores, noises)
    if noise in SYMMETRIC:
        change = 0.5 * (change - loss_change(net, x, scores, [-xi for xi in noises]))
    for xi, carry in zip(noises, projections(net.weights), strict=True):
        change = change - ((error @ carry) * xi).sum(1)
    return Moments(error.t() @ error, correlate(error, change, noises, std))


def draw_inputs(net: Net, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs x (R, n_in), the teacher's scores t (R, d), and e (R, d)."""
    x = MEAN + _normal((count, net.weights[0].shape[1]), generator)
    scores = x @ net.teacher.t()
    return x, scores, net.loss.error(net.output(x), scores)


def draw_noise(
    net: Net, noise: str, std: float, count: int, generator: torch.Generator
) -> list[Tensor]:
    """ξ[i] (R, n_i) of each hidden layer."""
    return [std * NOISES[noise]((count, len(w)), generator) for w in net.weights[:-1]]


def loss_change(net: Net, x: Tensor, scores: Tensor, noises: Sequence[Tensor]) -> Tensor:
    """δ = L̃ − L, shape (R,)."""
    return net.loss.value(net.output(x, noises), scores) - net.loss.value(net.output(x), scores)


def correlate(
    error: Tensor, change: Tensor, noises: Sequence[Tensor], std: float
) -> tuple[Tensor, ...]:
    """S[i] = Σ eᵀλ̂[i]."""
    return tuple(error.t() @ node_perturbation(change, xi, std**2) for xi in noises)


def projections(weights: Sequence[Tensor]) -> list[Tensor]:
    """W[N+1] … W[i+1] of each hidden layer i, what carries e down to ∂L/∂h[i], (d, n_i)."""
    carries = [weights[-1]]
    for weight in reversed(weights[1:-1]):
        carries.insert(0, carries[0] @ weight)
    return carries


def solve(moments: Moments) -> list[Tensor]:
    """B[2] … B[N+1], from the top down, each from the errors that the ones above carry."""
    feedbacks: list[Tensor] = []
    carry = torch.eye(len(moments.second), dtype=torch.float64)  # P, [d, n]
    for cross in reversed(moments.cross):
        feedback = ridge_feedback(carry.t() @ moments.second @ carry, carry.t() @ cross, RIDGE)
        feedbacks.insert(0, feedback)
        carry = carry @ feedback
    return feedbacks
