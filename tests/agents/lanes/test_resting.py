"""Lanes that rest once their episode is over."""

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from nodepert.agents.lanes.resting import RestingLane, one_episode_each


def lanes(mode=AutoresetMode.SAME_STEP, count=2):
    make = lambda: RestingLane(gym.make("CartPole-v1", max_episode_steps=5))  # noqa: E731
    return SyncVectorEnv([make] * count, autoreset_mode=mode)


def play(env, steps):
    actions = np.zeros(env.num_envs, np.int64)
    return [env.step(actions) for _ in range(steps)]


def test_a_lane_rests_from_its_end_to_the_next_seed():
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        env = lanes(mode)
        with one_episode_each(env) as rests:
            assert rests
            env.reset(seed=[3, 3])
            *_, last, after, later = play(env, 8)
            assert [bool(step[3].all()) for step in (last, after, later)] == [False] * 3
            assert not later[1].any()
            assert np.array_equal(after[0], later[0])
            env.reset(seed=[4, 4])
            assert play(env, 1)[0][1].all()


def test_otherwise_a_lane_is_what_it_wraps():
    env = lanes()
    plain = SyncVectorEnv(
        [lambda: gym.make("CartPole-v1", max_episode_steps=5)] * 2,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    with one_episode_each(env):
        env.reset(seed=[1, 1])
        play(env, 7)
    for one in (env, plain):
        one.reset(seed=[5, 6])
    for ours, theirs in zip(play(env, 12), play(plain, 12), strict=True):
        for i in range(4):
            assert np.array_equal(ours[i], theirs[i])


def test_lanes_of_another_make_do_not_rest():
    env = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2)
    with one_episode_each(env) as rests:
        assert not rests
