"""Noticing that a run diverges, and going back."""

from contextlib import nullcontext

import pytest
import torch

from nodepert.agents import (
    Checkpoints,
    ConfigError,
    DivergenceError,
    DivergenceGuard,
    NodePerturbation,
    newest_checkpoint,
    roll_back,
)

SMALL = {"net_arch": (8,), "seed": 0, "device": "cpu", "batch_size": 4, "optimizer": "sgd"}


def test_an_exploding_loss_ends_the_run(tasks):
    def train(rate):
        model = NodePerturbation("MlpPolicy", tasks.Echo(), **SMALL, learning_rate=rate)
        model.learn(1000, DivergenceGuard())

    train(0.1)
    with pytest.raises(DivergenceError, match=r"explodes.*learning_rate"):
        train(lambda remaining: 0.1 if remaining > 0.5 else 8.0)
    with pytest.raises(ConfigError, match="factor=1"):
        DivergenceGuard(1)


@pytest.mark.parametrize(
    ("losses", "explodes"),
    [
        ([0.0] * 20 + [5.0] * 3, False),
        ([-1e-6] * 20 + [-5.0] * 3, False),
        ([1.0] * 5 + [1e9] * 3, False),
        ([1e-4] * 50 + [0.125], False),  # a rare failure
        ([1e-4] * 50 + [0.125, 1e-4, 0.125], True),
        ([1.0] * 20 + [float("nan")], True),
    ],
)
def test_rare_rewards_and_first_updates_are_no_explosion(tasks, losses, explodes):
    model = NodePerturbation("MlpPolicy", tasks.Echo(), **SMALL)
    guard = DivergenceGuard()
    guard.init_callback(model)
    for loss in losses:
        model.logs.add_loss(loss)
    with pytest.raises(DivergenceError) if explodes else nullcontext():
        guard.on_rollout_start()


def test_rolling_back_takes_all_that_was_learned_but_no_env_steps(tasks, same_weights, tmp_path):
    rates = {"learning_rate": 0.1, "feedback_learning_rate": 0.5, "lr_schedule": "constant"}
    model = NodePerturbation("MlpPolicy", tasks.Echo(), **SMALL, **rates, momentum=0.9)
    model.learn(400, Checkpoints(tmp_path, 200))
    path = newest_checkpoint(tmp_path).path
    good = NodePerturbation.load(path, device="cpu")
    with torch.no_grad():
        model.policy.network.layers[0].weight.fill_(float("nan"))
    roll_back(model, path, 0.25)
    assert same_weights(model, good)
    assert model.num_timesteps == 400
    state, saved = (one.optimizer.state_dict()["state"] for one in (model, good))
    assert all(torch.equal(state[i]["momentum_buffer"], saved[i]["momentum_buffer"]) for i in saved)
    model.learn(80, reset_num_timesteps=False)
    assert model.optimizer.param_groups[0]["lr"] == pytest.approx(0.025)
    assert model.feedback_optimizer.param_groups[0]["lr"] == pytest.approx(0.125)
    roll_back(model, path, 0.5)
    assert model.config.learning_rate == pytest.approx(0.0125), "of its present step size"
    with pytest.raises(ConfigError, match="factor=0"):
        roll_back(model, path, 0)
