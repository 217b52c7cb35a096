"""What keeps an environment from being paired or replayed, found by playing two copies of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np

from nodepert.envs.checks.batch import same

__all__ = ["Make", "difference_in_step", "difference_replayed", "play", "samples"]

Make = Callable[[], gym.Env[Any, Any]]
STEPS = 200


def difference_in_step(make: Make, steps: int = STEPS, seed: int = 0) -> str | None:
    """Plays two copies with one seed, and stops where paired probes would go wrong.

    The copies are given different random actions on every other step, and equal ones between.
    Observations and ends of episodes must agree throughout: they may not follow from the action.
    Rewards must agree where the actions do: they may follow from the seed and from the present
    action only, neither from earlier ones nor from random numbers of another source.

    Args:
        make: Makes a new single environment each time it is called; it is called twice.
        steps: How many to play in each, over as many episodes as that takes.
        seed: Of both.

    Returns:
        The first difference in words, or None where there is none.

    Raises:
        Exception: Whatever the environment raises.
    """
    with two(make) as (one, other):
        actions = samples(one.action_space, seed)

        def choose(step: int) -> tuple[Any, Any]:
            action = next(actions)
            others = [] if step % 2 else list(islice(actions, 8))
            # Of few actions, two random ones are often the same.
            return action, next((one for one in others if not same(one, action)), action)

        return first_difference(one, other, choose, steps, seed)


def difference_replayed(make: Make, steps: int = STEPS, seed: int = 0) -> str | None:
    """Plays two copies with one seed and equal actions.

    Args:
        make: Makes a new single environment each time it is called; it is called twice.
        steps: How many to play in each, over as many episodes as that takes.
        seed: Of both.

    Returns:
        The first difference in words, or None where a seed and actions fix the trajectory.
    """
    with two(make) as (one, other):
        actions = samples(one.action_space, seed)

        def choose(step: int) -> tuple[Any, Any]:
            action = next(actions)
            return action, action

        list(play(other, samples(other.action_space, seed + 1), 3, seed + 1))  # one that was used
        return first_difference(one, other, choose, steps, seed)


def first_difference(
    one: gym.Env[Any, Any],
    other: gym.Env[Any, Any],
    choose: Callable[[int], tuple[Any, Any]],
    steps: int,
    seed: int,
) -> str | None:
    """The first difference between two environments, given the two actions of each step."""
    if not same(*(env.reset(seed=seed)[0] for env in (one, other))):
        return f"reset(seed={seed}) of two copies shows different observations"
    first: Any
    second: Any
    for step in range(steps):
        actions = choose(step)
        equal = same(*actions)
        given = f"with {'equal' if equal else 'different'} actions"
        first, second = (  # given a copy, since an environment may write into what it is given
            env.step(copy.deepcopy(action))[:4]
            for env, action in zip((one, other), actions, strict=True)
        )
        for name, i in (("observations", 0), ("terminations", 2), ("truncations", 3)):
            if not same(first[i], second[i]):
                return f"{name} of two copies with one seed differ at step {step + 1} {given}"
        if equal and not np.allclose(first[1], second[1], rtol=1e-9, atol=1e-12, equal_nan=True):
            return (
                f"rewards of two copies with one seed differ at step {step + 1} {given}: "
                f"{first[1]} and {second[1]}"
            )
        if (first[2] or first[3]) and not same(*(env.reset()[0] for env in (one, other))):
            return f"episodes of two copies with one seed start differently at step {step + 1}"
    return None


def play(
    env: gym.Env[Any, Any], actions: Iterator[Any], steps: int, seed: int | None = None
) -> Iterator[tuple[Any, Any, Any, Any, Any]]:
    """Yields what each step returns, with resets between.

    Warns where a step writes into its action, which the agent may still need.
    """
    env.reset(seed=seed)
    for _ in range(steps):
        action = next(actions)
        before = copy.deepcopy(action)
        shown, reward, terminated, truncated, info = env.step(action)
        if not same(action, before):
            warnings.warn("step writes into the action that it is given", stacklevel=2)
        yield shown, reward, terminated, truncated, info
        if terminated or truncated:
            env.reset()


def samples(space: gym.Space[Any], seed: int) -> Iterator[Any]:
    """An endless stream of random actions; the environment's own space stays as it was."""
    space = copy.deepcopy(space)
    space.seed(seed)
    while True:
        yield space.sample()


@contextmanager
def two(make: Make) -> Iterator[tuple[gym.Env[Any, Any], gym.Env[Any, Any]]]:
    """Two environments, closed in the end."""
    with closing(make()) as one, closing(make()) as other:
        yield one, other
