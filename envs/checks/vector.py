"""Checks of the native vector environment of a task against Gymnasium's own, lane by lane."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from nodepert.envs.checks.batch import Make, require, same
from nodepert.envs.observations import arrays_of
from nodepert.envs.vector import LossVectorEnv

__all__ = [
    "check_autoreset",
    "check_pairing",
    "check_vector_memory",
    "check_vector_state",
]

STEPS = 30
TIME_LIMIT = 9  # truncates tasks whose episodes are longer, so that every task ends


def check_autoreset(make: Make, num_envs: int = 3) -> None:
    """In every autoreset mode, the vector environment does what single environments do."""
    for mode in AutoresetMode:
        native = LossVectorEnv(make(), num_envs, max_episode_steps=TIME_LIMIT, autoreset_mode=mode)
        single = SyncVectorEnv(
            [lambda: TimeLimit(make(), TIME_LIMIT)] * num_envs, autoreset_mode=mode
        )
        seeds = [11 + 3 * lane for lane in range(num_envs)]
        pairs = zip(play(native, seeds), play(single, seeds), strict=True)
        for step, (found, expected) in enumerate(pairs):
            for name, one, other in zip(NAMES, found, expected, strict=True):
                # A matrix product rounds otherwise in a batch of another size.
                rounded = name == "rewards" and one.dtype == other.dtype
                equal = np.allclose(one, other) if rounded else same(one, other)
                message = f"{mode.value}, step {step}: {name} differ from the single environment's"
                require(equal, native.env, f"{message}: {one}, not {other}")


def check_pairing(make: Make) -> None:
    """Lanes with one seed show the same and end together, whatever their actions are."""
    native = LossVectorEnv(make(), 4, max_episode_steps=TIME_LIMIT)
    for observations, _, terminated, truncated, _ in play(native, [7, 8, 7, 7]):
        for rows in (*arrays_of(observations), terminated, truncated):
            paired = same(rows[0], rows[2]) and same(rows[0], rows[3])
            require(paired, native.env, "lanes with one seed differ: they depend on the actions")


def check_vector_memory(make: Make) -> None:
    """No array that the vector environment returned is written to later."""
    native = LossVectorEnv(make(), 3, max_episode_steps=TIME_LIMIT)
    returned = list(play(native, [1, 2, 3], copy=False))
    expected = list(play(native, [1, 2, 3]))
    require(same(returned, expected), native.env, "a returned array changed later")


def check_vector_state(make: Make) -> None:
    """A vector environment goes on the same after pickling and after ``set_state``."""
    native, twin = (LossVectorEnv(make(), 3, max_episode_steps=TIME_LIMIT) for _ in range(2))
    list(play(native, [1, 2, 3]))
    pickled = pickle.loads(pickle.dumps(native))
    twin.set_state({name: values.tolist() for name, values in native.get_state().items()})
    for action in islice(actions_of(native), STEPS):
        expected = deepcopy(native.step(action))
        require(same(pickled.step(action), expected), native.env, "a pickled copy differs")
        require(same(twin.step(action), expected), native.env, "set_state: the future differs")


NAMES = ("observations", "rewards", "terminations", "truncations", "infos")


def play(env: Any, seeds: list[int], copy: bool = True) -> Iterator[Any]:
    """Yields each step of an environment seeded by lane, with different actions in each lane."""
    keep = deepcopy if copy else lambda arrays: arrays
    observations, infos = env.reset(seed=seeds)
    nobody = np.zeros(env.num_envs, np.bool_)
    start = observations, np.zeros(env.num_envs), nobody, nobody
    yield keep((*start, by_lane(infos, env.num_envs)))
    actions = actions_of(env)
    for _ in range(STEPS):
        *arrays, infos = env.step(next(actions))
        done = arrays[2] | arrays[3]
        yield keep((*arrays, by_lane(infos, env.num_envs)))
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            env.reset(options={"reset_mask": done.copy()})


def actions_of(env: VectorEnv[Any, Any, Any]) -> Iterator[NDArray[Any]]:
    """An endless stream of valid actions."""
    space = deepcopy(env.single_action_space)
    space.seed(0)
    while True:
        yield np.stack([space.sample() for _ in range(env.num_envs)])


def by_lane(infos: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Infos as one dict a lane, so that values outside the masks don't matter."""
    lanes: list[dict[str, Any]] = []
    for lane in range(num_envs):
        info: dict[str, Any] = {}
        for name, values in infos.items():
            if not name.startswith("_") and infos["_" + name][lane]:
                nested = isinstance(values, dict)
                info[name] = by_lane(values, num_envs)[lane] if nested else values[lane]
        lanes.append(info)
    return lanes
