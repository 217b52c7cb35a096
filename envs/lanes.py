"""The state of a batch of lanes of one task: two integers a lane, and the context they imply.

Both the single environment (one lane) and the vector environment (N lanes) are thin shells around
this class, so that the two can't disagree.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from nodepert.envs.draws import Draws
from nodepert.envs.errors import ActionError, ContractError
from nodepert.envs.observations import Observation
from nodepert.envs.rendering.drawing import Frame

if TYPE_CHECKING:
    from nodepert.envs.base import Context, LossEnv

__all__ = ["Lanes"]

Mask = NDArray[np.bool_]

LAST_ACTIONS = 64
"""How many actions of an episode its picture can show."""


class Lanes:
    """N lanes of one task, all stepped at once.

    Args:
        task: The environment that samples contexts and computes losses.
        num_lanes: How many lanes, N.
    """

    def __init__(self, task: LossEnv, num_lanes: int) -> None:
        self._task = task
        self._index = np.arange(num_lanes)
        self.keys = np.zeros(num_lanes, np.uint64)
        self.episodes = np.zeros(num_lanes, np.uint64)  # how many each lane has started
        self.steps = np.zeros(num_lanes, np.int64)  # since its episode started
        self.ended = np.ones(num_lanes, np.bool_)  # waiting for a new episode
        self._context: Context = {}
        kept = 0 if task.render_mode is None else LAST_ACTIONS
        self._played: deque[NDArray[Any]] = deque(maxlen=kept)

    def seed(self, mask: Mask, keys: NDArray[np.uint64] | np.uint64) -> None:
        """Gives the lanes in ``mask`` new keys and starts their counters at zero."""
        self.keys[mask] = keys
        self.episodes[mask] = 0

    def start(self, mask: Mask) -> None:
        """Starts the next episode of each lane in ``mask``."""
        self._sample(mask)
        self.episodes[mask] += np.uint64(1)
        self.steps[mask] = 0
        self.ended[mask] = False

    def _sample(self, mask: Mask) -> None:
        """Draws the contexts of the lanes in ``mask`` from their keys and episode counters."""
        everyone = bool(mask.all())
        rows: Any = slice(None) if everyone else mask
        draws = Draws(self.keys[rows], self.episodes[rows], self._index[rows], len(self.keys))
        fresh = self._task.sample_contexts(draws)
        for name, values in fresh.items():
            if len(values) != len(draws):
                raise ContractError(
                    f"{type(self._task).__name__}.sample_contexts: {name!r} has {len(values)} "
                    f"rows, expected one for each of the {len(draws)} lanes"
                )
        if everyone:
            self._context = dict(fresh)
        else:
            for name, values in fresh.items():
                # A new array: the old one may be the task's own, or be in a user's hands.
                merged = np.zeros((len(mask), *values.shape[1:]), values.dtype)
                if self._context:
                    merged[~mask] = self._context[name][~mask]
                merged[mask] = values
                self._context[name] = merged
        self._context["step"] = self.steps

    def observe(self) -> Observation:
        """What each lane shows now, shape (N, *observation_shape), or a dict of its parts."""
        return self._task.observe(self._context)

    def step(
        self, actions: Any, playing: Mask | bool = True
    ) -> tuple[NDArray[np.float64], Mask, dict[str, NDArray[Any]]]:
        """Plays one action a lane; lanes that are not ``playing`` stay as they are.

        Returns:
            Losses (N,), which lanes have now terminated (N,), and the info arrays, all new.

        Raises:
            ActionError: An action has the wrong shape, or is not finite or not a class index.
            ContractError: The task returned arrays of the wrong shape.
        """
        task = self._task
        actions = check_actions(actions, task.action_space, len(self.keys))
        losses = np.asarray(task.loss(self._context, actions), np.float64)
        if losses.shape != self.keys.shape:
            raise ContractError(
                f"{type(task).__name__}.loss returned shape {losses.shape}, expected "
                f"{self.keys.shape}: one loss for each lane"
            )
        info = {name: np.array(v) for name, v in task.info(self._context, actions).items()}
        if task.expose_gradient:
            gradient = task.loss_gradient(self._context, actions)
            info["action_gradient"] = np.array(gradient, np.float32)
        for name, values in info.items():
            if values.shape[:1] != self.keys.shape:
                raise ContractError(
                    f"{type(task).__name__}: info {name!r} has shape {values.shape}, expected "
                    f"{len(self.keys)} rows: one for each lane"
                )
        if self._played.maxlen:
            self._played.append(actions.copy())
        self.steps += playing
        terminated = (self.steps >= task.episode_length(self._context)) & playing
        return losses, terminated, info

    def frame(self, lane: int) -> Frame:
        """A picture of one lane's episode so far.

        Raises:
            ContractError: The task's picture is no (height, width, 3) array of uint8.
        """
        task = self._task
        context = {name: values[lane : lane + 1] for name, values in self._context.items()}
        known = min(int(self.steps[lane]), len(self._played))
        last = [actions[lane] for actions in self._played][len(self._played) - known :]
        actions = np.reshape(last, (known, *(task.action_space.shape or ())))
        frame = task.render_frame(context, actions)
        shape, dtype = np.shape(frame), getattr(frame, "dtype", None)
        if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
            raise ContractError(
                f"{type(task).__name__}.render_frame gave shape {shape} and dtype {dtype}, "
                "expected (height, width, 3) and uint8"
            )
        return frame

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that the future depends on, as arrays: the contexts follow from it."""
        return {
            "keys": self.keys.copy(),
            "episodes": self.episodes.copy(),
            "steps": self.steps.copy(),
            "ended": self.ended.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes back to a state from ``get_state``.

        Raises:
            ContractError: An array is missing or has another number of lanes.
        """
        for name, current in self.get_state().items():
            if name not in state or np.shape(state[name]) != current.shape:
                raise ContractError(
                    f"state[{name!r}] is missing or has another shape than {current.shape}: "
                    "it was saved by an environment with another number of lanes"
                )
        self._played.clear()
        self.keys[:], self.ended[:] = state["keys"], state["ended"]
        started = np.asarray(state["episodes"], np.uint64) > 0
        if started.any():
            self.episodes[:] = state["episodes"]
            self.episodes[started] -= np.uint64(1)
            self._sample(started)
        self.episodes[:], self.steps[:] = state["episodes"], state["steps"]


def check_actions(actions: Any, space: Any, num_lanes: int) -> NDArray[Any]:
    """One valid action a lane, as float64 (Box) or int64 (Discrete).

    Actions outside a Box are accepted on purpose: a clipped probe would be biased.

    Raises:
        ActionError: Wrong shape, not a number, or not a class index.
    """
    discrete = isinstance(space, Discrete)
    try:
        actions = np.asarray(actions, None if discrete else np.float64)
    except (TypeError, ValueError) as error:
        raise ActionError(f"action is not an array of numbers: {error}") from error
    expected = (num_lanes, *space.shape)
    if actions.shape != expected:
        raise ActionError(
            f"actions have shape {actions.shape}, expected {expected}: {num_lanes} lanes of "
            f"shape {space.shape}"
        )
    if discrete:
        if actions.dtype.kind not in "iu":
            raise ActionError(f"action has dtype {actions.dtype}, expected integers for {space}")
        wrong = (actions < space.start) | (actions >= space.start + space.n)
        if wrong.any():
            lane = int(wrong.argmax())
            raise ActionError(f"action {actions[lane]} in lane {lane} is not in {space}")
        return actions.astype(np.int64)
    if not np.isfinite(actions).all():
        rows = np.isfinite(actions.reshape(num_lanes, -1)).all(axis=1)
        raise ActionError(f"action in lane {int((~rows).argmax())} is not finite")
    return actions
