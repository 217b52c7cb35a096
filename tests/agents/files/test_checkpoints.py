"""Checkpoints: whole, rotated, and the newest good one is found."""

import os

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from nodepert.agents import CheckpointError, ConfigError, NodePerturbation, NonFiniteError
from nodepert.agents.files import saving
from nodepert.agents.files.checkpoints import Checkpoints, newest_checkpoint

SMALL = {"net_arch": (8,), "seed": 0, "device": "cpu"}
SCORE = {**SMALL, "credit": "score", "n_envs": 2, "n_steps": 20, "batch_size": 20, "n_epochs": 2}
RUNS = {  # policy, environment, settings, env steps of an update
    "score": ("MlpPolicy", "CartPole-v1", {**SCORE, "exploration_schedule": "linear"}, 40),
    "recurrent": ("RnnPolicy", "CartPoleNoVel-v1", {**SCORE, "sequence_length": 5}, 40),
    "value": ("MlpPolicy", "CartPole-v1", {**SMALL, "credit": "value", "n_envs": 2,
                                           "n_steps": 20, "buffer_size": 200}, 40),
    "critic": ("MlpPolicy", "nodepert.envs:Pendulum-v1",
               {**SMALL, "credit": "critic", "n_envs": 2, "n_steps": 20, "buffer_size": 200}, 40),
    "episode": ("MlpPolicy", "CartPole-v1", {**SMALL, "credit": "episode", "n_envs": 2,
                                             "n_steps": 20}, 40),
    "paired-recurrent": ("RnnPolicy", "DelayedXOR-v0", {**SMALL, "batch_size": 4}, 64),
}  # fmt: skip


class Secretive(gym.Env):
    """Walks on a line; its state can't be read."""

    observation_space = gym.spaces.Box(-9, 9, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.normal()
        return self.shown(), {}

    def shown(self):
        return np.array([self.place], np.float32).clip(-9, 9)

    def step(self, action):
        self.steps += 1
        self.place += action - 0.5 + self.np_random.normal()
        return self.shown(), -abs(self.place), False, self.steps == 33, {}


def make(name):
    policy, env, settings, _ = RUNS[name]
    return NodePerturbation(policy, env, **settings)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path, tasks):
    """Three checkpoints, after 80, 120 and 160 env steps."""
    make("score").learn(200, Checkpoints(tmp_path / "kept", 40))
    assert len(names(tmp_path / "kept")) == 3
    return tmp_path / "kept"


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_bit_for_bit(name, tmp_path, same_weights):
    size = RUNS[name][3]
    whole = make(name).learn(6 * size)
    make(name).learn(6 * size, Checkpoints(tmp_path, 2 * size))
    path = newest_checkpoint(tmp_path).path
    resumed = NodePerturbation.load(path, RUNS[name][1], device="cpu", force_reset=False)
    assert 0 < resumed.num_timesteps < whole.num_timesteps
    again = Checkpoints(tmp_path, 2 * size)
    resumed.learn(6 * size - resumed.num_timesteps, again, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert same_weights(resumed, whole)
    assert list(resumed.logs.losses) == list(whole.logs.losses)
    assert [one["r"] for one in resumed.ep_info_buffer] == [
        one["r"] for one in whole.ep_info_buffer
    ]


def test_new_episodes_at_checkpoints_make_any_environment_resumable(tmp_path, same_weights):
    def lanes():
        return SyncVectorEnv([Secretive] * 2, autoreset_mode="SameStep")

    def run(folder, **how):
        model = NodePerturbation("MlpPolicy", lanes(), **SCORE)
        return model.learn(400, Checkpoints(folder, 80, **how))

    def go_on(folder, **how):
        path = newest_checkpoint(folder).path
        with pytest.raises(ConfigError, match="get_state"):
            NodePerturbation.load(path, lanes(), force_reset=False)
        model = NodePerturbation.load(path, lanes(), device="cpu")
        callback = Checkpoints(folder, 80, **how)
        return model.learn(400 - model.num_timesteps, callback, reset_num_timesteps=False)

    exact = run(tmp_path / "exact", new_episodes=True)
    assert same_weights(go_on(tmp_path / "exact", new_episodes=True), exact)
    plain = run(tmp_path / "plain")
    assert not same_weights(go_on(tmp_path / "plain"), plain)
    assert not same_weights(exact, plain)


def test_the_newest_few_stay(folder):
    assert names(folder) == [f"checkpoint_{steps}_steps.zip" for steps in (120, 160, 80)]
    assert newest_checkpoint(folder).path.name == "checkpoint_160_steps.zip"


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_file_is_named_and_the_one_before_is_taken(folder, damage):
    path = folder / "checkpoint_160_steps.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:-100], "flip": content, "empty": b""}[damage])
    found = newest_checkpoint(folder)
    assert found.path.name == "checkpoint_120_steps.zip"
    [wrong] = found.damaged
    assert str(path) in wrong

    model = NodePerturbation.load(found.path, "CartPole-v1", device="cpu", force_reset=False)
    model.learn(40, Checkpoints(folder, 40), reset_num_timesteps=False)
    assert not path.exists() or newest_checkpoint(folder).path == path, "no damaged file stays"


def test_no_good_file(folder, tmp_path):
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="checkpoint_80_steps"):
        newest_checkpoint(folder)
    with pytest.raises(CheckpointError, match="none"):
        newest_checkpoint(tmp_path / "nowhere")


def test_another_runs_checkpoints_are_safe(folder):
    before = names(folder)
    with pytest.raises(ConfigError, match="another run"):
        make("score").learn(200, Checkpoints(folder, 40))
    assert names(folder) == before


@pytest.mark.parametrize(("number", "said"), [(28, "No space left"), (30, "Read-only")])
def test_a_write_that_fails_names_the_last_good_file(folder, monkeypatch, number, said):
    def fail(**options):
        raise OSError(number, os.strerror(number))

    model = NodePerturbation.load(folder / "checkpoint_160_steps.zip", "CartPole-v1")
    monkeypatch.setattr(saving.tempfile, "mkstemp", fail)
    message = f"checkpoint_200_steps.zip can't be written: {said}.*good one.*checkpoint_160_steps"
    with pytest.raises(CheckpointError, match=message):
        model.learn(80, Checkpoints(folder, 40), reset_num_timesteps=False)
    assert newest_checkpoint(folder).path.name == "checkpoint_160_steps.zip"


def test_what_a_killed_write_left_is_removed(folder):
    left = folder / ".checkpoint_160_steps.zip.abcdefgh"
    left.write_bytes(b"half")
    (folder / ".mine").touch()
    model = NodePerturbation.load(folder / "checkpoint_160_steps.zip", "CartPole-v1")
    model.learn(40, Checkpoints(folder, 40), reset_num_timesteps=False)
    assert not left.exists()
    assert (folder / ".mine").exists()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = make("score")
    model.learn(40)
    callback = Checkpoints(tmp_path, 40)
    callback.init_callback(model)
    with torch.no_grad():
        model.policy.network.layers[0].weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"linears.0.weight is not finite"):
        callback.save()
    assert names(tmp_path) == []


@pytest.mark.parametrize("wrong", [{"every": 0}, {"every": 1, "keep": 0}])
def test_arguments(tmp_path, wrong):
    with pytest.raises(ConfigError, match="expected"):
        Checkpoints(tmp_path, **wrong)
