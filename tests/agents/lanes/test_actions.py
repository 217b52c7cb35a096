"""From predictions to actions, and probes at the edges of somebody else's Box."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.lanes.actions import ActionMap

BOX = spaces.Box(np.array([0, -4], np.float32), np.array([10, 4], np.float32))


def test_loss_environments_are_scaled_not_clipped():
    actions = ActionMap(spaces.Box(-1, 1, (2,)), 2.0)
    prediction = torch.tensor([[1.0, -50.0]])
    assert actions.action(prediction).tolist() == [[0.5, -25.0]]
    offsets = torch.full((1, 2, 2), 9.0)
    centre, same = actions.contain(prediction, offsets)
    assert centre is prediction
    assert same is offsets
    assert actions.gradient(torch.tensor([4.0])) == 2.0


def test_other_boxes_are_spanned_and_clipped():
    actions = ActionMap(BOX, None)
    prediction = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0], [3.0, -3.0]])
    assert actions.action(prediction).tolist() == [[0, -4], [5, 0], [10, 4], [10, -4]]


def test_probes_move_the_centre_and_stay_symmetric():
    actions = ActionMap(BOX, None)
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(500, 2, generator=generator)
    xi = 0.2 * torch.randn(500, 1, 2, generator=generator)
    xi[:10] *= 30  # too long for the Box
    centre, offsets = actions.contain(prediction, torch.cat([xi, -xi], dim=1))
    tried = centre[:, None] + offsets
    assert tried.abs().max() <= 1 + 1e-6
    assert torch.equal(offsets[:, 0], -offsets[:, 1])
    short = xi.abs().amax(dim=(1, 2)) <= 1
    assert torch.equal(offsets[short, 0], xi[short, 0])
    turned = torch.cosine_similarity(offsets[:, 0], xi[:, 0])
    assert turned == pytest.approx(torch.ones(500), abs=1e-5), "shrunk, not bent"
    inside = ((prediction[:, None] + torch.cat([xi, -xi], dim=1)).abs() <= 1).all(2).all(1)
    assert 50 < inside.sum() < 450
    assert torch.equal(centre[inside], prediction[inside])
    nearest = prediction.clamp(-1, 1)
    reach = offsets.abs().amax(1)
    assert ((centre - nearest).abs() <= reach + 1e-6).all(), "moved no further than it must"


@pytest.mark.parametrize("rule", ["response", "loss"])
def test_training_stays_inside_and_probes_both_sides(tasks, rule):
    """What the environment is sent: pairs around one centre, inside, also where it lies outside."""
    envs = []

    def make():
        envs.append(tasks.Bandit(length=3))
        return envs[-1]

    model = NodePerturbation("MlpPolicy", make, credit="paired", rule=rule, net_arch=(8,),
                             batch_size=2, probe_std=0.2, node_std=0.5, n_steps=4,
                             seed=0)  # fmt: skip
    model.policy.network.layers[-1].bias.data += torch.tensor([5.0, -0.9])
    model.learn(model.n_envs * 40)
    per_context = model.lanes_per_context
    assert per_context == {"response": 2, "loss": 4}[rule]
    for first in range(0, len(envs), per_context):
        played = [np.array(env.played) for env in envs[first : first + per_context]]
        middle = [(a + b) / 2 for a, b in zip(played[::2], played[1::2], strict=True)]
        apart = np.ptp(played[0] - played[1], axis=0)
        assert (apart > 0.1).all()
        assert np.allclose(middle[0], middle[-1], atol=0.35 if rule == "loss" else 1e-5)
        assert (middle[0] < BOX.high).all()
    best = model.predict(np.zeros((1, 2), np.float32))[0]
    assert BOX.contains(best[0])


def test_predict_is_the_action_that_training_plays(tasks):
    """With next to no probe, training plays what predict gives: scaled, or clipped to the Box."""
    played = []

    class EchoSpy(tasks.Echo):
        def loss(self, context, actions):
            played.append((context["observation"].copy(), actions.copy()))
            return super().loss(context, actions)

    class BanditSpy(tasks.Bandit):
        def step(self, action):
            played.append((self.shown[None].copy(), action[None].copy()))
            return super().step(action)

    for maker in (EchoSpy, BanditSpy):
        played.clear()
        model = NodePerturbation("MlpPolicy", maker, credit="paired", probe_std=1e-4,
                                 batch_size=3, net_arch=(8,), learning_rate=0.0,
                                 seed=0)  # fmt: skip
        model.policy.network.layers[-1].bias.data[0] = 0.95
        model.learn(60)
        for observation, action in played:
            assert model.predict(observation)[0] == pytest.approx(action, abs=5e-3)
        assert played


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, np.inf, (2,)),
        spaces.Text(3),
        spaces.Dict({"a": BOX}),
    ],
)
def test_spaces_that_can_not_be_acted_in(space):
    with pytest.raises(ConfigError, match=r"action space.*expected a Box"):
        ActionMap(space, None)


def test_discrete_actions():
    actions = ActionMap(spaces.Discrete(3, start=2), None)
    assert actions.dim == 3
    assert actions.action(torch.eye(3)).tolist() == [2, 3, 4]


def test_several_discrete_actions_at_once():
    actions = ActionMap(spaces.MultiDiscrete([2, 3], start=[0, 5]), None)
    assert actions.dim == 5
    prediction = torch.tensor([[0.0, 1.0, 2.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0, 2.0]])
    assert actions.action(prediction).tolist() == [[1, 5], [0, 7]]
    actions = ActionMap(spaces.MultiBinary(3), None)
    assert actions.dim == 3
    assert actions.action(torch.tensor([[0.1, -0.1, 0.0]])).tolist() == [[1, 0, 0]]
