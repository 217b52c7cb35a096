"""Running mean and variance, as Stable-Baselines3's ``VecNormalize`` keeps them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["PartStatistics", "RunningStatistics"]

CLIP = 10.0
EPSILON = 1e-8


class RunningStatistics(nn.Module):
    """Mean and variance of all rows seen so far, each batch merged by Chan et al. (1979).

    Args:
        width: Of a row.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(width, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(1e-4, dtype=torch.float64))

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Takes in rows of shape (R, width)."""
        if not len(rows):
            return
        variance, mean = torch.var_mean(rows.double(), 0, correction=0)
        new, total = len(rows), self.count + len(rows)
        apart = mean - self.mean
        squares = (
            self.variance * self.count + variance * new + apart**2 * (self.count * new / total)
        )
        self.variance, self.count = squares / total, total
        self.mean = self.mean + apart * (new / total)

    def normalized(self, rows: Tensor) -> Tensor:
        """Rows less the mean, over the deviation, and at most 10 from 0."""
        shifted = (rows - self.mean) / (self.variance + EPSILON).sqrt()
        return shifted.clamp(-CLIP, CLIP).to(rows.dtype)

    def scaled(self, rows: Tensor) -> Tensor:
        """Rows over the deviation, and at most 10 from 0."""
        return (rows / (self.variance + EPSILON).sqrt()).clamp(-CLIP, CLIP).to(rows.dtype)


class PartStatistics(RunningStatistics):
    """Of some parts of observations, side by side; other parts pass unchanged.

    Args:
        widths: Of the parts, flat, by name.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__(sum(widths.values()))
        self._widths = dict(widths)

    def _rows(self, found: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([found[name].flatten(1) for name in self._widths], dim=1)

    def update_parts(self, found: Mapping[str, Tensor]) -> None:
        """Takes in the parts of N observations, each (N, ...)."""
        self.update(self._rows(found))

    def normalized_parts(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parts, normalised where they are counted here."""
        rows = self.normalized(self._rows(found)).split(list(self._widths.values()), dim=1)
        fresh = zip(self._widths, rows, strict=True)
        return {**found, **{name: part.view_as(found[name]) for name, part in fresh}}
