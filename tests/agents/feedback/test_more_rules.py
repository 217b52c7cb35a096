"""The rules beside response, loss and fixed: what each makes of its feedback weights."""

import pytest
import torch

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.feedback import RULES, Loss, LossResidual, LossRidge
from nodepert.agents.maths import angle_degrees, relative_error
from nodepert.agents.metrics import weight_alignment
from nodepert.agents.networks import MLP


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(tasks, rule, **changes):
    changes = {"net_arch": (20,), "batch_size": 64, "seed": 0, "credit": "given", **changes}
    return NodePerturbation(
        "MlpPolicy", tasks.Echo(dim=8, expose_gradient=True), rule=rule, **changes
    )


def angles(model):
    return [v for k, v in weight_alignment(model.policy.network).items() if "angle" in k]


def backward(path, sizes=(6, 5), dim=4):
    """An MLP after a backward pass, and the error at its output."""
    network = MLP(7, sizes, dim, activation="tanh", path=path, generator=generator())
    x, error = (
        torch.randn(9, 7, generator=generator(1)),
        torch.randn(9, dim, generator=generator(2)),
    )
    network.step(x, None).prediction.backward(error)
    return network, error


@pytest.mark.parametrize("baseline", ["antithetic", "clean"])
def test_ridge_with_frozen_weights_finds_the_top_matrix(tasks, baseline):
    model = make(tasks, "loss_ridge", learning_rate=0.0, node_baseline=baseline, node_std=0.01)
    assert min(angles(model)) > 60
    model.learn(model.n_envs * 600)
    assert max(angles(model)) < 10


def test_ridge_is_the_least_squares_solution_over_all_that_it_was_shown():
    rule = LossRidge(ridge=1e-9, forgetting=1.0)
    rule.prepare([(3, 5), (2, 5)])
    feedbacks = [torch.zeros(3, 5), torch.zeros(2, 5)]
    errors = torch.randn(40, 5, generator=generator())
    estimates = torch.randn(40, 5, generator=generator(1))
    for rows in (slice(0, 15), slice(15, 40)):
        sources = list(errors[rows].split([3, 2], dim=1))
        carried = sum(e @ b for e, b in zip(sources, feedbacks, strict=True))
        gradients = rule.gradients(feedbacks, sources, [carried - estimates[rows]] * 2)
        feedbacks = [b - g for b, g in zip(feedbacks, gradients, strict=True)]
    expected = torch.linalg.lstsq(errors, estimates).solution
    torch.testing.assert_close(torch.cat(feedbacks), expected, rtol=1e-4, atol=1e-5)


def test_ridge_forgets():
    rule = LossRidge(ridge=1e-9, forgetting=1e-6)
    rule.prepare([(2, 2)])
    feedback, errors = torch.zeros(2, 2), torch.randn(9, 2, generator=generator())
    for weight in (torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[-5.0, 0], [1, 7]])):
        (gradient,) = rule.gradients([feedback], [errors], [errors @ (feedback - weight)])
        feedback = feedback - gradient
    torch.testing.assert_close(feedback, weight, rtol=1e-3, atol=1e-3)


def test_residual_has_the_mean_of_the_loss_rule_and_less_variance_once_b_is_good():
    weight = torch.randn(4, 6, generator=generator())
    feedback = weight + 0.1 * torch.randn(4, 6, generator=generator(1))
    errors = torch.randn(200_000, 4, generator=generator(2))
    noise = 0.1 * torch.randn(200_000, 6, generator=generator(3))
    carried, change = errors @ feedback, (noise * (errors @ weight)).sum(1)
    rest = change - (noise * carried).sum(1)
    plain = Loss().mismatch(carried, change, noise, 0.01)
    residual = LossResidual().mismatch(carried, rest, noise, 0.01)
    true = errors.t() @ (errors @ (feedback - weight)) / len(errors)
    for mismatch, bound in ((plain, 0.3), (residual, 0.05)):
        (gradient,) = Loss().gradients([feedback], [errors], [mismatch])
        assert relative_error(true, gradient) < bound
    assert residual.var() < 0.1 * plain.var()


@pytest.mark.parametrize("rule", ["loss_residual", "loss_ridge"])
@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
def test_loss_rules_turn_towards_the_weights(tasks, rule, policy):
    recurrent = policy == "RnnPolicy"
    model = NodePerturbation(
        policy,
        tasks.Echo(dim=4, length=3 if recurrent else 1, expose_gradient=True),
        rule=rule,
        credit="given",
        net_arch=(8,),
        batch_size=64,
        n_steps=6 if recurrent else 1,
        seed=0,
        learning_rate=0.0,
        feedback_learning_rate=0.02 if rule == "loss_residual" else None,
    )
    before = angles(model)
    model.learn(model.n_envs * (6 * 300 if recurrent else 400))
    assert all(new < 0.5 * old for new, old in zip(angles(model), before, strict=True))


@pytest.mark.parametrize("rule", ["activation", "direct_loss"])
def test_other_ways_down_learn_their_regression(tasks, rule):
    """What is carried to the hidden layer turns towards the true error there."""
    model = make(
        tasks, rule, learning_rate=0.0, feedback_learning_rate=0.02, alignment_interval=1
    ).learn(64 * 2 * 600, log_interval=0)
    late = model.logger.name_to_value["alignment/error_angle_1"]
    assert late < (25 if rule == "direct_loss" else 60)


def test_direct_sends_the_outputs_error_to_every_layer():
    network, error = backward("direct")
    for below, layer in enumerate(network.layers[1:]):
        assert layer.feedback.shape == (4, layer.weight.shape[1])
        call, under = layer.calls[0], network.layers[below].calls[0]
        assert torch.equal(call.source, error)
        slope = 1 - torch.tanh(under.output).square()
        torch.testing.assert_close(under.error, error @ layer.feedback * slope)


def test_activation_guesses_from_the_layers_own_input():
    network, error = backward("activation")
    for layer in network.layers[1:]:
        assert not layer.feedback.any(), "no guess before the first evidence"
    network.zero_grad()
    network.forget_calls()
    for layer in network.layers[1:]:
        layer.feedback.data.normal_(generator=generator(5))
    x = torch.randn(9, 7, generator=generator(1))
    error[3] = 0.0  # a step that is not to be learned from
    network.step(x, None).prediction.backward(error)
    for below, layer in enumerate(network.layers[1:]):
        call, under = layer.calls[0], network.layers[below].calls[0]
        source = torch.cat([call.input, torch.ones(9, 1)], dim=1)
        source[3] = 0.0
        assert torch.equal(call.source, source)
        slope = 1 - torch.tanh(under.output).square()
        torch.testing.assert_close(under.error, source @ layer.feedback * slope)


def test_sign_symmetric_carries_by_signs_alone():
    network, error = backward("sign")
    below, layer = network.layers[-2:]
    assert layer.feedback is None
    slope = 1 - torch.tanh(below.calls[0].output).square()
    expected = error @ (layer.std * layer.weight.sign()) * slope
    torch.testing.assert_close(below.calls[0].error, expected)
    assert (
        0.5 * layer.weight.norm()
        < layer.std * layer.weight.numel() ** 0.5
        < 2 * (layer.weight.norm())
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_matched_feedback_gets_the_weights_own_updates(tasks, optimizer):
    model = make(tasks, "matched", optimizer=optimizer, learning_rate=0.01)
    layer = model.policy.network.layers[-1]
    before, start = (layer.weight - layer.feedback).detach().clone(), layer.weight.detach().clone()
    model.learn(model.n_envs * 50)
    assert (layer.weight - start).norm() > 0.1
    torch.testing.assert_close(layer.weight - layer.feedback, before, rtol=1e-4, atol=1e-4)
    assert model.feedback_optimizer is None


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_matched_feedback_converges_with_weight_decay(tasks, optimizer):
    model = make(tasks, "matched", optimizer=optimizer, learning_rate=0.02, weight_decay=1.0,
                 lr_schedule="constant")  # fmt: skip
    assert min(angles(model)) > 60
    model.learn(model.n_envs * 800)
    assert max(angles(model)) < 5


@pytest.mark.parametrize("rule", ["direct", "direct_loss", "activation"])
def test_rules_without_a_way_through_time_say_so(tasks, rule):
    with pytest.raises(ConfigError, match=r"RnnPolicy.*expected MlpPolicy"):
        NodePerturbation("RnnPolicy", tasks.Echo(length=3), rule=rule, credit="one_sided", probes=3)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_from_scalar_rewards(tasks, rule):
    model = NodePerturbation("MlpPolicy", tasks.Echo(dim=3), rule=rule, probes=3, seed=0,
                             batch_size=32, net_arch=(20, 15), learning_rate=3e-3)  # fmt: skip
    losses = []

    def note(own, _):
        losses.append(-own["rewards"].mean())
        return True

    model.learn(model.n_envs * 400, callback=note)
    first, last = sum(losses[:20]), sum(losses[-20:])
    assert last < 0.3 * first


def test_angles_of_a_sign_rule_are_measured(tasks):
    model = make(tasks, "sign_symmetric", alignment_interval=1).learn(64)
    assert 10 < model.logger.name_to_value["alignment/error_angle_1"] < 60
    assert angle_degrees(torch.ones(2), torch.ones(2)) == pytest.approx(0, abs=1e-3)
