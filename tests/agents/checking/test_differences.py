import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import nodepert.envs  # noqa: F401
from nodepert.agents.checking.differences import difference_in_step, difference_replayed


class Tracking(gym.Env):
    """A target that follows from the seed; each option breaks one thing that pairing needs."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, breaks=None, length=7, made=None):
        self.breaks, self.length = breaks, length
        self.noise = np.random.default_rng()  # not seeded by reset
        if made is not None:
            made.append(self)
        self.closed = False

    def close(self):
        self.closed = True

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.moved = 0, 0.0
        return self.look(), {}

    def look(self):
        self.target = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        if self.breaks == "observation":
            return self.target + np.float32(1e-6 * self.moved)
        if self.breaks == "start" and self.steps == 0:
            return self.noise.uniform(-1, 1, 2).astype(np.float32)
        return self.target.copy()

    def step(self, action):
        self.steps += 1
        reward = -float(np.square(action - self.target).sum())
        if self.breaks == "earlier":
            reward += self.moved
        if self.breaks == "noise":
            reward += self.noise.normal()
        self.moved += float(action[0])
        ended = self.steps >= self.length
        if self.breaks == "end":
            ended |= self.steps > 2 and self.moved > 0
        late = self.breaks == "truncation" and self.moved > 0
        return self.look(), reward, bool(ended), bool(late), {}


def test_a_task_that_follows_from_its_seed_stays_in_step():
    assert difference_in_step(Tracking) is None
    assert difference_in_step(lambda: Tracking(length=1)) is None
    assert difference_replayed(Tracking) is None


@pytest.mark.parametrize("env_id", ["MNIST-v0", "DelayedXOR-v0"])
def test_loss_environments_stay_in_step(env_id):
    assert difference_in_step(lambda: gym.make(env_id)) is None


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Blackjack-v1"])
def test_dynamics_do_not_stay_in_step_but_can_be_replayed(env_id):
    assert "observations" in difference_in_step(lambda: gym.make(env_id))
    assert difference_in_step(lambda: gym.make(env_id)) is not None
    assert difference_replayed(lambda: gym.make(env_id)) is None


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        ("observation", "observations of two copies with one seed differ at step 1 with different"),
        ("end", "terminations of two copies"),
        ("truncation", "truncations of two copies"),
        ("earlier", "rewards of two copies with one seed differ at step 2 with equal actions"),
        ("noise", "rewards of two copies with one seed differ at step 2 with equal actions"),
        ("start", "reset(seed=0) of two copies shows different observations"),
    ],
)
def test_the_first_difference_is_named(breaks, message):
    found = difference_in_step(lambda: Tracking(breaks))
    assert found is not None
    assert message in found
    assert difference_in_step(lambda: Tracking(breaks)) is not None


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (None, None),
        ("earlier", None),  # follows from the actions, which are the same
        ("end", None),
        ("noise", "rewards of two copies with one seed differ at step 1 with equal actions"),
        ("start", "reset(seed=0) of two copies shows different observations"),
    ],
)
def test_replay_needs_seed_and_actions_to_fix_the_trajectory(breaks, message):
    found = difference_replayed(lambda: Tracking(breaks))
    assert (found is None) if message is None else (message in found)


def test_stops_at_the_first_difference_and_closes_both():
    made = []
    assert difference_in_step(lambda: Tracking("observation", made=made)) is not None
    assert [env.steps for env in made] == [1, 1]
    assert all(env.closed for env in made)
    assert len(made) == 2


def test_what_the_environment_raises_is_raised():
    def broken():
        env = Tracking()
        env.step = lambda action: 1 / 0
        return env

    with pytest.raises(ZeroDivisionError):
        difference_in_step(broken)
