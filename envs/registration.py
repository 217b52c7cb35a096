"""Registers loss environments with Gymnasium, single and vectorised."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym

from nodepert.envs.base import LossEnv

__all__ = ["register"]


def register(id: str, env_class: type[LossEnv]) -> None:
    """Makes ``gym.make(id, …)`` and ``gym.make_vec(id, …)`` give ``env_class``.

    Args:
        id: The name, such as ``"MyTask-v0"``.
        env_class: A subclass of :class:`LossEnv`; keyword arguments of ``gym.make`` go to its
            constructor.
    """
    gym.register(
        id=id,
        entry_point=cast(Any, env_class),  # gymnasium's type asks for **kwargs
        vector_entry_point=env_class.vector,
    )
