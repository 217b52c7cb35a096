"""DelayedXOR-v0: what is shown, what is asked for, and that 100 % can be reached."""

import gymnasium as gym
import numpy as np
import pytest

from nodepert.envs import ConfigError, DelayedXOR

STREAMS = ({"stream": True}, {"stream": True, "delay": 4}, {"stream": True, "delay": (0, 9)})


class Oracle:
    """Answers from the observations alone: XOR of the last two bits, when the cue has come.

    Args:
        lanes: How many lanes.
        late: How many steps after the cue the response is due.
    """

    def __init__(self, lanes, late):
        self.late = late
        self.cues = np.zeros((2, lanes), bool)  # now, and one step ago
        self.bits = np.zeros((4, lanes))  # the last four shown, newest first
        self.answers = np.zeros((2, lanes))

    def act(self, observations):
        go, bit = observations.T
        # The bits before the cue: the step of a cue itself may show a bit of the next one.
        self.answers = np.stack([-self.bits[0] * self.bits[1] * (go == 1), self.answers[0]])
        self.bits = np.where(bit != 0, np.stack([bit, *self.bits[:3]]), self.bits)
        return self.answers[self.late][:, None]


def play(env, steps, late, seed=0):
    """What was shown [T, N, 2], whether the oracle was right [T, N], and where it was asked."""
    oracle, shown, right, asked, rewards = Oracle(env.num_envs, late), [], [], [], []
    observations, _ = env.reset(seed=seed)
    for _ in range(steps):
        shown.append(observations)
        observations, reward, terminated, _, infos = env.step(oracle.act(observations) / 2)
        for source in (infos, infos.get("final_info", {})):
            if "correct" in source:
                right.append(source["correct"] & source["_correct"])
                asked.append(source["_correct"])
        rewards.append(reward)
        assert not terminated.any() or late == 0
    return map(np.array, (shown, right, asked, rewards))


@pytest.mark.parametrize("kwargs", STREAMS, ids=str)
def test_oracle_is_always_right_on_a_stream(kwargs):
    shown, right, asked, rewards = play(DelayedXOR.vector(200, **kwargs), 1000, late=1)
    assert asked.sum() > 8000
    assert (right == asked).all()
    assert (rewards == 0).all()  # 0 is asked for at all other steps
    assert shown[:, :, 0].mean() == pytest.approx(0.05, abs=0.002)


@pytest.mark.parametrize("delay", [0, 4, (0, 6)], ids=str)
def test_oracle_is_always_right_on_trials(delay):
    _, right, asked, rewards = play(DelayedXOR.vector(200, delay=delay), 100, late=0)
    assert asked.sum() > 1000
    assert (right == asked).all()
    assert (rewards == 0).all()


def test_overwrite_makes_the_authors_share_of_wrong_targets():
    env = DelayedXOR.vector(500, stream=True, overwrite=True)
    shown, right, asked, _ = play(env, 1000, late=1)
    assert shown[:, :, 0].mean() == pytest.approx(0.05, abs=0.002)
    assert 1 - right.sum() / asked.sum() == pytest.approx(0.024, abs=0.004)


def test_stream_shows_bits_one_and_two_steps_before_each_cue_and_else_none():
    shown, *_ = play(DelayedXOR.vector(100, stream=True), 500, late=1)
    go, bit = np.moveaxis(shown, 2, 0)
    due = (go[1:-1] == 1) | (go[2:] == 1)
    np.testing.assert_array_equal(bit[:-2] != 0, due)
    assert not go[:2].any()


def test_stream_has_all_four_pairs_of_bits_alike():
    shown, *_ = play(DelayedXOR.vector(500, stream=True), 400, late=1)
    go, bit = np.moveaxis(shown, 2, 0)
    pairs = (2 * (bit[1:-1] > 0) + (bit[:-2] > 0))[go[2:] == 1]
    np.testing.assert_allclose(np.bincount(pairs) / len(pairs), 0.25, atol=0.01)


def test_slot_streams_keep_trials_apart_and_draw_all_delays():
    shown, *_ = play(DelayedXOR.vector(50, stream=True, delay=(1, 5)), 400, late=1)
    delays = []
    for lane in range(50):
        cues, bits = (np.flatnonzero(shown[:, lane, channel]) for channel in (0, 1))
        bits = bits[: 2 * len(cues)].reshape(-1, 2)
        assert (bits[:, 1] == bits[:, 0] + 1).all()
        assert (cues[1:] > cues[:-1]).all()
        assert (bits[1:, 0] > cues[:-1]).all()
        delays += (cues - bits[:, 1] - 1).tolist()
    assert set(delays) == {1, 2, 3, 4, 5}


def test_trial_step_by_step():
    env = DelayedXOR(delay=2)
    observation, _ = env.reset(seed=1)
    bits, rewards = [], []
    for step in range(5):
        assert observation[0] == (step == 4)
        bits.append(observation[1])
        observation, reward, terminated, truncated, info = env.step(np.array([0.25]))
        rewards.append(reward)
        assert (terminated, truncated) == (step == 4, False)
        assert ("correct" in info) == (step == 4)
    assert bits[2:] == [0, 0, 0]
    target = -bits[0] * bits[1]
    assert abs(target) == 1
    np.testing.assert_allclose(rewards, [-0.125] * 4 + [-0.5 * (0.5 - target) ** 2])
    assert info["correct"] == (target == 1)
    assert not observation.any()


def test_delays_of_a_range_are_equally_frequent():
    env = DelayedXOR.vector(3000, delay=(2, 4))
    env.reset(seed=0)
    lengths = np.zeros(3000)
    for step in range(1, 8):
        done = env.step(np.zeros((3000, 1)))[2]
        lengths[done & (lengths == 0)] = step
    np.testing.assert_allclose(np.bincount(lengths.astype(int))[5:] / 3000, 1 / 3, atol=0.03)


def test_streams_never_end():
    env = DelayedXOR.vector(4, stream=True)
    env.reset(seed=0)
    assert not any(env.step(np.zeros((4, 1)))[2].any() for _ in range(2000))


@pytest.mark.parametrize("kwargs", [{"loss": "zero_one"}, {"discrete": True}], ids=str)
@pytest.mark.parametrize("answer", [0, 1])
def test_zero_one_counts_wrong_responses(kwargs, answer):
    env = DelayedXOR.vector(200, delay=0, **kwargs)
    observations, _ = env.reset(seed=0)
    bits = [observations[:, 1]]
    actions = np.full(200, answer) if "discrete" in kwargs else np.full((200, 1), answer - 0.5)
    for _ in range(2):
        observations, rewards, *_ = env.step(actions)
        bits.append(observations[:, 1])
        assert not rewards.any()
    rewards = env.step(actions)[1]
    np.testing.assert_array_equal(rewards, -1.0 * ((bits[0] != bits[1]) != answer))


def test_finite_actions_outside_the_box_are_not_clipped():
    env = DelayedXOR()
    env.reset(seed=0)
    assert env.step(np.array([50.0]))[1] == -0.5 * 100**2


def test_gradient_is_exposed():
    env = DelayedXOR(expose_gradient=True)
    env.reset(seed=0)
    np.testing.assert_allclose(env.step(np.array([0.3]))[4]["action_gradient"], [2 * 0.6])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"delay": -1}, "0 <= fewest <= most"),
        ({"delay": (4, 2)}, "0 <= fewest <= most"),
        ({"delay": (1, 2, 3)}, "expected an int or a pair"),
        ({"delay": 1.5}, "expected an int or a pair"),
        ({"delay": (1.0, 2.0)}, "expected an int or a pair"),
        ({"delay": "4"}, "expected an int or a pair"),
        ({"delay": True}, "expected an int or a pair"),
        ({"overwrite": True}, "only for stream=True without delay"),
        ({"overwrite": True, "stream": True, "delay": 2}, "only for stream=True without delay"),
        ({"loss": "cross_entropy"}, "expected one of"),
        ({"loss": "mse", "discrete": True}, "expected 'zero_one' where discrete=True"),
        ({"loss": "zero_one", "expose_gradient": True}, "no gradient"),
        ({"discrete": True, "expose_gradient": True}, "no gradient"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        DelayedXOR(**kwargs)


def test_delay_may_come_from_the_command_line_as_a_list():
    assert DelayedXOR(delay=[1, 3]).schedule.longest == 3


def test_spaces():
    env = DelayedXOR()
    assert env.observation_space == gym.spaces.Box(-1, 1, (2,), np.float32)
    assert env.action_space == gym.spaces.Box(-1, 1, (1,), np.float32)
    assert DelayedXOR(discrete=True).action_space == gym.spaces.Discrete(2)
