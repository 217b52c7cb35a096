"""The equations, as pure functions of tensors.

Notation as in Lansdell, Prakash & Kording, "Learning to solve the credit assignment problem"
(arXiv 1906.00889), row vectors, batch first: ``e = ∂L/∂z``, ``ξ`` noise, ``δ`` a change of the
loss, ``B`` feedback weights of the shape of ``W``.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from nodepert.agents.errors import NonFiniteError

__all__ = [
    "angle_degrees",
    "gaussian_probes",
    "gaussian_spread",
    "least_squares_error",
    "leave_one_out",
    "loss_feedback_gradient",
    "node_perturbation",
    "orthogonal_probes",
    "orthogonal_rows",
    "relative_error",
    "response_feedback_gradient",
    "ridge_feedback",
    "sign_congruence",
    "to_come",
]


# Probes and what they say about the output error -------------------------------------------


def gaussian_probes(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    """ξ ~ N(0, std²), independent in every component."""
    return torch.normal(0.0, std, shape, generator=generator, device=generator.device)


def orthogonal_probes(
    contexts: int, probes: int, dim: int, std: float, generator: torch.Generator
) -> Tensor:
    """K directions a context, orthogonal in blocks of at most d, all of length std·√d.

    Gaussian directions are ill-conditioned where K is near d, and where d is 1 or 2 some are so
    short that the reward's noise swamps them; these never are.

    Returns:
        ξ, shape (N, K, d), with E[ξ ξᵀ] = std² I for each direction.
    """
    blocks = []
    for start in range(0, probes, dim):
        width = min(dim, probes - start)
        gaussian = torch.randn(contexts, dim, width, generator=generator, device=generator.device)
        if dim == 1:  # a zero is drawn after some million others: no division by it
            directions = torch.ones_like(gaussian).copysign(gaussian)
        elif width == 1:  # the same as below, and faster
            directions = gaussian / gaussian.norm(dim=1, keepdim=True)
        else:
            basis, triangle = torch.linalg.qr(gaussian)
            # As likely as their negatives (Mezzadri 2007); LAPACK's own signs are not.
            directions = basis * triangle.diagonal(dim1=1, dim2=2).sign()[:, None]
        blocks.append(directions.transpose(1, 2))  # [N, width, d]
    return std * math.sqrt(dim) * torch.cat(blocks, dim=1)


def least_squares_error(changes: Tensor, probes: Tensor) -> Tensor:
    """Minimum-norm least squares of δ_k ≈ e·ξ_k over a context's probes, times d / min(K, d).

    The probes are those of :func:`orthogonal_probes`, or a single one of any isotropic
    distribution; the estimate is unbiased then, and exact for K ≥ d where δ_k = e·ξ_k is. For
    K = 1 it reads ``ê = d · δ ξ / ‖ξ‖²``.

    Args:
        changes: δ, shape (N, K).
        probes: ξ, shape (N, K, d).

    Returns:
        ê, shape (N, d).
    """
    count, dim = probes.shape[1:]
    squared = probes.square().sum(-1)  # [N, K], the same for all K of one context
    # Σ_k δ_k ξ_k / ‖ξ_k‖²: least squares for orthogonal directions.
    total = ((changes / squared)[:, :, None] * probes).sum(1)
    if count < dim:
        return dim / count * total
    full, rest = divmod(count, dim)
    if rest == 0:
        return total / full
    # Normal matrix full·I + P, with P the projector on the last, incomplete block.
    last = probes[:, -rest:] / squared[:, -rest:, None].sqrt()
    projected = torch.einsum("nkd,nk->nd", last, torch.einsum("nkd,nd->nk", last, total))
    return (total - projected / (full + 1)) / full


def leave_one_out(values: Tensor) -> Tensor:
    """The mean of all other rows, for each row; 0 for one that is alone."""
    return (values.sum(0) - values) / max(len(values) - 1, 1)


def node_perturbation(changes: Tensor, noise: Tensor, variance: float) -> Tensor:
    """λ̂ = (L̃ − L) ξ / E[ξ²], the classic estimate of ∂L/∂h (arXiv 1906.00889, eq. 5).

    Args:
        changes: L̃ − L, shape (N,) or (N, K).
        noise: ξ, that shape and one more dimension, d.
        variance: E[ξ²] of one component.
    """
    return changes.unsqueeze(-1) * noise / variance


def orthogonal_rows(count: int, width: int, std: float, generator: torch.Generator) -> Tensor:
    """Directions of length std·√n that are orthogonal, up to n of them; further ones repeat.

    Rows of the n × n cosine transform (DCT-IV), from a random one on, with random signs of their
    columns: a random basis at the cost of its entries.

    Returns:
        ξ, shape (count, n), with E[ξ ξᵀ] = std² I for each row.
    """
    device = generator.device
    start = torch.randint(width, (1,), generator=generator, device=device)
    signs = torch.randint(2, (width,), generator=generator, device=device) - 0.5
    chosen = (torch.arange(count, device=device) + start) % width
    few = width <= KEPT
    rows = kept_cosine_rows(width, device)[chosen] if few else cosine_rows(chosen, width)
    return rows.mul_(signs * (math.sqrt(8) * std))


def cosine_rows(rows: Tensor, width: int) -> Tensor:
    """cos(π (k + ½)(j + ½) / n) for some k, shape (R,), and all j, shape (R, n)."""
    column = torch.arange(0.5, width, device=rows.device) * (math.pi / width)
    return torch.outer(rows + 0.5, column).cos_()


KEPT = 512
"""Up to this width all rows are kept, since computing them takes longer than using them."""


@functools.lru_cache(maxsize=16)
def kept_cosine_rows(width: int, device: torch.device) -> Tensor:
    """All n rows, computed once."""
    return cosine_rows(torch.arange(width, device=device), width)


# Learning the feedback weights --------------------------------------------------------------


def gaussian_spread(noise: Tensor) -> Tensor:
    """The largest eigenvalue that ξᵀξ has for Gaussian noise ξ (R, n) (Marchenko & Pastur 1967)."""
    flat = noise.flatten()
    rows, width = noise.shape
    return torch.dot(flat, flat) / len(flat) * (math.sqrt(rows) + math.sqrt(width)) ** 2


def response_feedback_gradient(
    feedback: Tensor, noise: Tensor, response: Tensor, largest: Tensor | float
) -> Tensor:
    """Normalised least-mean-squares gradient of Δz ≈ ξ Bᵀ.

    The weight mirror (Akrout et al. 2019) as least squares. Divided by the largest eigenvalue of
    ξᵀξ, so that a step of 1 is stable at any size; in the directions of orthogonal rows of one
    length it is exact.

    Args:
        feedback: B, shape (n_out, n_in).
        noise: ξ, change of the layer's input, shape (R, n_in).
        response: Δz, change of the layer's output, shape (R, n_out).
        largest: Eigenvalue of ξᵀξ, or a bound of it.

    Returns:
        The gradient, of B's shape; zero where there was no noise.
    """
    residual = torch.addmm(response, noise, feedback.t(), alpha=-1)  # Δz − ξ Bᵀ, [R, n_out]
    tiny = torch.finfo(noise.dtype).tiny
    return residual.mul_(-1 / (largest + tiny)).t() @ noise


def loss_feedback_gradient(error_above: Tensor, mismatch: Tensor) -> Tensor:
    """Gradient of ½‖ẽ B − λ̂‖² averaged over rows (arXiv 1906.00889, eq. 7–8).

    Args:
        error_above: ẽ of the layer that B belongs to, shape (R, n_out).
        mismatch: ẽ B − λ̂ at the layer's input, shape (R, n_in).

    Returns:
        ẽᵀ(ẽ B − λ̂) / R, shape (n_out, n_in).
    """
    return error_above.t() @ mismatch / len(mismatch)


def ridge_feedback(second_moment: Tensor, cross_moment: Tensor, ridge: float) -> Tensor:
    """B = (V + γI)⁻¹ S, the least-squares feedback (arXiv 1906.00889, supplement, theorems 1–2).

    Args:
        second_moment: V = Σ ẽᵀẽ, shape (n_out, n_out).
        cross_moment: S = Σ ẽᵀλ̂, shape (n_out, n_in).
        ridge: γ, positive, or 0 where V is invertible.

    Returns:
        B, shape (n_out, n_in).

    Raises:
        NonFiniteError: V + γI is not positive definite.
    """
    regularised = second_moment.clone()
    regularised.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(regularised)
    if failed:
        raise NonFiniteError(
            f"the sums of the feedback regression, with ridge={ridge}, are not positive definite: "
            "the weights have diverged, or ridge is too small; try a smaller learning_rate"
        )
    return torch.cholesky_solve(cross_moment, factor)


# Metrics -------------------------------------------------------------------------------------


def angle_degrees(a: Tensor, b: Tensor) -> float:
    """Angle between two tensors taken as vectors, in degrees."""
    a, b = a.flatten().double(), b.flatten().double()
    cosine = (a @ b) / (a.norm() * b.norm()).clamp(min=torch.finfo(torch.double).tiny)
    return math.degrees(math.acos(float(cosine.clamp(-1, 1))))


def relative_error(weight: Tensor, feedback: Tensor) -> float:
    """‖W − B‖ / ‖W‖."""
    return float((weight - feedback).norm() / weight.norm())


def sign_congruence(weight: Tensor, feedback: Tensor) -> float:
    """Fraction of entries whose sign agrees, between 0 and 1."""
    return float((weight.sign() == feedback.sign()).double().mean())


def to_come(changes: Tensor, started: Tensor) -> Tensor:
    """Sums of changes of the loss from each step to the end of its episode or of the window.

    Args:
        changes: Of each step, shape (T, N).
        started: Whether the episode started with that step, shape (T, N).

    Returns:
        Shape (T, N).
    """
    sums = changes.clone()
    for t in reversed(range(len(changes) - 1)):
        sums[t] += sums[t + 1].masked_fill(started[t + 1], 0.0)
    return sums
