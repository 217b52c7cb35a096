"""Networks whose backward pass carries errors through feedback weights.

    z[i] = h[i−1] W[i]ᵀ + b[i],   h[i] = σ(z[i])
    ẽ[i] = (ẽ[i+1] B[i+1]) ∘ σ'(z[i])

A network is a module with ``step(observation, state, noise)``: feed-forward ones ignore the state.
The last layer is linear; its output is the prediction.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodepert.envs.errors import ConfigError

__all__ = ["ACTIVATIONS", "MLP", "RNN", "Call", "FeedbackLinear", "Network", "Path", "Step"]

Path = Literal["feedback", "transpose", "autograd"]
"""What carries the error down: B, Wᵀ through the same code, or torch's own autograd."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


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


@dataclass
class Step:
    """What a network does with one observation a context."""

    prediction: Tensor  # [N, d]
    state: Tensor | None  # [N, n], recurrent state for the next step
    hidden: list[Tensor]  # h[i] of each hidden layer, [N, n_i]


class Network(nn.Module, ABC):
    """A stack of feedback layers that maps observations to predictions, one step at a time."""

    hidden_sizes: tuple[int, ...]

    @abstractmethod
    def step(self, x: Tensor, state: Tensor | None, noise: Sequence[Tensor] | None = None) -> Step:
        """One step.

        Args:
            x: Observations, flat, shape (N, n_0).
            state: What the previous step returned, or :meth:`initial_state`.
            noise: ξ[i] to add after σ in each hidden layer: h̃[i] = σ(z̃[i]) + ξ[i].
        """

    @abstractmethod
    def initial_state(self, contexts: int) -> Tensor | None:
        """The state at an episode's start, or None for a network that has none."""

    @abstractmethod
    def readers(self, hidden: int) -> list[tuple[FeedbackLinear, int]]:
        """Which layers read a hidden layer's nodes, and how many steps later."""

    @cached_property
    def layers(self) -> list[FeedbackLinear]:
        """All layers, from the input to the output."""
        return [module for module in self.modules() if isinstance(module, FeedbackLinear)]

    def forget_calls(self) -> None:
        """Clears what the layers remember of past forward passes."""
        for layer in self.layers:
            layer.calls.clear()

    def set_path(self, path: Path) -> None:
        """Chooses what carries errors from now on, for measurements."""
        for layer in self.layers:
            layer.path = path


class MLP(Network):
    """Feed-forward: n_0 → hidden_sizes → d, σ after each hidden layer.

    Args:
        n_in: Width of the observation.
        hidden_sizes: Widths of the hidden layers.
        n_out: Width of the prediction, d.
        activation: σ, one for all hidden layers or one name each.
        path: What carries the error.
        generator: Random numbers for the initial weights.
    """

    def __init__(
        self,
        n_in: int,
        hidden_sizes: Sequence[int],
        n_out: int,
        *,
        activation: str | Sequence[str],
        path: Path,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.hidden_sizes = tuple(hidden_sizes)
        names = [activation] * len(hidden_sizes) if isinstance(activation, str) else activation
        if len(names) != len(hidden_sizes):
            raise ConfigError(
                f"activation={activation!r}: expected one name, or one for each of the "
                f"{len(hidden_sizes)} hidden layers"
            )
        self.activations = nn.ModuleList(make_activation(name) for name in names)
        sizes = [n_in, *hidden_sizes, n_out]
        gains = [math.sqrt(2) if name == "relu" else 1.0 for name in names] + [1.0]
        self.linears = nn.ModuleList(
            FeedbackLinear(
                sizes[i], sizes[i + 1], path=path, carries=i > 0, gain=gain, generator=generator
            )
            for i, gain in enumerate(gains)
        )

    def initial_state(self, contexts: int) -> None:
        """None: no state."""
        return None

    def step(
        self, x: Tensor, state: Tensor | None = None, noise: Sequence[Tensor] | None = None
    ) -> Step:
        """One forward pass; see :meth:`Network.step`."""
        hidden = []
        for i, activation in enumerate(self.activations):
            x = activation(self.linears[i](x))
            if noise is not None:
                x = x + noise[i]
            hidden.append(x)
        return Step(self.linears[-1](x), None, hidden)

    def readers(self, hidden: int) -> list[tuple[FeedbackLinear, int]]:
        """The next layer, at once."""
        return [(cast(FeedbackLinear, self.linears[hidden + 1]), 0)]


class RNN(Network):
    """Recurrent: h_t = tanh(W_in x_t + W_rec h_{t−1} + b), prediction W_out h_t.

    Args:
        n_in: Width of the observation.
        hidden_sizes: One width, that of h.
        n_out: Width of the prediction, d.
        activation: σ.
        path: What carries the error, through time as well as from the output.
        generator: Random numbers for the initial weights.
    """

    def __init__(
        self,
        n_in: int,
        hidden_sizes: Sequence[int],
        n_out: int,
        *,
        activation: str,
        path: Path,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if len(hidden_sizes) != 1:
            raise ConfigError(f"net_arch={list(hidden_sizes)}: a recurrent network takes one width")
        (width,) = self.hidden_sizes = tuple(hidden_sizes)
        self.activation = make_activation(activation)

        def linear(n_in: int, n_out: int, carries: bool) -> FeedbackLinear:
            return FeedbackLinear(
                n_in, n_out, path=path, carries=carries, gain=1.0, generator=generator
            )

        self.input = linear(n_in, width, carries=False)
        self.recurrent = linear(width, width, carries=True)
        self.output = linear(width, n_out, carries=True)

    def initial_state(self, contexts: int) -> Tensor:
        """H = 0, shape (N, n)."""
        return self.input.weight.new_zeros(contexts, self.hidden_sizes[0])

    def step(self, x: Tensor, state: Tensor | None, noise: Sequence[Tensor] | None = None) -> Step:
        """One time step; see :meth:`Network.step`."""
        previous = self.initial_state(len(x)) if state is None else state
        h = self.activation(self.input(x) + self.recurrent(previous))
        if noise is not None:
            h = h + noise[0]
        return Step(self.output(h), h, [h])

    def readers(self, hidden: int) -> list[tuple[FeedbackLinear, int]]:
        """The output layer at once, the recurrent layer one step later."""
        return [(self.output, 0), (self.recurrent, 1)]


def make_activation(name: str) -> nn.Module:
    """The module that an activation's name stands for."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ConfigError(f"activation={name!r}: expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
