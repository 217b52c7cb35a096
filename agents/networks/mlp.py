"""Feed-forward networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nodepert.agents.networks.activations import (
    PASS_BACK,
    gains_for,
    make_activation,
    names_for,
)
from nodepert.agents.networks.base import Network, Step
from nodepert.agents.networks.layer import FeedbackLayer, FeedbackLinear, Path

__all__ = ["MLP"]


class MLP(Network):
    """Feed-forward: n_0 → hidden_sizes → d, σ after each hidden layer.

    Args:
        n_in: Width of the observation.
        hidden_sizes: Widths of the hidden layers.
        n_out: Width of the prediction, d.
        activation: σ, one for all hidden layers or one name each.
        path: What carries the error.
        generator: Random numbers for the initial weights.
        init_gain: Weights start as N(0, gain² / n_in). None: √2 before a ReLU (He et al. 2015),
            else 1.
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
        init_gain: float | None = None,
    ) -> None:
        super().__init__()
        self.n_in = n_in
        self.hidden_shapes = tuple((n,) for n in hidden_sizes)
        names = names_for(activation, len(hidden_sizes))
        self.activations = nn.ModuleList(make_activation(name) for name in names)
        self.activation_names = names
        sizes = [n_in, *hidden_sizes, n_out]
        gains = gains_for(names, init_gain)
        self.linears = nn.ModuleList(
            FeedbackLinear(
                sizes[i], sizes[i + 1], path=path, carries=i > 0, gain=gain, generator=generator,
                top=n_out,
            )
            for i, gain in enumerate(gains)
        )  # fmt: skip
        for layer in self.linears:
            cast(FeedbackLinear, layer).top_calls = self.layers[-1].calls

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

    def record(self, x: Tensor, state: Tensor | None, started: Tensor) -> Step:
        """One forward pass without autograd's bookkeeping; see :meth:`Network.record`."""
        if not self.by_hand:
            return super().record(x, state, started)
        hidden, calls = [], {}
        with torch.no_grad():
            for layer, activation in zip(self.layers, self.activations, strict=False):
                calls[layer] = layer.record(x)
                x = activation(calls[layer].output)
                hidden.append(x)
            top = self.layers[-1]
            calls[top] = top.record(x)
        return Step(calls[top].output, None, hidden, started, calls)

    def carry_down(
        self, steps: Sequence[Step], error: Tensor, keep_graph: bool = False
    ) -> list[Tensor]:
        """ẽ[i] = (ẽ[i+1] B[i+1]) ∘ σ'(z[i]), layer by layer; see :meth:`Network.carry_down`."""
        if not self.by_hand:
            return super().carry_down(steps, error, keep_graph)
        with torch.no_grad():
            parts = [self._carry_down(*pair) for pair in zip(steps, error, strict=True)]
        return parts[0] if len(parts) == 1 else [sum(one) for one in zip(*parts, strict=True)]

    def _carry_down(self, step: Step, error: Tensor) -> list[Tensor]:
        """The backward pass of one step, from ê of shape (N, d)."""
        gradients: list[Tensor] = []
        step.carried = [error] * len(step.hidden)
        for i in reversed(range(len(self.layers))):
            layer, call = self.layers[i], step.calls[self.layers[i]]
            call.error = error  # ẽ[i]
            gradients[:0] = layer.gradients(call.input, error)
            if i > 0:
                call.source = layer.source(call)
                step.carried[i - 1] = layer.carry(call.source)  # ẽ[i] B[i]
                below = step.calls[self.layers[i - 1]].output
                pass_back = PASS_BACK[self.activation_names[i - 1]]
                error = pass_back(step.carried[i - 1], below, step.hidden[i - 1])
        return gradients

    @property
    def by_hand(self) -> bool:
        """Whether errors are carried without autograd: not past what a subclass has changed."""
        return (
            self.layers[0].path != "autograd"
            and type(self).step is MLP.step
            and all(name in PASS_BACK for name in self.activation_names)
        )

    def readers(self, hidden: int) -> list[tuple[FeedbackLayer, int]]:
        """The next layer, at once."""
        return [(cast(FeedbackLinear, self.linears[hidden + 1]), 0)]
