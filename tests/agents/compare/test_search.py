"""Search in weight space: env steps are counted once, and what is better is climbed to."""

import numpy as np
import pytest
import torch
from gymnasium.vector import VectorWrapper

pytest.importorskip("sb3_contrib")

from nodepert.agents import SB3VecEnv
from nodepert.agents.compare.search import ARS, ES, centred_ranks

NET = {"policy_kwargs": {"net_arch": [8]}}


class Counted(VectorWrapper):
    """Keeps what each step showed and paid."""

    def __init__(self, env):
        super().__init__(env)
        self.env_steps, self.shown = 0, []

    def reset(self, **kwargs):
        observation, info = super().reset(**kwargs)
        self.shown.append(observation.copy())
        return observation, info

    def step(self, actions):
        self.env_steps += self.num_envs
        return super().step(actions)


@pytest.fixture
def lanes(tasks):
    return Counted(tasks.Echo.vector(8, length=3))


@pytest.mark.parametrize("algorithm", [ARS, ES])
def test_a_step_of_every_lane_is_counted_once(algorithm, lanes):
    model = algorithm("MlpPolicy", SB3VecEnv(lanes), n_delta=2, n_eval_episodes=8, seed=0, **NET)
    model.learn(100, log_interval=None)
    assert model.num_timesteps == lanes.env_steps == 192  # two generations of 4 · 8 · 3


def test_candidates_of_a_generation_play_the_same_episodes(lanes):
    model = ES("MlpPolicy", SB3VecEnv(lanes), n_delta=2, n_eval_episodes=8, seed=0, **NET)
    model.learn(100, log_interval=None)
    first, second = lanes.shown[1:5], lanes.shown[5:]  # after the reset by learn
    assert all(np.array_equal(shown, first[0]) for shown in first)
    assert all(np.array_equal(shown, second[0]) for shown in second)
    assert not np.array_equal(first[0], second[0])


def test_es_learns_what_is_paid_for(tasks):
    lanes = SB3VecEnv(tasks.Echo.vector(16))
    model = ES("LinearPolicy", lanes, learning_rate=0.1, n_delta=8, n_eval_episodes=16, seed=0)
    model.learn(8_000, log_interval=None)
    shown = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    miss = 2 * model.predict(shown)[0] - shown
    assert np.square(miss).sum(1).mean() / 2 < 0.05  # 0.5 by doing nothing


def test_ranks():
    assert centred_ranks(torch.tensor([3.0, -7.0, 5.0])).tolist() == [0.0, -0.5, 0.5]
    assert centred_ranks(torch.tensor([1.0, 1.0, 0.0])).tolist() == [0.25, 0.25, -0.5]
