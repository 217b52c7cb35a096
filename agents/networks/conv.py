"""Convolutions whose backward pass carries the error through feedback weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from nodepert.agents.networks.layer import FeedbackLayer, Path

__all__ = ["FeedbackConv2d"]


class FeedbackConv2d(FeedbackLayer):
    """A convolution of stride 1 without padding, z = W ∗ h + b; B has W's shape.

    The same map on every patch of k × k pixels: a row of :meth:`patches` is a sample like any
    other, and a rule learns B from them as it would learn a linear layer's.

    Args:
        channels_in: Of the input.
        channels_out: Of the output.
        kernel_size: k.
        path: What carries the error to the input: ``feedback``, ``sign``, ``transpose`` or
            ``autograd``.
        carries: Whether an error must pass through this layer at all.
        gain: Weights start as N(0, gain² / (channels_in k²)), B independent of W.
        generator: Random numbers for both.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel_size: int,
        *,
        path: Path,
        carries: bool,
        gain: float,
        generator: torch.Generator,
    ) -> None:
        shape = (channels_out, channels_in, kernel_size, kernel_size)
        super().__init__(
            shape,
            shape if carries and path == "feedback" else None,
            path=path,
            std=gain / math.sqrt(channels_in * kernel_size**2),
            generator=generator,
        )

    def map(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W ∗ h + b, shape (N, channels_out, H − k + 1, W − k + 1)."""
        return F.conv2d(x, weight, bias)

    def carry(self, source: Tensor) -> Tensor:
        """Each output's source, times the carrier, added to the pixels of its patch."""
        return F.conv_transpose2d(source, self.carrier)

    def gradients(self, x: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """Σ over patches of ẽ times the patch, and Σ ẽ."""
        size = list(self.weight.shape)
        return conv2d_weight(x, size, error), error.sum((0, 2, 3))

    def patches(self, x: Tensor) -> Tensor:
        """Shape (N · positions, channels_in k²)."""
        return F.unfold(x, self.weight.shape[2:]).transpose(1, 2).flatten(0, 1)

    def rows(self, z: Tensor) -> Tensor:
        """Shape (N · positions, channels_out)."""
        return z.flatten(2).transpose(1, 2).flatten(0, 1)
