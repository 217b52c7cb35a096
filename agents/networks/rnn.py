"""Recurrent networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nodepert.agents.errors import ConfigError
from nodepert.agents.networks.activations import make_activation
from nodepert.agents.networks.base import Network, Step
from nodepert.agents.networks.layer import FeedbackLinear, Path

__all__ = ["RNN"]


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
