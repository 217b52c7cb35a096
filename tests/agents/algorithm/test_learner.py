"""What the loss rule takes from a window: which losses belong to which noise, and which errors."""

import torch

from nodepert.agents.algorithm.baselines import Antithetic
from nodepert.agents.algorithm.feedback_learning import sources_of
from nodepert.agents.algorithm.node_noise import Gaussian
from nodepert.agents.algorithm.node_probe import NodeProbe
from nodepert.agents.algorithm.window import Window
from nodepert.agents.maths import to_come
from nodepert.agents.networks import RNN, Call, Step
from nodepert.agents.output_error import PairedProbes


def window(started, valid):
    """A window of T steps and N contexts, from rows of length N."""
    return Window(
        start=None,
        steps=[None] * len(started),
        started=[torch.tensor(row) for row in started],
        valid=[torch.tensor(row) for row in valid],
    )


def test_loss_to_come_ends_with_the_episode():
    started = torch.tensor([[True, False], [False, False], [False, True], [False, True]])
    changes = torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 0.0], [8.0, 8.0]])
    expected = [[15.0, 3.0], [14.0, 2.0], [12.0, 0.0], [8.0, 8.0]]
    assert to_come(changes, started).tolist() == expected


def test_sources_come_later_and_not_from_the_next_episode():
    given = window(
        started=[[True, True], [False, True], [False, False]],
        valid=[[True, True]] * 3,
    )
    given.steps = []
    for t in range(3):
        call = Call(torch.zeros(2, 1), t)
        call.source = torch.tensor([[1.0 + t], [10.0 + t]])
        given.steps.append(Step(torch.zeros(2, 1), None, [], calls={"layer": call}))
    assert sources_of("layer", 0, given).flatten().tolist() == [1, 10, 2, 11, 3, 12]
    assert sources_of("layer", 1, given).flatten().tolist() == [2, 0, 3, 12, 0, 0]


def test_node_probe_starts_each_episode_from_a_blank_state():
    generator = torch.Generator().manual_seed(0)
    network = RNN(2, (5,), 1, activation="tanh", path="feedback", generator=generator)
    probe = NodeProbe(network, Gaussian((0.5,)), Antithetic(2), PairedProbes(1, 0.1), generator)
    probe.restart(network.initial_state(3))
    x, going_on = torch.ones(3, 2), torch.zeros(3, dtype=torch.bool)
    probe.step(x, going_on, torch.zeros(3, 1))
    perturbed, (noise,) = probe.step(x, ~going_on, torch.zeros(3, 1))
    with torch.no_grad():
        for copy, sign in enumerate((1, -1)):
            expected = network.step(x, network.initial_state(3), [sign * noise]).prediction
            torch.testing.assert_close(perturbed[:, copy], expected)
