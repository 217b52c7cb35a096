"""Recurrent cells: what becomes of h, given what the two layers of a network say.

The layers are the network's: a cell is elementwise, and errors pass through it exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

__all__ = ["CELLS", "GRU", "LSTM", "Cell", "Tanh"]


class Cell(ABC):
    """One step of n units.

    Args:
        activation: σ.
    """

    biases: ClassVar[tuple[float, ...]] = (0.0,)
    """Where the gates' biases start: one for each number that a layer gives a unit."""
    memories: ClassVar[int] = 1
    """How many numbers a unit keeps, h the first."""

    def __init__(self, activation: nn.Module) -> None:
        self.activation = activation

    @abstractmethod
    def step(self, fed: Tensor, recurrent: Tensor, state: Tensor) -> list[Tensor]:
        """What the units keep, h the first, each of shape (N, n).

        Args:
            fed: W_in x + b_in, shape (N, gates · n).
            recurrent: W_rec h + b_rec, likewise.
            state: What the last step returned, side by side, shape (N, memories · n).
        """


class Tanh(Cell):
    """h_t = σ(W_in x_t + W_rec h_{t−1} + b)."""

    def step(self, fed: Tensor, recurrent: Tensor, state: Tensor) -> list[Tensor]:
        """See the class."""
        return [self.activation(fed + recurrent)]


class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), gates as in ``torch.nn.LSTM``.

    c_t = f c_{t−1} + i g,  h_t = o σ(c_t); the forget gate's bias starts at 1 (Gers et al. 2000).
    """

    biases = (0.0, 1.0, 0.0, 0.0)
    memories = 2

    def step(self, fed: Tensor, recurrent: Tensor, state: Tensor) -> list[Tensor]:
        """See the class."""
        i, f, g, o = (fed + recurrent).chunk(4, dim=1)
        kept = state.chunk(2, dim=1)[1]
        c = torch.sigmoid(f) * kept + torch.sigmoid(i) * self.activation(g)
        return [torch.sigmoid(o) * self.activation(c), c]


class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014), gates as in ``torch.nn.GRU``.

    h_t = (1 − z) n + z h_{t−1},  n = σ(fed_n + r · recurrent_n).
    """

    biases = (0.0, 0.0, 0.0)

    def step(self, fed: Tensor, recurrent: Tensor, state: Tensor) -> list[Tensor]:
        """See the class."""
        (fed_r, fed_z, fed_n), (rec_r, rec_z, rec_n) = fed.chunk(3, 1), recurrent.chunk(3, 1)
        z = torch.sigmoid(fed_z + rec_z)
        n = self.activation(fed_n + torch.sigmoid(fed_r + rec_r) * rec_n)
        return [(1 - z) * n + z * state]


CELLS: dict[str, type[Cell]] = {"tanh": Tanh, "lstm": LSTM, "gru": GRU}
