"""On the CPU and on a GPU, where there is one: training, its files, and going on elsewhere."""

import json
import pathlib

import gymnasium as gym
import numpy as np
import pytest
import torch

from nodepert.agents import NodePerturbation
from nodepert.agents.compare.all_units import AllUnits
from nodepert.agents.compare.search import ES

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]

WAYS = [
    ("MlpPolicy", "MNIST-v0", {}),
    ("MlpPolicy", "MNIST-v0", {"credit": "one_point", "probe_std": 3}),
    ("MlpPolicy", "MNIST-v0", {"credit": "one_sided", "probe_std": 0.01}),
    ("MlpPolicy", "MNIST-v0", {"replays": 2, "buffer_size": 600}),
    ("MlpPolicy", "MNIST-v0", {"rule": "loss", "error_model": True}),
    ("MlpPolicy", "MNIST-v0", {"rule": "matched", "max_grad_norm": 1.0}),
    ("CnnPolicy", "MNIST-v0", {}),
    ("RnnPolicy", "DelayedXOR-v0", {}),
    ("RnnPolicy", "DelayedXOR-v0", {"replays": 2, "n_steps": 2}),
    ("RnnPolicy", "DelayedXOR-v0", {"rule": "loss"}),
    ("RnnPolicy", "DelayedXOR-v0", {"policy_kwargs": {"cell": "lstm"}}),
    ("MlpPolicy", "CartPole-v1", {"credit": "score", "n_steps": 16, "n_envs": 2}),
    ("RnnPolicy", "CartPole-v1", {"credit": "score", "n_steps": 16, "n_envs": 2}),
    ("MlpPolicy", "Pendulum-v1", {"credit": "episode", "n_envs": 4}),
    ("MlpPolicy", "Pendulum-v1", {"credit": "critic", "n_envs": 2, "learning_starts": 8}),
    ("MlpPolicy", "MNIST-v0 discrete", {"credit": "value", "batch_size": 16}),
]


def make(way, device):
    policy, name, settings = way
    id, *discrete = name.split()
    env = gym.make(id, discrete=True) if discrete else id
    return NodePerturbation(policy, env, seed=0, device=device, alignment_interval=3, **settings)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_training_moves_all_weights_and_files_go_from_device_to_device(way, device, tmp_path):
    model = make(way, device)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn((220 if "episode" in model.config.credit else 20) * model.n_envs)
    moved = {
        n for n, value in model.policy.state_dict().items() if not torch.equal(value, before[n])
    }
    assert {n for n in before if n.endswith("weight")} <= moved
    assert {value.device.type for value in model.policy.state_dict().values()} == {device}
    model.save(tmp_path / "model")
    shown = np.stack([model.observation_space.sample() for _ in range(5)])
    expected = model.predict(shown)[0]
    for other in ("cpu", device):
        loaded = NodePerturbation.load(tmp_path / "model", device=other)
        # cuDNN multiplies in TF32, with 10 bits after the point.
        np.testing.assert_allclose(loaded.predict(shown)[0], expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", [WAYS[0], WAYS[3], WAYS[7], WAYS[8]], ids=str)
def test_a_run_is_the_same_again(way, device, same_weights):
    one, other = (make(way, device) for _ in range(2))
    assert same_weights(one.learn(20 * one.n_envs), other.learn(20 * other.n_envs))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", [WAYS[0], WAYS[7]], ids=str)
def test_node_perturbation_of_all_units_learns_there(way, device):
    policy, env, _ = way
    model = AllUnits(policy, env, seed=0, batch_size=8, device=device)
    before = [weight.clone() for weight in model.policy.network.forward_weights]
    model.learn(20 * model.n_envs)
    assert not any(map(torch.equal, before, model.policy.network.forward_weights))


@pytest.mark.parametrize("device", DEVICES)
def test_evolution_strategies_learn_there(device):
    model = ES("MlpPolicy", "CartPole-v1", n_delta=2, seed=0, device=device)
    before = model.policy.parameters_to_vector()
    assert not np.array_equal(before, model.learn(100).policy.parameters_to_vector())


@needs_gpu
def test_devices_agree_on_the_error_that_is_carried_down(tasks):
    """The same windows, drawn on the CPU: gradients differ by rounding alone."""
    models = {
        device: NodePerturbation("MlpPolicy", tasks.Echo(expose_gradient=True), seed=0,
                                 credit="given", rule="fixed", device=device)
        for device in ("cpu", "cuda")
    }  # fmt: skip
    for model in models.values():
        model.learn(20 * model.n_envs)
    ours, theirs = (model.policy.state_dict() for model in models.values())
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name].cpu(), rtol=1e-3, atol=1e-5)


@needs_gpu
def test_processes_share_a_run_each_on_its_own_gpu(torchrun, tmp_path):
    script = pathlib.Path(__file__).parent / "distributed" / "shared_run.py"
    process = torchrun(script, tmp_path, "cuda", processes=torch.cuda.device_count())
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["MNIST"]["difference"] < 1e-5 < 1e-3 < found["MNIST"]["learned"]
