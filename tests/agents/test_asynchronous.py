"""Forward and feedback learner apart: what they exchange, by how much they differ, what ends."""

import threading
import time
from functools import partial

import pytest
import torch

from nodepert.agents import ConfigError, NodePerturbation, PartnerError
from nodepert.agents.asynchronous import Board, Exchange, train_apart
from nodepert.agents.evaluation import evaluate
from nodepert.agents.metrics import weight_alignment

make_mnist = partial(
    NodePerturbation,
    "MlpPolicy",
    "MNIST-v0",
    seed=0,
    net_arch=(32, 16),
    activation="tanh",
    learning_rate=4e-3,
)


def test_two_processes_learn_what_neither_learns_alone():
    before = weight_alignment(make_mnist().policy.network)
    assert before["weight_angle_2"] > 60
    apart = train_apart(make_mnist, 40_000, max_lag=4)
    after = weight_alignment(apart.model.policy.network)
    assert after["weight_angle_2"] < 10
    assert after["weight_angle_3"] < 10
    assert evaluate(apart.model, "MNIST-v0").value < 0.25  # with B fixed 0.74
    assert max(apart.lags) <= 4
    assert min(apart.lags) >= -5
    assert 1.5 * apart.model.num_timesteps < apart.env_steps < 2.5 * apart.model.num_timesteps


class Slow(Exchange):
    """Takes its time before each rollout."""

    def _on_rollout_start(self):
        time.sleep(0.02)
        super()._on_rollout_start()


def learn_in_threads(forward, feedback, steps):
    """Both learners in this process; the feedback learner until the forward learner ends."""
    learner = make_mnist(batch_size=4, forward_interval=0)
    thread = threading.Thread(target=learner.learn, args=(10**9, feedback, 0), daemon=True)
    thread.start()
    model = make_mnist(batch_size=4, feedback_interval=0).learn(steps, forward)
    thread.join(timeout=20)
    assert not thread.is_alive()
    return model, learner


@pytest.mark.parametrize("max_lag", [0, 3])
@pytest.mark.parametrize("slow", ["forward", "feedback"])
def test_neither_gets_further_ahead_than_the_bound(max_lag, slow):
    board = Board(make_mnist().policy.network)
    sides = {
        role: (Slow if role == slow else Exchange)(board, role, max_lag)
        for role in ("forward", "feedback")
    }
    learn_in_threads(sides["forward"], sides["feedback"], 40 * 8)
    quick = sides["forward" if slow == "feedback" else "feedback"]
    assert len(quick.lags) >= 39
    assert max(quick.lags) == max_lag  # it went as far as it may, and no further
    assert max(sides[slow].lags) <= max_lag


def test_each_takes_what_the_other_learned_and_only_that():
    start = make_mnist(batch_size=4).policy.network
    board = Board(start)
    model, learner = learn_in_threads(
        Exchange(board, "forward", 0), Exchange(board, "feedback", 0), 20 * 8
    )
    ours, theirs = model.policy.network, learner.policy.network
    for i in (1, 2):
        assert not torch.equal(ours.layers[i].feedback, start.layers[i].feedback)
        assert not torch.equal(ours.layers[i].weight, start.layers[i].weight)
    for layer, left in zip(ours.layers, board.weights["forward"][::2], strict=True):
        assert torch.equal(layer.weight, left)
    for layer, left in zip(theirs.layers[1:], board.weights["feedback"], strict=True):
        assert torch.equal(layer.feedback, left)


def test_a_partner_that_does_not_come_is_named():
    board = Board(make_mnist().policy.network)
    exchange = Exchange(board, "forward", max_lag=2, patience=0.2)
    with pytest.raises(PartnerError, match=r"waited 0\.2 s at its update 0 for the feedback"):
        make_mnist(feedback_interval=0).learn(1_000, exchange)


def test_a_lock_held_by_a_dead_partner_is_an_error_too():
    board = Board(make_mnist().policy.network)
    board.lock.acquire()
    with pytest.raises(PartnerError, match="holding the lock"):
        make_mnist(feedback_interval=0).learn(1_000, Exchange(board, "forward", 2, patience=0.2))


def test_a_partner_that_dies_is_an_error_and_not_a_wait(tmp_path, monkeypatch):
    """The process that makes the feedback learner ends at once."""
    (tmp_path / "dying.py").write_text(
        "import os\n"
        "from nodepert.agents import NodePerturbation\n"
        "def make(**intervals):\n"
        "    if 'forward_interval' in intervals:\n"
        "        os._exit(3)\n"
        "    return NodePerturbation('MlpPolicy', 'MNIST-v0', seed=0, **intervals)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import dying

    with pytest.raises(PartnerError, match="the feedback learner ended after 0 updates"):
        train_apart(dying.make, 10_000, max_lag=2)


def test_a_model_that_would_learn_what_it_takes_is_refused():
    board = Board(make_mnist().policy.network)
    for role, interval in (("forward", "feedback_interval"), ("feedback", "forward_interval")):
        with pytest.raises(ConfigError, match=f"{interval}=1: expected 0 for a {role} learner"):
            make_mnist().learn(1_000, Exchange(board, role, 0))
    with pytest.raises(ConfigError, match="max_lag=-1"):
        Exchange(board, "forward", -1)
