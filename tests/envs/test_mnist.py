"""MNIST-v0: losses, actions, splits and orders."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from nodepert.envs import MNIST, ActionError, ConfigError
from nodepert.envs.losses import one_hot

CORRECT = {"mse": 0.5, "cross_entropy": 1.0, "zero_one": 1.0}


def first_labels(vector, lanes):
    """The labels of what the lanes show now, looked up by the pixels."""
    examples = vector.env.examples
    shown = vector._lanes.observe()
    table = {examples.images[i].tobytes(): examples.labels[i] for i in range(len(examples))}
    return np.array([table[np.round(row * 255).astype(np.uint8).tobytes()] for row in shown])[
        :lanes
    ]


def test_spaces():
    env = MNIST()
    assert env.observation_space == gym.spaces.Box(0, 1, (784,), np.float32)
    assert env.action_space == gym.spaces.Box(-1, 1, (10,), np.float32)
    assert MNIST(discrete=True).action_space == gym.spaces.Discrete(10)


@pytest.mark.parametrize(("loss", "best"), [("mse", 0.0), ("cross_entropy", 4e-4), ("zero_one", 0)])
def test_the_label_is_the_best_answer(loss, best):
    vector = MNIST.vector(16, loss=loss, split="test")
    vector.reset(seed=0)
    labels = first_labels(vector, 16)
    _, rewards, _, _, infos = vector.step(CORRECT[loss] * one_hot(labels, 10))
    np.testing.assert_allclose(rewards, -best, atol=1e-3)
    assert infos["final_info"]["correct"].all()


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "zero_one"])
def test_another_digit_is_worse(loss):
    vector = MNIST.vector(16, loss=loss, split="test")
    vector.reset(seed=0)
    labels = first_labels(vector, 16)
    _, rewards, _, _, infos = vector.step(CORRECT[loss] * one_hot((labels + 1) % 10, 10))
    assert (rewards <= -1).all()
    assert not infos["final_info"]["correct"].any()


def test_discrete():
    vector = MNIST.vector(16, discrete=True, split="test")
    vector.reset(seed=0)
    labels = first_labels(vector, 16)
    actions = np.where(np.arange(16) % 2, labels, (labels + 3) % 10)
    _, rewards, _, _, infos = vector.step(actions)
    np.testing.assert_array_equal(rewards, np.arange(16) % 2 - 1.0)
    np.testing.assert_array_equal(infos["final_info"]["correct"], np.arange(16) % 2 == 1)


def test_mse_is_the_papers():
    vector = MNIST.vector(8, split="test")
    vector.reset(seed=0)
    labels, actions = first_labels(vector, 8), np.random.default_rng(0).normal(size=(8, 10))
    rewards = vector.step(actions)[1]
    np.testing.assert_allclose(
        rewards, -0.5 * ((2 * actions - one_hot(labels, 10)) ** 2).sum(axis=1)
    )


def test_episode_is_one_step():
    env = MNIST()
    observation, info = env.reset(seed=0)
    assert (observation.shape, info) == ((784,), {})
    _, _, terminated, truncated, info = env.step(np.zeros(10))
    assert (terminated, truncated) == (True, False)
    assert type(info["correct"]) is bool
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(10))


@pytest.mark.parametrize("lanes", [1, 3, 10_000, 20_000])
def test_sequential_shows_each_example_once_a_pass(lanes):
    vector = MNIST.vector(lanes, split="test", order="sequential")
    size, seen = vector.env.num_examples, []
    vector.reset(seed=7)
    for _ in range(min(6, -(-size // lanes))):
        seen.append(vector._lanes._context["example"].copy())
        vector.step(np.zeros((lanes, 10)))
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(len(seen) * lanes) % size)


def test_sequential_evaluates_the_test_set_in_one_step():
    vector = MNIST.vector(10_000, split="test", order="sequential", discrete=True)
    observations, _ = vector.reset()
    examples = vector.env.examples
    np.testing.assert_array_equal(np.round(observations * 255), examples.images)
    assert vector.step(examples.labels)[4]["final_info"]["correct"].all()


def test_sequential_starts_again_with_a_seed_and_goes_on_without():
    env = MNIST(split="test", order="sequential")
    first, second = env.reset(seed=0)[0], env.reset()[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=1)[0], first)


def test_random_order_is_uniform_and_differs_between_seeds():
    vector = MNIST.vector(20_000, split="test", autoreset_mode=AutoresetMode.SAME_STEP)
    vector.reset(seed=0)
    first = vector._lanes._context["example"].copy()
    assert abs(first.mean() / 10_000 - 0.5) < 0.01
    assert len(np.unique(first)) == pytest.approx(10_000 * (1 - np.exp(-2)), rel=0.02)
    vector.reset(seed=20_000)
    assert (vector._lanes._context["example"] == first).mean() < 0.001


def test_other_image_sizes(write_mnist):
    env = MNIST(root=write_mnist(side=(4, 5)))
    assert env.observation_space.shape == (20,)
    assert env.reset(seed=0)[0].shape == (20,)


def test_pickle_holds_no_images():
    assert len(pickle.dumps(MNIST())) < 20_000
    assert len(pickle.dumps(MNIST.vector(4))) < 60_000


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss": "hinge"}, r"loss='hinge': expected one of \['mse', 'cross_entropy', 'zero_one'"),
        ({"loss": "mse", "discrete": True}, "expected 'zero_one' where discrete=True"),
        ({"loss": "zero_one", "expose_gradient": True}, "zero_one has no gradient"),
        ({"discrete": True, "expose_gradient": True}, "zero_one has no gradient"),
        ({"order": "shuffled"}, "order='shuffled': expected one of 'random', 'sequential'"),
        ({"split": "dev"}, "split='dev': expected one of"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        MNIST(**kwargs)


@pytest.mark.parametrize("action", [np.zeros(9), np.zeros((10, 1)), np.full(10, np.nan), "seven"])
def test_wrong_actions(action):
    env = MNIST()
    env.reset(seed=0)
    with pytest.raises(ActionError):
        env.step(action)


@pytest.mark.parametrize("action", [10, -1, 2.0, np.zeros(10), None])
def test_wrong_digits(action):
    env = MNIST(discrete=True)
    env.reset(seed=0)
    with pytest.raises(ActionError):
        env.step(action)
