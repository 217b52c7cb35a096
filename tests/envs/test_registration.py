"""Ids: with and without an import, single and vectorised."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from nodepert import envs
from nodepert.envs import DelayedXOR, LossVectorEnv


@pytest.mark.parametrize("env_id", ["DelayedXOR-v0", "MNIST-v0", "MNISTAutoencoder-v0"])
def test_make_and_make_vec(env_id):
    env = gym.make(env_id)
    assert env.spec.id == env_id
    vector = gym.make_vec(env_id, num_envs=3)
    assert isinstance(vector, LossVectorEnv)
    assert vector.spec.id == env_id
    assert vector.single_observation_space == env.observation_space
    assert isinstance(gym.make_vec(env_id, num_envs=2, vectorization_mode="sync"), SyncVectorEnv)


def test_keywords_reach_the_vector_environment():
    vector = gym.make_vec(
        "DelayedXOR-v0", num_envs=2, delay=1, max_episode_steps=3, autoreset_mode="NextStep"
    )
    assert vector.env.schedule.longest == 1
    assert vector.autoreset_mode is AutoresetMode.NEXT_STEP
    vector.reset(seed=0)
    truncated = [vector.step(np.zeros((2, 1)))[3].all() for _ in range(3)]
    assert truncated == [False, False, True]


def test_make_by_module_needs_no_import():
    program = "import gymnasium as gym; print(gym.make('nodepert.envs:DelayedXOR-v0').spec.id)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "DelayedXOR-v0", found.stderr


def test_importing_environments_does_not_import_torch():
    program = (
        "import sys, nodepert.envs, nodepert.envs.testing; "
        "print(not {'torch', 'stable_baselines3', 'nodepert.agents'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "True", found.stderr


def test_a_class_defined_in_a_function_can_be_registered():
    class Local(DelayedXOR):
        pass

    envs.register("LocalXOR-v0", Local)
    try:
        assert isinstance(gym.make("LocalXOR-v0").unwrapped, Local)
        assert isinstance(gym.make_vec("LocalXOR-v0", num_envs=2).env, Local)
    finally:
        del gym.registry["LocalXOR-v0"]


def test_public_names():
    assert len(set(envs.__all__)) == len(envs.__all__)
    for name in envs.__all__:
        assert getattr(envs, name) is not None
