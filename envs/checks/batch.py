"""Checks of the batch methods of a loss environment: pure, one row a lane, true gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs.base import Context, LossEnv
from nodepert.envs.draws import Draws
from nodepert.envs.errors import ContractError
from nodepert.envs.observations import arrays_of, lane_of

__all__ = [
    "check_gradient",
    "check_lane_independence",
    "check_not_clipped",
    "check_purity",
    "check_shapes",
]

Make = Callable[[], LossEnv]
LANES = 8


def check_shapes(make: Make) -> None:
    """Contexts have a row a lane, losses are (N,), observations lie in the observation space."""
    env = make()
    for context, actions in batches(env):
        for name, rows in context.items():
            require(len(rows) == LANES, env, f"context {name!r} has {len(rows)} rows, not {LANES}")
        losses = np.asarray(env.loss(context, actions))
        require(losses.shape == (LANES,), env, f"loss: shape {losses.shape}, not ({LANES},)")
        require(bool(np.isfinite(losses).all()), env, "loss: not finite for a valid action")
        shown, space = env.observe(context), env.observation_space
        parts = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
        for rows, part in zip(arrays_in(space, shown), parts, strict=True):
            require(rows.dtype == part.dtype, env, f"observe: {rows.dtype}, not {part.dtype}")
        for lane in range(LANES):
            row = lane_of(shown, lane)
            require(space.contains(row), env, f"observe: {row} is not in {space}")


def check_purity(make: Make) -> None:
    """Batch methods give the same result twice, and leave their arguments as they were."""
    env = make()
    first, second = env.sample_contexts(draws()), env.sample_contexts(draws())
    require(same(first, second), env, "sample_contexts: equal draws gave different contexts")
    given = draws()
    env.sample_contexts(given)
    unchanged = same(given.keys, draws().keys) and same(given.counters, draws().counters)
    require(unchanged, env, "sample_contexts: changed the keys or counters of its draws")
    for context, actions in batches(env):
        for name, call in methods(env):
            before = deepcopy((context, actions))
            results = deepcopy(call(context, actions)), call(context, actions)
            require(same((context, actions), before), env, f"{name}: changed its arguments")
            require(same(*results), env, f"{name}: equal arguments gave different results")
        once, twice = arrays_of(env.observe(context)), arrays_of(env.observe(context))
        for rows in context.values():
            shared = any(np.shares_memory(shown, rows) for shown in once)
            require(not shared, env, "observe: shares memory with the context, return a copy")
        shared = any(np.shares_memory(one, other) for one in once for other in twice)
        require(not shared, env, "observe: two calls share memory, return a new array each time")


def check_lane_independence(make: Make) -> None:
    """What a lane draws, shows and loses does not depend on the other lanes."""
    env, rows = make(), np.array([5, 1, 2])
    alone = env.sample_contexts(draws(rows))
    together = {name: values[rows] for name, values in env.sample_contexts(draws()).items()}
    require(same(alone, together), env, "sample_contexts: a lane depends on other lanes")
    for context, actions in batches(env):
        some = {name: values[rows] for name, values in context.items()}
        for name, call in methods(env):
            for key, whole in named(call(context, actions)).items():
                part = named(call(some, actions[rows]))[key]
                if np.ndim(whole):
                    independent = np.allclose(whole[rows], part, rtol=1e-6, atol=1e-9)
                    require(independent, env, f"{name}: a lane depends on other lanes")


def check_not_clipped(make: Make) -> None:
    """A loss that feels small changes of an action in the Box feels them outside too."""
    env = make()
    if not isinstance(env.action_space, spaces.Box):
        return

    def sensitive(scale: float) -> NDArray[np.bool_]:
        felt = [
            env.loss(context, scale * actions) != env.loss(context, (scale + 1e-4) * actions)
            for context, actions in batches(env)
        ]
        return np.concatenate(felt)

    clipped = sensitive(0.9).mean() > 0.5 and not sensitive(1e3).any()
    require(not clipped, env, "loss: clips actions outside the Box, which biases probes")


def check_gradient(make: Make) -> None:
    """``loss_gradient`` agrees with finite differences, where ``expose_gradient`` is on."""
    env = make()
    if not env.expose_gradient:
        return
    size = 1e-5
    for context, actions in batches(env):
        direction = np.random.default_rng(1).standard_normal(actions.shape)
        gradient = np.asarray(env.loss_gradient(context, actions), np.float64)
        require(
            gradient.shape == actions.shape,
            env,
            f"loss_gradient: shape {gradient.shape}, not that of the actions, {actions.shape}",
        )
        found = (gradient * direction).reshape(LANES, -1).sum(axis=1)
        plus = env.loss(context, actions + size * direction)
        expected = (plus - env.loss(context, actions - size * direction)) / (2 * size)
        lane = int(np.abs(found - expected).argmax())
        require(
            np.allclose(found, expected, rtol=1e-3, atol=1e-4),
            env,
            f"loss_gradient: {found[lane]:.6g} along a direction, but finite differences give "
            f"{expected[lane]:.6g}",
        )


def require(condition: bool, env: Any, message: str) -> None:
    """Raises :class:`ContractError` that names the environment, unless the condition holds."""
    if not condition:
        raise ContractError(f"{type(env.unwrapped).__name__}: {message}")


def arrays_in(space: spaces.Space[Any], shown: Any) -> list[NDArray[Any]]:
    """The arrays of an observation, in the order of the space's parts."""
    if not isinstance(space, spaces.Dict):
        return [shown]
    return [np.asarray(shown[name]) for name in space.spaces]


def draws(rows: Any = slice(None)) -> Draws:
    """Draws of eight lanes, or of some rows of them, made anew."""
    keys = np.random.default_rng(0).integers(2**64, size=LANES, dtype=np.uint64)
    counters = np.arange(LANES, dtype=np.uint64) // np.uint64(2)
    return Draws(keys[rows], counters[rows], np.arange(LANES)[rows], LANES)


def batches(env: LossEnv) -> Iterator[tuple[Context, NDArray[Any]]]:
    """Contexts and valid actions of eight lanes in the first few steps of an episode."""
    space = deepcopy(env.action_space)
    space.seed(0)
    sampled = dict(env.sample_contexts(draws()))
    for step in range(5):
        context = {**sampled, "step": np.full(LANES, step, np.int64)}
        if not np.all(step < np.asarray(env.episode_length(context))):
            return
        actions = np.stack([space.sample() for _ in range(LANES)])
        yield context, actions.astype(np.int64 if actions.dtype.kind in "iu" else np.float64)


def methods(env: LossEnv) -> Iterator[tuple[str, Callable[[Context, NDArray[Any]], Any]]]:
    """The batch methods that this environment uses, all as functions of (context, actions)."""
    yield "loss", env.loss
    yield "info", env.info
    if env.expose_gradient:
        yield "loss_gradient", env.loss_gradient
    yield "observe", lambda context, _: env.observe(context)
    yield "episode_length", lambda context, _: env.episode_length(context)


def named(result: Any) -> dict[str, Any]:
    """A result as a dict of arrays."""
    return result if isinstance(result, dict) else {"": result}


def same(one: Any, other: Any) -> bool:
    """Whether two nests of dicts, sequences and arrays are equal to the bit (NaN equals NaN)."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype == object:  # dicts, one a lane
        return other.dtype == object and same(list(one.flat), list(other.flat))
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
