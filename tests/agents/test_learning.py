"""Learned outcomes that a wrong sign or a frozen layer would miss."""

import gymnasium as gym
import numpy as np
import pytest

from nodepert.agents import NodePerturbation
from nodepert.agents.maths import angle_degrees


def validation_error(model):
    """The share of the 5,000 validation images that are misread."""
    env = gym.make_vec("MNIST-v0", num_envs=5000, split="validation", order="sequential")
    observation, _ = env.reset()
    *_, info = env.step(model.predict(observation)[0])
    return 1 - info["final_info"]["correct"].mean()


def accuracy(model, env, steps=14):
    """The share of right answers at response steps."""
    observation, _ = env.reset(seed=1)
    state, started, right = None, np.ones(env.num_envs, np.bool_), []
    for _ in range(steps):
        actions, state = model.predict(observation, state, started)
        observation, _, terminated, truncated, info = env.step(actions)
        started = terminated | truncated
        info = info.get("final_info", info)
        if "correct" in info:
            right.extend(info["correct"][info["_correct"]])
    return np.mean(right)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"probes": 3},
        {"credit": "one_sided", "probe_std": 0.01},
        {"credit": "one_point", "probe_std": 1.0},
        {"credit": "one_point", "probe_std": 1.0, "probes": 2},
        {"credit": "one_point", "probe_std": 1.0, "error_model": True},
        {"credit": "given", "rule": "symmetric"},
        {"error_model": True},
        {"rule": "loss", "probes": 3},
        {"rule": "backprop"},
        {"optimizer": "sgd", "learning_rate": 0.2, "momentum": 0.5},
    ],
    ids=str,
)
def test_identity_is_learned(tasks, settings):
    """From a loss of 0.5 at the start (observations have a variance of 1/3).

    At most 0.005 over two seeds; 0.011 to 0.014 where the top layer is frozen.
    """
    settings = {"learning_rate": 0.01, "net_arch": (32,), "batch_size": 32, **settings}
    env = tasks.Echo(expose_gradient=True)
    model = NodePerturbation("MlpPolicy", env, seed=0, **settings)
    model.learn(model.n_envs * 500)
    shown = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    miss = 2 * model.predict(shown)[0] - shown
    assert np.square(miss).sum(1).mean() / 2 < 0.006


def test_zero_one_loss_is_learned(tasks):
    """A reward without a gradient anywhere: 1 in 3 by guessing, more than 9 in 10 in the end."""
    model = NodePerturbation("MlpPolicy", tasks.Which(), seed=0, net_arch=(32,), probe_std=0.5,
                             learning_rate=5e-3)  # fmt: skip
    model.learn(128 * 1000)
    shown = np.random.default_rng(0).uniform(-1, 1, (1000, 3)).astype(np.float32)
    assert (model.predict(shown)[0] == shown.argmax(1)).mean() > 0.9


# A bottleneck of 12 units between the hidden layers and the output: the lower layers must learn.
MNIST = {"net_arch": (64, 12), "learning_rate": 3e-3, "activation": "tanh", "seed": 0}
MNIST_STEPS = 60_000


@pytest.fixture(scope="module")
def mnist_model():
    return NodePerturbation("MlpPolicy", "MNIST-v0", **MNIST).learn(MNIST_STEPS)


def flip_feedback(model):
    """Makes the feedback exactly wrong: B = −W at the start."""
    for layer in model.policy.network.layers:
        if layer.feedback is not None:
            layer.feedback.copy_(-layer.weight.detach())


def test_mnist_is_learned(mnist_model):
    """9 to 11 % over four seeds; see the next two tests for what does not reach 15 %."""
    assert validation_error(mnist_model) < 0.15


def test_mnist_with_frozen_hidden_layers_is_not():
    """54 to 80 % over four seeds."""
    model = NodePerturbation("MlpPolicy", "MNIST-v0", **MNIST)
    top = model.policy.network.layers[-1]
    model.optimizer.param_groups[0]["params"] = [top.weight, top.bias]
    model.learn(MNIST_STEPS)
    assert validation_error(model) > 0.3


def test_mnist_with_feedback_of_the_wrong_sign_is_not():
    """87 to 97 % over four seeds."""
    model = NodePerturbation("MlpPolicy", "MNIST-v0", rule="fixed", **MNIST)
    flip_feedback(model)
    model.learn(MNIST_STEPS)
    assert validation_error(model) > 0.3


def test_mnist_feedback_follows_the_weights(mnist_model):
    for layer in mnist_model.policy.network.layers[1:]:
        assert angle_degrees(layer.weight.detach(), layer.feedback) < 3


def xor_model(rule):
    return NodePerturbation("RnnPolicy", "DelayedXOR-v0", rule=rule, batch_size=20, n_steps=7,
                            learning_rate=3e-3, seed=0)  # fmt: skip


def test_delayed_xor_is_learned():
    """Two bits remembered over four blank steps, answered by the sign of one number."""
    model = xor_model("response").learn(60_000)
    assert accuracy(model, gym.make_vec("DelayedXOR-v0", num_envs=500)) >= 0.95


def test_delayed_xor_with_feedback_of_the_wrong_sign_stays_at_chance():
    model = xor_model("fixed")
    flip_feedback(model)
    model.learn(60_000)
    assert accuracy(model, gym.make_vec("DelayedXOR-v0", num_envs=500)) < 0.65
