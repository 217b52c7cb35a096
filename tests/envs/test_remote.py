"""What a worker holds: losses from keys and counters, and lanes that can be played again."""

import gymnasium as gym
import numpy as np
import pytest

from nodepert.envs import ContractError, DelayedXOR
from nodepert.envs.remote import LaneWorker, LossWorker


def test_a_loss_needs_no_history():
    keys, counters, lanes = np.array([7, 8], np.uint64), np.array([3, 0], np.uint64), np.arange(2)
    actions = np.full((2, 1), 0.25)
    answers = []
    for earlier in ((), range(6)):
        worker = LossWorker(DelayedXOR, 2)
        for step in earlier:  # other episodes, then the same one
            worker.loss(keys + np.uint64(step % 2), counters, lanes, np.full(2, step), actions)
        answers.append([worker.loss(keys, counters, lanes, np.full(2, t), actions) for t in (6, 2)])
    np.testing.assert_array_equal(*answers)
    go, blank = answers[0]
    assert set(go) <= {0.5 * 0.5**2, 0.5 * 1.5**2}  # the prediction is 0.5, the target ±1
    assert set(blank) == {0.5 * 0.5**2}


class Drift(gym.Env):
    """Shows a number of its own making, which no seed gives again."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.random.default_rng().normal(size=1), {}

    def step(self, action):
        return np.random.default_rng().normal(size=1), 0.0, False, False, {}


def played(make, lanes=2, steps=30):
    worker = LaneWorker([make] * lanes)
    calls = [("reset", ([5, 6], None))] + [("step", (np.array([t % 2, 1]),)) for t in range(steps)]
    for name, arguments in calls:
        answer = getattr(worker, name)(*arguments)
    return worker, calls, answer


def test_a_new_worker_stands_where_the_lost_one_stood():
    lost, calls, (shown, *_) = played(lambda: gym.make("CartPole-v1"))  # episodes end on the way
    new = LaneWorker([lambda: gym.make("CartPole-v1")] * 2)
    new.replay(calls, shown)
    for _ in range(20):
        ours, theirs = (worker.step(np.array([0, 0])) for worker in (new, lost))
        for one, other in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(one, other)


def test_lanes_that_can_not_be_played_again_are_told():
    _, calls, (shown, *_) = played(Drift)
    with pytest.raises(ContractError, match="can't be made again"):
        LaneWorker([Drift] * 2).replay(calls, shown)
