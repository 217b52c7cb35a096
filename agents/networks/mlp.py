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
        self.pass_back = [PASS_BACK[name] for name in names]
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
        if self.by_autograd:
            return super().record(x, state, started)
        hidden = []
        with torch.no_grad():
            for layer, activation in zip(self.layers, self.activations, strict=False):
                x = activation(layer.record(x))
                hidden.append(x)
            return Step(self.layers[-1].record(x), None, hidden)

    def carry_down(
        self, steps: Sequence[Step], error: Tensor, keep_graph: bool = False
    ) -> list[Tensor]:
        """The equations of the class's module, layer by layer; see :meth:`Network.carry_down`."""
        if self.by_autograd:
            return super().carry_down(steps, error, keep_graph)
        with torch.no_grad():
            parts = [self._carry_down(t, step, error[t]) for t, step in enumerate(steps)]
        return parts[0] if len(parts) == 1 else [sum(one) for one in zip(*parts, strict=True)]

    def _carry_down(self, t: int, step: Step, error: Tensor) -> list[Tensor]:
        """The backward pass of one step, from ê of shape (N, d)."""
        gradients: list[Tensor] = []
        step.carried = [error] * len(step.hidden)
        for i in reversed(range(len(self.layers))):
            layer, call = self.layers[i], self.layers[i].calls[t]
            call.error = error  # ẽ[i]
            gradients[:0] = layer.gradients(call.input, error)
            if i > 0:
                call.source = layer.source(call)
                step.carried[i - 1] = layer.carry(call.source)  # ẽ[i] B[i]
                below = self.layers[i - 1].calls[t].output
                error = self.pass_back[i - 1](step.carried[i - 1], below, step.hidden[i - 1])
        return gradients

    @property
    def by_autograd(self) -> bool:
        """Whether torch carries errors, which then needs its bookkeeping."""
        return self.layers[0].path == "autograd"

    def readers(self, hidden: int) -> list[tuple[FeedbackLayer, int]]:
        """The next layer, at once."""
        return [(cast(FeedbackLinear, self.linears[hidden + 1]), 0)]
