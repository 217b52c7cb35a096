import math

import pytest
import torch

from nodepert.agents.errors import NonFiniteError
from nodepert.agents.maths import (
    angle_degrees,
    gaussian_probes,
    gaussian_spread,
    least_squares_error,
    leave_one_out,
    loss_feedback_gradient,
    node_perturbation,
    orthogonal_probes,
    relative_error,
    response_feedback_gradient,
    ridge_feedback,
    sign_congruence,
)
from nodepert.agents.output_error import OnePointProbes, OneSidedProbes, PairedProbes

DIM = 5
DRAWS = 40_000


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def within(estimates, truth, standard_errors=5.0):
    """Whether the mean over draws (rows) is the truth, component by component.

    At 5 standard errors a right estimator fails in about one of 10⁶ component tests.
    """
    mean, error = estimates.mean(0), estimates.std(0) / math.sqrt(len(estimates))
    return bool(((mean - truth).abs() <= standard_errors * error + 1e-6).all())


def quadratic(error, curvature):
    """The loss e·a + ½ aᵀ H a, whose gradient at 0 is e."""
    return lambda a: a @ error + 0.5 * torch.einsum("...i,ij,...j->...", a, curvature, a)


ERROR = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
CURVATURE = torch.diag(torch.tensor([1.0, 2.0, 0.5, 1.0, 4.0])) + 0.3


@pytest.mark.parametrize("count", [1, 3, DIM, 2 * DIM, DIM + 3])
def test_paired_estimate_is_unbiased(generator, count):
    estimator = PairedProbes(count, 0.1)
    offsets = estimator.offsets(DRAWS, DIM, generator)
    losses = quadratic(ERROR, CURVATURE)(offsets)
    changes = estimator.changes(losses.double()).float()
    estimates = estimator.estimate(changes, estimator.probes(offsets))
    assert within(estimates, ERROR)
    # The same test finds a wrong sign, and an estimate that is 5 % too small.
    assert not within(-estimates, ERROR)
    if count < DIM:
        assert not within(0.95 * estimates, ERROR)


@pytest.mark.parametrize("count", [DIM, DIM + 1, DIM + 3, 2 * DIM, 3 * DIM + 2])
def test_paired_estimate_is_exact_with_enough_probes(generator, count):
    probes = orthogonal_probes(50, count, DIM, 0.1, generator)
    errors = torch.randn(50, DIM, generator=generator)
    changes = torch.einsum("nkd,nd->nk", probes, errors)
    torch.testing.assert_close(least_squares_error(changes, probes), errors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [DIM, DIM + 3])
def test_many_probes_agree_with_torch_least_squares(generator, count):
    probes = orthogonal_probes(20, count, DIM, 0.1, generator)
    changes = torch.randn(20, count, generator=generator)
    expected = torch.linalg.lstsq(probes, changes[:, :, None]).solution[:, :, 0]
    torch.testing.assert_close(least_squares_error(changes, probes), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [1, DIM])
@pytest.mark.parametrize("dim", [1, DIM])
def test_reward_noise_gives_a_bounded_error(generator, count, dim):
    """‖ê‖² is noise² d / (2 c² K) on average; without a common length far more, or infinite."""
    noise, std = 0.1, 0.1
    estimator = PairedProbes(count, std)
    offsets = estimator.offsets(20_000, dim, generator)
    losses = noise * torch.randn(offsets.shape[:2], generator=generator)
    estimates = estimator.estimate(estimator.changes(losses), estimator.probes(offsets))
    squared = estimates.square().sum(1)
    expected = dim / count * noise**2 / (2 * std**2)
    assert squared.mean() == pytest.approx(expected, rel=0.1)
    assert squared.max() < 60 * expected


def test_one_sided_estimate_is_unbiased_on_a_linear_loss(generator):
    for count in (1, 4):
        estimator = OneSidedProbes(count, 0.1)
        offsets = estimator.offsets(DRAWS, DIM, generator)
        losses = 7.0 + offsets @ ERROR
        assert not offsets[:, 0].any(), "the first lane is clean"
        estimates = estimator.estimate(estimator.changes(losses), estimator.probes(offsets))
        assert within(estimates, ERROR)
        assert not within(1.1 * estimates, ERROR)


@pytest.mark.parametrize("count", [1, 3, DIM])
def test_one_point_estimate_is_unbiased_whatever_contexts_differ_by(generator, count):
    """Batches of 2, where a baseline that had the context's own loss would halve the estimate."""
    estimator = OnePointProbes(count, 3.0)
    offsets = estimator.offsets(DRAWS, DIM, generator)
    losses = quadratic(ERROR, CURVATURE)(offsets) + torch.rand(DRAWS, 1, generator=generator)
    changes = torch.cat([estimator.changes(pair) for pair in losses.double().split(2)]).float()
    estimates = estimator.estimate(changes, estimator.probes(offsets))
    assert within(estimates, ERROR)
    assert not within(-estimates, ERROR)
    assert not within(0.9 * estimates, ERROR)


def test_longer_one_point_probes_are_less_disturbed_by_what_contexts_differ_by(generator):
    """Down to the e·ξ of the others, 1/(N−1) of its own."""
    contexts = 200
    scatter = []
    for std in (0.1, 1.0, 10.0):
        estimator = OnePointProbes(1, std)
        offsets = estimator.offsets(contexts, DIM, generator).double()
        losses = offsets @ ERROR.double() + torch.rand(contexts, 1, generator=generator)
        missed = estimator.changes(losses) - offsets @ ERROR.double()
        scatter.append(float(missed.std() / (offsets @ ERROR.double()).std()))
    assert scatter[0] > 5 * scatter[1] > 10 * scatter[2]
    assert scatter[2] < 0.1


def test_leave_one_out():
    assert leave_one_out(torch.tensor([1.0, 2.0, 6.0])).tolist() == [4.0, 3.5, 1.5]
    assert leave_one_out(torch.tensor([[5.0]])).tolist() == [[0.0]]


@pytest.mark.parametrize("count", [1, 2, DIM, DIM + 3, 2 * DIM])
def test_orthogonal_probes(generator, count):
    probes = orthogonal_probes(2000, count, DIM, 0.1, generator)
    assert probes.shape == (2000, count, DIM)
    torch.testing.assert_close(
        probes.norm(dim=2), torch.full((2000, count), 0.1 * math.sqrt(DIM)), rtol=1e-4, atol=0.0
    )
    for start in range(0, count, DIM):
        block = probes[:, start : start + DIM]
        products = block @ block.transpose(1, 2)
        expected = torch.eye(block.shape[1]) * 0.1**2 * DIM
        torch.testing.assert_close(products, expected.expand_as(products), rtol=0, atol=1e-6)
    outer = torch.einsum("nkd,nke->nde", probes, probes).flatten(1) / count
    assert within(outer, 0.1**2 * torch.eye(DIM).flatten())
    assert within(probes.flatten(1), torch.zeros(count * DIM))


def test_gaussian_probes(generator):
    probes = gaussian_probes((DRAWS, 2), 0.3, generator)
    assert within(probes, torch.zeros(2))
    assert within(probes.square(), torch.full((2,), 0.09))
    again = gaussian_probes((DRAWS, 2), 0.3, torch.Generator().manual_seed(0))
    assert torch.equal(probes, again)


def test_node_perturbation(generator):
    noise = gaussian_probes((DRAWS, DIM), 0.2, generator)
    assert within(node_perturbation(noise @ ERROR, noise, 0.04), ERROR)
    assert node_perturbation(torch.tensor([2.0]), torch.tensor([[0.5, -1.0]]), 0.25).tolist() == [
        [4.0, -8.0]
    ]


@pytest.mark.parametrize(
    ("rows", "n_in", "n_out"), [(1, 1, 1), (1, 50, 3), (64, 10, 20), (64, 256, 10), (640, 50, 50)]
)
@pytest.mark.parametrize("std", [1e-3, 0.1, 10.0])
def test_response_rule_is_stable_at_step_one(generator, rows, n_in, n_out, std):
    weight = torch.randn(n_out, n_in, generator=generator)
    feedback = torch.randn(n_out, n_in, generator=generator)
    distance = float((weight - feedback).norm())
    for _ in range(200):
        noise = gaussian_probes((rows, n_in), std, generator)
        response = noise @ weight.t()
        before = (response - noise @ feedback.t()).norm()
        feedback = feedback - response_feedback_gradient(
            feedback, noise, response, gaussian_spread(noise)
        )
        after = (response - noise @ feedback.t()).norm()
        assert after <= before * 1.05 + 1e-4 * std
    assert (weight - feedback).norm() <= distance * 1.01
    if rows >= n_in:
        assert angle_degrees(weight, feedback) < 1


def test_response_rule_without_noise_is_zero():
    feedback = torch.ones(3, 4)
    gradient = response_feedback_gradient(feedback, torch.zeros(5, 4), torch.zeros(5, 3), 0.0)
    assert torch.equal(gradient, torch.zeros(3, 4))


def test_loss_rule_is_the_gradient_of_its_objective(generator):
    feedback = torch.randn(3, 4, generator=generator).double().requires_grad_()
    error = torch.randn(7, 3, generator=generator).double()
    target = torch.randn(7, 4, generator=generator).double()
    objective = 0.5 * (error @ feedback - target).square().sum(1).mean()
    (expected,) = torch.autograd.grad(objective, feedback)
    given = loss_feedback_gradient(error, error @ feedback.detach() - target)
    torch.testing.assert_close(given, expected, rtol=1e-9, atol=1e-9)


def test_ridge_feedback_minimises_its_objective(generator):
    """Stationary point of ½‖ẽ B − λ̂‖² + ½γ‖B‖², which is strictly convex."""
    error = torch.randn(7, 3, generator=generator).double()
    target = torch.randn(7, 4, generator=generator).double()
    feedback = ridge_feedback(error.t() @ error, error.t() @ target, 0.1).requires_grad_()
    objective = 0.5 * (error @ feedback - target).square().sum() + 0.05 * feedback.square().sum()
    (gradient,) = torch.autograd.grad(objective, feedback)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


def test_ridge_feedback_without_ridge_finds_the_weights(generator):
    weight = torch.randn(3, 4, generator=generator).double()
    error = torch.randn(20, 3, generator=generator).double()
    feedback = ridge_feedback(error.t() @ error, error.t() @ (error @ weight), 0.0)
    torch.testing.assert_close(feedback, weight, rtol=1e-9, atol=1e-9)


def test_metrics():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert angle_degrees(a, 3 * a) == pytest.approx(0, abs=1e-5)
    assert angle_degrees(a, -a) == pytest.approx(180)
    assert angle_degrees(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])) == pytest.approx(45)
    assert math.isfinite(angle_degrees(a, torch.zeros(2, 2)))
    assert relative_error(a, a) == 0
    assert relative_error(a, torch.zeros(2, 2)) == 1
    assert (
        sign_congruence(torch.tensor([1.0, -1.0, 2.0, -2.0]), torch.tensor([3.0, 1, 1, 1])) == 0.5
    )


def test_ridge_feedback_of_diverged_sums_says_so():
    broken = torch.full((2, 2), torch.nan)
    with pytest.raises(NonFiniteError, match=r"ridge=0.1, are not positive definite: the weights"):
        ridge_feedback(broken, torch.ones(2, 3), 0.1)


def test_a_zero_that_is_drawn_is_a_direction_too(monkeypatch):
    """Of float32 numbers, randn draws one every ten million or so."""
    monkeypatch.setattr(torch, "randn", lambda *shape, **options: torch.zeros(shape))
    assert orthogonal_probes(3, 2, 1, 0.5, torch.Generator()).tolist() == [[[0.5], [0.5]]] * 3
