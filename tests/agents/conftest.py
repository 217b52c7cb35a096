"""Small tasks that the agent's tests learn, one thread a process, and processes by torchrun."""

import os
import subprocess
import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import VectorWrapper

from nodepert.envs import LossEnv
from nodepert.envs.losses import mse, mse_gradient


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def torchrun():
    """Starts torchrun: as many processes of this machine, or as its own words say."""

    def start(*words, processes=None, cwd=None):
        here = [] if processes is None else ["--standalone", "--nproc-per-node", processes]
        command = [sys.executable, "-m", "torch.distributed.run", *here, *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(list(map(str, command)), env=environment, text=True, cwd=cwd,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    return start


class Echo(LossEnv):
    """Say what you see: the prediction's target is the observation."""

    action_scale = 2.0

    def __init__(self, dim=3, length=1, expose_gradient=False):
        super().__init__(expose_gradient)
        self.length = length
        self.observation_space = spaces.Box(-1, 1, (dim,), np.float32)
        self.action_space = spaces.Box(-1, 1, (dim,), np.float32)

    def sample_contexts(self, draws):
        shown = 2 * draws.uniform(*self.observation_space.shape) - 1
        return {"observation": shown.astype(np.float32)}

    def episode_length(self, context):
        return self.length

    def loss(self, context, actions):
        return mse(self.action_scale * actions, context["observation"])

    def loss_gradient(self, context, actions):
        error = mse_gradient(self.action_scale * actions, context["observation"])
        return self.action_scale * error

    def info(self, context, actions):
        return {"correct": np.sign(actions[:, 0]) == np.sign(context["observation"][:, 0])}


class Which(LossEnv):
    """Name the largest of the numbers shown: zero-one loss, discrete action."""

    def __init__(self, classes=3):
        super().__init__()
        self.observation_space = spaces.Box(-1, 1, (classes,), np.float32)
        self.action_space = spaces.Discrete(classes)

    def sample_contexts(self, draws):
        shown = 2 * draws.uniform(*self.observation_space.shape) - 1
        return {"observation": shown.astype(np.float32)}

    def loss(self, context, actions):
        return 1.0 * (actions != context["observation"].argmax(axis=1))


class Bandit(gym.Env):
    """Somebody else's environment: no loss environment, a Box with edges that are not ±1.

    The reward is best at an action that follows from the observation; contexts follow from the
    seed. Keeps the actions that it was given.
    """

    LOW, HIGH = np.array([0, -4], np.float32), np.array([10, 4], np.float32)

    def __init__(self, length=1, bad=None):
        self.length, self.bad = length, bad
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Box(self.LOW, self.HIGH)
        self.played = []

    def target(self, observation):
        return (self.LOW + self.HIGH) / 2 + 0.4 * (self.HIGH - self.LOW) * observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.shown = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown.copy(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.played.append(np.array(action))
        self.steps += 1
        miss = (action - self.target(self.shown)) / (self.HIGH - self.LOW)
        reward = -float(np.square(2 * miss).sum() / 2)
        if len(self.played) == self.bad:
            reward = float("nan")
        self.shown = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown.copy(), reward, self.steps >= self.length, False, {}


class Opaque(VectorWrapper):
    """Passes on observation, reward, terminated and truncated, and nothing else."""

    def __init__(self, env):
        super().__init__(env)
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed, options=options)[0], {}

    def step(self, actions):
        self.steps += 1
        return (*self.env.step(actions)[:4], {})


@pytest.fixture(scope="session")
def tasks():
    return SimpleNamespace(Echo=Echo, Which=Which, Bandit=Bandit, Opaque=Opaque)


def weights(model):
    """All weights of a model, forward and feedback, by name."""
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


@pytest.fixture(scope="session")
def same_weights():
    """Whether two models have bit-identical weights."""

    def same(one, other):
        ours, theirs = weights(one), weights(other)
        return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)

    return same
