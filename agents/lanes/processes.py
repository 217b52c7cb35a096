"""A vector environment with one process a lane, which outlives lanes that hang, die or raise."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import wait
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from nodepert.agents.errors import ConfigError, LaneError
from nodepert.agents.lanes.worker import Failure, Worker

__all__ = ["ProcessVectorEnv"]

Reply = Any
Step = tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class ProcessVectorEnv(VectorEnv[Any, Any, Any]):
    """Plays each lane in a process of its own, in the SAME_STEP mode of autoreset.

    For environments that are slow, such as a program spoken to over a pipe, and for those that
    sometimes hang, die, raise, or return NaN or an observation of another shape. Such a failure
    is a :class:`LaneError`, or, as often as ``max_restarts`` allows, the lane is restarted: its
    process is ended and made again, the step that failed gives the reward 0 and
    ``truncated=True`` with the lane's last good observation as ``final_obs``, ``info["restarted"]``
    is True there, and the lane shows the start of a new episode with a fresh seed.

    Lanes that were reset with one seed stay in step: where one is restarted, the others with its
    seed start the same new episode, with the same reward and flags.

    Args:
        makers: One function a lane that makes its environment, called in its process.
        timeout: Seconds that making an environment, a reset or a step may take; None for ever.
        max_restarts: How many failures of all lanes together are answered by a restart.
        context: How processes are started: ``"fork"``, ``"spawn"`` or ``"forkserver"``; None for
            the system's default.

    Attributes:
        restarts: How many there were.

    Raises:
        ConfigError: An argument that is not valid, or lanes with different spaces.
        LaneError: An environment can't be made.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], gym.Env[Any, Any]]],
        *,
        timeout: float | None = None,
        max_restarts: int = 0,
        context: str | None = None,
    ) -> None:
        if not makers:
            raise ConfigError("makers=[]: expected one function a lane")
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"timeout={timeout!r}: expected None or a positive number of seconds")
        if max_restarts < 0:
            raise ConfigError(f"max_restarts={max_restarts!r}: expected 0 or more")
        self.timeout, self.max_restarts, self.restarts = timeout, max_restarts, 0
        self.num_envs = len(makers)
        self._steps = 0
        self._seeds: list[int | None] = [None] * self.num_envs
        start = multiprocessing.get_context(context)
        self._workers = [Worker(start, maker) for maker in makers]
        try:
            self._adopt(self._insist(range(self.num_envs), lambda lane: ("describe", ())))
        except BaseException:
            self.close()
            raise
        self._shown: list[Any] = [None] * self.num_envs  # the last good observations

    def _adopt(self, made: dict[int, dict[str, Any]]) -> None:
        """Takes the spaces that the lanes' processes told."""
        first = made[0]
        for lane, one in made.items():
            for name in ("observation_space", "action_space"):
                if one[name] != first[name]:
                    raise ConfigError(
                        f"lane {lane} has {name} {one[name]}, lane 0 has {first[name]}: expected "
                        "equal ones"
                    )
        self.single_observation_space = first["observation_space"]
        self.single_action_space = first["action_space"]
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.action_scale: float | None = first["action_scale"]  # of a loss environment
        self.metadata = {**first["metadata"], "autoreset_mode": AutoresetMode.SAME_STEP}

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode in each lane.

        Args:
            seed: None goes on with the lanes' random numbers; an int seeds lane i with seed + i; a
                list seeds each lane (None in it: that lane goes on with its own).
            options: Passed to each lane's reset.

        Raises:
            ConfigError: A list of another length than ``num_envs``.
            LaneError: A lane failed once more than ``max_restarts`` allows.
        """
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            seed = [int(seed) + lane for lane in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ConfigError(f"seed has {len(seeds)} entries, expected {self.num_envs}")
        self._seeds = [
            old if new is None else int(new) for old, new in zip(self._seeds, seeds, strict=True)
        ]
        infos: dict[str, Any] = {}
        played = self._reset_lanes({lane: seeds[lane] for lane in range(self.num_envs)}, options)
        for lane, (_, info) in played.items():
            infos = self._add_info(infos, info, lane)
        return self._observations(), infos

    def step(self, actions: Any) -> Step:
        """Plays one action in each lane, all at once.

        Raises:
            LaneError: A lane failed once more than ``max_restarts`` allows.
        """
        self._steps += 1
        lanes = range(self.num_envs)
        each = list(iterate(self.action_space, actions))
        replies = self._ask(lanes, lambda lane: ("step", (each[lane],)))
        failed = {lane: one for lane, one in replies.items() if isinstance(one, Failure)}
        for lane, failure in failed.items():
            self._restart(lane, failure)
        restarted = [lane for lane in lanes if lane in failed or self._has_twin(lane, failed)]
        last = {lane: self._shown[lane] for lane in restarted}
        self._reset_lanes(self._fresh_seeds(restarted), None)

        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        infos: dict[str, Any] = {}
        for lane in lanes:
            if lane in last:
                truncated[lane] = True
                info = {"final_obs": last[lane], "final_info": {}, "restarted": True}
            else:
                shown, rewards[lane], terminated[lane], truncated[lane], info = replies[lane]
                self._shown[lane] = shown
            infos = self._add_info(infos, info, lane)
        return self._observations(), rewards, terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Ends all processes."""
        for worker in self._workers:
            worker.ask_to_end()
        for worker in self._workers:
            worker.end()

    def __del__(self) -> None:
        if not self.closed and hasattr(self, "_workers"):
            self.close()

    # Lanes and their processes ---------------------------------------------------------------

    def _observations(self) -> Any:
        """What the lanes show, in arrays of their own."""
        space = self.single_observation_space
        empty: Any = create_empty_array(space, self.num_envs)
        return concatenate(space, self._shown, empty)

    def _has_twin(self, lane: int, failed: Iterable[int]) -> bool:
        """Whether a lane with this lane's seed failed."""
        seed = self._seeds[lane]
        return seed is not None and any(self._seeds[other] == seed for other in failed)

    def _fresh_seeds(self, lanes: list[int]) -> dict[int, int | None]:
        """New seeds for these lanes: equal ones where the old were equal, None where unseeded."""
        for lane in lanes:
            old = self._seeds[lane]
            if old is not None:
                words = np.random.SeedSequence([old, self.restarts]).generate_state(1)
                self._seeds[lane] = int(words[0])
        return {lane: self._seeds[lane] for lane in lanes}

    def _reset_lanes(
        self, seeds: dict[int, int | None], options: dict[str, Any] | None
    ) -> dict[int, tuple[Any, dict[str, Any]]]:
        """Resets some lanes, and keeps what they show."""
        played = self._insist(seeds, lambda lane: ("reset", (seeds[lane], options)))
        for lane, (shown, _) in played.items():
            self._shown[lane] = shown
        return played

    def _insist(self, lanes: Iterable[int], message: Callable[[int], Any]) -> dict[int, Reply]:
        """Asks, restarting lanes that fail, until all have answered."""
        answers: dict[int, Reply] = {}
        pending = list(lanes)
        while pending:
            replies = self._ask(pending, message)
            pending = [lane for lane in pending if isinstance(replies[lane], Failure)]
            for lane in pending:
                self._restart(lane, replies[lane])
            answers.update(replies)
        return answers

    def _ask(self, lanes: Iterable[int], message: Callable[[int], Any]) -> dict[int, Reply]:
        """Sends each lane its message, and collects the answers or failures."""
        replies: dict[int, Reply] = {}
        pending = {self._workers[lane].connection: lane for lane in lanes}
        for lane in pending.values():
            self._workers[lane].send(message(lane))
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while pending:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            ready = wait(list(pending), left)
            if not ready:
                late = Failure(f"no answer within {self.timeout:g} s", "")
                return {**replies, **dict.fromkeys(pending.values(), late)}
            for lane in [lane for connection, lane in pending.items() if connection in ready]:
                replies[lane] = self._workers[lane].receive()
                del pending[self._workers[lane].connection]
        return replies

    def _restart(self, lane: int, failure: Failure) -> None:
        """A new process for a lane that failed.

        Raises:
            LaneError: There were as many restarts as there may be.
        """
        what = f"lane {lane} failed at vector step {self._steps}: {failure.message}"
        if self.restarts >= self.max_restarts:
            self._workers[lane].kill()  # it may hang, and not close by itself
            self.close()
            cause = RuntimeError(failure.trace) if failure.trace else None
            raise LaneError(what, lane, self._steps) from cause
        self.restarts += 1
        warnings.warn(f"{what}; restarted ({self.restarts} of {self.max_restarts})", stacklevel=3)
        self._workers[lane].restart()
