"""The learned model of the output error, as a control variate."""

import math

import pytest
import torch

from nodepert.agents.output_error import ErrorModel, OneSidedProbes, PairedProbes

FEATURES, DIM = 6, 4


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


class Linear:
    """A task whose error is linear: e = p∘a + Q φ + r, as for the squared error."""

    def __init__(self, generator):
        self.generator = generator
        self.p = torch.ones(DIM)
        self.q = torch.randn(DIM, FEATURES, generator=generator)
        self.r = torch.randn(DIM, generator=generator)

    def draw(self, contexts):
        context = 1 + torch.randn(contexts, FEATURES, generator=self.generator)
        prediction = torch.randn(contexts, DIM, generator=self.generator)
        return context, prediction, self.p * prediction + context @ self.q.t() + self.r


def estimate(model, estimator, context, prediction, error, generator):
    """ê with the model as control variate, and what the model may learn from."""
    probes = estimator.probes(estimator.offsets(len(context), DIM, generator))
    g = model(context, prediction)
    residual = torch.einsum("nkd,nd->nk", probes, error - g)
    return g + estimator.estimate(residual, probes), residual, probes


def trained(task, estimator, updates, contexts=32):
    model = ErrorModel(FEATURES, DIM)
    for _ in range(updates):
        context, prediction, error = task.draw(contexts)
        _, residual, probes = estimate(model, estimator, context, prediction, error, task.generator)
        model.fit(context, prediction, residual, probes)
    return model


ESTIMATORS = [PairedProbes(1, 0.1), PairedProbes(3, 0.1), OneSidedProbes(2, 0.1)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("updates", [0, 3, 300])
def test_any_model_leaves_the_estimate_unbiased(generator, estimator, updates):
    """Mean over 20,000 probes of one context within 5 standard errors, for a g good or bad."""
    task = Linear(generator)
    model = trained(task, estimator, updates)
    if updates == 3:  # and for one that was never fitted to anything
        for parameter in model.buffers():
            parameter.add_(torch.rand(parameter.shape, generator=generator))
    context, prediction, error = (one.expand(20_000, -1).contiguous() for one in task.draw(1))
    ours, _, _ = estimate(model, estimator, context, prediction, error, generator)
    standard = ours.std(0) / math.sqrt(len(ours))
    assert ((ours.mean(0) - error[0]).abs() < 5 * standard + 1e-5).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_variance_falls_where_the_error_is_predictable(generator, estimator):
    task = Linear(generator)
    spread = []
    for updates in (0, 600):
        model = trained(task, estimator, updates)
        context, prediction, error = task.draw(2000)
        ours, _, _ = estimate(model, estimator, context, prediction, error, generator)
        spread.append(float((ours - error).square().sum(1).mean()))
    assert spread[1] < 0.02 * spread[0]


def test_fit_learns_from_probes_alone(generator):
    task = Linear(generator)
    model = trained(task, PairedProbes(1, 0.1), 600)
    context, prediction, error = task.draw(500)
    miss = (model(context, prediction) - error).square().mean() / error.square().mean()
    assert miss < 0.02


@pytest.mark.parametrize(("contexts", "updates", "bound"), [(1, 400, 0.5), (64, 40, 0.05)])
def test_fit_is_stable_with_many_probes(generator, contexts, updates, bound):
    task = Linear(generator)
    model = trained(task, PairedProbes(2 * DIM, 0.1), updates, contexts)
    context, prediction, error = task.draw(500)
    miss = (model(context, prediction) - error).square().mean() / error.square().mean()
    assert miss < bound


def test_blank_contexts_are_no_trouble(generator):
    model, estimator = ErrorModel(FEATURES, DIM), PairedProbes(1, 0.1)
    nothing, error = torch.zeros(8, FEATURES), torch.ones(8, DIM)
    for _ in range(20):
        _, residual, probes = estimate(
            model, estimator, nothing, torch.zeros(8, DIM), error, generator
        )
        model.fit(nothing, torch.zeros(8, DIM), residual, probes)
    assert torch.isfinite(model(nothing, torch.zeros(8, DIM))).all()
