"""The replay buffer: what goes in comes out, with what it led to, until the ring overwrites it."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.agents.methods.replay_buffer import ReplayBuffer, VectorStep


class Counter(gym.Env):
    """Shows episode and step; cut off after the third step, or over after the second."""

    observation_space = spaces.Box(0, 255, (2,), np.uint8)
    action_space = spaces.Discrete(3)

    def __init__(self, first):
        self.episode = first

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 2, 0
        return self.shown(), {}

    def shown(self):
        return np.array([self.episode, self.steps], np.uint8)

    def step(self, action):
        self.steps += 1
        terminated = self.episode % 3 == 0 and self.steps == 2
        return self.shown(), float(self.steps), terminated, self.steps == 3, {}


def play(buffer, lanes, observations, steps):
    """Plays and stores; returns the observation to go on from, and the rows."""
    rows = []
    for t in range(steps):
        actions = torch.full((len(observations),), t % 3)
        played = lanes.step(actions.numpy())
        rows.append(buffer.add(VectorStep.of(observations, actions, played, lanes)))
        observations = played.observation
    return observations, torch.cat(rows)


def lanes_of(mode):
    return PairedLanes(
        SyncVectorEnv([lambda: Counter(0), lambda: Counter(1)], autoreset_mode=mode), 1
    )


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("size", [16, 10_000])
def test_every_step_leads_to_what_followed_it_and_not_to_the_next_episode(mode, size):
    buffer, lanes = ReplayBuffer(size), lanes_of(mode)
    play(buffer, lanes, lanes.reset([0, 1]), 40)
    drawn = buffer.rows(buffer.draw(2_000, torch.Generator().manual_seed(0)))
    episode, step = drawn.observations.T.astype(int)
    bootstraps = (drawn.valid & ~drawn.terminated).numpy()
    cut = bootstraps & (step == 2)
    assert cut.any(), "nothing was cut off: the test is empty"
    following = buffer.following(drawn.rows)
    assert (following[bootstraps] == drawn.observations[bootstraps] + np.array([0, 1])).all()
    valid = drawn.valid.numpy()
    assert (drawn.rewards.numpy()[valid] == step[valid] + 1).all()
    over = (episode % 3 == 0) & (step == 1)
    assert (drawn.terminated.numpy()[valid] == over[valid]).all()
    assert drawn.observations.dtype == np.uint8
    assert valid.mean() > 0.5


def test_steps_that_were_not_recorded_or_a_reset_do_not_join_up():
    buffer, lanes = ReplayBuffer(100), lanes_of(AutoresetMode.SAME_STEP)
    _, before = play(buffer, lanes, lanes.reset([0, 1]), 1)
    _, after = play(buffer, lanes, lanes.reset(None), 1)
    for rows in (before, after):
        found = buffer.rows(rows)
        assert (buffer.following(rows) == found.observations + np.array([0, 1])).all()


def test_the_ring_holds_the_last_steps_and_no_more():
    buffer = ReplayBuffer(12)  # 6 steps of 2 lanes
    for t in range(50):
        shown = np.full((2, 3), t, np.float32)
        over = torch.ones(2, dtype=torch.bool)
        buffer.add(VectorStep(shown, torch.tensor([0, 1]), torch.full((2,), t), over, over, shown))
    assert len(buffer.rewards) == 7
    drawn = buffer.rows(buffer.draw(1_000, torch.Generator().manual_seed(0)))
    assert drawn.valid.all()
    assert set(drawn.rewards.tolist()) == set(range(44, 50))
    assert (drawn.observations == drawn.rewards[:, None].numpy()).all()
    assert drawn.actions.float().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("steps", [1, 3, 30])
def test_state_is_what_is_filled_and_goes_on_alike(steps):
    buffer, lanes = ReplayBuffer(16), lanes_of(AutoresetMode.SAME_STEP)
    shown, _ = play(buffer, lanes, lanes.reset([0, 1]), steps)
    state = {name: value.clone() for name, value in buffer.state_dict().items()}
    assert len(state["observations"]) == min(steps + 1 + (steps > 3), 9), "more than is filled"
    copy = ReplayBuffer(16)
    copy.load_state_dict(state)
    other = lanes_of(AutoresetMode.SAME_STEP)
    other_shown = other.reset([0, 1])
    for _ in range(steps):
        other_shown = other.step(np.zeros(2, int)).observation
    play(buffer, lanes, shown, 5)
    play(copy, other, other_shown, 5)
    rows = buffer.draw(200, torch.Generator().manual_seed(0))
    assert torch.equal(rows, copy.draw(200, torch.Generator().manual_seed(0)))
    one, two = buffer.rows(rows), copy.rows(rows)
    for name in vars(one):
        ours, theirs = getattr(one, name), getattr(two, name)
        assert np.array_equal(np.asarray(ours), np.asarray(theirs)), name


def pixels(step):
    """Two lanes' images, and what followed; the sixth is no image."""
    shown = np.arange(step, step + 16, dtype=np.float32).reshape(2, 8) / np.float32(255)
    return shown + np.float32(0.001) if step == 6 else shown


@pytest.mark.parametrize(("steps", "held"), [(5, torch.uint8), (9, torch.float32)])
def test_pixels_are_held_in_a_byte_each_for_as_long_as_all_are(steps, held):
    buffer, over = ReplayBuffer(100), torch.zeros(2, dtype=torch.bool)
    for step in range(steps):
        buffer.add(
            VectorStep(
                pixels(step), torch.zeros(2, dtype=torch.int64), torch.zeros(2), over, ~over,
                pixels(step + 1),
            )
        )  # fmt: skip
    assert buffer.observations.dtype == held
    copy = ReplayBuffer(100)
    copy.load_state_dict(buffer.state_dict())
    for one in (buffer, copy):
        rows = torch.arange(2 * steps)
        for found, first in ((one.rows(rows).observations, 0), (one.following(rows), 1)):
            assert found.dtype == np.float32
            expected = [pixels(step) for step in range(first, first + steps)]
            assert np.array_equal(found, np.concatenate(expected))
    if held == torch.float32:
        wrong = {**buffer.state_dict(), "place": torch.tensor([steps, steps, 51, 1])}
        with pytest.raises(RuntimeError, match="expected bytes"):
            copy.load_state_dict(wrong)


def test_a_buffer_of_another_size_starts_empty():
    buffer, lanes = ReplayBuffer(16), lanes_of(AutoresetMode.SAME_STEP)
    play(buffer, lanes, lanes.reset([0, 1]), 30)
    other = ReplayBuffer(32)
    other.load_state_dict(buffer.state_dict())
    assert other.count == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("place", torch.tensor([99, 8, 9])),
        ("place", torch.tensor([-1, 8, 9])),
        ("place", torch.tensor([1, 2])),
        ("rewards", torch.zeros(2, 2)),
        ("actions", torch.zeros(9, 5, dtype=torch.int64)),
        ("valid", None),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name, value):
    buffer, lanes = ReplayBuffer(16), lanes_of(AutoresetMode.SAME_STEP)
    play(buffer, lanes, lanes.reset([0, 1]), 30)
    state = {**buffer.state_dict(), name: value}
    if value is None:
        del state[name]
    with pytest.raises(RuntimeError, match="replay buffer"):
        ReplayBuffer(16).load_state_dict(state)
