"""Activations by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from nodepert.agents.errors import ConfigError

__all__ = ["ACTIVATIONS", "gains_for", "make_activation", "names_for"]

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


def make_activation(name: str) -> nn.Module:
    """The module that an activation's name stands for."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ConfigError(f"activation={name!r}: expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def names_for(activation: Any, hidden_layers: int) -> list[str]:
    """One name for each hidden layer, from one for all or from a sequence of them.

    Raises:
        ConfigError: Another number of names.
    """
    several = isinstance(activation, list | tuple)
    names = list(activation) if several else [activation] * hidden_layers
    if len(names) != hidden_layers:
        raise ConfigError(
            f"activation={activation!r}: expected one name, or one for each of the "
            f"{hidden_layers} hidden layers"
        )
    return names


def gains_for(names: Sequence[str], init_gain: float | None) -> list[float]:
    """Gains of the initial weights of each hidden layer and the output.

    Where ``init_gain`` is None: √2 before a ReLU (He et al. 2015), else 1.
    """
    if init_gain is not None:
        return [init_gain] * (len(names) + 1)
    return [math.sqrt(2) if name == "relu" else 1.0 for name in names] + [1.0]
