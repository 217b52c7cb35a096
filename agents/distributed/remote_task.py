"""A loss environment whose contexts are drawn here, and whose losses are computed elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodepert.envs import Draws, LossEnv
from nodepert.envs.base import Context
from nodepert.envs.observations import Observation

__all__ = ["RemoteTask"]

SEEDS = ("nodepert.keys", "nodepert.counters", "nodepert.lanes")
"""Entries that are added to a context: what it was drawn from."""
AskLoss = Callable[..., NDArray[np.float64]]


class RemoteTask(LossEnv):
    """A task that asks others for its losses.

    Contexts follow from a key and a counter a lane, so they are not sent: those who compute the
    loss draw them again. Observations, infos and gradients come from the task here.

    Args:
        task: The task.
        ask: Given keys, counters, lanes, steps and actions, the losses.
    """

    def __init__(self, task: LossEnv, ask: AskLoss) -> None:
        super().__init__(task.expose_gradient)
        self._task, self._ask = task, ask
        self.observation_space, self.action_space = task.observation_space, task.action_space
        self.action_scale, self.metadata = task.action_scale, task.metadata

    def sample_contexts(self, draws: Draws) -> Context:
        """The task's, and what they were drawn from."""
        drawn_from = zip(SEEDS, (draws.keys, draws.counters, draws.lanes), strict=True)
        return {**self._task.sample_contexts(draws), **{k: v.copy() for k, v in drawn_from}}

    def loss(self, context: Context, actions: NDArray[Any]) -> NDArray[Any]:
        """What the others say."""
        return self._ask(*(context[name] for name in SEEDS), context["step"], actions)

    def observe(self, context: Context) -> Observation:
        """The task's."""
        return self._task.observe(context)

    def episode_length(self, context: Context) -> NDArray[np.int64] | int | float:
        """The task's."""
        return self._task.episode_length(context)

    def info(self, context: Context, actions: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The task's."""
        return self._task.info(context, actions)

    def loss_gradient(self, context: Context, actions: NDArray[Any]) -> NDArray[Any]:
        """The task's."""
        return self._task.loss_gradient(context, actions)
