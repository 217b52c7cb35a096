"""When W and B take their steps."""

import itertools

import pytest
import torch

from nodepert.agents import NodePerturbation
from nodepert.agents.algorithm.descent import Cadence


def changes(tasks, updates, **config):
    """In which updates W, and in which B of the output layer, was changed."""
    model = NodePerturbation("MlpPolicy", tasks.Echo(), net_arch=(5,), seed=0, batch_size=8,
                             **config)  # fmt: skip
    layer = model.policy.network.layers[-1]
    snapshots = []

    def note(*_):
        snapshots.append((layer.weight.detach().clone(), layer.feedback.detach().clone()))
        return True

    model.learn(model.n_envs * (updates + 1), callback=note)
    pairs = list(itertools.pairwise(snapshots))
    return [
        [not torch.equal(a[i], b[i]) for a, b in pairs[:updates]] for i in range(2)
    ]  # fmt: skip


@pytest.mark.parametrize("rule", ["response", "loss"])
def test_only_feedback_learns_in_the_warm_up(tasks, rule):
    forward, feedback = changes(tasks, 5, warmup=3, rule=rule, probes=3)
    assert forward == [False, False, False, True, True]
    assert all(feedback)


def test_cadences(tasks):
    forward, feedback = changes(tasks, 6, forward_interval=3, feedback_interval=2)
    assert forward == [False, False, True, False, False, True]
    assert feedback == [False, True, False, True, False, True]


@pytest.mark.parametrize("rule", ["response", "loss"])
def test_an_interval_of_0_is_never(tasks, rule):
    forward, feedback = changes(tasks, 4, forward_interval=0, rule=rule, probes=3)
    assert not any(forward)
    assert all(feedback)
    forward, feedback = changes(tasks, 4, feedback_interval=0, rule=rule, probes=3)
    assert all(forward)
    assert not any(feedback)


def test_matched_feedback_waits_with_the_weights(tasks):
    forward, feedback = changes(tasks, 4, warmup=2, rule="matched")
    assert forward == feedback == [False, False, True, True]


def test_cadence_counts_from_one():
    cadence = Cadence(warmup=2, forward_interval=2, feedback_interval=3)
    assert [u for u in range(1, 8) if cadence.forward_due(u)] == [4, 6]
    assert [u for u in range(1, 8) if cadence.feedback_due(u)] == [3, 6]
