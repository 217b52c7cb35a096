"""A learned model of the output error, used as control variate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ErrorModel"]

# How much of the uncertainty from before the first fit comes back with each fit.
DRIFT = 1e-5


class ErrorModel(nn.Module):
    """g(x, a) = p∘a + Q φ + r, fitted by recursive least squares to δ ≈ g·ξ.

    φ is the observation. Where the error is predictable from context and prediction, only the
    residual δ − g·ξ is left to the probe.

    A probe along the unit vector u sees one combination of the d outputs, uᵀ(Q φ + …). Exact least
    squares over all entries of Q would need a matrix of (d·n_φ)² numbers. Here the uncertainty is
    C (n_φ+1 × n_φ+1), the same for each output, and c for p: the update of the means is exact given
    those, and C falls by the 1/d of it that one probe tells of each output.

    Args:
        features: Width of φ.
        dim: Width of the prediction, d.
    """

    q: Tensor
    p: Tensor
    q_variance: Tensor
    p_variance: Tensor
    prior: Tensor

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("q", torch.zeros(dim, features + 1))  # Q and r
        self.register_buffer("p", torch.zeros(dim))
        # A priori p, r and each row of Q have the same norm; the first fit sets the scale.
        scale = torch.full((features + 1,), 1 / features)
        self.register_buffer("q_variance", torch.diag(scale))  # C
        self.register_buffer("p_variance", torch.ones(dim))  # c
        self.register_buffer("prior", torch.zeros(()))  # c before the first fit; 0: none yet

    def forward(self, context: Tensor, prediction: Tensor) -> Tensor:
        """g, shape (N, d), for φ of shape (N, n_φ) and predictions of shape (N, d)."""
        return F.linear(context, self.q[:, :-1], self.q[:, -1]) + self.p * prediction

    def fit(self, context: Tensor, prediction: Tensor, residual: Tensor, probes: Tensor) -> None:
        """One step of recursive least squares on δ − g·ξ.

        Args:
            context: φ, shape (N, n_φ).
            prediction: Where the probes were centred, shape (N, d).
            residual: δ − g·ξ, shape (N, K).
            probes: ξ, shape (N, K, d).
        """
        count = probes.shape[1]
        length = probes.norm(dim=-1, keepdim=True)
        unit = (probes / length).flatten(0, 1)  # u, [NK, d]
        surprise = (residual / length[..., 0]).flatten()  # uᵀ(e − g), [NK]
        phi = F.pad(context, (0, 1), value=1.0).repeat_interleave(count, 0)  # [NK, n_φ+1]
        along = unit * prediction.repeat_interleave(count, 0)  # what p sees, [NK, d]
        known = phi @ self.q_variance  # Φ C
        overlap = known @ phi.t()  # Φ C Φᵀ, [NK, NK]
        covariance = (unit @ unit.t()) * overlap + (along * self.p_variance) @ along.t()
        expected, seen = covariance.diagonal().mean(), surprise.square().mean()
        if self.prior == 0:
            if seen == 0:  # nothing to set the scale by
                return
            scale = seen / expected
            self.q_variance *= scale
            self.p_variance *= scale
            known, overlap, covariance = known * scale, overlap * scale, covariance * scale
            expected = expected * scale
            self.prior.copy_(scale)
        identity = torch.eye(len(unit), device=unit.device)
        noise = 1e-3 * expected
        weight = torch.linalg.solve(covariance + noise * identity, surprise)[:, None]
        self.q += (weight * unit).t() @ known
        self.p += self.p_variance * (weight * along).sum(0)
        self._shrink(known, overlap, along, covariance.diagonal() + noise)

    def _shrink(self, known: Tensor, overlap: Tensor, along: Tensor, total: Tensor) -> None:
        """What the probes have told is no longer uncertain."""
        dim = len(self.p)
        # By a Cholesky factor, which keeps C symmetric; else rounding makes the fit diverge.
        factor = torch.linalg.cholesky(overlap + torch.diag(dim * total))
        told = torch.linalg.solve_triangular(factor, known, upper=False)
        self.q_variance.addmm_(told.t(), told, alpha=-1)
        information = (along.square() / total[:, None]).sum(0)
        self.p_variance /= 1 + self.p_variance * information
        # Never quite certain: rounding would make variances negative.
        features = len(self.q_variance) - 1
        self.q_variance.diagonal().add_(DRIFT * self.prior / features)
        self.p_variance += DRIFT * self.prior
