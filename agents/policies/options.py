"""Checks of the options of policies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from nodepert.agents.errors import ConfigError
from nodepert.agents.networks import ACTIVATIONS

__all__ = ["activation_name", "check_arguments", "check_init_gain", "check_widths"]


def check_arguments(name: str, given: Any) -> dict[str, Any]:
    """Keyword arguments as a dict.

    Raises:
        ConfigError: Not a mapping with names.
    """
    if isinstance(given, Mapping) and all(isinstance(key, str) for key in given):
        return dict(given)
    raise ConfigError(f"{name}={given!r}: expected a dict of arguments by name")


def check_widths(name: str, widths: Any, example: str) -> tuple[int, ...]:
    """An argument's widths as a tuple.

    Raises:
        ConfigError: Not a sequence of positive integers.
    """
    if (
        not isinstance(widths, Sequence)
        or isinstance(widths, str)
        or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in widths)
    ):
        raise ConfigError(f"{name}={widths!r}: expected positive integers, such as {example}")
    return tuple(widths)


def check_init_gain(init_gain: Any) -> float | None:
    """A positive number, or None.

    Raises:
        ConfigError: Neither.
    """
    numeric = isinstance(init_gain, int | float) and not isinstance(init_gain, bool)
    if init_gain is None or (numeric and 0 < init_gain < math.inf):
        return init_gain
    raise ConfigError(f"init_gain={init_gain!r}: expected a positive number, such as 2**0.5")


def activation_name(module: type[nn.Module]) -> str:
    """The name of an activation module.

    Raises:
        ConfigError: One that is not supported.
    """
    for name, known in ACTIVATIONS.items():
        if known is module:
            return name
    known_names = ", ".join(f"nn.{known.__name__}" for known in ACTIVATIONS.values())
    raise ConfigError(f"activation_fn={module!r}: expected one of {known_names}")
