"""Feedback weights of a 784-N-50-10 network on MNIST whose forward weights never change.

All clean quantities belong to an image, and so are computed once; a sample of node noise then costs
two small products. With MSE and a linear output L̃ − L = e·Δz + ½‖Δz‖² exactly, which float32 holds
to its last digits where the difference of two losses would not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nodepert.agents.maths import (
    angle_degrees,
    least_squares_error,
    node_perturbation,
    orthogonal_probes,
    relative_error,
    ridge_feedback,
    sign_congruence,
)
from nodepert.envs import MNIST

__all__ = [
    "CLASSES",
    "Feedback",
    "FixedNet",
    "add_residual",
    "describe",
    "learn_online",
    "predicted_error",
]

CLASSES = 10
PROBE_STD = 0.1


@dataclass(frozen=True)
class FixedNet:
    """W[2], W[3], and of each image z[2], h[2], σ'(z[2]) and e = ∂L/∂z[3]."""

    weights: tuple[Tensor, Tensor]
    hidden: Tensor  # z[2], [M, 50]
    active: Tensor  # h[2], [M, 50]
    slope: Tensor  # σ'(z[2]), [M, 50]
    error: Tensor  # e, [M, 10]

    @classmethod
    def make(cls, widths: tuple[int, int], generator: torch.Generator) -> FixedNet:
        """Weights ~ N(0, 2/n_in), biases 0; the training images of MNIST."""
        examples = MNIST().examples
        pixels = torch.tensor(examples.images)
        shapes = zip((*widths, CLASSES), (pixels.shape[1], *widths), strict=True)
        w1, w2, w3 = (math.sqrt(2 / n) * torch.randn(m, n, generator=generator) for m, n in shapes)
        h1 = torch.cat([((part / 255.0) @ w1.t()).sigmoid() for part in pixels.split(10_000)])
        z2 = h1 @ w2.t()
        h2 = z2.sigmoid()
        targets = F.one_hot(torch.from_numpy(examples.labels.copy()), CLASSES)
        return cls((w2, w3), z2, h2, h2 * (1 - h2), h2 @ w3.t() - targets)

    def rows(self, chosen: slice) -> FixedNet:
        """Some of the images."""
        parts = (getattr(self, name)[chosen] for name in ("hidden", "active", "slope", "error"))
        return FixedNet(self.weights, *parts)

    def change(self, noises: tuple[Tensor, Tensor]) -> Tensor:
        """L̃ − L of each image under ξ[1] (M, N) and ξ[2] (M, 50)."""
        w2, w3 = self.weights
        noisy = torch.addmm(self.hidden, noises[0], w2.t()).sigmoid_().add_(noises[1])
        dz = noisy.sub_(self.active) @ w3.t()  # [M, 10]
        return ((self.error + 0.5 * dz) * dz).sum(1)


class Feedback:
    """B[2] and B[3] by ridge regression.

    Args:
        net: The network; what is learned of it are shapes and slopes.
        ridge: γ.
    """

    def __init__(self, net: FixedNet, ridge: float) -> None:
        self.ridge = ridge
        self.weights = [torch.zeros_like(weight) for weight in net.weights]
        self.second = [torch.zeros(len(w), len(w), dtype=torch.float64) for w in net.weights]  # V
        self.cross = [torch.zeros(w.shape, dtype=torch.float64) for w in net.weights]  # S

    def errors(self, net: FixedNet, error: Tensor) -> tuple[Tensor, Tensor]:
        """ẽ[2] (M, 50) and ẽ[3] (M, 10)."""
        return (error @ self.weights[1]).mul_(net.slope), error

    def carried(self, errors: tuple[Tensor, Tensor]) -> list[Tensor]:
        """λ̃[1] = ẽ[2] B[2] and λ̃[2] = ẽ[3] B[3]."""
        return [error @ weight for error, weight in zip(errors, self.weights, strict=True)]

    def add(self, errors: tuple[Tensor, Tensor], estimates: list[Tensor]) -> None:
        """V += ẽᵀẽ, S += ẽᵀλ̂."""
        for i, (error, estimate) in enumerate(zip(errors, estimates, strict=True)):
            self.second[i] += error.t() @ error
            self.cross[i] += error.t() @ estimate

    def solve(self) -> None:
        """B = (V + γI)⁻¹ S."""
        for i, (second, cross) in enumerate(zip(self.second, self.cross, strict=True)):
            self.weights[i] = ridge_feedback(second, cross, self.ridge).float()

    def forget(self) -> None:
        """Back to V = 0 and S = 0; B stays."""
        for moment in (*self.second, *self.cross):
            moment.zero_()


def estimate_error(net: FixedNet, probes: int, generator: torch.Generator) -> Tensor:
    """ê (M, 10) from 2K losses at z[3] ± ξ_k; the true e for K = 0."""
    if not probes:
        return net.error
    xi = orthogonal_probes(len(net.error), probes, CLASSES, PROBE_STD, generator)
    # ½ [L(z + ξ) − L(z − ξ)] with the loss written out about z.
    above, below = (((net.error[:, None] + 0.5 * x) * x).sum(2) for x in (xi, -xi))
    return least_squares_error(0.5 * (above - below), xi)


def learn_online(
    feedback: Feedback, net: FixedNet, probes: int, std: float, generator: torch.Generator
) -> None:
    """The paper's: λ̂ = (L̃ − L) ξ / c² with the clean pass L, one sample for each image of ``net``.

    Args:
        feedback: Learns.
        net: Some images.
        probes: K, of the output error; 0 where it is given.
        std: c.
        generator: Of all noise.
    """
    noises = draw(net, std, generator)
    change = net.change(noises)
    errors = feedback.errors(net, estimate_error(net, probes, generator))
    feedback.add(errors, [node_perturbation(change, xi, std**2) for xi in noises])
    feedback.solve()


def add_residual(
    feedback: Feedback, net: FixedNet, probes: int, std: float, generator: torch.Generator
) -> None:
    """Ours: λ̂ = λ̃ + (δ − Σ ξ·λ̃) ξ / c² with δ = ½ [L(ξ) − L(−ξ)] and the B of the last stretch.

    B stands still until the caller solves for it, and then forgets: sums that go on from when B was
    poor keep that noise for ever, and errors ẽ[2] that change while B[3] does confuse B[2].
    Arguments: see :func:`learn_online`.
    """
    noises = draw(net, std, generator)
    change = 0.5 * (net.change(noises) - net.change((-noises[0], -noises[1])))
    errors = feedback.errors(net, estimate_error(net, probes, generator))
    carried = feedback.carried(errors)
    for xi, known in zip(noises, carried, strict=True):
        change = change - (xi * known).sum(1)
    pairs = zip(carried, noises, strict=True)
    feedback.add(errors, [known + node_perturbation(change, xi, std**2) for known, xi in pairs])


def draw(net: FixedNet, std: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """ξ[1] (M, N) and ξ[2] (M, 50) of each image."""
    shapes = [(len(net.error), weight.shape[1]) for weight in net.weights]
    first, second = (std * torch.randn(shape, generator=generator) for shape in shapes)
    return first, second


def predicted_error(net: FixedNet) -> float:
    """√(T E‖B[3] − W[3]‖²) / ‖W[3]‖ of the paper's estimator as T → ∞ and c → 0.

    Of least squares: tr V⁻¹ E[eᵀe Σ_j (λ̂_j − λ_j)²] V⁻¹ with the variance of λ̂_j, ‖λ‖² + λ_j² for
    Gaussian noise, λ over all perturbed nodes.
    """
    error, (w2, w3) = net.error.double(), (weight.double() for weight in net.weights)
    above = error @ w3  # λ[2], [M, 50]
    below = (above * net.slope) @ w2  # λ[1], [M, N]
    squared = above.square().sum(1)
    variance = above.shape[1] * (squared + below.square().sum(1)) + squared  # Σ_j
    inverse = torch.linalg.inv(error.t() @ error / len(error))
    spread = (error * variance[:, None]).t() @ error / len(error)
    return float((inverse @ spread @ inverse).trace().sqrt() / w3.norm())


def describe(feedback: Feedback, net: FixedNet) -> dict[str, float]:
    """Each B beside its W, and the mean angle of λ̃[1] to ∂L/∂h[1] over some images."""
    found = {}
    for i, (weight, learned) in enumerate(zip(net.weights, feedback.weights, strict=True), start=2):
        found[f"relative_error_{i}"] = relative_error(weight, learned)
        found[f"angle_{i}"] = angle_degrees(weight, learned)
        found[f"sign_{i}"] = sign_congruence(weight, learned)
    some = net.rows(slice(2_000))
    carried = feedback.carried(feedback.errors(some, some.error))[0]
    true = ((some.error @ net.weights[1]) * some.slope) @ net.weights[0]
    cosine = F.cosine_similarity(carried, true).clamp(-1, 1)
    found["error_angle_1"] = float(torch.rad2deg(cosine.acos()).mean())
    return found
