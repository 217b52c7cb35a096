"""Rollouts cut into sequences."""

import torch

from nodepert.agents.methods.rollout_buffer import Rollout


def rollout(steps, lanes):
    time = torch.arange(steps)[:, None].expand(steps, lanes)
    lane = torch.arange(lanes).expand(steps, lanes)
    marks = torch.stack([time, lane], dim=2).float()  # each row says where it is from
    flags = torch.zeros(steps, lanes, dtype=torch.bool)
    return Rollout(
        inputs=marks, predictions=marks, noise=marks, started=flags, valid=flags,
        advantages=marks[..., 0], returns=marks[..., 1], states=marks, critic_states=None,
        log_std=torch.zeros(1), mean_reward=0.0,
    )  # fmt: skip


def test_sequences_go_on_in_one_lane():
    sequences = rollout(6, 2).sequences(3)
    assert len(sequences) == 4
    assert sequences.inputs[:, :, 0].T.tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
    assert sequences.inputs[:, :, 1].T.tolist() == [[0] * 3, [1] * 3, [0] * 3, [1] * 3]
    assert sequences.states.tolist() == [[0, 0], [0, 1], [3, 0], [3, 1]]
    assert sequences.critic_states is None


def test_parts_are_the_sequences_asked_for():
    part = rollout(6, 2).sequences(3).part(torch.tensor([2, 1]))
    assert part.advantages.T.tolist() == [[3, 4, 5], [0, 1, 2]]
    assert part.returns.T.tolist() == [[0] * 3, [1] * 3]
    assert part.states.tolist() == [[3, 0], [0, 1]]
