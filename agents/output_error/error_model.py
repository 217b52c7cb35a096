"""A learned model of the output error, used as control variate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ErrorModel"]


class ErrorModel(nn.Module):
    """g(x, a) = p∘a + Q (φ − φ̄) + r, fitted by least squares to δ ≈ g·ξ.

    φ is the observation and φ̄ its running mean. The three groups of parameters take normalised
    steps (NLMS) of equal share. Where the error is predictable from context and prediction, only
    the residual δ − g·ξ is left to the probe.

    Args:
        features: Width of φ.
        dim: Width of the prediction, d.
    """

    p: Tensor
    q: Tensor
    r: Tensor
    mean: Tensor
    seen: Tensor

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("p", torch.zeros(dim))
        self.register_buffer("q", torch.zeros(dim, features))
        self.register_buffer("r", torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, context: Tensor, prediction: Tensor) -> Tensor:
        """g, shape (N, d), for φ of shape (N, n_φ) and predictions of shape (N, d)."""
        return torch.addmm(self.r, context - self.mean, self.q.t()) + self.p * prediction

    def fit(self, context: Tensor, prediction: Tensor, residual: Tensor, probes: Tensor) -> None:
        """One least-squares step on δ − g·ξ.

        Args:
            context: φ, shape (N, n_φ).
            prediction: Where the probes were centred, shape (N, d).
            residual: δ − g·ξ, shape (N, K).
            probes: ξ, shape (N, K, d).
        """
        contexts, count, dim = probes.shape
        centred = context - self.mean
        # v = Σ_k (δ_k − g·ξ_k) ξ_k / ‖ξ_k‖², [N, d]
        v = torch.einsum("nk,nkd->nd", residual / probes.square().sum(-1), probes)
        # Samples share directions once there are more of them than the prediction has dimensions.
        crowding = 1 + contexts * count / dim
        share = 1 / (3 * crowding)
        tiny = torch.finfo(v.dtype).tiny
        self.q.addmm_(v.t(), centred, alpha=share / float(centred.square().sum(1).mean() + tiny))
        self.p += share * (v * prediction).sum(0) / (prediction.square().mean() + tiny)
        self.r += share * v.sum(0)
        self._track_mean(context)

    def _track_mean(self, context: Tensor) -> None:
        """Moves φ̄ towards the batch's mean, and r with it, so that g stays what it was."""
        self.seen += len(context)
        step = (context.mean(0) - self.mean) * (len(context) / self.seen)
        self.mean += step
        self.r += self.q @ step
