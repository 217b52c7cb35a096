"""What a window of steps takes for a divergence, and what not."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from nodepert.agents import NodePerturbation, NonFiniteError
from nodepert.agents.algorithm.window import check_usable
from nodepert.agents.output_error import OneSidedProbes


def test_sparse_noise_that_perturbs_no_node_is_no_divergence():
    # Of 4 nodes with p = 0.1, two contexts in three have none that is perturbed.
    model = NodePerturbation(
        "RnnPolicy",
        gym.make("DelayedXOR-v0", stream=True, expose_gradient=True),
        credit="given",
        rule="loss",
        node_noise="sparse",
        node_baseline="clean",
        net_arch=(4,),
        batch_size=8,
        seed=0,
    )
    before = model.policy.network.recurrent.feedback.clone()
    model.learn(1_000)
    assert not before.equal(model.policy.network.recurrent.feedback)


@pytest.mark.parametrize("credit", ["given", "paired"])
def test_a_prediction_that_only_node_noise_makes_infinite_is_a_divergence(credit):
    model = NodePerturbation(
        "MlpPolicy",
        gym.make("MNIST-v0", expose_gradient=True),
        credit=credit,
        probes=10 if credit == "paired" else 1,
        rule="loss",
        node_std=1e5,
        node_baseline="clean",
        net_arch=(4,),
        batch_size=8,
        seed=0,
    )
    with torch.no_grad():
        model.policy.network.layers[-1].weight.fill_(1e35)
        model.policy.network.layers[0].weight.zero_()  # the prediction itself is 0
    with pytest.raises(NonFiniteError, match="the prediction for lane 0 is not finite"):
        model.learn(1)


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy", "CnnPolicy"])
def test_a_gradient_may_be_given_in_any_precision(policy):
    class Doubled(gym.Wrapper):
        def step(self, action):
            *others, info = super().step(action)
            gradient = info["action_gradient"].astype(np.float64)
            return *others, {**info, "action_gradient": gradient}

    env = Doubled(gym.make("MNIST-v0", expose_gradient=True))
    model = NodePerturbation(policy, env, credit="given", batch_size=2, seed=0)
    before = model.policy.network.layers[-1].weight.clone()
    model.learn(20)
    assert not before.equal(model.policy.network.layers[-1].weight)


def test_probes_that_happen_to_be_tiny_are_no_divergence():
    """One of 1e-8 is lost in rounding, and is drawn now and then where actions have one number."""
    lanes = SimpleNamespace(lanes_per_context=2, env_steps=0)
    centre = torch.tensor([[0.7], [-3.0]])
    tried = (centre[:, None] + torch.tensor([[0.0], [1e-9]])).clone()
    assert torch.equal(tried[:, 1], centre)
    check_usable(tried, OneSidedProbes(1, 0.1), lanes)
    huge = torch.tensor([[0.7], [1e7]])
    with pytest.raises(NonFiniteError, match=r"lane 2 is not finite.*lost in rounding"):
        check_usable(huge[:, None].expand(2, 2, 1), OneSidedProbes(1, 0.1), lanes)
