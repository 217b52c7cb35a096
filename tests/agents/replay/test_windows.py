"""Stored windows of recurrent policies: what is remembered is worked out anew, and helps."""

import gymnasium as gym
import pytest
import torch

from nodepert.agents import NodePerturbation
from nodepert.agents.evaluation import evaluate

SETTINGS = {"credit": "one_point", "probe_std": 3.0, "batch_size": 20, "learning_rate": 4e-3,
            "lr_schedule": "constant"}  # fmt: skip


def make(seed=0, cell="tanh", delay=4, **changes):
    settings = {**SETTINGS, **changes}
    lanes = gym.make_vec("DelayedXOR-v0", settings["batch_size"], delay=delay)
    return NodePerturbation("RnnPolicy", lanes, seed=seed, policy_kwargs={"cell": cell}, **settings)


def all_rows(replay, network, monkeypatch):
    """What the minibatch of all stored windows is, each of them once."""
    buffer = replay.buffer
    stored = buffer[: buffer.count]
    monkeypatch.setattr(buffer, "draw", lambda rows, generator: stored)
    monkeypatch.setattr(replay, "moved", torch.empty(buffer.count, replay.moved.shape[1]))
    [(steps, error, count)] = replay.minibatches(network)
    return stored, steps, error, count


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_a_network_that_did_not_change_says_what_it_said(cell, monkeypatch):
    """Windows of 8 steps begin in the middle of episodes of 7: their states must be right."""
    model = make(cell=cell, replays=1, forward_interval=0)
    model.learn(6 * 160)
    replay, network = model.method.learner.replay, model.policy.network
    monkeypatch.setattr(replay.curvature, "trust", lambda moved: torch.ones(2, len(moved)))
    stored, steps, error, count = all_rows(replay, network, monkeypatch)
    said = torch.stack([step.prediction for step in steps], 1)
    scouts = torch.arange(len(said)) % 20 < 4  # around a moved prediction
    torch.testing.assert_close(said[~scouts], stored["centres"][~scouts])
    assert not stored["started"].all(1).any()
    assert stored["state"].abs().sum(1).gt(0).any()
    assert count == stored["valid"].sum()
    assert error.shape == (8, len(said), 1)


def steps_to_learn(**changes):
    """Env steps to 99 %, of three seeds in the middle."""

    def first(seed):
        model = make(seed, **changes)
        while evaluate(model, "DelayedXOR-v0", {}).value < 0.99 and model.num_timesteps < 8_000:
            model.learn(160, reset_num_timesteps=False)
        return model.num_timesteps

    return sorted(map(first, range(3)))[1]


def test_windows_that_are_learned_from_again_save_env_steps():
    assert steps_to_learn(replays=4) <= 0.7 * steps_to_learn()


def test_paired_windows_are_learned_from_again_too():
    model = make(credit="paired", probe_std=1e-2, replays=2)
    model.learn(3_200)
    assert model.method.learner.replay.buffer.count == 200
    found = model.method.learner.replay.curvature.hessian.diagonal
    assert float(found) == pytest.approx(1.0, rel=0.05)


def test_a_model_file_has_the_windows(tmp_path):
    model = make(replays=1)
    model.learn(6 * 160)
    model.save(tmp_path / "model.zip")
    lanes = gym.make_vec("DelayedXOR-v0", 20, delay=4)
    again = NodePerturbation.load(tmp_path / "model.zip", lanes, force_reset=False)
    for one in (model, again):
        one.learn(3 * 160, reset_num_timesteps=False)
    ours, theirs = model.policy.state_dict(), again.policy.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
