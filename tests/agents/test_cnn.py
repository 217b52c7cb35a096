"""Convolutions with feedback weights, and the policy made of them."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional as F

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.maths import angle_degrees
from nodepert.agents.networks import CNN, FeedbackConv2d
from nodepert.agents.policies import CnnPolicy
from nodepert.envs import LossEnv
from nodepert.envs.losses import mse, mse_gradient

ACTION = spaces.Box(-1, 1, (3,))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


class Bars(LossEnv):
    """Say how bright each quarter of the first of two channels is."""

    def __init__(self, expose_gradient=False):
        super().__init__(expose_gradient)
        self.observation_space = spaces.Box(0, 1, (2, 12, 12), np.float32)
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)

    def sample_contexts(self, draws):
        level = draws.uniform(2, 2, 2)
        pixels = draws.uniform(2, 12, 12) * level.repeat(6, axis=2).repeat(6, axis=3)
        target = 4 * level[:, 0].reshape(-1, 4) - 2
        return {"observation": pixels.astype(np.float32), "target": target}

    def loss(self, context, actions):
        return mse(actions, context["target"])

    def loss_gradient(self, context, actions):
        return mse_gradient(actions, context["target"])


# The layer ---------------------------------------------------------------------------------------


def layer_of(path, generator, dtype=torch.float64):
    layer = FeedbackConv2d(2, 4, 3, path=path, carries=True, gain=1.0, generator=generator)
    return layer.to(dtype)


def test_feedback_convolution(generator):
    """Backward: error to the input by B, to the weights by the input."""
    layer = layer_of("feedback", generator)
    x = torch.randn(5, 2, 8, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    error = torch.randn(5, 4, 6, 5, generator=generator, dtype=torch.float64)
    output = layer(x)
    assert torch.equal(output, F.conv2d(x, layer.weight, layer.bias))
    truth = torch.autograd.grad(output_of(x, layer), (x, layer.weight, layer.bias), error)
    output.backward(error)
    torch.testing.assert_close(layer.weight.grad, truth[1])
    torch.testing.assert_close(layer.bias.grad, truth[2])
    torch.testing.assert_close(x.grad, F.conv_transpose2d(error, layer.feedback))
    assert not torch.allclose(x.grad, truth[0])
    assert layer.feedback.grad is None, "autograd leaves B alone"
    assert layer.feedback.shape == layer.weight.shape


def output_of(x, layer):
    return F.conv2d(x, layer.weight, layer.bias)


def test_a_patch_is_a_row(generator):
    """Patches times W are the rows of the output; the two sum to the gradient of W."""
    layer = layer_of("feedback", generator)
    x = torch.randn(5, 2, 8, 7, generator=generator, dtype=torch.float64)
    error = torch.randn(5, 4, 6, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        rows = layer.patches(x) @ layer.weight.flatten(1).t() + layer.bias
        torch.testing.assert_close(rows, layer.rows(layer(x)))
        gradient = layer.rows(error).t() @ layer.patches(x)
        torch.testing.assert_close(gradient.view_as(layer.weight), layer.gradients(x, error)[0])


def test_patches_and_rows_give_the_gradient_of_feedback(generator):
    """Of ½‖conv_transpose(ẽ, B) − λ̂‖², the regression of rules that learn from the loss."""
    layer = layer_of("feedback", generator)
    error = torch.randn(5, 4, 6, 5, generator=generator, dtype=torch.float64)
    target = torch.randn(5, 2, 8, 7, generator=generator, dtype=torch.float64)
    feedback = layer.feedback.detach().clone().requires_grad_()
    (F.conv_transpose2d(error, feedback) - target).square().sum().div(2).backward()
    mismatch = layer.carry(error) - target
    ours = layer.rows(error).t() @ layer.patches(mismatch)
    torch.testing.assert_close(ours.view_as(feedback), feedback.grad)


# The network -------------------------------------------------------------------------------------


def network_of(path, activation="relu", **options):
    """The same forward weights whatever the path."""
    settings = {"kernel_size": 3, "generator": torch.Generator().manual_seed(1), **options}
    network = CNN((2, 15, 14), (3, 4), (6,), 3, activation=activation, path=path, **settings)
    for i, layer in enumerate(network.layers):
        seed = torch.Generator().manual_seed(10 + i)
        torch.nn.init.normal_(layer.weight, std=0.4, generator=seed)
        torch.nn.init.normal_(layer.bias, std=0.4, generator=seed)
    return network.double()


def gradients(network):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, 2 * 15 * 14, generator=generator, dtype=torch.float64)
    error = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return torch.autograd.grad(network.step(x).prediction, network.forward_weights, error)


def distance(ours, truth):
    return max(float((a - b).abs().max()) for a, b in zip(ours, truth, strict=True))


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_transposed_weights_give_the_gradient(activation):
    truth = gradients(network_of("autograd", activation))
    assert all(one.abs().max() > 0.01 for one in truth)
    assert distance(gradients(network_of("transpose", activation)), truth) < 1e-5


def test_feedback_equal_to_the_weights_gives_the_gradient():
    network, truth = network_of("feedback"), gradients(network_of("autograd"))
    assert distance(gradients(network), truth) > 0.1, "B starts independent of W"
    first, *others = network.layers
    assert first.feedback is None
    for layer in others:
        layer.feedback.copy_(layer.weight.detach())
    assert distance(gradients(network), truth) < 1e-5


def test_nodes_are_what_pooling_leaves(generator):
    network = network_of("feedback")
    assert network.hidden_shapes == ((3, 6, 6), (4 * 2 * 2,), (6,))
    x = torch.randn(5, 2 * 15 * 14, generator=generator, dtype=torch.float64)
    noise = [
        torch.randn(5, *shape, generator=generator).double() for shape in network.hidden_shapes
    ]
    hidden = network.step(x, None, noise).hidden
    first, second, third, last = network.layers
    expected = F.max_pool2d(torch.relu(first(x.view(5, 2, 15, 14))), 2) + noise[0]
    torch.testing.assert_close(hidden[0], expected)
    expected = F.max_pool2d(torch.relu(second(expected)), 2).flatten(1) + noise[1]
    torch.testing.assert_close(hidden[1], expected)
    expected = torch.relu(third(expected)) + noise[2]
    torch.testing.assert_close(network.step(x, None, noise).prediction, last(expected))
    assert [network.readers(i) for i in range(3)] == [[(second, 0)], [(third, 0)], [(last, 0)]]


def test_initial_gain():
    """He's before a ReLU, with the fan-in of a patch; or one gain for all."""
    for given, expected in ((None, 2**0.5), (3.0, 3.0)):
        generator = torch.Generator().manual_seed(0)
        network = CNN(
            (8, 28, 28), (64, 64), (), 3, kernel_size=5, activation="relu", path="feedback",
            generator=generator, init_gain=given,
        )  # fmt: skip
        for layer, fan_in in zip(network.blocks, (8 * 25, 64 * 25), strict=True):
            assert float(layer.weight.detach().std()) == pytest.approx(
                expected / fan_in**0.5, rel=0.02
            )


# The policy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (spaces.Box(0, 1, (784,)), (1, 28, 28)),
        (spaces.Box(0, 1, (3, 20, 30)), (3, 20, 30)),
        (spaces.Box(0, 255, (3, 36, 36), np.uint8), (3, 36, 36)),
    ],
)
def test_images(space, shape):
    policy = CnnPolicy(space, ACTION, channels=[4], net_arch=[])
    assert policy.network.image_shape == shape
    observation = np.stack([space.sample() for _ in range(2)])
    scaled = torch.as_tensor(observation / (255 if space.dtype == np.uint8 else 1)).float()
    expected = policy.network.step(scaled.flatten(1)).prediction.detach().numpy()
    actions = policy.predict(observation)[0]
    np.testing.assert_allclose(policy.actions.action(torch.as_tensor(expected)), actions, rtol=1e-4)
    assert policy.predict(observation[0])[0].shape == (3,)


@pytest.mark.parametrize(
    ("space", "kwargs", "message"),
    [
        (spaces.Box(0, 1, (783,)), {}, r"observation space .*\(channels, height, width\).*square"),
        (spaces.Box(0, 1, (28, 28)), {}, r"observation space .*\(channels, height, width\)"),
        (spaces.Discrete(4), {}, r"observation space Discrete\(4\).*\(channels, height, width\)"),
        (spaces.Box(0, 1, (28, 28, 1)), {}, r"shape \(28, 28, 1\).*too small for block 1"),
        (spaces.Box(0, 1, (784,)), {"channels": [4, 4, 4]}, r"channels=.*too small for block 3"),
        (spaces.Box(0, 1, (784,)), {"kernel_size": 28}, "kernel_size=28.*too small for block 1"),
        (spaces.Box(0, 1, (784,)), {"kernel_size": 2.5}, r"kernel_size=.*positive integers"),
        (spaces.Box(0, 1, (784,)), {"channels": []}, "channels=.*at least one block"),
        (spaces.Box(0, 1, (784,)), {"channels": 16}, "channels=16: expected positive integers"),
        (spaces.Box(0, 1, (784,)), {"path": "direct"}, "CnnPolicy.*path='direct'"),
    ],
    ids=str,
)
def test_what_is_not_valid(space, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        CnnPolicy(space, ACTION, **kwargs)


# The agent ---------------------------------------------------------------------------------------

SMALL = {"net_arch": (12,), "batch_size": 32, "seed": 0}
BLOCKS = {"channels": (6, 8), "kernel_size": 3}


def angles(model):
    learned = [layer for layer in model.policy.network.layers if layer.feedback is not None]
    return [angle_degrees(layer.weight.detach(), layer.feedback) for layer in learned]


def test_response_turns_feedback_towards_the_weights():
    model = NodePerturbation("CnnPolicy", Bars(), policy_kwargs=BLOCKS, **SMALL)
    assert min(angles(model)) > 60
    model.learn(64 * 150)
    assert max(angles(model)) < 5


def test_loss_turns_feedback_towards_the_weights():
    """From the loss alone, W frozen."""
    model = NodePerturbation(
        "CnnPolicy", Bars(expose_gradient=True), rule="loss", credit="given", learning_rate=0.0,
        feedback_learning_rate=0.01, policy_kwargs=BLOCKS, **{**SMALL, "batch_size": 64},
    )  # fmt: skip
    before = angles(model)
    model.learn(model.n_envs * 600)
    assert before[0] > 60
    after = angles(model)
    assert after[0] < 50, "of the convolution"
    assert after[-1] < 20, "of the output layer"


def test_learns_images():
    """What is left of the loss, where fixed random feedback leaves more than half of it."""
    model = NodePerturbation(
        "CnnPolicy", Bars(), learning_rate=3e-3, policy_kwargs=BLOCKS, **SMALL
    )  # fmt: skip
    before = mean_loss(model)
    model.learn(64 * 800)
    assert mean_loss(model) < 0.2 * before


def mean_loss(model):
    env = gym.vector.SyncVectorEnv([Bars] * 200)
    observation, _ = env.reset(seed=1)
    return -env.step(model.predict(observation)[0])[1].mean()


def test_exact_ridge_regression_does_not_take_convolutions():
    with pytest.raises(ConfigError, match=r"rule='loss_ridge'.*overlap"):
        NodePerturbation("CnnPolicy", Bars(), rule="loss_ridge", policy_kwargs=BLOCKS, **SMALL)


def test_error_model_and_critic_see_the_whole_image():
    model = NodePerturbation(
        "CnnPolicy", Bars(), rule="loss", error_model=True, node_baseline="critic",
        policy_kwargs=BLOCKS, **SMALL,
    )  # fmt: skip
    model.learn(1)
    assert model.policy.network.n_in == 2 * 12 * 12
