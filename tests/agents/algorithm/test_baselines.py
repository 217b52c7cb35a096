"""Baselines of the loss under node noise: one expected value, different variances."""

import math

import pytest
import torch

from nodepert.agents.algorithm.baselines import BASELINES
from nodepert.agents.maths import node_perturbation
from nodepert.agents.networks import MLP

STD, ROWS, BATCHES, BURN_IN = 0.05, 2_000, 60, 20


@pytest.fixture(scope="module")
def measured():
    """λ̂ − λ of both hidden layers, (R, n), and mean λ, by baseline; the loss follows context 0."""
    generator = torch.Generator().manual_seed(0)
    network = MLP(4, (6, 5), 3, activation="tanh", path="autograd", generator=generator)

    def loss(prediction, x):
        goal = 1 + 0.3 * torch.stack([x[:, 0], x[:, 1] * x[:, 2], x[:, 3].sin()], dim=1)
        return 0.5 * (prediction - goal).square().sum(1) + 2 * x[:, 0]

    surplus, mean = {}, {}
    for name, kind in BASELINES.items():
        baseline, found, true = kind(4), ([], []), ([], [])
        for batch in range(BATCHES):
            x = torch.randn(ROWS, 4, generator=generator)
            step = network.step(x)
            gradients = torch.autograd.grad(loss(step.prediction, x).sum(), step.hidden)
            noise = [STD * torch.randn(ROWS, n, generator=generator) for n in (6, 5)]
            with torch.no_grad():
                losses = [
                    loss(network.step(x, None, [sign * xi for xi in noise]).prediction, x)
                    for sign in baseline.signs
                ]
            change = baseline.change(torch.stack(losses, dim=1).double(), x)
            if batch < BURN_IN:
                continue
            for i in range(2):
                found[i].append(node_perturbation(change, noise[i].double(), STD**2))
                true[i].append(gradients[i].double())
        surplus[name] = [torch.cat(found[i]) - torch.cat(true[i]) for i in range(2)]
        mean[name] = [torch.cat(true[i]).mean(0) for i in range(2)]
    return surplus, mean


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", BASELINES)
def test_the_expected_value_is_the_gradient(measured, name, layer):
    """Within four standard errors in every node."""
    surplus = measured[0][name][layer]
    standard_errors = surplus.std(0) / math.sqrt(len(surplus))
    assert (surplus.mean(0).abs() < 4 * standard_errors).all()


@pytest.mark.parametrize("name", BASELINES)
def test_the_check_has_the_power_to_see_a_wrong_sign(measured, name):
    surplus, mean = measured[0][name], measured[1][name]
    for layer in range(2):
        standard_errors = surplus[layer].std(0) / math.sqrt(len(surplus[layer]))
        assert (2 * mean[layer].abs() > 8 * standard_errors).any()


@pytest.mark.parametrize("layer", [0, 1])
def test_the_variance_falls_with_what_the_baseline_knows(measured, layer):
    """For small noise it is E[(L − baseline)²] / c² a node, plus what clean passes leave."""
    variance = {name: float(s[layer].var(0).mean()) for name, s in measured[0].items()}
    assert variance["antithetic"] == pytest.approx(variance["clean"], rel=0.05)
    assert variance["clean"] < 0.1 * variance["critic"]
    assert variance["critic"] < 0.8 * variance["ema"]
    assert variance["ema"] < 0.8 * variance["none"]
