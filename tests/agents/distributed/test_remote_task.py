"""A task whose losses come from elsewhere shows and costs what the task itself does."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from nodepert.agents.distributed.remote_task import RemoteTask
from nodepert.envs import MNIST, DelayedXOR, LossVectorEnv
from nodepert.envs.checks.vector import by_lane
from nodepert.envs.remote import LossWorker

LANES = 5
TASKS = {
    "trials": lambda: DelayedXOR(delay=(0, 3)),  # lanes end at different times
    "stream": lambda: DelayedXOR(stream=True),
    "sequential": lambda: MNIST(split="test", order="sequential", expose_gradient=True),
}


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", TASKS)
def test_plays_what_the_task_plays(name, mode):
    make = TASKS[name]
    workers = [LossWorker(make, LANES) for _ in range(2)]

    def ask(*rows):
        parts = zip(*(np.array_split(one, 2) for one in rows), strict=True)
        return np.concatenate([w.loss(*one) for w, one in zip(workers, parts, strict=True)])

    remote = LossVectorEnv(RemoteTask(make(), ask), LANES, autoreset_mode=mode)
    native = LossVectorEnv(make(), LANES, autoreset_mode=mode)
    remote.action_space.seed(0)
    assert remote.action_scale == native.action_scale
    shown = [env.reset(seed=[1, 2, 1, 3, 4])[0] for env in (remote, native)]
    for step in range(20):
        np.testing.assert_array_equal(*shown)
        if mode is AutoresetMode.DISABLED and native.get_state()["ended"].any():
            ended = native.get_state()["ended"]
            shown = [env.reset(options={"reset_mask": ended})[0] for env in (remote, native)]
            continue
        if step == 7:  # a saved state is the same from either
            assert remote.get_state().keys() == native.get_state().keys()
            remote.set_state(native.get_state())
        actions = remote.action_space.sample()
        ours, theirs = (env.step(actions) for env in (remote, native))
        for one, other in zip(ours[1:4], theirs[1:4], strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_equal(by_lane(ours[4], LANES), by_lane(theirs[4], LANES))
        shown = [ours[0], theirs[0]]
