"""Score mode's equations, against sums written out and against autograd."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from nodepert.agents.methods.advantages import clipped_surrogate, generalised_advantages, log_ratio

GAMMA, LAMBDA = 0.9, 0.8


def steps(seed=0, length=7, lanes=3):
    generator = torch.Generator().manual_seed(seed)
    rewards, values, following = torch.randn(3, length, lanes, generator=generator)
    ended = torch.rand(length, lanes, generator=generator) < 0.3
    return rewards, values, following, ended


def test_advantages_are_sums_of_discounted_surprises_to_the_end_of_the_episode():
    rewards, values, following, ended = steps()
    found = generalised_advantages(rewards, values, following, ended, GAMMA, LAMBDA)
    for lane in range(3):
        for t in range(7):
            expected, factor = 0.0, 1.0
            for k in range(t, 7):
                surprise = rewards[k, lane] + GAMMA * following[k, lane] - values[k, lane]
                expected += factor * surprise
                factor *= GAMMA * LAMBDA
                if ended[k, lane]:
                    break
            assert float(found[t, lane]) == pytest.approx(float(expected), abs=1e-5)


def test_advantages_are_those_of_stable_baselines3():
    """Which adds γ V(last observation) to the reward where a time limit cut the episode off."""
    rewards, values, following, ended = steps(seed=1)
    cut = ended & (torch.rand(7, 3, generator=torch.Generator().manual_seed(2)) < 0.5)
    last = torch.tensor([0.3, -0.2, 0.5])
    next_values = torch.cat([values[1:], last[None]])
    next_values = torch.where(ended, torch.where(cut, following, 0.0), next_values)
    ours = generalised_advantages(rewards, values, next_values, ended, GAMMA, LAMBDA)

    import gymnasium as gym

    box = gym.spaces.Box(-1, 1, (1,), np.float32)
    theirs = RolloutBuffer(7, box, box, gae_lambda=LAMBDA, gamma=GAMMA, n_envs=3)
    theirs.rewards[:] = (rewards + GAMMA * torch.where(cut, following, 0.0)).numpy()
    theirs.values[:] = values.numpy()
    theirs.episode_starts[1:] = ended[:-1].numpy()
    theirs.compute_returns_and_advantage(last, ended[-1].numpy())
    assert np.allclose(ours.numpy(), theirs.advantages, atol=1e-5)


def draws(seed=3, rows=200, dim=4):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(rows, dim, generator=generator)
    moved = 0.2 * torch.randn(rows, dim, generator=generator)
    advantages = torch.randn(rows, generator=generator)
    return noise, moved, 0.1 * torch.randn(2, dim, generator=generator), advantages


def test_log_ratio_is_that_of_two_normal_distributions():
    noise, moved, (log_std, old), _ = draws()
    before = torch.distributions.Normal(torch.zeros(4), old.exp())
    after = torch.distributions.Normal(moved, log_std.exp())
    action = noise * old.exp()
    expected = (after.log_prob(action) - before.log_prob(action)).sum(1)
    torch.testing.assert_close(log_ratio(noise, moved, log_std, old), expected)


def test_gradients_of_the_clipped_surrogate_are_autograds():
    noise, moved, (log_std, old), advantages = draws()
    moved.requires_grad_(True)
    spread = log_std.expand(200, 4).clone().requires_grad_(True)  # a row's own, to compare by row
    now = (noise * old.exp() - moved) / spread.exp()
    ratio = (0.5 * (noise.square() - now.square()) + old - spread).sum(1).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    (-surrogate).sum().backward()
    error, of_std, cut = clipped_surrogate(
        noise, moved.detach(), log_std, old, advantages, clip_range=0.2
    )
    torch.testing.assert_close(error, moved.grad)
    torch.testing.assert_close(of_std, spread.grad)
    assert 0.05 < cut.float().mean() < 0.95, "both branches were tried"


def test_before_the_first_step_the_gradient_is_node_perturbation():
    """ρ = 1: −A ξ/σ, Williams' REINFORCE for Gaussian noise."""
    noise, _, (log_std, _), advantages = draws()
    error, _, cut = clipped_surrogate(
        noise, torch.zeros(200, 4), log_std, log_std, advantages, clip_range=0.2
    )
    torch.testing.assert_close(error, -advantages[:, None] * noise / log_std.exp())
    assert not cut.any()
