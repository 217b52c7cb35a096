"""Environments are put back where they were, to the last bit."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation, RescaleAction, TimeLimit

import nodepert.envs  # noqa: F401
from nodepert.agents.lanes.states import get_state, set_state


def lanes(make, mode=AutoresetMode.SAME_STEP):
    return SyncVectorEnv([make] * 3, autoreset_mode=mode)


def play(env, actions):
    """Everything that some steps return, as bytes."""
    return [[part.tobytes() for part in env.step(action)[:4]] for action in actions]


CLASSIC = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0",
           "MountainCarContinuous-v0", "CartPoleNoVel-v1", "DelayedXOR-v0"]  # fmt: skip


@pytest.mark.parametrize("name", CLASSIC)
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_a_twin_goes_on_as_the_original_does(name, mode):
    def make():
        return TimeLimit(gym.make(name), 23)

    env, twin = lanes(make, mode), lanes(make, mode)
    env.reset(seed=7)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(100)]
    for part in (0, 22, 23, 40):  # just reset, about a time limit, in later episodes
        play(env, actions[:part])
        state = get_state(env)
        set_state(twin, {name: values.copy() for name, values in state.items()})
        assert play(twin, actions) == play(env, actions)


def test_wrappers_with_a_memory_are_not_read():
    env = lanes(lambda: FrameStackObservation(gym.make("CartPole-v1"), 2))
    env.reset(seed=0)
    assert get_state(env) is None
    env = lanes(lambda: RescaleAction(gym.make("Pendulum-v1"), np.float32(-1), np.float32(1)))
    env.reset(seed=0)
    assert get_state(env) is not None


class Own(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, state):
        self.state = state

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


@pytest.mark.parametrize(
    ("state", "plain"),
    [
        ({"a": 1, "b": [2.5]}, True),
        (object(), False),
        ({"a": object()}, False),
        ({"a": "x"}, False),
        ({"queue": [[1], [2, 3]]}, False),
    ],
)
def test_own_get_state_must_give_numbers(state, plain):
    env = lanes(lambda: Own(state))
    env.reset()
    assert (get_state(env) is not None) is plain


class Asks(Own):
    def get_state(self, of):
        return {"a": 1}


class ToBeOverridden(Own):
    def get_state(self):
        raise NotImplementedError


@pytest.mark.parametrize("make", [Asks, ToBeOverridden])
def test_get_state_that_cannot_be_called_tells_nothing(make):
    env = lanes(lambda: make(None))
    env.reset()
    assert get_state(env) is None


def test_subclasses_may_remember_more():
    class Windy(type(gym.make("CartPole-v1").unwrapped)):
        pass

    env = lanes(Windy)
    env.reset()
    assert get_state(env) is None
