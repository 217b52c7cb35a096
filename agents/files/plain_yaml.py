"""YAML files that a user may have been sent: read as data, however hostile."""

from __future__ import annotations

import pathlib
from reprlib import repr as shortened
from typing import Any

import yaml

from nodepert.agents.errors import ConfigError, explain

__all__ = ["read_yaml"]

MOST_VALUES = 100_000
"""Of a file."""


def read_yaml(path: pathlib.Path) -> Any:
    """What a file holds: text, numbers, lists, and mappings with text keys.

    Raises:
        ConfigError: It can't be read, or holds anything else.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        check_plain(content)
    except Exception as error:  # whatever Python raises on a value, PyYAML lets through
        raise ConfigError(f"{path}: can't be read as YAML: {explain(error)}") from error
    return content


def check_plain(content: Any) -> None:
    """Raises ValueError where there is what JSON can't hold, such as dates or cycles.

    Names that stand for lists of names can make a page of YAML larger than any memory.
    """
    open_ends, seen = [content], 0
    while open_ends:
        one, seen = open_ends.pop(), seen + 1
        if seen > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values")
        if isinstance(one, dict) and all(isinstance(key, str) for key in one):
            open_ends += one.values()
        elif isinstance(one, list):
            open_ends += one
        elif not isinstance(one, str | int | float | None):
            raise ValueError(
                f"{shortened(one)}: expected text, numbers, lists, mappings with text keys"
            )
        elif isinstance(one, int) and abs(one) >= 2**63:
            raise ValueError("an integer of more than 64 bits")
