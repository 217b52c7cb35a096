"""LSTM and GRU cells: the gradients of torch's own, feedback through the gates, and learning."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.evaluation import evaluate
from nodepert.agents.maths import angle_degrees
from nodepert.agents.networks import RNN
from nodepert.agents.networks.cells import CELLS

WIDTH, STEPS, CONTEXTS = 6, 5, 4
TORCH = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def make(cell, path, **options):
    """The same forward weights whatever the path."""
    generator = torch.Generator().manual_seed(1)
    network = RNN(
        3, (WIDTH,), 2, activation="tanh", path=path, generator=generator, cell=cell, **options
    )
    for i, layer in enumerate(network.layers):
        nn.init.normal_(layer.weight, std=0.5, generator=torch.Generator().manual_seed(10 + i))
        nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(i))
    return network.double()


def inputs():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(STEPS, CONTEXTS, 3, generator=generator, dtype=torch.float64)
    error = torch.randn(STEPS, CONTEXTS, 2, generator=generator, dtype=torch.float64)
    return x, error


def played(network):
    state, predictions = None, []
    for x in inputs()[0]:
        step = network.step(x, state)
        state = step.state
        predictions.append(step.prediction)
    return torch.stack(predictions)


def gradients(network):
    return torch.autograd.grad(played(network), network.forward_weights, inputs()[1])


def distance(ours, truth):
    return max(float((a - b).abs().max()) for a, b in zip(ours, truth, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_gradients_are_torchs(cell):
    """Same weights, float64, by our own backward pass through transposed weights."""
    network = make(cell, "transpose")
    theirs = TORCH[cell](3, WIDTH).double()
    layers = network.input, network.recurrent
    names = ("weight_ih_l0", "weight_hh_l0"), ("bias_ih_l0", "bias_hh_l0")
    with torch.no_grad():
        for layer, weight, bias in zip(layers, *names, strict=True):
            getattr(theirs, weight).copy_(layer.weight)
            getattr(theirs, bias).copy_(layer.bias)
    x, error = inputs()
    prediction = theirs(x)[0] @ network.output.weight.detach().t() + network.output.bias.detach()
    assert distance([played(network).detach()], [prediction.detach()]) < 1e-6
    prediction.backward(error)
    truth = [getattr(theirs, name).grad for pair in zip(*names, strict=True) for name in pair]
    assert all(one.abs().max() > 0.01 for one in truth)
    assert distance(gradients(network)[:4], truth) < 1e-6


@pytest.mark.parametrize("cell", CELLS)
def test_feedback_equal_to_the_weights_gives_the_gradient(cell):
    network, truth = make(cell, "feedback"), gradients(make(cell, "autograd"))
    assert distance(gradients(network), truth) > 0.1, "B starts independent of W"
    for layer in (network.recurrent, network.output):
        layer.feedback.copy_(layer.weight.detach())
    assert distance(gradients(network), truth) < 1e-6


@pytest.mark.parametrize("cell", CELLS)
def test_transposed_readout_leaves_only_the_recurrent_feedback_to_learn(cell):
    network = make(cell, "feedback", transposed_readout=True)
    assert network.output.feedback is None
    truth = gradients(make(cell, "autograd"))
    assert distance(gradients(network), truth) > 0.05
    network.recurrent.feedback.copy_(network.recurrent.weight.detach())
    assert distance(gradients(network), truth) < 1e-6
    assert make(cell, "autograd", transposed_readout=True).output.path == "autograd"


@pytest.mark.parametrize("cell", CELLS)
def test_state_is_one_tensor_and_noise_goes_to_h(cell):
    network = make(cell, "feedback")
    memories = 2 if cell == "lstm" else 1
    assert torch.equal(network.initial_state(2), torch.zeros(2, memories * WIDTH).double())
    x, noise = inputs()[0][0], torch.full((CONTEXTS, WIDTH), 7.0).double()
    clean, noisy = network.step(x, None), network.step(x, None, [noise])
    torch.testing.assert_close(noisy.hidden[0], clean.hidden[0] + 7)
    assert torch.equal(noisy.state[:, :WIDTH], noisy.hidden[0])
    assert torch.equal(noisy.state[:, WIDTH:], clean.state[:, WIDTH:]), "c has none"
    torch.testing.assert_close(noisy.prediction, network.output(clean.hidden[0] + 7))


def test_forget_gates_start_open():
    generator = torch.Generator().manual_seed(0)
    network = RNN(3, (4,), 2, activation="tanh", path="feedback", generator=generator, cell="lstm")
    expected = torch.tensor([0.0] * 4 + [1.0] * 4 + [0.0] * 8)
    assert torch.equal(network.input.bias, expected)
    assert not network.recurrent.bias.any()


@pytest.mark.parametrize("cell", ["elman", "", None, ["lstm"]])
def test_unknown_cells_list_the_valid_ones(cell):
    with pytest.raises(ConfigError, match=r"cell=.*expected one of tanh, lstm, gru"):
        make(cell, "feedback")


def test_options_that_are_not_valid():
    with pytest.raises(ConfigError, match="transposed_readout='yes'"):
        make("tanh", "feedback", transposed_readout="yes")


# The agent ---------------------------------------------------------------------------------------


def xor_model(cell, **changes):
    settings = {"batch_size": 20, "learning_rate": 3e-3, "net_arch": (24,), **changes}
    return NodePerturbation(
        "RnnPolicy", "DelayedXOR-v0", seed=0, policy_kwargs={"cell": cell}, **settings
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_delayed_xor(cell):
    model = xor_model(cell)
    for layer in (model.policy.network.recurrent, model.policy.network.output):
        assert angle_degrees(layer.weight.detach(), layer.feedback) > 60
    model.learn(50_000)
    for layer in (model.policy.network.recurrent, model.policy.network.output):
        assert angle_degrees(layer.weight.detach(), layer.feedback) < 15
    assert evaluate(model, "DelayedXOR-v0").value > 0.95


@pytest.mark.parametrize("cell", CELLS)
def test_predict_carries_the_state(cell):
    """As training does: step by step, blank where an episode starts."""
    model = xor_model(cell)
    rng = np.random.default_rng(0)
    space = gym.make("DelayedXOR-v0").observation_space
    observations = [rng.normal(size=(3, *space.shape)).astype(np.float32) for _ in range(4)]
    network, expected, state, given = model.policy.network, None, None, None
    for t, observation in enumerate(observations):
        start = np.array([t == 0, t == 2, False])
        actions, given = model.predict(observation, given, start, deterministic=True)
        if expected is not None:
            state = expected.state.detach().masked_fill(torch.tensor(start)[:, None], 0.0)
        expected = network.step(torch.as_tensor(observation), state)
        np.testing.assert_array_equal(given[0], expected.state.detach().numpy())
    scale = model.action_scale
    np.testing.assert_allclose(scale * actions, expected.prediction.detach().numpy(), rtol=1e-5)
