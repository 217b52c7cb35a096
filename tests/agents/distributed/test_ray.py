"""Lanes on Ray workers: what one process plays, whoever dies or dawdles."""

import contextlib
import functools
import os
import signal
import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents import ConfigError, LaneError, NodePerturbation
from nodepert.agents.distributed import make_ray_vec
from nodepert.envs import ActionError
from nodepert.envs.checks.vector import by_lane

ray = pytest.importorskip("ray")


@pytest.fixture(autouse=True, scope="module")
def cluster():
    """Ray on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else 15, behind all else that runs here
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


class Kill(BaseCallback):
    """Ends a worker's process from outside, once."""

    def __init__(self, env, at_call):
        super().__init__()
        self.env, self.at_call = env, at_call

    def _on_step(self):
        if self.n_calls == self.at_call:
            actor = self.env.unwrapped.workers._actors[1]
            pid = ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
            os.kill(pid, signal.SIGKILL)
        return True


def wrapped():
    """A loss environment that is played as anybody's, in the units of its own."""
    return gym.Wrapper(gym.make("DelayedXOR-v0"))


def sync(make, lanes):
    """The lanes in this process."""
    makers = [make if callable(make) else lambda: gym.make(make)] * lanes
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def recurrent(env):
    return NodePerturbation("RnnPolicy", env, seed=3, batch_size=4, net_arch=(10,), device="cpu")


def by_score(env):
    return NodePerturbation("MlpPolicy", env, credit="score", seed=1, n_steps=32, device="cpu")


@functools.cache
def undisturbed(learner, env_id, lanes, steps):
    """The run of one process."""
    return learner(sync(env_id, lanes)).learn(steps)


RUNS = {
    "loss": (recurrent, "DelayedXOR-v0", 8, 8 * 8 * 10),
    "wrapped": (recurrent, wrapped, 8, 8 * 8 * 10),
    "any": (by_score, "CartPole-v1", 4, 4 * 32 * 4),
}


@pytest.mark.parametrize(
    ("kind", "workers"),
    [("loss", 1), ("loss", 2), ("loss", 4), ("wrapped", 2), ("any", 1), ("any", 2), ("any", 4)],
)
def test_same_result_for_any_number_of_workers(kind, workers, same_weights):
    learner, env_id, lanes, steps = RUNS[kind]
    with contextlib.closing(make_ray_vec(env_id, lanes, workers=workers)) as env:
        model = learner(env).learn(steps)
    reference = undisturbed(learner, env_id, lanes, steps)
    assert model.num_timesteps == reference.num_timesteps == steps
    assert same_weights(model, reference)
    assert not same_weights(model, learner(sync(env_id, lanes)))


@pytest.mark.parametrize("kind", ["loss", "any"])
def test_a_killed_worker_changes_nothing(kind, same_weights):
    learner, env_id, lanes, steps = RUNS[kind]
    with contextlib.closing(make_ray_vec(env_id, lanes, workers=2)) as env:
        with pytest.warns(UserWarning, match=r"worker 1 has died; replaced \(1 of 10\)"):
            model = learner(env).learn(steps, callback=Kill(env, at_call=50))
        assert env.workers.restarts == 1
    assert same_weights(model, undisturbed(learner, env_id, lanes, steps))


def test_shows_what_gymnasium_shows():
    reference = sync("CartPole-v1", 3)
    reference.action_space.seed(0)
    with contextlib.closing(make_ray_vec("CartPole-v1", 3, workers=2)) as env:
        assert env.observation_space == reference.observation_space
        assert env.action_space == reference.action_space
        for seed in (5, [3, None, 3], None):
            np.testing.assert_array_equal(*(one.reset(seed=seed)[0] for one in (env, reference)))
            for _ in range(40):
                actions = reference.action_space.sample()
                ours, theirs = env.step(actions), reference.step(actions)
                for one, other in zip(ours[:4], theirs[:4], strict=True):
                    assert one.dtype == other.dtype
                    np.testing.assert_array_equal(one, other)
                np.testing.assert_equal(by_lane(ours[4], 3), by_lane(theirs[4], 3))


def make_counter(how=None, once=None):
    """An environment, sent to workers by value, that fails at 3 unless the file ``once`` exists."""

    class Counter(gym.Env):
        observation_space = gym.spaces.Box(0, 1e6, (1,), np.float32)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.total = 0
            return np.array([0], np.float32), {}

        def step(self, action):
            self.total += int(action)
            if how and self.total == 3 and not (once and os.path.exists(once)):
                self.fail()
            return np.array([self.total], np.float32), float(self.total), False, False, {}

        def fail(self):
            if how == "raises":
                raise ZeroDivisionError("the valve is stuck")
            open(once, "w").close()
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)

    return Counter


@pytest.mark.parametrize(
    ("how", "what"), [("dies", "has died"), ("hangs", "has not answered within 2.0 s")]
)
def test_a_worker_that_fails_in_a_step_is_replaced(how, what, tmp_path):
    make = make_counter(how, str(tmp_path / "once"))
    with contextlib.closing(make_ray_vec(make, 2, workers=2, timeout=2.0)) as env:
        env.reset(seed=0)
        with pytest.warns(UserWarning, match=f"worker 1 {what}"):
            rewards = [env.step(np.array([0, 1]))[1] for _ in range(5)]
    np.testing.assert_array_equal(rewards, [[0, 1], [0, 2], [0, 3], [0, 4], [0, 5]])


def test_too_many_failures_end_the_run():
    env = make_ray_vec("DelayedXOR-v0", 8, workers=2, max_restarts=0)
    with pytest.raises(LaneError, match=r"worker 1 has died, after 0 restarts"):
        recurrent(env).learn(10_000, callback=Kill(env, at_call=2))


def test_errors_of_the_environment_are_told():
    with contextlib.closing(make_ray_vec(make_counter("raises"), 2)) as env:
        with pytest.raises(LaneError, match="ZeroDivisionError: the valve is stuck"):
            by_score(env).learn(100)
        assert env.workers.restarts == 0
    with contextlib.closing(make_ray_vec("DelayedXOR-v0", 2)) as env:
        env.reset(seed=0)
        with pytest.raises(ActionError):
            env.step(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"workers": 3}, "workers=3"), ({"workers": 0}, "workers=0"), ({"timeout": 0}, "timeout=0")],
)
def test_bad_arguments(options, message):
    with pytest.raises(ConfigError, match=message):
        make_ray_vec("DelayedXOR-v0", 2, **options)
