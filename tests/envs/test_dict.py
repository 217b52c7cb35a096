"""Loss environments whose observations have several parts."""

import numpy as np
import pytest
from gymnasium import spaces

from nodepert.envs import LossEnv, LossVectorEnv
from nodepert.envs.errors import ContractError
from nodepert.envs.observations import blank, lane_of
from nodepert.envs.testing import check_loss_env


class Parts(LossEnv):
    """Say which of two numbers a switch points at."""

    def __init__(self, length=3):
        super().__init__()
        self.length = length
        self.observation_space = spaces.Dict(
            {
                "numbers": spaces.Box(-1, 1, (2,), np.float32),
                "switch": spaces.Discrete(2),
            }
        )
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def sample_contexts(self, draws):
        numbers = 2 * draws.uniform(2) - 1
        switch = draws.uniform(1)[:, 0] < 0.5
        return {"numbers": numbers.astype(np.float32), "switch": switch.astype(np.int64)}

    def observe(self, context):
        return {name: context[name].copy() for name in ("numbers", "switch")}

    def episode_length(self, context):
        return self.length

    def loss(self, context, actions):
        rows = np.arange(len(actions))
        return np.square(actions[:, 0] - context["numbers"][rows, context["switch"]])


class Leaky(Parts):
    def observe(self, context):
        return {"numbers": context["numbers"], "switch": context["switch"].copy()}


class WrongType(Parts):
    def observe(self, context):
        return {**super().observe(context), "numbers": context["numbers"].astype(np.float64)}


def test_conformance():
    check_loss_env(Parts)


@pytest.mark.parametrize(
    ("make", "message"), [(Leaky, "shares memory"), (WrongType, "float64, not float32")]
)
def test_broken_parts_are_found(make, message):
    with pytest.raises(ContractError, match=message):
        check_loss_env(make)


def test_what_ended_lanes_show():
    env = LossVectorEnv(Parts(), 2, max_episode_steps=2)
    first, _ = env.reset(seed=[1, 2])
    env.step(np.zeros((2, 1)))
    shown, _, _, truncated, info = env.step(np.zeros((2, 1)))
    assert truncated.all()
    for lane in range(2):
        for name, rows in first.items():
            assert np.array_equal(info["final_obs"][lane][name], rows[lane])
    assert not np.array_equal(shown["numbers"], first["numbers"])


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(2, start=1),
        spaces.MultiDiscrete([2, 3], start=[1, 2]),
        spaces.Box(1, 2, (3,)),
        Parts().observation_space,
    ],
    ids=str,
)
def test_the_end_shows_what_is_in_the_space(space):
    assert space.contains(lane_of(blank(space, 2), 1))
