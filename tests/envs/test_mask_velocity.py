"""Velocities are hidden, everything else is passed through, and the ids can be made."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from nodepert.envs import ConfigError, MaskVelocity
from nodepert.envs.mask_velocity import VELOCITIES

IDS = [name for name in VELOCITIES if "Lunar" not in name]


def masked_id(env_id):
    return env_id.replace("-", "NoVel-")


def complaints(check, env):
    """What a checker warns of, but for the fact that the environment is wrapped."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(env)
    messages = {str(one.message) for one in caught}
    return {one for one in messages if "different from the unwrapped version" not in one}


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("check", [check_env, sb3_check_env], ids=["gymnasium", "sb3"])
def test_checkers_find_nothing_that_the_bare_environment_lacks(env_id, check):
    bare = complaints(check, gym.make(env_id))
    assert complaints(check, gym.make(masked_id(env_id))) <= bare
    assert complaints(check, MaskVelocity(gym.make(env_id))) <= bare


@pytest.mark.parametrize("env_id", VELOCITIES)
def test_only_the_velocities_are_zero(env_id):
    if "Lunar" in env_id:
        pytest.importorskip("Box2D")
    bare, hidden = gym.make(env_id), gym.make(masked_id(env_id))
    assert hidden.spec.max_episode_steps == bare.spec.max_episode_steps
    assert hidden.observation_space == bare.observation_space
    bare.action_space.seed(3)
    (full, _), (shown, _) = bare.reset(seed=3), hidden.reset(seed=3)
    moved = np.zeros(full.shape, bool)
    for _ in range(20):
        expected = full.copy()
        expected[list(VELOCITIES[env_id])] = 0
        np.testing.assert_array_equal(shown, expected)
        moved |= full != 0
        action = bare.action_space.sample()
        full, reward, ended, *_ = bare.step(action)
        shown, other_reward, *_ = hidden.step(action)
        assert reward == other_reward
        if ended:
            break
    assert moved[list(VELOCITIES[env_id])].all(), "nothing was there to hide"


def test_the_names_are_as_gymnasium_documents_them():
    """Cart velocity and pole angular velocity: what the next position and angle follow from."""
    env = gym.make("CartPole-v1").unwrapped
    before, _ = env.reset(seed=0)
    after, *_ = env.step(1)
    np.testing.assert_allclose(after[[0, 2]], before[[0, 2]] + env.tau * before[[1, 3]], rtol=1e-5)
    assert VELOCITIES["CartPole-v1"] == (1, 3)


def test_components_of_your_own_choice():
    env = MaskVelocity(gym.make("CartPole-v1"), hidden=[0])
    shown, _ = env.reset(seed=1)
    full, _ = gym.make("CartPole-v1").reset(seed=1)
    np.testing.assert_array_equal(shown, [0, *full[1:]])


def test_hidden_values_are_zero_even_where_they_are_not_finite():
    env = MaskVelocity(gym.make("CartPole-v1"))
    shown = env.observation(np.array([1, np.inf, 2, np.nan], np.float32))
    np.testing.assert_array_equal(shown, [1, 0, 2, 0])


def test_made_again_from_its_spec_and_vectorised():
    env = gym.make(gym.make("CartPoleNoVel-v1").spec)
    assert env.reset(seed=0)[0][[1, 3]].tolist() == [0, 0]
    vector = gym.make_vec("PendulumNoVel-v1", num_envs=2)
    assert isinstance(vector, SyncVectorEnv)
    assert vector.reset(seed=0)[0][:, 2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaskVelocity(gym.make("MNIST-v0")), "MNIST-v0 are not known.*CartPole-v1"),
        (lambda: MaskVelocity(gym.make("CartPole-v1"), [4]), r"hidden=\[4\].*from 0 to 3"),
        (lambda: MaskVelocity(gym.make("FrozenLake-v1"), [0]), "expected a Box"),
        (
            lambda: MaskVelocity(
                gym.wrappers.RescaleObservation(
                    gym.make("Pendulum-v1"), np.float32(1), np.float32(2)
                ),
                [2],
            ),
            "component 2 is from 1.0 to 2.0",
        ),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
