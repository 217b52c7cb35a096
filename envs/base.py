"""The contract of a loss environment: show a context, take an action, give minus its loss.

A new task is a subclass of :class:`LossEnv` with two methods that work on a batch of lanes,
:meth:`~LossEnv.sample_contexts` and :meth:`~LossEnv.loss`. The single ``gymnasium.Env`` is that
class itself; the native vector environment comes from :meth:`~LossEnv.vector`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from nodepert.envs.draws import Draws
from nodepert.envs.errors import ConfigError
from nodepert.envs.lanes import Lanes
from nodepert.envs.observations import Observation, blank, lane_of
from nodepert.envs.rendering.drawing import Frame
from nodepert.envs.rendering.window import Window

if TYPE_CHECKING:
    from nodepert.envs.vector import LossVectorEnv

__all__ = ["Context", "LossEnv"]

Context = dict[str, NDArray[Any]]
"""Arrays with one row a lane: what :meth:`LossEnv.sample_contexts` drew, and ``"step"`` (N,)."""

RENDER_MODES = ["human", "rgb_array"]


class LossEnv(gym.Env[Any, Any], ABC):
    """Base of environments whose only feedback is a scalar loss.

    A subclass sets ``observation_space`` and ``action_space`` in its constructor, calls
    ``super().__init__()``, and writes the two abstract methods. The rest has defaults for a task of
    one step an episode. All methods that take a context are pure: they depend on their arguments
    and on what the constructor set, draw random numbers from ``draws`` only, and do not change
    their arguments. That is what lets one instance serve any number of lanes.

    Args:
        expose_gradient: Put ∂loss/∂action into ``info["action_gradient"]``. For comparisons only.
        render_mode: ``"rgb_array"``: :meth:`render` gives a frame. ``"human"``: each step is shown
            in a window (by pygame). For tasks that have a :meth:`render_frame`.

    Raises:
        ConfigError: ``expose_gradient`` is set on a task that has no :meth:`loss_gradient`, or a
            ``render_mode`` on one that has no :meth:`render_frame`; or there is no such mode.
    """

    metadata: dict[str, Any] = {"render_modes": []}
    action_scale: float = 1.0
    """Prediction = action times ``action_scale``; losses are functions of the prediction."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Declares the render modes of a task that can be drawn."""
        super().__init_subclass__(**kwargs)
        if cls.render_frame is not LossEnv.render_frame:
            cls.metadata = {"render_fps": 4, **cls.metadata, "render_modes": RENDER_MODES}

    def __init__(self, expose_gradient: bool = False, render_mode: str | None = None) -> None:
        if expose_gradient and type(self).loss_gradient is LossEnv.loss_gradient:
            raise ConfigError(
                f"expose_gradient=True: {type(self).__name__} has no loss_gradient method; "
                "write one or leave expose_gradient at False"
            )
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            valid = ["None", *map(repr, self.metadata["render_modes"])]
            raise ConfigError(
                f"render_mode={render_mode!r} of {type(self).__name__}: expected "
                f"{' or '.join(valid)} (tasks with a method render_frame have render modes)"
            )
        self.expose_gradient = expose_gradient
        self.render_mode = render_mode
        self._lanes: Lanes | None = None
        self._window: Window | None = None

    # What a task is ------------------------------------------------------------------------

    @abstractmethod
    def sample_contexts(self, draws: Draws) -> Context:
        """Draws the context of one new episode in each of N lanes.

        Args:
            draws: The random numbers of these lanes, and nothing else to be random with.

        Returns:
            Arrays of N rows. ``"observation"`` is what the agent sees (unless :meth:`observe` is
            written too); whatever else :meth:`loss` needs, such as targets, goes beside it.
        """

    @abstractmethod
    def loss(self, context: Context, actions: NDArray[Any]) -> NDArray[Any]:
        """The loss of each lane's action, shape (N,); reward is minus this.

        Args:
            context: What :meth:`sample_contexts` drew, and ``"step"``, the steps played so far
                in each lane's episode.
            actions: float64 (N, *action_shape), any finite value; or int64 (N,) if discrete.
        """

    def observe(self, context: Context) -> Observation:
        """What each lane shows, shape (N, *observation_shape): an array of its own each time.

        Where the observation space is a Dict, a dict of such arrays.
        """
        return context["observation"].copy()

    def episode_length(self, context: Context) -> NDArray[np.int64] | int | float:
        """How many steps each lane's episode lasts: (N,), or one number for all."""
        return 1

    def info(self, context: Context, actions: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Things to measure, not to learn from; ``"_key"`` masks the lanes that have ``"key"``."""
        return {}

    def loss_gradient(self, context: Context, actions: NDArray[Any]) -> NDArray[Any]:
        """∂loss/∂action, shape (N, *action_shape). Only for ``expose_gradient=True``."""
        raise NotImplementedError

    def render_frame(self, context: Context, actions: NDArray[Any]) -> Frame:
        """A picture of one episode so far, (height, width, 3) uint8: of one size for all.

        A task that has this method has the render modes ``"human"`` and ``"rgb_array"``, if its
        constructor passes ``render_mode`` on. :mod:`nodepert.envs.rendering.drawing` helps.

        Args:
            context: Of one lane: its arrays have one row.
            actions: The actions of this episode so far, (steps, *action_shape): none after a
                reset, and the last 64 of an episode that is longer.
        """
        raise NotImplementedError

    # The single environment ----------------------------------------------------------------

    @classmethod
    def vector(
        cls,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        **kwargs: Any,
    ) -> LossVectorEnv:
        """The native vector environment of this task; ``kwargs`` go to the constructor."""
        from nodepert.envs.vector import LossVectorEnv

        return LossVectorEnv(
            cls(**kwargs),
            num_envs,
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode; with a seed, the first episode of that seed."""
        super().reset(seed=seed)
        everyone = np.ones(1, np.bool_)
        if self._lanes is None:
            self._lanes = Lanes(self, 1)
            self._lanes.seed(everyone, draw_key(self.np_random))
        elif seed is not None:
            self._lanes.seed(everyone, draw_key(self.np_random))
        self._lanes.start(everyone)
        if self.render_mode == "human":
            self.render()
        return lane_of(self._lanes.observe(), 0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays one action.

        Raises:
            ActionError: The action has the wrong shape, or is not finite or not a class index.
            gymnasium.error.ResetNeeded: The episode has ended, or none was started.
        """
        if self._lanes is None or self._lanes.ended[0]:
            raise gym.error.ResetNeeded("call reset() before the first step of each episode")
        losses, terminated, info = self._lanes.step([action])
        self._lanes.ended |= terminated
        if self.render_mode == "human":
            self.render()
        observation = blank(self.observation_space, 1) if terminated[0] else self._lanes.observe()
        info = {
            name: values[0].item() if values[0].ndim == 0 else values[0].copy()
            for name, values in info.items()
            if not name.startswith("_") and info.get("_" + name, (True,))[0]
        }
        return lane_of(observation, 0), -float(losses[0]), bool(terminated[0]), False, info

    def render(self) -> Frame | None:
        """The last step as a frame, in the mode ``"rgb_array"``; ``"human"`` shows it.

        Raises:
            gymnasium.error.ResetNeeded: ``reset()`` was not called yet.
            gymnasium.error.DependencyNotInstalled: ``"human"`` without pygame.
        """
        if self.render_mode is None:
            gym.logger.warn('render() without a render mode: make it with render_mode="rgb_array"')
            return None
        if self._lanes is None:
            raise gym.error.ResetNeeded("call reset() before render()")
        frame = self._lanes.frame(0)
        if self.render_mode == "rgb_array":
            return frame
        if self._window is None:
            self._window = Window(type(self).__name__, self.metadata["render_fps"])
        self._window.show(frame)
        return None

    def close(self) -> None:
        """Closes the window of the mode ``"human"``."""
        if self._window is not None:
            self._window.close()

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that the future depends on, as arrays.

        Raises:
            gymnasium.error.ResetNeeded: ``reset()`` was not called yet.
        """
        if self._lanes is None:
            raise gym.error.ResetNeeded("call reset() before get_state()")
        return self._lanes.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes back to a state from :meth:`get_state`."""
        if self._lanes is None:
            self._lanes = Lanes(self, 1)
        self._lanes.set_state(state)


def draw_key(generator: np.random.Generator) -> np.uint64:
    """The one 64-bit number that an environment takes from ``np_random`` for each seed."""
    return generator.integers(2**64, dtype=np.uint64)


def key_of_seed(seed: int) -> np.uint64:
    """The key of a lane seeded with ``seed``: the same as the single environment's."""
    return draw_key(seeding.np_random(seed)[0])
