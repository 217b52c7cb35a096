"""Lanes in processes that hang, die and raise."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import time
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents import ConfigError, LaneError, NodePerturbation, ProcessVectorEnv
from nodepert.envs.checks.vector import by_lane

LANES, BROKEN, AT = 4, 2, 3
ACTIONS = np.zeros((LANES, 2), np.float32)


class Fragile(gym.Env):
    """Contexts follow from the seed. Breaks at its third step, unless the file ``once`` exists."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, how=None, once=None):
        self.how, self.once, self.played = how, once, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length = 0
        return self.look(), {"pid": os.getpid()}

    def look(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def step(self, action):
        self.played += 1
        self.length += 1
        shown, reward = self.look(), -float(np.square(action - 0.5).sum())
        if self.played == AT and self.how and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            shown, reward = self.fail(shown, reward)
        return shown, reward, self.length >= 5, False, {"pid": os.getpid()}

    def fail(self, shown, reward):
        if self.how == "raise":
            raise ZeroDivisionError("the valve is stuck")
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hang":
            program = subprocess.Popen(["sleep", "1000"])
            if self.once:
                self.once.write_text(str(program.pid))
            time.sleep(1000)
        if self.how == "shape":
            return shown[:2], reward
        return shown, float("nan")


def lanes(how, once=None, **options):
    def maker(lane):
        return lambda: Fragile(how if lane == BROKEN else None, once)

    return ProcessVectorEnv([maker(lane) for lane in range(LANES)], **options)


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "FrozenLake-v1"])
def test_plays_what_gymnasium_plays(env_id):
    makers = [lambda: gym.make(env_id, max_episode_steps=9)] * 3
    reference = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    with contextlib.closing(ProcessVectorEnv(makers)) as env:
        assert env.single_observation_space == reference.single_observation_space
        assert env.action_space == reference.action_space
        reference.action_space.seed(0)
        for seed in (5, [3, None, 3], None):
            (ours, _), (theirs, _) = env.reset(seed=seed), reference.reset(seed=seed)
            if seed is None:
                continue
            np.testing.assert_array_equal(ours[[0, 2]], theirs[[0, 2]])
            for _ in range(25):
                actions = reference.action_space.sample()
                ours, theirs = env.step(actions), reference.step(actions)
                for one, other in zip(ours[:4], theirs[:4], strict=True):
                    assert one.dtype == other.dtype
                    known = [0, 1, 2] if seed == 5 else [0, 2]
                    np.testing.assert_array_equal(one[known], other[known])
                assert ours[4].keys() == theirs[4].keys() or seed != 5
                if seed == 5:
                    np.testing.assert_equal(by_lane(ours[4], 3), by_lane(theirs[4], 3))


CASES = [
    ("raise", "ZeroDivisionError: the valve is stuck"),
    ("kill", r"its process has ended \(exit code -9\)"),
    ("hang", "no answer within 2 s"),
    ("shape", r"ValueError: observation of shape \(2,\), expected \(3,\)"),
    ("nan", "ValueError: reward nan, expected a finite number"),
]


@pytest.mark.parametrize(("how", "message"), CASES, ids=[case[0] for case in CASES])
def test_a_failure_names_lane_step_and_cause(how, message):
    env = lanes(how, timeout=2.0 if how == "hang" else None)
    env.reset(seed=0)
    for _ in range(AT - 1):
        env.step(ACTIONS)
    with pytest.raises(LaneError, match=f"^lane 2 failed at vector step 3: {message}$") as caught:
        env.step(ACTIONS)
    assert (caught.value.lane, caught.value.step) == (BROKEN, AT)
    if how == "raise":
        assert "self.fail(shown, reward)" in str(caught.value.__cause__)  # where it was raised
    assert env.closed


@pytest.mark.parametrize("how", [case[0] for case in CASES])
def test_a_restarted_lane_ends_its_episode_and_disturbs_no_other(how, tmp_path):
    env = lanes(how, tmp_path / "once", timeout=2.0, max_restarts=1)
    whole = SyncVectorEnv([Fragile] * LANES, autoreset_mode=AutoresetMode.SAME_STEP)
    last, _ = env.reset(seed=0)
    whole.reset(seed=0)
    others = [lane for lane in range(LANES) if lane != BROKEN]
    with contextlib.closing(env):
        for step in range(1, 12):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                shown, rewards, terminated, truncated, info = env.step(ACTIONS)
            expected = whole.step(ACTIONS)
            for one, other in zip((shown, rewards, terminated, truncated), expected, strict=False):
                np.testing.assert_array_equal(one[others], other[others])
            assert np.isfinite(shown).all()
            if step == AT:
                # Python 3.12 has a DeprecationWarning where a process with threads is forked.
                [warning] = [one for one in caught if one.category is UserWarning]
                assert "lane 2 failed at vector step 3" in str(warning.message)
                assert "restarted (1 of 1)" in str(warning.message)
                assert (rewards[BROKEN], terminated[BROKEN], truncated[BROKEN]) == (0, False, True)
                np.testing.assert_array_equal(info["final_obs"][BROKEN], last[BROKEN])
                np.testing.assert_array_equal(info["restarted"], np.arange(LANES) == BROKEN)
            else:
                assert not caught
                assert "restarted" not in info
                assert terminated[BROKEN] == (step == AT + 5)  # a new episode of five steps
            last = shown
        assert env.restarts == 1
    if how == "hang":
        assert ends_soon(int((tmp_path / "once").read_text()))  # what the lane had started


@pytest.mark.filterwarnings("ignore:lane 2 failed")
def test_lanes_with_the_seed_of_a_restarted_one_stay_in_step_with_it(tmp_path):
    env = lanes("raise", tmp_path / "once", max_restarts=1)
    with contextlib.closing(env):
        env.reset(seed=[7, 7, 8, 8])
        actions = np.random.default_rng(0).uniform(-1, 1, (12, LANES, 2)).astype(np.float32)
        for step, action in enumerate(actions, start=1):
            shown, rewards, terminated, truncated, info = env.step(action)
            for values in (shown, terminated, truncated):
                np.testing.assert_array_equal(values[0], values[1])
                np.testing.assert_array_equal(values[2], values[3])
            if step == AT:
                assert truncated.tolist() == [False, False, True, True]
                assert info["restarted"].tolist() == [False, False, True, True]
                assert rewards[2:].tolist() == [0, 0]
                assert not np.array_equal(shown[0], shown[2])
    assert env.restarts == 1


def ends_soon(program):
    deadline = time.monotonic() + 5
    while running(program) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(program)


def running(pid):
    """Whether a process is there, and not only waiting to be reaped."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip() not in ("", "Z", "Z+")


@pytest.mark.filterwarnings("ignore:lane 2 failed")
def test_no_more_restarts_than_allowed():
    env = lanes("raise", max_restarts=2)  # breaks again and again
    env.reset(seed=0)
    for _ in range(3 * AT - 1):
        env.step(ACTIONS)
    with pytest.raises(LaneError, match="lane 2 failed at vector step 9"):
        env.step(ACTIONS)
    assert env.restarts == 2


def test_an_environment_that_cannot_be_made():
    def absent():
        raise FileNotFoundError("no program called simulate")

    with pytest.raises(
        LaneError, match="lane 1 failed at vector step 0: FileNotFoundError: no pro"
    ):
        ProcessVectorEnv([Fragile, absent])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"makers": []}, "makers="),
        ({"timeout": 0}, "timeout=0: expected"),
        ({"max_restarts": -1}, "max_restarts=-1: expected"),
        ({"makers": [Fragile, lambda: gym.make("CartPole-v1")]}, "lane 1 has observation_space"),
    ],
)
def test_arguments_that_are_not_valid(options, message):
    with pytest.raises(ConfigError, match=message):
        ProcessVectorEnv(**{"makers": [Fragile], **options})


def test_seeds_for_another_number_of_lanes():
    env = ProcessVectorEnv([Fragile])
    with contextlib.closing(env), pytest.raises(ConfigError, match="seed has 2 entries"):
        env.reset(seed=[1, 2])


class KillLane(BaseCallback):
    """Kills the process of one lane, as an operator or the system would, after some steps."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def _on_step(self):
        if self.n_calls == self.calls:
            os.kill(int(self.locals["played"].info["pid"][BROKEN]), signal.SIGKILL)
        return True


def learner(env):
    options = {"batch_size": 2, "n_steps": 2, "net_arch": (8,), "learning_rate": 0.02}
    return NodePerturbation("MlpPolicy", env, credit="paired", seed=1, device="cpu", **options)


def test_a_killed_lane_ends_the_run_and_the_saved_model_goes_on(tmp_path, same_weights):
    model = learner(ProcessVectorEnv([Fragile] * LANES))
    with pytest.raises(LaneError, match="lane 2 failed at vector step 8: its process has ended"):
        model.learn(4_000, callback=KillLane(7))
    model.save(tmp_path / "model")
    with contextlib.closing(ProcessVectorEnv([Fragile] * LANES)) as env:
        saved = NodePerturbation.load(tmp_path / "model", env, device="cpu")
        assert same_weights(saved, model)
        assert (saved.num_timesteps, saved._n_updates) == (6 * LANES, 3)
        saved.learn(80, reset_num_timesteps=False)
        assert saved.num_timesteps == 6 * LANES + 80
        assert not same_weights(saved, model)


@pytest.mark.filterwarnings("ignore:lane 2 failed")
def test_training_goes_on_over_restarts():
    env = ProcessVectorEnv([Fragile] * LANES, max_restarts=1)
    model = learner(env)
    with contextlib.closing(env):
        model.learn(1_200, callback=KillLane(7))
        assert model.num_timesteps == 1_200
    assert env.restarts == 1
    action, _ = model.predict(np.zeros(3, np.float32), deterministic=True)
    assert np.abs(action - 0.5).max() < 0.2  # the best action, from a start near 0
