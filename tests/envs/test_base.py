"""The single environment: resets, seeds, state, errors."""

import json

import gymnasium as gym
import numpy as np
import pytest

from nodepert.envs import ConfigError, ContractError, DelayedXOR, LossEnv
from nodepert.envs.base import blank


class Plain(LossEnv):
    """The smallest task: two methods."""

    def __init__(self, expose_gradient=False):
        super().__init__(expose_gradient)
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def sample_contexts(self, draws):
        return {"observation": draws.uniform(2).astype(np.float32)}

    def loss(self, context, actions):
        return ((actions - context["observation"]) ** 2).sum(axis=1)


def test_two_methods_make_an_environment():
    env = Plain()
    observation, info = env.reset(seed=0)
    assert info == {}
    assert env.step(observation)[1:4] == (0.0, True, False)


def test_without_gradient_there_is_none_to_expose():
    with pytest.raises(ConfigError, match="Plain has no loss_gradient"):
        Plain(expose_gradient=True)


def test_step_before_reset_and_after_the_end():
    env = Plain()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(2))
    with pytest.raises(gym.error.ResetNeeded):
        env.get_state()
    env.reset(seed=0)
    env.step(np.zeros(2))
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(2))


def test_reset_without_a_seed_goes_on_and_with_a_seed_starts_again():
    env = Plain()
    episodes = [env.reset(seed=1)[0], *(env.reset()[0] for _ in range(20))]
    assert len(np.unique(episodes, axis=0)) == 21
    np.testing.assert_array_equal(env.reset(seed=1)[0], episodes[0])
    np.testing.assert_array_equal(env.reset()[0], episodes[1])


def test_unseeded_environments_differ():
    assert not np.array_equal(Plain().reset()[0], Plain().reset()[0])


def test_what_is_shown_does_not_depend_on_the_actions_or_resets_midway():
    one, other = DelayedXOR(), DelayedXOR()
    one.reset(seed=1)
    other.reset(seed=1)
    for _ in range(3):
        one.step(np.ones(1))
    np.testing.assert_array_equal(one.reset()[0], other.reset()[0])


def test_state_survives_json_in_the_middle_of_an_episode():
    env, twin = DelayedXOR(delay=(1, 5)), DelayedXOR(delay=(1, 5))
    env.reset(seed=1)
    for _ in range(3):
        env.step(np.zeros(1))
    text = json.dumps({name: values.tolist() for name, values in env.get_state().items()})
    twin.set_state(json.loads(text))
    for _ in range(50):
        one, other = env.step(np.ones(1)), twin.step(np.ones(1))
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]
        if one[2]:
            np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize("change", [{"keys": [1, 2]}, {"steps": None}])
def test_state_of_something_else(change):
    env = Plain()
    env.reset(seed=0)
    with pytest.raises(ContractError, match="is missing or has another shape"):
        env.set_state({**env.get_state(), **change})


def test_ragged_actions():
    env = Plain()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="not an array of numbers"):
        env.step([[1], [1, 2]])


def test_blank_is_a_valid_observation():
    for space in (
        gym.spaces.Box(-1, 1, (2,), np.float32),
        gym.spaces.Box(2, 3, (2,), np.float32),
        gym.spaces.Box(np.array([-3, 1]), np.array([-2, 4]), dtype=np.float32),
        gym.spaces.Box(0, 255, (2, 2), np.uint8),
    ):
        assert all(space.contains(row) for row in blank(space, 3))


class TooManyRows(Plain):
    def info(self, context, actions):
        return {"label": np.zeros(7)}


def test_info_with_the_wrong_number_of_rows():
    env = TooManyRows()
    env.reset(seed=0)
    with pytest.raises(ContractError, match=r"TooManyRows: info 'label' has shape \(7,\)"):
        env.step(np.zeros(2))
