"""How the error at the output changes with the prediction, in as many numbers as it takes."""

from __future__ import annotations

from torch import Tensor, nn

from nodepert.agents.replay.hessian import UNEXPLAINED, Hessian

__all__ = ["Curvature"]

WIDEST = 32
"""Predictions for which a full P is looked for: its fit is cubic in d²."""


class Curvature(nn.Module):
    """P of a locally quadratic loss: diagonal as long as that explains what scouts see, else full.

    Both are fitted, and what counts is how well each told of scouts that it had not taken in.

    Args:
        dim: d, width of the prediction.
        length: ‖ξ‖ of a probe, in prediction units: the unit of distances.
    """

    def __init__(self, dim: int, length: float) -> None:
        super().__init__()
        kinds = (False, True) if 1 < dim <= WIDEST else (False,)
        self.hessians = nn.ModuleList(Hessian(dim, length, full) for full in kinds)

    @property
    def hessian(self) -> Hessian:
        """P, as it is taken now."""
        found = self._hessians()
        diagonal = found[0]
        if diagonal.unexplained <= UNEXPLAINED:
            return diagonal
        return min(found, key=lambda one: one.unexplained)

    def change(self, probes: Tensor, moved: Tensor) -> Tensor:
        """ξᵀPΔ; see :class:`Hessian`."""
        return self.hessian.change(probes, moved)

    def bend(self, offsets: Tensor) -> Tensor:
        """½ oᵀPo; see :class:`Hessian`."""
        return self.hessian.bend(offsets)

    def trust(self, moved: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of a probe at a distance; see :class:`Hessian`."""
        return self.hessian.trust(moved)

    def fit(self, unit: Tensor, moved: Tensor, before: Tensor, after: Tensor) -> None:
        """Takes in some scouts; see :class:`Hessian`."""
        for one in self._hessians():
            one.fit(unit, moved, before, after)

    def _hessians(self) -> list[Hessian]:
        return list(self.hessians)  # type: ignore[arg-type]
