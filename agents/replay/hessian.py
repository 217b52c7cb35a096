"""The second derivatives of a loss, learned from scouts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Hessian"]

FORGETTING = 0.999  # of an update
ENOUGH = 20  # scouts at a distance before anything is believed there
UNEXPLAINED = 0.02  # of the scouts' changes, a priori
NEAREST, DISTANCES = -3, 10  # distances, in lengths of a probe: below 2⁻², 2⁻¹ … 2⁵, and beyond


class Hessian(nn.Module):
    r"""P of a locally quadratic loss, and how far it is to be trusted.

    A probe along the unit vector u told the slope d = u·e(a) of the loss at the prediction a. At
    a + Δ the slope is d + uᵀPΔ where the Hessian P is constant. P is fitted to scouts: pairs of
    probes of one context, along one u, at a and at a + Δ. Least squares with slow forgetting; a
    priori P is a multiple of the identity, from which single entries depart as the scouts ask for
    it.

    How well the slope was predicted before each fit says how much of a stored probe is left at a
    distance ‖Δ‖: the slope of the regression of the true on the predicted one (at most 1), and
    their correlation. Neither rises with the distance. On a quadratic loss both are 1 at once; on
    others they fall where P changes with the prediction or the context.

    Args:
        dim: d, width of the prediction.
        length: ‖ξ‖ of a probe, in prediction units: the unit of distances.
        full: Whether P has entries off its diagonal.
    """

    above: Tensor
    weights: Tensor
    gram: Tensor
    moment: Tensor
    told: Tensor
    missed: Tensor
    sums: Tensor
    trusted: Tensor

    def __init__(self, dim: int, length: float, full: bool) -> None:
        super().__init__()
        self.length, self.dim, self.full = length, dim, full
        above = torch.triu_indices(dim, dim, 1 if full else dim)  # none, unless full
        self.register_buffer("above", above, persistent=False)
        entries = 1 + dim + above.shape[1]
        zeros = torch.zeros(entries, dtype=torch.float64)
        # Of the identity, of each entry of the diagonal, and of those above it.
        self.register_buffer("weights", zeros)
        self.register_buffer("gram", torch.zeros(entries, entries, dtype=torch.float64))  # Σ ffᵀ
        self.register_buffer("moment", zeros.clone())  # Σ f (d' − d)
        # Scouts, Σ (d' − d)², and fits so far.
        self.register_buffer("told", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("missed", torch.zeros((), dtype=torch.float64))  # Σ (d' − predicted)²
        # Of scouts at each distance: count, Σ predicted · true, Σ predicted², Σ true².
        self.register_buffer("sums", torch.zeros(4, DISTANCES, dtype=torch.float64))
        self.register_buffer("trusted", torch.zeros(2, DISTANCES, dtype=torch.float64))

    @property
    def diagonal(self) -> Tensor:
        """P's diagonal, shape (d,)."""
        return self.weights[0] + self.weights[1 : 1 + self.dim]

    @property
    def off_diagonal(self) -> Tensor:
        """What else P has, shape (d, d)."""
        found = self.weights.new_zeros(self.dim, self.dim)
        found[self.above[0], self.above[1]] = self.weights[1 + self.dim :]
        return found + found.t()

    @property
    def unexplained(self) -> float:
        """The share of the scouts' changes that P did not tell before they were taken in."""
        return float(self.missed / self.told[1].clamp(min=1e-300))

    def change(self, probes: Tensor, moved: Tensor) -> Tensor:
        """ξᵀPΔ: what δ of a probe changes by.

        Args:
            probes: ξ, shape (N, K, d).
            moved: Δ, shape (N, d).

        Returns:
            Shape (N, K).
        """
        slope = moved * self.diagonal.to(moved.dtype)  # PΔ
        if self.full:
            slope = slope + moved @ self.off_diagonal.to(moved.dtype)
        return torch.einsum("nkd,nd->nk", probes, slope)

    def bend(self, offsets: Tensor) -> Tensor:
        """½ oᵀPo: what of the losses at a + o is not linear in o.

        Args:
            offsets: o, shape (N, M, d).

        Returns:
            Shape (N, M).
        """
        bend = offsets.square() @ (self.diagonal.to(offsets.dtype) / 2)
        if self.full:
            off = self.off_diagonal.to(offsets.dtype)
            bend = bend + torch.einsum("nmd,nmd->nm", offsets @ off, offsets) / 2
        return bend

    def trust(self, moved: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of a probe at a distance.

        Args:
            moved: Δ, shape (N, d).

        Returns:
            The regression slope of the true on the predicted change, and their correlation, both
            in 0…1, shape (N,). 1 where Δ is 0, and 0 where too few scouts have been.
        """
        at = self._distance(moved)
        still = (moved == 0).all(1)
        slope, correlation = self.trusted[:, at].masked_fill(still, 1.0).to(moved.dtype)
        return slope, correlation

    def fit(self, unit: Tensor, moved: Tensor, before: Tensor, after: Tensor) -> None:
        """Takes in some scouts.

        Args:
            unit: u, shape (S, d).
            moved: Δ, shape (S, d).
            before: The slope along u at a, shape (S,).
            after: The slope along u at a + Δ, shape (S,).
        """
        unit, moved, before, after = (one.double() for one in (unit, moved, before, after))
        features = self._features(unit, moved)  # f, [S, 1 + d + …]
        changed = after - before
        self._judge(moved, before + features @ self.weights, after)
        self.gram.mul_(FORGETTING).addmm_(features.t(), features)
        self.moment.mul_(FORGETTING).add_(features.t() @ changed)
        self.told[:2] *= FORGETTING
        self.told += torch.stack(
            [changed.new_tensor(len(changed)), changed.square().sum(), changed.new_tensor(1)]
        )
        # Cubic in the number of entries: where there are many, not after every update.
        if self.told[2] % max(len(self.weights) // (8 if self.full else 64), 1) == 0:
            self._solve()

    def _features(self, unit: Tensor, moved: Tensor) -> Tensor:
        """What each weight is multiplied by in uᵀPΔ."""
        along = unit * moved
        parts = [along.sum(1, keepdim=True), along]
        if self.full:
            i, j = self.above
            parts.append(unit[:, i] * moved[:, j] + unit[:, j] * moved[:, i])
        return torch.cat(parts, dim=1)

    def _solve(self) -> None:
        """Least squares; single entries are held to 0 by as much as the fit is uncertain."""
        count, power, _ = self.told
        if power == 0:
            return
        scale = power / self.gram[0, 0].clamp(min=1e-300)  # of P²
        noise = UNEXPLAINED * power / count
        for _ in range(3):
            ridge = torch.full_like(self.weights, float(noise / scale))
            ridge[0] *= 1e-3
            self.weights = torch.linalg.solve(self.gram + torch.diag(ridge), self.moment)
            missed = power - self.weights @ (2 * self.moment - self.gram @ self.weights)
            # As if some scouts had been before, with a share that P does not explain.
            prior = ENOUGH * UNEXPLAINED * power / count
            noise = (missed.clamp(min=0.0) + prior) / (count + ENOUGH)

    def _judge(self, moved: Tensor, predicted: Tensor, true: Tensor) -> None:
        """Remembers how good predictions were, by distance."""
        told = torch.stack(
            [torch.ones_like(true), predicted * true, predicted.square(), true.square()]
        )
        self.missed.mul_(FORGETTING).add_((true - predicted).square().sum())
        self.sums.mul_(FORGETTING).index_add_(1, self._distance(moved), told)
        count, both, predictions, truths = self.sums
        found = both / torch.stack([predictions, (predictions * truths).sqrt()]).clamp(min=1e-300)
        # Where too few have been, as farther off; beyond all scouts, nothing.
        known = torch.where(
            count >= ENOUGH, torch.arange(DISTANCES, device=count.device), DISTANCES
        )
        source = known.flip(0).cummin(0).values.flip(0)
        found = torch.cat([found.clamp(0.0, 1.0), torch.zeros_like(found[:, :1])], dim=1)
        self.trusted.copy_(found[:, source].cummin(1).values)

    def _distance(self, moved: Tensor) -> Tensor:
        """Which of the DISTANCES a Δ is at, shape (N,)."""
        steps = torch.log2((moved.norm(dim=1) / self.length).clamp(min=1e-9)).floor().long()
        return (steps - NEAREST).clamp(0, DISTANCES - 1)
