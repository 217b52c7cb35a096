"""MNISTAutoencoder-v0: the loss, and what it shares with MNIST-v0."""

import gymnasium as gym
import numpy as np
import pytest

from nodepert.envs import MNIST, MNISTAutoencoder


def test_spaces():
    env = MNISTAutoencoder()
    assert env.observation_space == gym.spaces.Box(0, 1, (784,), np.float32)
    assert env.action_space == gym.spaces.Box(-1, 1, (784,), np.float32)


def test_half_the_image_is_the_best_answer():
    env = MNISTAutoencoder()
    observation, _ = env.reset(seed=0)
    assert env.step(observation / 2)[1] == pytest.approx(0)


def test_reward_is_minus_half_the_sum_of_squares():
    vector = MNISTAutoencoder.vector(5)
    observations, _ = vector.reset(seed=0)
    actions = np.random.default_rng(0).normal(size=(5, 784))
    _, rewards, terminated, _, _ = vector.step(actions)
    np.testing.assert_allclose(rewards, -0.5 * ((2 * actions - observations) ** 2).sum(axis=1))
    assert terminated.all()


def test_gradient_is_exposed():
    env = MNISTAutoencoder(expose_gradient=True)
    observation, _ = env.reset(seed=0)
    action = np.random.default_rng(0).normal(size=784)
    gradient = env.step(action)[4]["action_gradient"]
    np.testing.assert_allclose(gradient, 2 * (2 * action - observation), rtol=1e-5, atol=1e-6)


def test_shows_what_mnist_shows():
    np.testing.assert_array_equal(MNISTAutoencoder().reset(seed=4)[0], MNIST().reset(seed=4)[0])


def test_other_image_sizes(write_mnist):
    env = MNISTAutoencoder(root=write_mnist(side=(4, 5)), split="validation")
    assert env.observation_space.shape == env.action_space.shape == (20,)
    assert env.num_examples == 3
