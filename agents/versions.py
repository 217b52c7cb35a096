"""Versions of what a figure depends on."""

from __future__ import annotations

import importlib.metadata
import platform

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Of Python and of the packages that learning depends on."""
    packages = ("nodepert", "gymnasium", "numpy", "torch", "stable-baselines3")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}
