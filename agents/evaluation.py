"""How good a model is at a task, in the task's own terms."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from nodepert.agents.errors import NonFiniteLaneError
from nodepert.agents.lanes.guard import lane_errors
from nodepert.agents.lanes.handover import vectorise
from nodepert.envs import MNIST, DelayedXOR, LossEnv, LossVectorEnv, MNISTAutoencoder
from nodepert.envs.xor_schedules import Trials

__all__ = ["Predicts", "Score", "evaluate"]

STREAM_STEPS = 1_000  # of each lane of a delayed XOR that never ends
MOST_STEPS = 10_000  # of an episode of any other task, since one that never ends can't be told


class Predicts(Protocol):
    """Anything that acts as a Stable-Baselines3 model does."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Actions for a batch of observations, and the next state of a recurrent policy."""


@dataclass(frozen=True)
class Score:
    """A metric and its value.

    ``test_error`` and ``go_accuracy`` are fractions of 1, ``test_mse`` the mean of the squared
    error over images and pixels, ``mean_return`` the mean sum of rewards of an episode (of its
    first 10,000 steps). On another split they are ``validation_error``, ``train_mse`` and so on.
    """

    metric: str
    value: float


def evaluate(
    model: Predicts,
    env_id: str,
    env_kwargs: dict[str, Any] | None = None,
    *,
    split: str = "test",
    seed: int | None = None,
) -> Score:
    """Scores any model on an environment that it was not trained on.

    MNIST tasks are scored on every example of ``split``; other loss tasks on episodes of 1,000 new
    seeds, any other environment on 20.

    Args:
        model: A Stable-Baselines3 model or the like; it acts deterministically.
        env_id: What :func:`gymnasium.make` takes.
        env_kwargs: Likewise.
        split: ``"test"`` for reports, ``"validation"`` for choices; for MNIST tasks.
        seed: Of the first lane, for other tasks. Default: 10,000, and 20,000 where the split is
            ``"validation"``: choices are not made on the episodes of reports.

    Raises:
        LaneError: The environment failed, or a reward is NaN or infinite.
    """
    if seed is None:
        seed = 20_000 if split == "validation" else 10_000
    with closing(gym.make(env_id, **(env_kwargs or {}))) as env:
        task = env.unwrapped
        if isinstance(task, MNIST | MNISTAutoencoder):
            assert task.spec is not None  # whose kwargs lack those that only gymnasium.make takes
            kwargs = {**task.spec.kwargs, "split": split, "order": "sequential", "holdout": False}
            return _score_images(model, type(task)(**kwargs))
        with closing(vectorise(env, 1_000 if isinstance(task, LossEnv) else 20)) as lanes:
            if isinstance(task, DelayedXOR):
                steps = MOST_STEPS if isinstance(task.schedule, Trials) else STREAM_STEPS
                correct = play(model, lanes, seed, steps)[1]
                return Score("go_accuracy", float(np.mean(correct)))
            returns = play(model, lanes, seed, MOST_STEPS)[0]
            return Score("mean_return", float(np.mean(returns)))


def _score_images(model: Predicts, task: MNIST | MNISTAutoencoder) -> Score:
    """One vector step shows every example once."""
    returns, correct = play(model, LossVectorEnv(task, task.num_examples), None, 1)
    split = task.examples.source[1]
    if isinstance(task, MNIST):
        return Score(f"{split}_error", float(np.mean(~correct)))
    pixels = int(np.prod(task.action_space.shape or ()))
    return Score(f"{split}_mse", -2 * float(np.mean(returns)) / pixels)


def play(
    model: Predicts, lanes: VectorEnv[Any, Any, Any], seed: int | None, most_steps: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Plays one episode in each lane, or as much of it as ``most_steps`` allow.

    Returns:
        Returns of the lanes (N,), and ``info["correct"]`` wherever it was reported.

    Raises:
        LaneError: The environment failed, or a reward is NaN or infinite.
    """
    with lane_errors(lanes, 0):
        observation, _ = lanes.reset(seed=seed)
    returns = np.zeros(lanes.num_envs)
    running = np.ones(lanes.num_envs, np.bool_)
    state: Any = None
    start = np.ones(lanes.num_envs, np.bool_)
    correct: list[NDArray[np.bool_]] = []
    for step in range(most_steps):
        actions, state = model.predict(observation, state, start, deterministic=True)
        with lane_errors(lanes, step + 1):
            observation, rewards, terminated, truncated, info = lanes.step(actions)
        lost = running & ~np.isfinite(rewards)
        if lost.any():
            lane = int(lost.argmax())
            raise NonFiniteLaneError(
                f"reward {rewards[lane]} in lane {lane} at step {step + 1} of an evaluation: the "
                "environment must return finite rewards",
                lane,
                step + 1,
            )
        returns += np.where(running, rewards, 0.0)
        for reported in (info, info.get("final_info", {})):
            if "correct" in reported:
                correct.append(reported["correct"][reported["_correct"] & running])
        start = terminated | truncated
        running &= ~start
        if not running.any():
            break
    return returns, np.concatenate(correct) if correct else np.zeros(0, np.bool_)
