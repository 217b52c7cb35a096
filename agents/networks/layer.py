"""Layers whose backward pass carries the error through feedback weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodepert.agents.errors import ConfigError

__all__ = ["Call", "FeedbackLayer", "FeedbackLinear", "Path", "check_layerwise"]

Path = Literal["feedback", "direct", "activation", "sign", "transpose", "autograd"]
"""What carries the error to a layer's input:

- ``feedback``: ẽ B, the layer's own error through feedback weights of W's shape.
- ``direct``: e D, the output's error, past all layers between.
- ``activation``: (h, 1) A, nothing from above: a guess from the layer's input alone.
- ``sign``: ẽ sign(W) · scale.
- ``transpose``: ẽ W, through the same code; ``autograd``: the same by torch alone.
"""


def check_layerwise(path: Path, policy: str) -> None:
    """Raises ConfigError where errors don't go from layer to layer, as this policy needs."""
    if path in ("direct", "activation"):
        raise ConfigError(
            f"policy={policy!r}: errors can't take path={path!r} through convolutions or time, as "
            "rules such as 'direct' and 'activation' ask; expected MlpPolicy, or another rule"
        )


@dataclass
class Call:
    """One use of a feedback layer in a forward pass."""

    input: Tensor  # h[i−1], [N, n_in]
    number: int  # how many calls came before it
    output: Tensor = field(init=False)  # z[i], [N, n_out]
    error: Tensor = field(init=False)  # ẽ[i], [N, n_out]; the backward pass fills it in
    source: Tensor = field(init=False)  # what the carrier multiplies; so does this


class _Carry(torch.autograd.Function):
    """A layer's map whose backward pass takes the layer's own way down."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: FeedbackLayer, call: Call
    ) -> Tensor:
        ctx.layer, ctx.call = layer, call
        return layer.map(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        layer, call = ctx.layer, ctx.call
        call.error = error
        if layer.feedback is not None or ctx.needs_input_grad[0]:
            call.source = layer.source(call)
        carried = layer.carry(call.source) if ctx.needs_input_grad[0] else None
        return carried, *layer.gradients(call.input, error), None, None


class FeedbackLayer(nn.Module, ABC):
    """A layer with forward weights W and, where errors pass through it, feedback weights B.

    Args:
        weight_shape: Of W.
        feedback_shape: Of B; None where the layer has none.
        path: What carries the error to the input.
        std: Standard deviation of the initial W and B, which are independent.
        generator: Random numbers for both.
    """

    def __init__(
        self,
        weight_shape: tuple[int, ...],
        feedback_shape: tuple[int, ...] | None,
        *,
        path: Path,
        std: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.path = path
        self.std = std
        self.weight = nn.Parameter(torch.empty(weight_shape))
        self.bias = nn.Parameter(torch.zeros(weight_shape[0]))
        nn.init.normal_(self.weight, std=std, generator=generator)
        self.feedback: nn.Parameter | None = None
        if feedback_shape is not None:
            # Not a leaf that autograd fills in: the feedback rule alone writes its gradient.
            self.feedback = nn.Parameter(torch.empty(feedback_shape), requires_grad=False)
            nn.init.normal_(self.feedback, std=std, generator=generator)
        self.calls: list[Call] = []

    @abstractmethod
    def map(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Z from the input, linear in it; no bias where None."""

    @abstractmethod
    def carry(self, source: Tensor) -> Tensor:
        """The error at the input: the source times the carrier."""

    @abstractmethod
    def gradients(self, x: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of W and b, summed over the batch."""

    @abstractmethod
    def patches(self, x: Tensor) -> Tensor:
        """What each output sees of the input, shape (R, fan-in)."""

    @abstractmethod
    def rows(self, z: Tensor) -> Tensor:
        """Outputs, or errors at them, one row for each of :meth:`patches`, shape (R, n_out)."""

    @property
    def carrier(self) -> Tensor:
        """What multiplies the source on its way down."""
        if self.path == "sign":
            return self.std * self.weight.detach().sign()
        if self.path == "transpose":
            return self.weight.detach()
        return cast(Tensor, self.feedback)

    def source(self, call: Call) -> Tensor:
        """What a call's carried error is linear in: ẽ of the layer itself, shape (N, …)."""
        return call.error

    def forward(self, x: Tensor) -> Tensor:
        """Z; remembers the call while gradients are on, and autograd carries errors by the path."""
        if not torch.is_grad_enabled() or self.path == "autograd":
            return self.map(x, self.weight, self.bias)
        call = Call(x.detach(), len(self.calls))
        output = cast(Tensor, _Carry.apply(x, self.weight, self.bias, self, call))
        call.output = output.detach()
        self.calls.append(call)
        return output

    def record(self, x: Tensor) -> Call:
        """A remembered call whose output is Z, for a network that carries errors by itself."""
        call = Call(x, len(self.calls))
        call.output = self.map(x, self.weight, self.bias)
        self.calls.append(call)
        return call

    def respond(self, change: Tensor) -> Tensor:
        """How Z answers to a change of the input: the map is linear."""
        return self.map(change, self.weight, None)


class FeedbackLinear(FeedbackLayer):
    """A linear layer, z = h Wᵀ + b.

    Args:
        n_in: Width of the input.
        n_out: Width of the output.
        path: What carries the error to the input.
        carries: Whether an error must pass through this layer at all; the first layer of a
            network needs no B.
        gain: Weights start as N(0, gain² / n_in), B independent of W.
        generator: Random numbers for both.
        top: For the paths ``direct`` and ``activation``: width of the network's output.
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
        top: int = 0,
    ) -> None:
        shapes = {"feedback": (n_out, n_in), "direct": (top, n_in), "activation": (n_in + 1, n_in)}
        super().__init__(
            (n_out, n_in),
            shapes.get(path) if carries else None,
            path=path,
            std=gain / math.sqrt(n_in),
            generator=generator,
        )
        if path == "activation" and self.feedback is not None:
            nn.init.zeros_(self.feedback)  # no guess before the first evidence
        self.top_calls: list[Call] = self.calls
        """The calls of the network's output layer."""

    def map(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """H Wᵀ + b, shape (N, n_out)."""
        return F.linear(x, weight, bias)

    def carry(self, source: Tensor) -> Tensor:
        """Source times carrier, shape (N, n_in)."""
        return source @ self.carrier

    def gradients(self, x: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """ẽᵀ h and Σ ẽ."""
        return error.t() @ x, error.sum(0)

    def patches(self, x: Tensor) -> Tensor:
        """The input itself."""
        return x

    def rows(self, z: Tensor) -> Tensor:
        """The output itself."""
        return z

    def source(self, call: Call) -> Tensor:
        """ẽ, or for other paths the output's error, or (h, 1) where the output has an error."""
        if self.path not in ("direct", "activation"):
            return call.error
        top = self.top_calls[call.number].error
        if self.path == "direct":
            return top
        asked = (top != 0).any(1, keepdim=True)  # nothing to carry where nothing was lost
        return F.pad(call.input, (0, 1), value=1.0) * asked
