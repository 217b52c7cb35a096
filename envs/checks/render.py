"""Checks of the frames of a loss environment that can be drawn."""

from __future__ import annotations

from itertools import islice

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from nodepert.envs.base import LossEnv
from nodepert.envs.checks.batch import Make, require, same
from nodepert.envs.checks.vector import TIME_LIMIT, actions_of
from nodepert.envs.vector import LossVectorEnv

__all__ = ["check_frames"]

STEPS = 5


def check_frames(make: Make) -> None:
    """Frames have one size, change nothing, and are the same from lanes and single environments.

    A task without :meth:`~nodepert.envs.LossEnv.render_frame` has none, and passes.
    """
    plain, env = make(), drawn(make)
    if not plain.metadata["render_modes"]:
        return
    sizes = {shape for mode in AutoresetMode for shape in compare(make, mode)}
    require(len(sizes) == 1, env, f"render_frame: frames of several sizes, {sorted(sizes)}")
    for one in (plain, env):
        one.reset(seed=3)
    env.render()
    action = env.action_space.sample()
    followed, expected = env.step(action), plain.step(action)
    require(same(followed, expected), env, "render_frame: drawing changed what followed")


def drawn(make: Make) -> LossEnv:
    """A new environment that can be asked for frames."""
    env = make()
    env.render_mode = "rgb_array"
    return env


def compare(make: Make, mode: AutoresetMode) -> set[tuple[int, ...]]:
    """The shapes of the frames of a lane, which are those of a single environment."""
    native = LossVectorEnv(drawn(make), 1, max_episode_steps=TIME_LIMIT, autoreset_mode=mode)
    single = SyncVectorEnv([lambda: TimeLimit(drawn(make), TIME_LIMIT)], autoreset_mode=mode)
    native.reset(seed=3)
    single.reset(seed=3)
    shapes = set()
    for action in islice(actions_of(native), STEPS):
        frames = native.render()
        message = f"{mode.value}: the frame of a lane is not that of the single environment"
        require(same(frames, single.render()), native.env, message)
        shapes |= {np.shape(frame) for frame in frames or ()}
        for env in (native, single):
            _, _, terminated, truncated, _ = env.step(action)
            if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
                env.reset(options={"reset_mask": terminated | truncated})
    return shapes
