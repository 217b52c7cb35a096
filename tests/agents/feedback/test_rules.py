"""What each rule makes of its feedback weights, and what it is told."""

import inspect

import pytest
import torch

from nodepert.agents import Config, NodePerturbation
from nodepert.agents.feedback import RULES, FeedbackRule, LossRule, ResponseRule
from nodepert.agents.maths import angle_degrees, response_feedback_gradient
from nodepert.agents.metrics import weight_alignment

LEARNED = ("response", "loss", "fixed")


def angles(model):
    return [v for k, v in weight_alignment(model.policy.network).items() if "angle" in k]


def feedbacks(model):
    layers = model.policy.network.layers
    return [layer.feedback.clone() for layer in layers if layer.feedback is not None]


def make(tasks, rule, **changes):
    changes = {"net_arch": (20, 15), "batch_size": 32, "seed": 0, **changes}
    return NodePerturbation("MlpPolicy", tasks.Echo(dim=8), rule=rule, **changes)


def test_the_rules_of_the_foundation_are_there():
    assert set(RULES) >= {
        "response", "loss", "loss_ridge", "loss_residual", "activation", "matched",
        "sign_symmetric", "fixed", "direct", "direct_loss", "symmetric", "backprop",
    }  # fmt: skip
    for name in RULES:
        assert Config(rule=name).rule == name


@pytest.mark.parametrize("rule", LEARNED)
def test_feedback_starts_independent_of_the_weights(tasks, rule):
    for seed in range(3):
        assert min(angles(make(tasks, rule, seed=seed))) > 60


@pytest.mark.parametrize("rule", LEARNED)
def test_first_logged_angle_is_that_of_the_start(tasks, rule):
    model = make(tasks, rule, alignment_interval=1)
    start = angles(model)
    model.learn(model.n_envs, log_interval=0)
    logged = [v for k, v in model.logger.name_to_value.items() if "weight_angle" in k]
    assert logged == pytest.approx(start)
    assert min(logged) > 60


def test_response_converges(tasks):
    model = make(tasks, "response").learn(64 * 100)
    assert max(angles(model)) < 5


def test_response_with_a_wrong_sign_diverges(tasks):
    model = make(tasks, "response", feedback_learning_rate=0.0)
    before = feedbacks(model)
    for group in model.feedback_optimizer.param_groups:
        group["lr"] = -1.0
    model.learn(64 * 20)
    after = feedbacks(model)
    assert all(b.norm() > 10 * a.norm() for a, b in zip(before, after, strict=True))


def test_response_without_noise_leaves_feedback_alone(tasks):
    for policy in ("MlpPolicy", "RnnPolicy"):
        model = NodePerturbation(
            policy, tasks.Echo(length=4), node_std=0.0, seed=0, batch_size=8, net_arch=(10,)
        )
        before = feedbacks(model)
        model.learn(16 * 40)
        assert all(torch.equal(a, b) for a, b in zip(before, feedbacks(model), strict=True))


def test_fixed_never_changes(tasks):
    model = make(tasks, "fixed")
    before, weight = feedbacks(model), model.policy.network.layers[1].weight.detach().clone()
    model.learn(64 * 50)
    assert all(torch.equal(a, b) for a, b in zip(before, feedbacks(model), strict=True))
    assert not torch.equal(weight, model.policy.network.layers[1].weight)


@pytest.mark.parametrize(
    "changes", [{"credit": "given"}, {"probes": 8}], ids=["given", "as-many-probes-as-outputs"]
)
def test_loss_rule_turns_towards_the_weights(tasks, changes):
    """B of the output layer (from about 90°) with frozen W, from the loss alone."""
    model = NodePerturbation(
        "MlpPolicy",
        tasks.Echo(dim=8, expose_gradient=True),
        rule="loss",
        net_arch=(20,),
        batch_size=64,
        seed=0,
        learning_rate=0.0,
        feedback_learning_rate=0.01,
        **changes,
    )
    (before,) = angles(model)
    model.learn(model.n_envs * 500)
    (after,) = angles(model)
    assert before > 60
    assert after < 25


def test_loss_rule_learns_recurrent_feedback(tasks):
    model = NodePerturbation(
        "RnnPolicy",
        tasks.Echo(dim=4, length=3, expose_gradient=True),
        rule="loss",
        credit="given",
        net_arch=(8,),
        batch_size=128,
        n_steps=6,
        seed=0,
        learning_rate=0.0,
        feedback_learning_rate=0.02,
    )
    before = angles(model)
    model.learn(model.n_envs * 6 * 500)
    after = angles(model)
    assert all(new < 0.5 * old for new, old in zip(after, before, strict=True))


def hands(value):
    """All tensors in a rule's arguments."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from hands(one)


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
@pytest.mark.parametrize("rule", ["response", "loss", "loss_ridge", "loss_residual"])
def test_rules_are_not_handed_forward_weights(tasks, monkeypatch, rule, policy):
    seen, places = [], []
    cls = RULES[rule]
    name = "gradient" if issubclass(cls, ResponseRule) else "gradients"
    original = getattr(cls, name)

    def spy(self, *args):
        places.extend(one.untyped_storage().data_ptr() for one in hands(args))
        seen.extend(one.detach().clone() for one in hands(args))
        return original(self, *args)

    monkeypatch.setattr(cls, name, spy)
    model = NodePerturbation(
        policy, tasks.Echo(dim=8), rule=rule, net_arch=(20,), batch_size=16, seed=0
    )
    layers = model.policy.network.layers
    weights = [layer.weight.detach().clone() for layer in layers]
    model.learn(1)
    assert seen
    assert not {layer.weight.untyped_storage().data_ptr() for layer in layers} & set(places)
    for tensor in seen:
        for weight in weights:
            for one in (weight, weight.t()):
                assert tensor.shape != one.shape or 60 < angle_degrees(tensor, one) < 120


def test_only_the_oracles_use_forward_weights_on_the_way_down():
    paths = {name: rule.path for name, rule in RULES.items()}
    assert paths == {
        "response": "feedback",
        "loss": "feedback",
        "loss_ridge": "feedback",
        "loss_residual": "feedback",
        "activation": "activation",
        "matched": "feedback",
        "sign_symmetric": "sign",
        "fixed": "feedback",
        "direct": "direct",
        "direct_loss": "direct",
        "symmetric": "transpose",
        "backprop": "autograd",
    }


@pytest.mark.parametrize("rule", LEARNED)
def test_forward_update_does_not_read_the_weights_above(tasks, rule):
    """Changing W above a layer, and nothing else, leaves that layer's update as it was."""
    updates = []
    for scale in (1.0, 3.0):
        model = make(tasks, rule, optimizer="sgd", learning_rate=0.1, credit="paired")
        network = model.policy.network
        before = network.layers[0].weight.detach().clone()
        x = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
        network.layers[2].weight.data *= scale
        network.step(x, None).prediction.backward(torch.ones(5, 8))
        updates.append(network.layers[0].weight.grad.clone())
        assert torch.equal(before, network.layers[0].weight)
    assert torch.equal(*updates)


def test_new_rule_is_one_class(tasks, monkeypatch):
    """A rule of one's own, chosen by name once it is in the table."""

    class Half(ResponseRule):
        learning_rate = 0.5

        def gradient(self, feedback, noise, response, largest):
            return response_feedback_gradient(feedback, noise, response, largest)

    monkeypatch.setitem(RULES, "half", Half)
    model = make(tasks, "half").learn(64 * 100)
    assert max(angles(model)) < 10


@pytest.mark.parametrize("base", [ResponseRule, LossRule])
def test_bases_are_abstract(base):
    assert inspect.isabstract(base)
    assert issubclass(base, FeedbackRule)
