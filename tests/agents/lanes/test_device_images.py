"""Images that lie where the network is: the same numbers, and the same learning."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import CheckpointCallback

from nodepert.agents import NodePerturbation
from nodepert.agents.lanes.handover import vectorise

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("env_id", ["MNIST-v0", "MNISTAutoencoder-v0"])
def test_the_same_numbers(env_id, device):
    there, here = vectorise(env_id, 50, device=torch.device(device)), vectorise(env_id, 50)
    shown, wanted = there.reset(seed=3)[0], here.reset(seed=3)[0]
    for _ in range(3):
        assert (shown.device.type, shown.dtype) == (device, torch.float32)
        assert np.array_equal(shown.cpu().numpy(), wanted)
        actions = here.action_space.sample()
        shown, rewards, *_ = there.step(actions)
        wanted, expected, *_ = here.step(actions)
        assert np.array_equal(rewards, expected)


@pytest.mark.parametrize(
    ("policy", "env_id", "settings"),
    [
        ("MlpPolicy", "MNIST-v0", {"credit": "paired"}),
        ("MlpPolicy", "MNIST-v0", {"credit": "one_point", "replays": 2, "buffer_size": 100}),
        ("CnnPolicy", "MNIST-v0", {"credit": "one_point"}),
        ("MlpPolicy", "MNISTAutoencoder-v0", {"rule": "loss", "error_model": True}),
    ],
    ids=str,
)
def test_the_same_weights(policy, env_id, settings, same_weights):
    def trained(device):
        model = NodePerturbation(policy, env_id, batch_size=8, seed=0, device="cpu", **settings)
        model.set_env(vectorise(env_id, model.n_envs, device=device))
        return model.learn(6 * model.n_envs)

    assert same_weights(trained(CPU), trained(None))


def test_a_checkpoint_resumes_bit_for_bit(same_weights, tmp_path):
    def lanes():
        return vectorise("MNIST-v0", 8, device=CPU)

    settings = {"credit": "one_point", "batch_size": 8, "lr_schedule": "constant", "seed": 0}
    whole = NodePerturbation("MlpPolicy", lanes(), device="cpu", **settings)
    whole.learn(80, callback=CheckpointCallback(5, tmp_path, "run"))
    resumed = NodePerturbation.load(tmp_path / "run_40_steps", lanes(), force_reset=False)
    resumed.learn(80 - resumed.num_timesteps, reset_num_timesteps=False)
    assert same_weights(whole, resumed)


def test_other_libraries_are_shown_arrays():
    lanes = vectorise("MNIST-v0", 4, device=CPU)
    model = NodePerturbation("MlpPolicy", lanes, credit="one_point", batch_size=4, device="cpu")
    env = model.get_env()
    shown = [env.reset(), env.step(np.zeros((4, 10), np.float32))[0]]
    assert [type(one) for one in shown] == [np.ndarray] * 2
    assert env.observation_space.contains(shown[0][0])


def test_the_users_own_environment_stays_as_it_is():
    env = gym.make("MNIST-v0")
    vectorise(env, 4, device=CPU)
    assert isinstance(env.reset(seed=0)[0], np.ndarray)


@needs_gpu
@pytest.mark.parametrize("credit", ["one_point", "score"])
def test_who_learns_on_a_gpu_is_shown_them_there(credit):
    model = NodePerturbation("MlpPolicy", "MNIST-v0", credit=credit, batch_size=8, device="cuda")
    model.learn(64)
    assert isinstance(model._situation.observation, torch.Tensor) == (credit == "one_point")
