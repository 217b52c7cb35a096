"""Environments that break in one lane, in every vector environment that Gymnasium and SB3 have."""

import os
import signal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from nodepert.agents import LaneError, NodePerturbation, NonFiniteError, SB3VecEnv
from nodepert.agents.errors import NonFiniteLaneError
from nodepert.agents.lanes.guard import fault, lane_errors
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.envs import ActionError

LANES = 4
BROKEN = 2  # the lane
AT = 3  # the step


class Fragile(gym.Env):
    """Contexts follow from the seed; breaks as it is told at its third step."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, how=None, at=AT):
        self.how, self.at, self.played = how, at, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.how == "reset" and self.played == 0:
            raise ValueError("no contexts left")
        return self.look(), {}

    def look(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def step(self, action):
        self.played += 1
        shown, reward = self.look(), -float(np.square(action).sum())
        if self.played == self.at:
            if self.how == "raise":
                raise ZeroDivisionError("the valve is stuck\nand leaks")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            shown = {"shape": shown[:2], "nan": np.full(3, np.nan, np.float32)}.get(self.how, shown)
            if self.how == "short":
                return shown, reward
            reward = {"inf": float("-inf"), "text": "much"}.get(self.how, reward)
        return shown, reward, self.played % 2 == 0, False, {}


def makers(how, lanes=LANES, broken=BROKEN):
    def maker(lane):
        return lambda: Fragile(how if lane == broken else None)

    return [maker(lane) for lane in range(lanes)]


def sync(how):
    return SyncVectorEnv(makers(how), autoreset_mode=AutoresetMode.SAME_STEP)


def in_processes(how):
    return AsyncVectorEnv(makers(how), autoreset_mode=AutoresetMode.SAME_STEP)


def dummy(how):
    return DummyVecEnv(makers(how))


def subproc(how):
    return SubprocVecEnv(makers(how), start_method="fork")


def train(env, steps=400):
    model = NodePerturbation(
        "MlpPolicy",
        env,
        credit="paired",
        seed=1,
        batch_size=LANES // 2,
        net_arch=(4,),
        device="cpu",
        n_steps=1,
        lr_schedule="constant",
    )
    return model, lambda: model.learn(steps)


CASES = [
    (sync, "raise", "ZeroDivisionError: the valve is stuck and leaks"),
    (sync, "short", "ValueError: not enough values to unpack"),
    (sync, "text", "ValueError: could not convert string"),
    (sync, "shape", "ValueError: all input arrays must have the same shape"),
    (in_processes, "raise", "ZeroDivisionError: the valve is stuck and leaks"),
    (in_processes, "shape", "ValueError"),
    (in_processes, "kill", r"its process has ended \(exit code -9\)"),
    (dummy, "raise", "ZeroDivisionError: the valve is stuck and leaks"),
    (dummy, "shape", "ValueError: could not broadcast"),
    (subproc, "raise", r"its process has ended \(exit code 1\)"),
    (subproc, "kill", r"its process has ended \(exit code -9\)"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # AsyncVectorEnv prints the lane's traceback
@pytest.mark.parametrize(
    ("vectorised", "how", "message"), CASES, ids=[f"{case[0].__name__}-{case[1]}" for case in CASES]
)
def test_training_names_lane_step_and_cause(vectorised, how, message):
    env = vectorised(how)
    model, learn = train(env)
    with pytest.raises(
        LaneError, match=rf"lane {BROKEN} of the environment failed at vector step {AT}: {message}"
    ) as caught:
        learn()
    assert (caught.value.lane, caught.value.step) == (BROKEN, AT)
    assert model._n_updates == AT - 1
    env.close()  # does not wait for the lane that is gone


@pytest.mark.parametrize("vectorised", [sync, dummy])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "observation with NaN or infinite values in lane 2"),
        ("inf", "reward -inf in lane 2"),
    ],
)
def test_values_that_are_not_finite(vectorised, how, message):
    _, learn = train(vectorised(how))
    with pytest.raises(NonFiniteLaneError, match=f"{message} at vector step 3 ") as caught:
        learn()
    assert isinstance(caught.value, LaneError)
    assert isinstance(caught.value, NonFiniteError)
    assert (caught.value.lane, caught.value.step) == (BROKEN, AT)


RESET = "lane 2 of the environment failed at vector step 0: ValueError: no contexts left"


def test_a_reset_that_raises():
    _, learn = train(sync("reset"))
    with pytest.raises(LaneError, match=RESET):
        learn()


def test_a_reset_that_raises_is_not_taken_for_a_refusal_of_seeds():
    lanes = PairedLanes(sync("reset"), 2)
    with pytest.raises(LaneError, match=RESET):
        lanes.reset([1, 2])


def test_stable_baselines3_is_told_too():
    lanes = SB3VecEnv(sync("raise"))
    lanes.reset()
    for _ in range(AT - 1):
        lanes.step(np.zeros((LANES, 2), np.float32))
    with pytest.raises(LaneError, match="lane 2 of the environment failed at vector step 3"):
        lanes.step(np.zeros((LANES, 2), np.float32))


def test_an_unknown_lane_is_said_to_be_unknown():
    class Whole(gym.vector.VectorEnv):
        def step(self, actions):
            raise OSError("the licence server is away")

    message = r"^the environment failed at vector step 9: OSError: the licence"
    with pytest.raises(LaneError, match=message) as got, lane_errors(Whole(), 9):
        Whole().step(None)
    assert (got.value.lane, got.value.step) == (None, 9)


def test_errors_of_our_own_pass():
    with pytest.raises(ActionError, match=r"^as it was$"), lane_errors(sync(None), 1):
        raise ActionError("as it was")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_whose_lane_was_killed_is_saved_and_goes_on(tmp_path, same_weights):
    model, learn = train(in_processes("kill"))
    with pytest.raises(LaneError):
        learn()
    model.save(tmp_path / "last_good")
    # As it was before the window that failed: the run that stops there has the same weights.
    whole, _ = train(sync(None))
    whole.learn(LANES * (AT - 1))
    saved = NodePerturbation.load(tmp_path / "last_good", sync(None), device="cpu")
    assert saved.num_timesteps == whole.num_timesteps == LANES * (AT - 1)
    assert same_weights(saved, whole)
    saved.learn(40, reset_num_timesteps=False)
    assert saved.num_timesteps == LANES * (AT - 1) + 40
    assert not same_weights(saved, whole)


BOX = spaces.Box(-1, 1, (2,), np.float32)
DICT = spaces.Dict({"a": BOX, "b": spaces.Discrete(3)})


@pytest.mark.parametrize(
    ("space", "observation", "reward", "message"),
    [
        (BOX, np.zeros(2), 1.0, None),
        (BOX, np.full(2, 9.0), np.float32(1), None),
        (BOX, [0, 0], np.array(1.0), None),
        (BOX, np.zeros(3), 1.0, r"observation of shape (3,), expected (2,)"),
        (BOX, np.array([0, np.inf]), 1.0, "observation with NaN or infinite values"),
        (BOX, "ab", 1.0, "is no array of float32"),
        (BOX, np.zeros(2), float("nan"), "reward nan, expected a finite number"),
        (BOX, np.zeros(2), None, "reward None is a NoneType, expected a number"),
        (BOX, np.zeros(2), "1", "reward '1' is a str, expected a number"),
        (BOX, np.zeros(2), np.ones(1), "reward of shape (1,), expected a number"),
        (spaces.Discrete(3), 2, 0, None),
        (spaces.Discrete(3), 3, 0, "observation 3 is not in Discrete(3)"),
        (DICT, {"a": np.zeros(2), "b": 1}, 0, None),
        (DICT, {"a": np.zeros(2)}, 0, "observation with keys ['a'], expected ['a', 'b']"),
        (DICT, {"a": np.zeros(2), "b": 5}, 0, "observation 5 is not in Discrete(3)"),
    ],
)
def test_fault(space, observation, reward, message):
    found = fault(space, observation, reward)
    assert (found is None) if message is None else (message in found)
