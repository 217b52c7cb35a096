"""``nodepert envs``: lists the environments that come with nodepert."""

from __future__ import annotations

import inspect

import gymnasium as gym

import nodepert.envs  # noqa: F401
from nodepert.envs import LossEnv

__all__ = ["list_envs"]


def list_envs() -> None:
    """Prints each id with the first line of its class's docstring."""
    for env_id, spec in sorted(gym.registry.items()):
        entry = spec.entry_point
        if isinstance(entry, type) and issubclass(entry, LossEnv):
            doc = inspect.getdoc(entry) or ""
            print(f"{env_id:22} {doc.splitlines()[0]}")
