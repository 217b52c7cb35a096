"""Torch state as named tensors plus JSON, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nodepert.agents.errors import FileFormatError

__all__ = ["optimizer_from_parts", "optimizer_to_parts", "with_prefix", "without_prefix"]


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that stand under ``prefix.name``, by name."""
    start = prefix + "."
    return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}


def optimizer_to_parts(
    optimizer: torch.optim.Optimizer,
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The parameter groups as JSON, and the state as tensors named ``index.key``."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, entries in state["state"].items()
        for key, value in entries.items()
        if value is not None
    }
    return state["param_groups"], tensors


def optimizer_from_parts(
    optimizer: torch.optim.Optimizer,
    groups: list[dict[str, Any]],
    tensors: dict[str, Tensor],
) -> None:
    """Puts the parts of :func:`optimizer_to_parts` back.

    Raises:
        FileFormatError: They are another optimiser's.
    """
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, tensor in tensors.items():
            index, key = name.split(".", 1)
            # Adam keeps its step counter on the CPU.
            state.setdefault(int(index), {})[key] = tensor.cpu() if key == "step" else tensor
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"optimiser state does not fit the model: {error}") from error
