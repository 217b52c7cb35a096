"""Recurrent networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nodepert.agents.errors import ConfigError
from nodepert.agents.networks.activations import PASS_BACK, make_activation
from nodepert.agents.networks.base import Network, Step, restarted
from nodepert.agents.networks.cells import CELLS, Tanh
from nodepert.agents.networks.layer import (
    Call,
    FeedbackLayer,
    FeedbackLinear,
    Path,
    check_layerwise,
)

__all__ = ["RNN"]


class RNN(Network):
    """Recurrent: h_t from W_in x_t and W_rec h_{t−1} by a cell, prediction W_out h_t.

    Errors go from the prediction and from the next step's gates to h by feedback weights, and pass
    what is elementwise inside a cell exactly. Node noise is added to h.

    Args:
        n_in: Width of the observation.
        hidden_sizes: One width, that of h.
        n_out: Width of the prediction, d.
        activation: σ.
        path: What carries the error, through time as well as from the output.
        generator: Random numbers for the initial weights.
        cell: A name in :data:`~nodepert.agents.networks.cells.CELLS`.
        transposed_readout: Errors leave the output layer by its own transposed weights, as in the
            authors' code; only the recurrent layer has feedback weights.
        init_gain: Weights start as N(0, gain² / n_in); 1 where None.
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
        cell: str = "tanh",
        transposed_readout: bool = False,
        init_gain: float | None = None,
    ) -> None:
        super().__init__()
        if len(hidden_sizes) != 1:
            raise ConfigError(f"net_arch={list(hidden_sizes)}: a recurrent network takes one width")
        check_layerwise(path, "RnnPolicy")
        (width,) = hidden_sizes
        self.n_in = n_in
        self.hidden_shapes = ((width,),)
        if not isinstance(cell, str) or cell not in CELLS:
            raise ConfigError(f"cell={cell!r}: expected one of {', '.join(CELLS)}")
        if not isinstance(transposed_readout, bool):
            raise ConfigError(f"transposed_readout={transposed_readout!r}: expected True or False")
        self.activation = make_activation(activation)
        self.activation_name = activation
        self.cell = CELLS[cell](self.activation)
        gates, gain = len(self.cell.biases) * width, 1.0 if init_gain is None else init_gain

        def linear(n_in: int, n_out: int, carries: bool, path: Path = path) -> FeedbackLinear:
            return FeedbackLinear(
                n_in, n_out, path=path, carries=carries, gain=gain, generator=generator
            )

        readout: Path = "transpose" if transposed_readout and path != "autograd" else path
        self.input = linear(n_in, gates, carries=False)
        self.recurrent = linear(width, gates, carries=True)
        self.output = linear(width, n_out, carries=True, path=readout)
        starts = torch.tensor(self.cell.biases).repeat_interleave(width)
        self.input.bias.data.copy_(starts)

    def initial_state(self, contexts: int) -> Tensor:
        """H = 0 and all else that a cell keeps, shape (N, memories · n)."""
        (width,) = self.hidden_shapes[0]
        return self.input.weight.new_zeros(contexts, self.cell.memories * width)

    def step(self, x: Tensor, state: Tensor | None, noise: Sequence[Tensor] | None = None) -> Step:
        """One time step; see :meth:`Network.step`."""
        previous = self.initial_state(len(x)) if state is None else state
        before = previous[:, : self.hidden_shapes[0][0]]  # h
        h, *kept = self.cell.step(self.input(x), self.recurrent(before), previous)
        if noise is not None:
            h = h + noise[0]
        return Step(self.output(h), torch.cat([h, *kept], dim=1) if kept else h, [h])

    def record(self, x: Tensor, state: Tensor | None, started: Tensor) -> Step:
        """One time step without autograd's bookkeeping; see :meth:`Network.record`."""
        if not self.by_hand:
            return super().record(x, state, started)
        with torch.no_grad():
            before = restarted(self.initial_state(len(x)) if state is None else state, started)
            assert before is not None
            fed, recurrent = self.input.record(x), self.recurrent.record(before)
            (h,) = self.cell.step(fed.output, recurrent.output, before)
            read = self.output.record(h)
        calls: dict[FeedbackLayer, Call] = {
            self.input: fed, self.recurrent: recurrent, self.output: read
        }  # fmt: skip
        return Step(read.output, h, [h], started, calls)

    def carry_down(
        self, steps: Sequence[Step], error: Tensor, keep_graph: bool = False
    ) -> list[Tensor]:
        """Truncated backpropagation through time by feedback; see :meth:`Network.carry_down`.

        λ̃_t = e_t B_out + ẽ_{t+1} B_rec,  ẽ_t = λ̃_t ∘ σ'(z_t)
        """
        if not self.by_hand:
            return super().carry_down(steps, error, keep_graph)
        with torch.no_grad():
            later: Tensor | None = None
            for t in reversed(range(len(steps))):
                later = self._carry_back(steps[t], error[t], later)
            return [
                gradient
                for layer in self.layers
                for gradient in layer.gradients(
                    torch.cat([step.calls[layer].input for step in steps]),
                    torch.cat([step.calls[layer].error for step in steps]),
                )
            ]

    def _carry_back(self, step: Step, error: Tensor, later: Tensor | None) -> Tensor:
        """ẽ of all layers at one step; returns what it carries to the step before, (N, n)."""
        fed, recurrent, output = (step.calls[layer] for layer in self.layers)
        output.error = output.source = error
        carried = self.output.carry(error)
        if later is not None:
            carried = carried + later
        step.carried = [carried]
        z = fed.output + recurrent.output
        gates = PASS_BACK[self.activation_name](carried, z, step.hidden[0])
        fed.error = recurrent.error = recurrent.source = gates
        assert step.started is not None
        return self.recurrent.carry(gates).masked_fill(step.started[:, None], 0.0)

    @property
    def by_hand(self) -> bool:
        """Whether errors are carried without autograd: not past what a subclass has changed."""
        return (
            self.input.path != "autograd"
            and type(self).step is RNN.step
            and type(self.cell) is Tanh
            and self.activation_name in PASS_BACK
        )

    def readers(self, hidden: int) -> list[tuple[FeedbackLayer, int]]:
        """The output layer at once, the recurrent layer one step later."""
        return [(self.output, 0), (self.recurrent, 1)]
