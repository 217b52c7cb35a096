"""One-point probes: each context is shown once, and the others of its batch say what to expect."""

from __future__ import annotations

import torch
from torch import Tensor

from nodepert.agents.maths import least_squares_error, leave_one_out, orthogonal_probes
from nodepert.agents.output_error.base import ProbeError

__all__ = ["OnePointProbes"]


class OnePointProbes(ProbeError):
    """δ_k = L(a+ξ_k) − b, b the mean loss of the other contexts; least squares over the K probes.

    Unbiased, since b does not depend on ξ and ξ is as likely as −ξ. What contexts differ by stays
    in δ as noise, which falls against e·ξ as probes grow; where the loss is quadratic, probes of
    any length tell e·ξ, and one env step tells as much as two that are paired.

    Leave-one-out baseline: Kool, van Hoof & Welling, "Buy 4 REINFORCE samples, get a baseline for
    free!" (2019). One-point estimate: Spall, "A one-measurement form of simultaneous perturbation
    stochastic approximation" (1997).

    Args:
        probes: K, directions a context; K lanes.
        std: Standard deviation c of each component of ξ, in prediction units.
    """

    has_clean_lane = False
    compares_contexts = True
    scout_signs = (1, -1)

    def __init__(self, probes: int, std: float) -> None:
        self.count, self.std = probes, std

    @property
    def lanes(self) -> int:
        """K."""
        return self.count

    def offsets(self, contexts: int, dim: int, generator: torch.Generator) -> Tensor:
        """(ξ_1 … ξ_K), shape (N, K, d)."""
        return orthogonal_probes(contexts, self.count, dim, self.std, generator)

    def probes(self, offsets: Tensor) -> Tensor:
        """The offsets themselves."""
        return offsets

    def changes(self, losses: Tensor) -> Tensor:
        """L(a+ξ_k) − b, shape (N, K)."""
        return losses - leave_one_out(losses.mean(1, keepdim=True))

    def estimate(self, changes: Tensor, probes: Tensor) -> Tensor:
        """See :func:`nodepert.agents.maths.least_squares_error`."""
        return least_squares_error(changes, probes)

    def scouted_changes(self, losses: Tensor) -> Tensor:
        """(L(a+ξ_k) − L(a−ξ_k)) / 2: without what contexts differ by."""
        return (losses[:, 0] - losses[:, 1]) / 2
