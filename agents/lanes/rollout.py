"""Shows each context on several lanes at once, and checks that they really are the same context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from nodepert.agents.errors import LaneError, NonFiniteLaneError, PairingError
from nodepert.agents.lanes.guard import lane_errors
from nodepert.agents.lanes.observations import as_bytes, pack, pack_one
from nodepert.agents.lanes.vec_env import autoreset_mode

__all__ = ["PairedLanes", "Played"]


@dataclass
class Played:
    """What one action a lane led to; N contexts on M lanes each."""

    losses: NDArray[np.float64]  # minus the rewards, [N, M]
    valid: NDArray[np.bool_]  # False where the step only reset the context's lanes, [N]
    ended: NDArray[np.bool_]  # whether the context's episode is over, [N]
    terminated: NDArray[np.bool_]  # whether by the task itself, not by a time limit, [N]
    observation: Any  # what the next action answers, packed, or a tensor, [N, ...]
    info: dict[str, Any]
    env_steps: int  # that all lanes together played


class PairedLanes:
    """A vector environment whose lanes stand in groups of M that show one context each.

    Lane n·M + m is probe m of context n. All lanes of a context are seeded alike, so that each sees
    the same observations and the same environment noise (common random numbers).

    Args:
        env: The lanes; their number is a multiple of M.
        lanes_per_context: M.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], lanes_per_context: int) -> None:
        self.env = env
        self.contexts = env.num_envs // lanes_per_context
        self.lanes_per_context = lanes_per_context
        self._mode = autoreset_mode(env)
        self._space = env.single_observation_space
        self.resetting = np.zeros(self.contexts, np.bool_)  # whether the next step only resets
        self._steps = 0
        self._stepped: NDArray[Any]  # what the environment showed after the last step

    @property
    def env_steps(self) -> int:
        """How many steps all lanes together have played."""
        return self._steps * self.env.num_envs

    def reset(self, seeds: list[int] | None) -> NDArray[Any]:
        """Starts an episode in all lanes.

        Args:
            seeds: One for each context; None keeps the lanes in step as they are.

        Returns:
            The observation of each context, shape (N, ...); that of a Dict space is packed.

        Raises:
            PairingError: The environment can't seed each lane, or lanes with one seed differ.
            LaneError: The environment failed, or shows NaN or infinite values.
        """
        repeated = (
            None if seeds is None else [s for s in seeds for _ in range(self.lanes_per_context)]
        )
        try:
            with lane_errors(self.env, self._steps):
                observation, _ = self.env.reset(seed=repeated)  # type: ignore[arg-type]
        except LaneError as error:
            cause = error.__cause__
            refused = isinstance(cause, TypeError | ValueError | gym.error.Error)
            if repeated is None or error.lane is not None or not refused:
                raise
            raise PairingError(
                f"{self.env} does not take a list of seeds, one for each lane ({cause}); lanes "
                "can't be paired. Expected one that does, such as "
                "gymnasium.make_vec(id, vectorization_mode='sync')"
            ) from cause
        self.resetting[:] = False
        return self._agreed(self._finite(observation), "observations")

    def step(self, actions: NDArray[Any]) -> Played:
        """Plays actions of shape (N·M, *action_shape).

        Raises:
            PairingError: Lanes of one context differ in observation or end of episode.
            LaneError: The environment failed, or returned NaN or infinite values.
        """
        self._steps += 1
        with lane_errors(self.env, self._steps):
            observation, rewards, terminated, truncated, info = self.env.step(actions)
        if not np.isfinite(rewards).all():
            lane = int((~np.isfinite(rewards)).argmax())
            raise self._not_finite(f"reward {rewards[lane]}", lane)
        terminated = self._agreed(terminated, "terminations")
        ended = terminated | self._agreed(truncated, "truncations")
        valid = ~self.resetting
        observation = self._stepped = self._finite(observation)
        if self._mode is AutoresetMode.NEXT_STEP:
            self.resetting = ended.copy()
        elif self._mode is AutoresetMode.DISABLED and ended.any():
            mask = np.repeat(ended, self.lanes_per_context)
            with lane_errors(self.env, self._steps):
                observation, _ = self.env.reset(options={"reset_mask": mask})
            observation = self._finite(observation)
        return Played(
            losses=-np.asarray(rewards, np.float64).reshape(self.contexts, -1),
            valid=valid,
            ended=ended,
            terminated=terminated,
            observation=self._agreed(observation, "observations"),
            info=info,
            env_steps=self.env.num_envs,
        )

    def last(self, played: Played) -> NDArray[Any]:
        """What the last step's actions led to: where episodes ended, not yet the next one.

        Returns:
            Shape (N, ...).
        """
        last = self._stepped[:: self.lanes_per_context].copy()
        if self._mode is AutoresetMode.SAME_STEP:
            for n in np.flatnonzero(played.ended):
                final = played.info["final_obs"][n * self.lanes_per_context]
                last[n] = pack_one(final, self._space)
        return last

    def _finite(self, observation: Any) -> Any:
        """The observations, packed, once all are seen to be finite."""
        packed = pack(observation, self._space)
        if isinstance(packed, Tensor):  # images of bytes: nodepert.agents.lanes.device_images
            return packed
        for name in packed.dtype.names or (None,):
            part = packed if name is None else packed[name]
            if part.dtype.kind == "f" and not np.isfinite(part).all():
                finite = np.isfinite(part).reshape(len(part), -1).all(axis=1)
                what = "observation with NaN or infinite values"
                raise self._not_finite(what, int(finite.argmin()))
        return packed

    def _not_finite(self, what: str, lane: int) -> NonFiniteLaneError:
        kind = what.partition(" ")[0]
        return NonFiniteLaneError(
            f"{what} in lane {lane} at vector step {self._steps} (env step {self.env_steps}): the "
            f"environment must return finite {kind}s",
            lane,
            self._steps,
        )

    def _agreed(self, values: Any, what: str) -> Any:
        """The first lane's value for each context, once all its lanes are seen to agree.

        A copy, since some environments write the next step into the array of the last.
        """
        if isinstance(values, Tensor):  # the package's own lanes: one seed is one image
            return values[:: self.lanes_per_context]
        compared = as_bytes(values)
        groups = compared.reshape(self.contexts, self.lanes_per_context, *compared.shape[1:])
        first = groups[:, 0]
        for m in range(1, self.lanes_per_context):
            same = groups[:, m] == first
            if not same.all():
                differ = ~same.reshape(self.contexts, -1).all(axis=1)
                n = int(differ.argmax())
                raise PairingError(
                    f"the {what} of lanes {n * self.lanes_per_context} and "
                    f"{n * self.lanes_per_context + m} differ after vector step {self._steps}, "
                    "though both have the same seed. Probes need lanes that stay in step: "
                    "observations and ends of episodes must follow from the seed, not from the "
                    "action or from other random numbers. credit='score' needs no paired lanes: "
                    "use it for environments with dynamics"
                )
        return values[:: self.lanes_per_context].copy()
