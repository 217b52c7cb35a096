"""Torch state as named tensors, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from nodepert.agents.errors import FileFormatError

__all__ = ["optimizer_from_tensors", "optimizer_to_tensors", "with_prefix", "without_prefix"]


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that stand under ``prefix.name``, by name."""
    start = prefix + "."
    return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}


def optimizer_to_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state as tensors named ``index.key``; step sizes and such follow from the config."""
    return {
        f"{index}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
        if value is not None
    }


def optimizer_from_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts the tensors of :func:`optimizer_to_tensors` back.

    Raises:
        FileFormatError: They are another optimiser's.
    """
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, tensor in tensors.items():
            index, key = name.split(".", 1)
            # Adam keeps its step counter on the CPU.
            state.setdefault(int(index), {})[key] = tensor.cpu() if key == "step" else tensor
        _check_state(optimizer, state)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"optimiser state does not fit the model: {error}") from error


def _check_state(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Tensor]]) -> None:
    """Raises ValueError unless each parameter has the same entries, of its own shape, or none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if state and set(state) != set(range(len(parameters))):
        raise ValueError(f"state of {len(state)} parameters, expected {len(parameters)}")
    for index, entries in state.items():
        if entries.keys() != state[0].keys():
            raise ValueError(f"parameter {index} has other entries than parameter 0")
        for key, value in entries.items():
            if key != "step" and value.shape != parameters[index].shape:
                raise ValueError(f"{key} of parameter {index} has shape {tuple(value.shape)}")
            if key == "step" and value.numel() != 1:
                raise ValueError("step is not a number")
