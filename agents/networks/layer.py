"""A linear layer whose backward pass carries the error through feedback weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Call", "FeedbackLinear", "Path"]

Path = Literal["feedback", "transpose", "autograd"]
"""What carries the error down: B, Wᵀ through the same code, or torch's own autograd."""


@dataclass
class Call:
    """One use of a feedback layer in a forward pass."""

    input: Tensor  # h[i−1], [N, n_in]
    output: Tensor = field(init=False)  # z[i], [N, n_out]
    error: Tensor = field(init=False)  # ẽ[i], [N, n_out]; the backward pass fills it in


class _Carry(torch.autograd.Function):
    """A linear map whose backward pass uses B in place of W."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        feedback: Tensor | None,
        call: Call,
    ) -> Tensor:
        ctx.save_for_backward(x, feedback)
        ctx.call = call
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        x, feedback = ctx.saved_tensors
        ctx.call.error = error
        carried = error @ feedback if ctx.needs_input_grad[0] else None
        return carried, error.t() @ x, error.sum(0), None, None


class FeedbackLinear(nn.Module):
    """A linear layer with forward weights W and, where errors pass through it, feedback weights B.

    Args:
        n_in: Width of the input.
        n_out: Width of the output.
        path: What carries the error to the input.
        carries: Whether an error must pass through this layer at all; the first layer of a
            network needs no B.
        gain: Weights start as N(0, gain² / n_in), B independent of W.
        generator: Random numbers for both.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        path: Path,
        carries: bool,
        gain: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.path = path
        self.carries = carries
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))
        std = gain / math.sqrt(n_in)
        nn.init.normal_(self.weight, std=std, generator=generator)
        self.feedback: nn.Parameter | None = None
        if carries and path == "feedback":
            # Not a leaf that autograd fills in: the feedback rule alone writes its gradient.
            self.feedback = nn.Parameter(torch.empty(n_out, n_in), requires_grad=False)
            nn.init.normal_(self.feedback, std=std, generator=generator)
        self.calls: list[Call] = []

    def forward(self, x: Tensor) -> Tensor:
        """Z = x Wᵀ + b, shape (N, n_out); remembers the call while gradients are on."""
        if not torch.is_grad_enabled() or self.path == "autograd":
            return F.linear(x, self.weight, self.bias)
        call = Call(x)
        carrier = self.weight if self.path == "transpose" else self.feedback
        output = cast(Tensor, _Carry.apply(x, self.weight, self.bias, carrier, call))
        call.output = output.detach()
        self.calls.append(call)
        return output
