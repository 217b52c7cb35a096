"""The backward pass through feedback weights, compared with autograd in float64."""

import pickle

import pytest
import torch
from torch.nn import functional as F

from nodepert.agents import ConfigError
from nodepert.agents.feedback import Response
from nodepert.agents.maths import angle_degrees, gaussian_spread
from nodepert.agents.networks import ACTIVATIONS, MLP, RNN, FeedbackLinear, Network, Step
from nodepert.agents.networks.activations import PASS_BACK
from nodepert.agents.networks.base import restarted
from nodepert.agents.networks.cells import CELLS, Tanh

CONTEXTS = 6


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def make(kind, path, activation="tanh"):
    """The same weights for the same kind, whatever the path."""
    network, sizes = (RNN, (7,)) if kind == "rnn" else (MLP, (7, 5))
    generator = torch.Generator().manual_seed(1)
    made = network(4, sizes, 3, activation=activation, path="feedback", generator=generator)
    for i, layer in enumerate(made.layers):
        torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(i))
    made = made.double()
    made.set_path(path)
    return made


def gradients(network, steps=5):
    """Of Σ_t error_t · prediction_t over a window with episode starts inside."""
    generator = torch.Generator().manual_seed(2)
    state, predictions = None, []
    if isinstance(network, RNN):
        state = torch.randn(CONTEXTS, 7, generator=generator).double()
    for t in range(steps):
        x = torch.randn(CONTEXTS, 4, generator=generator).double()
        started = torch.arange(CONTEXTS) == t  # context t starts anew at step t
        step = network.step(x, restarted(state, started))
        state = step.state
        predictions.append(step.prediction)
    error = torch.randn(steps, CONTEXTS, 3, generator=generator).double()
    parameters = [p for p in network.parameters() if p.requires_grad]
    return torch.autograd.grad(torch.stack(predictions), parameters, error)


def distance(ours, truth):
    return max(float((a - b).abs().max()) for a, b in zip(ours, truth, strict=True))


@pytest.mark.parametrize("kind", ["mlp", "rnn"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "softplus"])
def test_transposed_weights_give_the_gradient(kind, activation):
    truth = gradients(make(kind, "autograd", activation))
    ours = gradients(make(kind, "transpose", activation))
    assert all(one.abs().max() > 0.01 for one in truth)
    assert distance(ours, truth) < 1e-6


@pytest.mark.parametrize("kind", ["mlp", "rnn"])
def test_feedback_equal_to_the_weights_gives_the_gradient(kind):
    network = make(kind, "feedback")
    truth = gradients(make(kind, "autograd"))
    assert distance(gradients(network), truth) > 0.1, "B starts independent of W"
    for layer in network.layers:
        if layer.feedback is not None:
            layer.feedback.copy_(layer.weight.detach())
    assert distance(gradients(network), truth) < 1e-6


@pytest.mark.parametrize("kind", ["mlp", "rnn"])
def test_response_feedback_converges_to_the_gradient(kind, generator):
    """Tolerance 1e-3 of gradients of order 1, after 300 updates from 64 rows of noise."""
    network, rule = make(kind, "feedback"), Response()
    for layer in network.layers:
        if layer.feedback is None:
            continue
        for _ in range(300):
            noise = 0.1 * torch.randn(64, layer.weight.shape[1], generator=generator).double()
            with torch.no_grad():
                response = layer(noise) - layer(torch.zeros_like(noise))
            largest = gaussian_spread(noise)
            layer.feedback -= rule.gradient(layer.feedback, noise, response, largest)
        assert angle_degrees(layer.weight.detach(), layer.feedback) < 0.1
    assert distance(gradients(network), gradients(make(kind, "autograd"))) < 1e-3


PATHS = ["feedback", "direct", "activation", "sign", "transpose"]


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        *(("mlp", path) for path in PATHS),
        ("rnn", "feedback"),
        ("rnn", "sign"),
        ("rnn", "transpose"),
    ],
)
def test_a_network_by_itself_carries_what_it_carries_by_autograd(generator, kind, path, steps):
    """Gradients, the errors that layers see, and what arrives at the nodes."""
    cls, sizes = (RNN, (7,)) if kind == "rnn" else (MLP, (7, 6, 5))
    network = cls(4, sizes, 3, activation="tanh", path=path, generator=generator).double()
    xs, error = (torch.randn(steps, 9, n, generator=generator).double() for n in (4, 3))
    start = network.initial_state(9)
    if start is not None:
        start = torch.randn(start.shape, generator=generator).double()
    for layer in network.layers:
        if layer.feedback is not None:
            torch.nn.init.normal_(layer.feedback, generator=generator)
    found = []
    for record, carry_down in (
        (Network.record.__get__(network), Network.carry_down.__get__(network)),
        (network.record, network.carry_down),
    ):
        network.forget_calls()
        state, made = start, []
        for t, x in enumerate(xs):
            made.append(record(x, state, torch.arange(9) == t))  # context t starts anew at step t
            state = made[-1].state
        gradients = carry_down(made, error)
        errors = [call.error for layer in network.layers for call in layer.calls]
        learning = [layer for layer in network.layers if layer.feedback is not None]
        sources = [call.source for layer in learning for call in layer.calls]
        nodes = [carried for step in made for carried in step.carried]
        assert len(nodes) == len(sizes) * steps
        predictions = [step.prediction.detach() for step in made]
        found.append([*gradients, *errors, *sources, *nodes, *predictions])
        assert made[0].prediction.requires_grad == (record != network.record)
    assert min(float(one.abs().max()) for one in found[0]) > 0.01
    assert distance(found[1], found[0]) < 1e-12


class Tripled(MLP):
    """A subclass that changes what a network predicts, and nothing else."""

    def step(self, x, state=None, noise=None):
        step = super().step(x, state, noise)
        step.prediction = 3 * step.prediction
        return step


class Leaky(Tanh):
    """A cell derived from the plain one."""

    def step(self, fed, recurrent, state):
        return [0.5 * state + 0.5 * super().step(fed, recurrent, state)[0]]


def record_and_carry(network, state=None):
    """A step of two contexts, and the gradients of its prediction's sum."""
    step = network.record(torch.ones(2, 4), state, torch.zeros(2, dtype=torch.bool))
    return step, network.carry_down([step], torch.ones(1, *step.prediction.shape))


def test_what_a_subclass_predicts_is_what_it_learns(generator):
    network = Tripled(4, (7,), 3, activation="tanh", path="transpose", generator=generator)
    step, gradients = record_and_carry(network)
    torch.testing.assert_close(step.prediction, network.step(torch.ones(2, 4)).prediction)
    torch.testing.assert_close(gradients[-1], torch.full((3,), 6.0))  # ∂ Σ 3 b
    assert step.carried[0].abs().sum() > 0


def test_a_cell_of_ones_own_is_what_is_learned(generator, monkeypatch):
    monkeypatch.setitem(CELLS, "leaky", Leaky)
    network = RNN(
        4, (7,), 3, activation="tanh", path="transpose", generator=generator, cell="leaky"
    )
    state = torch.ones(2, 7)
    step, gradients = record_and_carry(network, state)
    expected = network.step(torch.ones(2, 4), state)
    torch.testing.assert_close(step.prediction, expected.prediction)
    truth = torch.autograd.grad(expected.prediction.sum(), network.forward_weights)
    assert distance(gradients, truth) < 1e-6


def test_an_activation_of_ones_own_is_left_to_autograd(generator, monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "mish", torch.nn.Mish)
    network = MLP(4, (7,), 3, activation="mish", path="transpose", generator=generator)
    _, gradients = record_and_carry(network)
    truth = torch.autograd.grad(network.step(torch.ones(2, 4)).prediction.sum(),
                                network.forward_weights)  # fmt: skip
    assert distance(gradients, truth) < 1e-6


def test_hidden_features_that_nothing_learns_get_no_error(generator):
    class OnFeatures(MLP):
        def step(self, x, state=None, noise=None):
            fixed = torch.cos(x)
            return Step(self.linears[-1](fixed), None, [fixed])

    network = OnFeatures(4, (), 3, activation=(), path="feedback", generator=generator)
    step, gradients = record_and_carry(network)
    assert not step.carried[0].any()
    assert gradients[0].abs().min() > 0


@pytest.mark.parametrize("kind", ["mlp", "rnn"])
def test_a_pass_with_gradients_between_recorded_ones_changes_nothing(kind):
    found = []
    for disturb in (False, True):
        network, steps = make(kind, "feedback"), []
        for t in range(3):
            x = torch.full((2, 4), 1.0 + t).double()
            if disturb:
                network.step(2 * x[:1], network.initial_state(1))
            steps.append(network.record(x, steps[-1].state if t else None, torch.zeros(2).bool()))
        found.append(network.carry_down(steps, torch.ones(3, 2, 3).double()))
    assert distance(*found) == 0


@pytest.mark.parametrize("kind", ["mlp", "rnn"])
def test_networks_can_be_sent_to_another_process(kind):
    network = make(kind, "feedback")
    copy = pickle.loads(pickle.dumps(network))
    found = [record_and_carry(one.float())[1] for one in (network, copy)]
    assert distance(*found) == 0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_errors_pass_each_activation_as_in_autograd(generator, activation):
    z = (3 * torch.randn(50, 4, generator=generator)).double().requires_grad_()
    error = torch.randn(50, 4, generator=generator).double()
    h = ACTIVATIONS[activation]()(z)
    (truth,) = torch.autograd.grad(h, z, error)
    torch.testing.assert_close(PASS_BACK[activation](error, z.detach(), h.detach()), truth)


def test_the_oracle_is_left_to_autograd(generator):
    network = MLP(4, (7,), 3, activation="tanh", path="autograd", generator=generator)
    step = network.record(torch.ones(2, 4), None, torch.ones(2, dtype=torch.bool))
    assert step.prediction.requires_grad
    assert not network.layers[0].calls
    gradients = network.carry_down([step], torch.ones(1, 2, 3))
    assert [one.shape for one in gradients] == [w.shape for w in network.forward_weights]


def test_feedback_linear(generator):
    """Backward: error to the input by B, to the weights by the input."""
    layer = FeedbackLinear(4, 3, path="feedback", carries=True, gain=1.0, generator=generator)
    x = torch.randn(5, 4, generator=generator, requires_grad=True)
    error = torch.randn(5, 3, generator=generator)
    output = layer(x)
    assert torch.equal(output, F.linear(x, layer.weight, layer.bias))
    output.backward(error)
    torch.testing.assert_close(x.grad, error @ layer.feedback)
    torch.testing.assert_close(layer.weight.grad, error.t() @ x.detach())
    torch.testing.assert_close(layer.bias.grad, error.sum(0))
    assert layer.feedback.grad is None, "autograd leaves B alone"
    (call,) = layer.calls
    assert torch.equal(call.error, error)
    assert torch.equal(call.output, output)


def test_feedback_linear_remembers_only_where_gradients_are_on(generator):
    layer = FeedbackLinear(4, 3, path="feedback", carries=True, gain=1.0, generator=generator)
    with torch.no_grad():
        layer(torch.ones(2, 4))
    assert not layer.calls


def test_feedback_starts_independent_of_the_weights(generator):
    network = MLP(50, (60, 40), 30, activation="relu", path="feedback", generator=generator)
    first, *others = network.layers
    assert first.feedback is None
    for layer in others:
        assert 80 < angle_degrees(layer.weight.detach(), layer.feedback) < 100
        weight, feedback = layer.weight.detach(), layer.feedback.detach()
        assert feedback.std() == pytest.approx(float(weight.std()), rel=0.1)


@pytest.mark.parametrize("path", ["transpose", "autograd"])
def test_the_oracles_have_no_feedback_weights(path, generator):
    network = MLP(4, (5,), 3, activation="relu", path=path, generator=generator)
    assert all(layer.feedback is None for layer in network.layers)


def test_node_noise_is_added_after_the_activation(generator):
    network = make("mlp", "feedback", "relu")
    x = torch.randn(2, 4, generator=generator).double()
    noise = [torch.full((2, 7), -9.0).double(), torch.zeros(2, 5).double()]
    hidden = torch.relu(network.layers[0](x)) - 9
    expected = network.layers[2](torch.relu(network.layers[1](hidden)))
    torch.testing.assert_close(network.step(x, None, noise).prediction, expected)


def test_names_that_are_not_valid(generator):
    for activation in ("swishy", "", "Tanh"):
        with pytest.raises(ConfigError, match=r"activation=.*relu, tanh"):
            MLP(4, (5,), 3, activation=activation, path="feedback", generator=generator)
    with pytest.raises(ConfigError, match="one for each of the 2"):
        MLP(4, (5, 5), 3, activation=("relu",), path="feedback", generator=generator)
    with pytest.raises(ConfigError, match="takes one width"):
        RNN(4, (5, 5), 3, activation="tanh", path="feedback", generator=generator)
    assert "gelu" in ACTIVATIONS
