"""Node perturbation of all units: its estimate is the gradient's on average, and it learns."""

import numpy as np
import pytest
import torch

from nodepert.agents.compare.all_units import AllUnits, local_gradients

SMALL = {"net_arch": (16,), "activation": "tanh", "batch_size": 32, "seed": 0, "device": "cpu"}


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
def test_each_layer_learns_from_the_error_at_its_own_nodes_alone(policy, tasks):
    network = AllUnits(policy, tasks.Echo(), **SMALL).policy.network
    x, blank = torch.randn(5, 3), torch.ones(5, dtype=torch.bool)
    step = network.record(x, network.initial_state(5), blank)
    at_hidden, at_output = torch.randn(5, 16), torch.randn(5, 3)
    found = dict(local_gradients(network, [step], [[at_hidden, at_output]]))
    below, output = network.layers[0], network.layers[-1]
    slope = 1 - step.hidden[0].square()  # tanh'
    torch.testing.assert_close(found[below.weight], (at_hidden * slope).T @ x)
    torch.testing.assert_close(found[output.weight], at_output.T @ step.hidden[0].detach())
    assert set(found) == set(network.forward_weights)


def test_the_estimate_is_unbiased(tasks):
    """The mean over many contexts against the gradient by autograd, in the lower layer."""
    model = AllUnits(
        "MlpPolicy", tasks.Echo(), **{**SMALL, "batch_size": 20_000, "net_arch": (4,)},
        learning_rate=0.0, optimizer="sgd", node_std=0.05, probe_std=0.05,
    )  # fmt: skip
    model.learn(1)
    weight = model.policy.network.layers[0].weight
    found = weight.grad.clone()
    x = torch.rand(20_000, 3) * 2 - 1
    loss = (model.policy.network.step(x, None).prediction - x).square().sum(1).mean() / 2
    (true,) = torch.autograd.grad(loss, weight)
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), true.flatten(), dim=0)
    assert cosine > 0.9
    assert found.norm() == pytest.approx(float(true.norm()), rel=0.25)


@pytest.mark.parametrize(("policy", "length"), [("MlpPolicy", 1), ("RnnPolicy", 3)])
def test_it_learns(policy, length, tasks):
    model = AllUnits(policy, tasks.Echo(length=length), **SMALL, learning_rate=0.01)
    model.learn(40_000)
    shown = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    miss = 2 * model.predict(shown)[0] - shown
    assert np.square(miss).sum(1).mean() / 2 < 0.15  # 0.5 by doing nothing


def test_one_point_settings_are_taken_to_be_of_pairs():
    model = AllUnits("RnnPolicy", "DelayedXOR-v0", credit="one_point", probe_std=3.0, seed=0)
    assert (model.config.credit, model.config.probe_std) == ("paired", 0.1)
    assert model.lanes_per_context == 2
    model.learn(model.n_envs * 8)
