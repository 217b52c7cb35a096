"""Activations by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nodepert.agents.errors import ConfigError

__all__ = ["ACTIVATIONS", "PASS_BACK", "gains_for", "make_activation", "names_for"]

aten = torch.ops.aten

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


PASS_BACK: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda error, z, h: aten.threshold_backward(error, h, 0),
    "tanh": lambda error, z, h: aten.tanh_backward(error, h),
    "sigmoid": lambda error, z, h: aten.sigmoid_backward(error, h),
    "identity": lambda error, z, h: error,
    "elu": lambda error, z, h: aten.elu_backward(error, 1, 1, 1, False, z),
    "gelu": lambda error, z, h: aten.gelu_backward(error, z),
    "silu": lambda error, z, h: aten.silu_backward(error, z),
    "softplus": lambda error, z, h: aten.softplus_backward(error, z, 1, 20),
}
"""λ ∘ σ'(z) from λ, z and h = σ(z), by the kernels that autograd uses, without its bookkeeping."""


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
