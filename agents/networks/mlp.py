"""Feed-forward networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nodepert.agents.errors import ConfigError
from nodepert.agents.networks.activations import make_activation
from nodepert.agents.networks.base import Network, Step
from nodepert.agents.networks.layer import FeedbackLinear, Path

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
