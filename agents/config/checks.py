"""Checks of a hyperparameter's value; their errors name the field, the value and what is valid."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from nodepert.agents.errors import ConfigError

__all__ = ["check_choice", "check_flag", "check_number", "check_positive", "is_finite"]


def check_choice(config: Any, name: str, choices: Collection[Any]) -> None:
    """Raises ConfigError where a field is none of ``choices``."""
    value = getattr(config, name)
    if not isinstance(value, str | None) or value not in choices:  # an array compares by element
        raise ConfigError(f"{name}={value!r}: expected one of {tuple(choices)}")


def check_flag(config: Any, name: str) -> None:
    """Raises ConfigError where a field is neither True nor False."""
    value = getattr(config, name)
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r}: expected True or False")


def check_number(
    config: Any, name: str, kind: type, lowest: float, highest: float = math.inf
) -> None:
    """Raises ConfigError where a field is no finite number in a range.

    A field whose default is None may be None.
    """
    value = getattr(config, name)
    if value is None and config.__dataclass_fields__[name].default is None:
        return
    numeric = isinstance(value, int | kind) and not isinstance(value, bool)
    if numeric and is_finite(value) and lowest <= value <= highest:
        return
    what = "an integer" if kind is int else "a finite number"
    most = "" if highest == math.inf else f" and at most {highest}"
    raise ConfigError(f"{name}={value!r}: expected {what} of at least {lowest}{most}")


def check_positive(config: Any, name: str, example: float, highest: float = math.inf) -> None:
    """Raises ConfigError where a field is no finite number above 0, and at most ``highest``."""
    check_number(config, name, float, 0.0, highest)
    if getattr(config, name) == 0:
        raise ConfigError(f"{name}=0: expected a positive number, such as {example}")


def is_finite(value: float) -> bool:
    """Whether a number is finite, and no integer beyond all floats."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
