"""Numbers that are whole 255ths, as pixels are: a byte each holds them exactly."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["from_bytes", "to_bytes"]


def to_bytes(values: Tensor) -> Tensor | None:
    """Numbers k/255 as k, in bytes; None where some are none such."""
    whole = values.detach().mul(255).round_().clamp_(0, 255)
    return whole.to(torch.uint8) if torch.equal(whole / 255, values) else None


def from_bytes(packed: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The numbers that :func:`to_bytes` was given; of torch's default type where none is named."""
    return packed.to(dtype or torch.get_default_dtype()) / 255
