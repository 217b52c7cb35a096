"""Fusing weight mirror and node perturbation: nothing to gain unless the response is noisy."""

import statistics

import pytest
import torch


@pytest.fixture(scope="session")
def rows(run_study, read_csv):
    out = run_study("fusion")
    assert "| holds |" in (out / "fusion.md").read_text()
    assert "**not reproduced**" in (out / "fusion.md").read_text()
    return read_csv(out / "fusion.csv")


def error(rows, method, noise, layer=3):
    """Of B in the second half of the run, noise on the response only."""
    values = [
        float(row[f"relative_error_{layer}"])
        for row in rows
        if row["method"] == method
        and float(row["response_noise"]) == noise
        and float(row["reward_noise"]) == 0
    ]
    return statistics.median(values[len(values) // 2 :])


def test_both_estimates_learn(rows):
    assert error(rows, "response", 0) < 0.1
    assert error(rows, "loss", 0) < 0.8


@pytest.mark.parametrize("layer", [2, 3])
def test_a_response_without_noise_leaves_nothing_to_add(rows, layer):
    alone = error(rows, "response", 0, layer)
    assert error(rows, "fused", 0, layer) == pytest.approx(alone, rel=0.02)


def test_a_noisy_response_is_mended_by_the_loss(rows):
    assert error(rows, "fused", 10) < 0.7 * error(rows, "response", 10)
    assert error(rows, "fused", 10) < 0.9 * error(rows, "loss", 0)


def test_the_solution_is_where_the_weighted_squares_are_least(load_script):
    fusion = load_script("paper/fusion.py")
    generator = torch.Generator().manual_seed(0)
    xi, dz, error, estimate = (
        torch.randn(40, n, generator=generator, dtype=torch.float64) for n in (5, 3, 3, 5)
    )
    found = fusion.solve(
        (xi.t() @ xi, dz.t() @ xi), (error.t() @ error, error.t() @ estimate), (2.0, 1.0)
    )
    matrix = found.clone().requires_grad_()
    squares = 2 * (dz - xi @ matrix.t()).square().sum() + (error @ matrix - estimate).square().sum()
    ridge = 0.1 * matrix.square().sum()
    (gradient,) = torch.autograd.grad(squares + ridge, matrix)
    assert gradient.abs().max() < 1e-5
