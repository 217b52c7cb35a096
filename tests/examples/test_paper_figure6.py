"""Figure 6: estimates are what their equations say, and grow noisy as the paper argues."""

import math

import numpy as np
import pytest
import torch

from nodepert.agents.networks import MLP
from nodepert.envs.testing import check_loss_env


@pytest.fixture(scope="session")
def rows(run_study, read_csv):
    out = run_study("figure6")
    assert "| claim or target | measured |" in (out / "figure6.md").read_text()
    return read_csv(out / "figure6.csv")


def noise(rows, method, credit="scalar", **size):
    size = {"width": 128, "depth": 4, "outputs": 10, **size}
    found = [
        float(row["noise"])
        for row in rows
        if (row["part"], row["method"], row["credit"]) == ("accuracy", method, credit)
        and all(int(row[name]) == value for name, value in size.items())
    ]
    return found[-1]


def growth(rows, method, factor, low, high):
    """Exponent between two sizes."""
    change = noise(rows, method, **{factor: high}) / noise(rows, method, **{factor: low})
    return math.log(change) / math.log(high / low)


def test_noise_grows_with_units_or_weights_but_not_with_learned_feedback(rows):
    assert 0.6 < growth(rows, "node perturbation", "width", 8, 128) < 1.3
    assert 1.4 < growth(rows, "weight perturbation", "width", 8, 128) < 2.5
    assert abs(growth(rows, "response", "width", 8, 128)) < 0.3
    assert growth(rows, "node perturbation", "depth", 2, 8) > 0.5
    assert growth(rows, "response", "depth", 2, 8) < 0.3


def test_learned_feedback_is_exact_with_the_gradient_and_pays_for_outputs_without(rows):
    for size in ({}, {"width": 8}, {"depth": 8}, {"outputs": 400}):
        assert noise(rows, "response", "given", **size) < 0.05
    assert 0.5 < growth(rows, "response", "outputs", 10, 100) < 1.5
    assert noise(rows, "response", outputs=1) < 1e-3  # a probe is exact there


def test_learned_feedback_reaches_the_target_in_fewer_env_steps(rows):
    steps = {
        (row["method"], row["credit"]): int(row["env_steps"])
        for row in rows
        if row["part"] == "training" and row["chosen"] == "1" and row["censored"] == "0"
    }
    nodes = steps["node perturbation", "scalar"]
    assert 3 * steps["response", "scalar"] < nodes
    assert 10 * steps["response", "given"] < nodes


def test_teacher_keeps_to_the_contract_and_has_unit_variance(load_script):
    teacher = load_script("paper/teacher.py")
    check_loss_env(lambda: teacher.Teacher(3, seed=0, expose_gradient=True))
    drawn = teacher.contexts(teacher.Teacher(50, seed=1), 4_000, stream=1)
    assert np.mean(drawn["target"] ** 2) == pytest.approx(1, abs=0.05)
    inputs = np.c_[drawn["observation"], np.ones(4_000)]
    linear = np.linalg.lstsq(inputs, drawn["target"], rcond=None)[0]
    assert 0.4 < teacher.unexplained(inputs @ linear, drawn) < 0.6
    others = teacher.contexts(teacher.Teacher(50, seed=1), 4_000, stream=2)["observation"]
    rows = [{row.tobytes() for row in some} for some in (drawn["observation"], others)]
    assert not rows[0] & rows[1]


@pytest.mark.parametrize("name", ["perturbed_nodes", "perturbed_weights"])
def test_rivals_are_unbiased(load_script, name):
    rivals = load_script("paper/rivals.py")
    generator = torch.Generator().manual_seed(0)
    network = MLP(3, (4, 4), 2, activation="tanh", path="autograd", generator=generator)
    x = torch.randn(8, 3, generator=generator)
    target = torch.randn(8, 2, generator=generator)
    repeats = 2_000  # at once, in one batch
    many, goal = x.repeat(repeats, 1), target.repeat(repeats, 1)

    def losses(predictions):
        return 0.5 * (predictions.double() - goal).square().sum(1)

    found = getattr(rivals, name)(network, many, losses, 1e-2, generator)
    loss = 0.5 * (network.step(x).prediction - target).square().sum(1).mean()
    true = torch.autograd.grad(loss, network.forward_weights)
    for ours, theirs in zip(found, true, strict=True):
        assert (ours - theirs).norm() < 0.35 * theirs.norm()
    whole, exact = (torch.cat([g.flatten() for g in grads]) for grads in (found, true))
    assert (whole - exact).norm() < 0.15 * exact.norm()


def test_exponents_are_least_squares_without_censored_runs(load_script):
    figure6 = load_script("paper/figure6.py")
    sizes = (8, 32, 128)
    rows = [{"method": "x", "width": n, "env_steps": 3 * n**1.5} for n in sizes]
    rows.append({"method": "x", "width": 512, "env_steps": 1, "censored": 1})
    slope, error = figure6.exponent(rows, "width", "env_steps")
    assert slope == pytest.approx(1.5)
    assert error == pytest.approx(0, abs=1e-6)
    assert math.isnan(figure6.exponent(rows[:2], "width", "env_steps")[0])
