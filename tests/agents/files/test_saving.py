"""Model files: the same model and the same run come out, and damaged files say so."""

import contextlib
import io
import json
import os
import pathlib
import pickle
import tracemalloc
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.callbacks import CheckpointCallback

from nodepert.agents import (
    ConfigError,
    FileFormatError,
    MlpPolicy,
    NodepertError,
    NodePerturbation,
)
from nodepert.agents.files import saving as saving_module
from nodepert.agents.files.saving import load_tensors, save_tensors, space_from_json, space_to_json

SMALL = {"net_arch": (8,), "batch_size": 4, "seed": 0}


class OwnPolicy(MlpPolicy):
    default_net_arch = (6,)


@pytest.fixture
def model(tasks):
    return NodePerturbation("MlpPolicy", tasks.Echo(), **SMALL).learn(200)


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model.zip"


# Round trips -------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9},
        {"rule": "loss", "probes": 2},
        {"rule": "fixed"},
        {"rule": "symmetric"},
        {"rule": "loss_ridge", "probes": 3, "node_baseline": "critic", "node_std": (0.1,)},
        {"rule": "matched", "weight_decay": 0.1, "node_noise": "sparse"},
        {"rule": "backprop"},
        {"credit": "one_sided", "error_model": True},
        {"credit": "one_point", "probes": 2},
    ],
    ids=str,
)
def test_round_trip(tasks, same_weights, tmp_path, policy, changes):
    model = NodePerturbation(policy, tasks.Echo(length=3), **SMALL, **changes).learn(300)
    model.save(tmp_path / "model")
    loaded = NodePerturbation.load(tmp_path / "model")
    assert same_weights(model, loaded)
    assert loaded.config == model.config
    for name in ("num_timesteps", "_n_updates", "_episode_num", "seed", "action_scale"):
        assert getattr(loaded, name) == getattr(model, name)
    x = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
    assert np.array_equal(loaded.predict(x)[0], model.predict(x)[0])
    ours, theirs = model.get_parameters(), loaded.get_parameters()
    assert ours.keys() == theirs.keys()
    for name in ours:  # step sizes are set anew at the next update
        one, other = (p[name].get("state", p[name]) for p in (ours, theirs))
        torch.testing.assert_close(dict(other), dict(one), rtol=0, atol=0)


def test_names_as_in_stable_baselines3(model, same_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()  # a folder of that name is no file
    for name, file in (
        ("a", "a.zip"),
        ("b.zip", "b.zip"),
        (pathlib.Path("c"), "c.zip"),
        (str(tmp_path / "deep" / "er" / "d"), "deep/er/d.zip"),
        ("e.pth", "e.pth"),
    ):
        model.save(name)
        assert (tmp_path / file).is_file()
        assert same_weights(NodePerturbation.load(name), model)
        assert same_weights(NodePerturbation.load(tmp_path / file), model)
    assert not list(tmp_path.rglob(".*")), "no temporary file stays"


def test_file_objects(model, same_weights, tmp_path):
    buffer = io.BytesIO()
    model.save(buffer)
    buffer.seek(0)
    assert same_weights(NodePerturbation.load(buffer), model)
    with (tmp_path / "open.zip").open("wb") as file:
        model.save(file)
    with (tmp_path / "open.zip").open("rb") as file:
        assert same_weights(NodePerturbation.load(file), model)


def test_same_model_same_bytes(model):
    one, other = io.BytesIO(), io.BytesIO()
    model.save(one)
    model.save(other)
    assert one.getvalue() == other.getvalue()


def test_the_file_is_json_and_safetensors(saved):
    with zipfile.ZipFile(saved) as archive:
        assert archive.namelist() == ["nodepert.json", "tensors.safetensors"]
        document = json.loads(archive.read("nodepert.json"))
    assert document["format"] == 1
    assert document["policy"] == "MlpPolicy"
    assert document["config"]["net_arch"] == [8]


def test_spaces():
    for space in (
        gym.spaces.Box(-1, 1, (3,)),
        gym.spaces.Box(np.array([0, -np.inf]), np.array([np.inf, 5.0]), dtype=np.float64),
        gym.spaces.Box(0, 255, (2, 3), np.uint8),
        gym.spaces.Box(-1, 1, ()),
        gym.spaces.Discrete(4, start=2),
        gym.spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [0, 0]]),
        gym.spaces.MultiBinary(3),
        gym.spaces.MultiBinary([2, 3]),
    ):
        assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space
    with pytest.raises(FileFormatError):
        space_to_json(gym.spaces.Text(2))
    for wrong in ({}, {"type": "Tuple"}, {"type": "Box"}, {"type": "Discrete", "n": "x"}):
        with pytest.raises(FileFormatError):
            space_from_json(wrong)


def test_hyperparameters_can_change_on_loading(saved, tasks):
    loaded = NodePerturbation.load(
        saved, tasks.Echo(), learning_rate=0.5, feedback_learning_rate=0.25, momentum=0.5, seed=3,
        verbose=1, lr_schedule="constant", batch_size=2,
    )  # fmt: skip
    assert (loaded.seed, loaded.verbose, loaded.n_envs) == (3, 1, 4)
    loaded.learn(8)
    assert loaded.optimizer.param_groups[0]["lr"] == 0.5
    assert loaded.feedback_optimizer.param_groups[0]["lr"] == 0.25
    with pytest.raises(ConfigError, match="lr: no such hyperparameter"):
        NodePerturbation.load(saved, lr=0.5)
    with pytest.raises(ConfigError, match="probes=0"):
        NodePerturbation.load(saved, probes=0)


def test_a_function_as_learning_rate_is_asked_for_again(tasks, tmp_path):
    model = NodePerturbation("MlpPolicy", tasks.Echo(), learning_rate=lambda r: r, **SMALL)
    model.save(tmp_path / "model")
    with pytest.raises(ConfigError, match="learning_rate was a function"):
        NodePerturbation.load(tmp_path / "model")
    NodePerturbation.load(tmp_path / "model", learning_rate=0.1)


def test_own_policy_classes_are_passed_in(tasks, same_weights, tmp_path):
    model = NodePerturbation(OwnPolicy, tasks.Echo(), seed=0)
    model.save(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"OwnPolicy.*custom_objects"):
        NodePerturbation.load(tmp_path / "model")
    loaded = NodePerturbation.load(tmp_path / "model", custom_objects={"policy_class": OwnPolicy})
    assert type(loaded.policy) is OwnPolicy
    assert same_weights(model, loaded)


def test_environment_must_fit(saved, tasks):
    with pytest.raises(ConfigError, match="spaces"):
        NodePerturbation.load(saved, tasks.Echo(dim=4))
    with pytest.raises(ConfigError, match="multiple"):
        NodePerturbation.load(saved, tasks.Echo.vector(3))
    with pytest.raises(ConfigError, match=r"force_reset=False.*4 contexts"):
        NodePerturbation.load(saved, tasks.Echo.vector(10), force_reset=False)
    with pytest.raises(ConfigError, match="force_reset=False"):
        NodePerturbation.load(saved, SyncVectorEnv([tasks.Echo] * 8), force_reset=False)


def test_print_system_info(saved, capsys):
    NodePerturbation.load(saved, print_system_info=True)
    assert "PyTorch" in capsys.readouterr().out


# Going on bit for bit ----------------------------------------------------------------------------


RUNS = {
    "mnist": ("MlpPolicy", "MNIST-v0", {"n_steps": 1}),
    "mnist-sgd": ("MlpPolicy", "MNIST-v0", {"optimizer": "sgd", "momentum": 0.9}),
    "mnist-replays": ("MlpPolicy", "MNIST-v0", {"replays": 2}),
    "mnist-error-model": ("MlpPolicy", "MNIST-v0", {"error_model": True}),
    "mnist-loss": ("MlpPolicy", "MNIST-v0", {"rule": "loss"}),
    "xor-ridge-loss": (
        "RnnPolicy",
        "DelayedXOR-v0",
        {
            "rule": "loss_ridge",
            "node_baseline": "ema",
            "credit": "one_sided",
            "probes": 2,
            "warmup": 3,
            "feedback_interval": 2,
        },
    ),
    "mnist-critic-loss": (
        "MlpPolicy",
        "MNIST-v0",
        {"rule": "direct_loss", "node_baseline": "critic", "credit": "one_sided", "probes": 2},
    ),
    "xor": ("RnnPolicy", "DelayedXOR-v0", {}),
    "xor-loss": ("RnnPolicy", "DelayedXOR-v0", {"rule": "loss", "error_model": True}),
    # Three windows of 5 steps end just before the step that only resets, the 8th and the 16th.
    "xor-next-step": ("RnnPolicy", "next-step", {"n_steps": 5}),
}


def environment(name, lanes):
    if name == "next-step":
        return gym.make_vec("DelayedXOR-v0", num_envs=lanes, autoreset_mode="NextStep")
    return name


def run(name, steps, callback=None, **changes):
    policy, env, settings = RUNS[name]
    settings = {**SMALL, **settings, **changes}
    return NodePerturbation(policy, environment(env, 8), **settings).learn(steps, callback)


def go_on(name, path, steps):
    env = environment(RUNS[name][1], 8)
    model = NodePerturbation.load(path, env, force_reset=False)
    return model.learn(steps - model.num_timesteps, reset_num_timesteps=False)


@pytest.mark.parametrize("name", RUNS)
def test_resumed_run_is_the_run_that_was_not_interrupted(name, same_weights, tmp_path):
    """learn(T) gives the same weights as learn(t), save, load, learn(T − t)."""
    lanes = 16 if name.endswith("loss") else 8
    total, part = 40 * lanes, (15 if name == "xor-next-step" else 16) * lanes
    constant = {"lr_schedule": "constant"}
    run(name, part, **constant).save(tmp_path / "model")
    resumed = go_on(name, tmp_path / "model", total)
    whole = run(name, total, **constant)
    assert resumed.num_timesteps == whole.num_timesteps == total
    assert same_weights(resumed, whole)
    started_anew = NodePerturbation.load(tmp_path / "model", environment(RUNS[name][1], 8))
    started_anew.learn(total - part, reset_num_timesteps=False)
    assert not same_weights(started_anew, whole), "force_reset=True starts new episodes"


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("stop", [16, 21])
def test_checkpoints_resume_bit_for_bit(name, same_weights, tmp_path, stop):
    """Also from a callback, at the end of a window or in its middle, with a falling step size."""
    lanes = 16 if name.endswith("loss") else 8
    total = 40 * lanes
    whole = run(name, total, CheckpointCallback(stop, str(tmp_path)))
    resumed = go_on(name, tmp_path / f"rl_model_{stop * lanes}_steps", total)
    assert resumed.num_timesteps == whole.num_timesteps
    assert same_weights(resumed, whole)

    def stop_early(locals_, globals_):
        return locals_["self"].num_timesteps < stop * lanes

    stopped = run(name, total, stop_early)
    assert stopped.num_timesteps == stop * lanes
    stopped.save(tmp_path / "stopped")
    assert same_weights(go_on(name, tmp_path / "stopped", total), whole)


def test_learning_goes_on_in_new_episodes(saved, tasks):
    loaded = NodePerturbation.load(saved, tasks.Echo())
    loaded.learn(80, reset_num_timesteps=False)
    assert loaded.num_timesteps == 280


# Files that are not what they should be ----------------------------------------------------------


def refuses(path, match=None):
    with pytest.raises(FileFormatError, match=match) as caught:
        NodePerturbation.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.zip: no such file") as caught:
        NodePerturbation.load(tmp_path / "none")
    assert isinstance(caught.value, NodepertError)


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({}), b"PK\x03\x04" + bytes(99)])
def test_garbage(tmp_path, content):
    (tmp_path / "model.zip").write_bytes(content)
    refuses(tmp_path / "model.zip")


def test_truncated_files(saved):
    content = saved.read_bytes()
    for length in range(0, len(content), len(content) // 40):
        saved.write_bytes(content[:length])
        refuses(saved)


def test_damaged_bytes(saved):
    """Every damaged byte is found, or does not matter: no other error, no other model."""
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    for position in [*range(120), *range(len(content) - 250, len(content)),
                     *rng.integers(len(content), size=150)]:  # fmt: skip
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        saved.write_bytes(damaged)
        try:
            NodePerturbation.load(saved)
        except FileFormatError:
            found += 1
    assert found > 150


def rewrite(path, document=None, tensors=None, compression=zipfile.ZIP_STORED, extra=()):
    """The same file with other parts, and valid checksums."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if document is not None:
        parts["nodepert.json"] = json.dumps(document).encode()
    if tensors is not None:
        parts["tensors.safetensors"] = tensors
    parts.update(dict(extra))
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            if content is not None:
                archive.writestr(name, content)


def test_compressed_files_are_refused(saved):
    """They could unpack to any size."""
    rewrite(saved, compression=zipfile.ZIP_DEFLATED)
    refuses(saved, "compressed")


@pytest.mark.parametrize("part", ["nodepert.json", "tensors.safetensors"])
def test_a_missing_part(saved, part):
    rewrite(saved, extra={part: None})
    refuses(saved, part)


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_other_formats(saved, number):
    with zipfile.ZipFile(saved) as archive:
        document = json.loads(archive.read("nodepert.json"))
    rewrite(saved, {**document, "format": number})
    refuses(saved, "expected 1")
    rewrite(saved, [document])
    refuses(saved)


def test_wrong_values_in_the_document(saved):
    with zipfile.ZipFile(saved) as archive:
        document = json.loads(archive.read("nodepert.json"))
    content = saved.read_bytes()
    for name in document:
        if name in ("version", "format"):
            continue
        for value in (None, 7, "x", [], {"x": 1}, "missing"):
            changed = {k: v for k, v in document.items() if k != name or value != "missing"}
            if value != "missing":
                changed[name] = value
            saved.write_bytes(content)
            rewrite(saved, changed)
            try:
                NodePerturbation.load(saved)
            except (FileFormatError, ConfigError):
                continue
            # A seed may be None or any number; seeds of contexts are not read for new episodes.
            optional = ("seed", "context_seeds", "action_scale", "trained_on", "logs")
            assert name in optional, (name, value)


def test_wrong_tensors(saved):
    with zipfile.ZipFile(saved) as archive:
        tensors = load_tensors(archive.read("tensors.safetensors"))
    content = saved.read_bytes()
    for name in tensors:
        if name.startswith(("situation", "env")):
            continue
        for changed in (
            {k: v for k, v in tensors.items() if k != name},
            {**tensors, name: torch.zeros(3, 3, 3)},
        ):
            saved.write_bytes(content)
            rewrite(saved, tensors=save_tensors(changed))
            if name == "generator" and name in changed:
                continue  # another device's has another size
            with pytest.raises((FileFormatError, ConfigError)):
                NodePerturbation.load(saved)


def parts_of(path):
    """Document and tensors of a file."""
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read("nodepert.json"))
        return document, load_tensors(archive.read("tensors.safetensors"))


HUGE = {
    "net_arch": ("policy_kwargs", {"net_arch": [2**19, 2**20], "activation": "relu"}, "has shape"),
    "space": (
        "observation_space",
        {"type": "Box", "low": 0, "high": 1, "shape": [2**40], "dtype": "float32"},
        "more than 16,777,216 values",
    ),
    "one-hot": ("observation_space", {"type": "Discrete", "n": 2**40, "start": 0}, "has shape"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_small_file_takes_no_more_memory_than_it_has_tensors_for(saved, name):
    part, value, said = HUGE[name]
    document, _ = parts_of(saved)
    rewrite(saved, {**document, part: value})
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=said):
        NodePerturbation.load(saved)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_weights_that_are_not_finite(saved):
    _, tensors = parts_of(saved)
    name = "policy.network.linears.0.weight"
    rewrite(saved, tensors=save_tensors({**tensors, name: tensors[name] * torch.nan}))
    with pytest.raises(FileFormatError, match=f"{name} has NaN"):
        NodePerturbation.load(saved)


@pytest.mark.parametrize("name", ["observation", "started", "resetting", "returns", "lengths"])
def test_a_run_goes_on_from_nothing_but_its_own_situation(saved, tasks, name):
    _, tensors = parts_of(saved)
    for wrong in (torch.zeros(7), torch.zeros((), dtype=torch.bool)):
        rewrite(saved, tensors=save_tensors({**tensors, f"situation.{name}": wrong}))
        with pytest.raises((FileFormatError, ConfigError)):
            NodePerturbation.load(saved, tasks.Echo(), force_reset=False)
    rewrite(saved, tensors=save_tensors(tensors))
    NodePerturbation.load(saved, tasks.Echo(), force_reset=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("action_scale", 0), ("config", {"credit": "auto"}), ("counters", {"num_timesteps": 1e999})],
)
def test_values_out_of_range(saved, name, value):
    document, _ = parts_of(saved)
    if isinstance(value, dict):
        value = {**document[name], **value}
    rewrite(saved, {**document, name: value})
    with pytest.raises(FileFormatError):
        NodePerturbation.load(saved)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_are_never_run(saved, tmp_path):
    victim = tmp_path / "executed"
    bomb = pickle.dumps(Hostile(victim))
    torch.save(Hostile(victim), tmp_path / "model.pt")
    with zipfile.ZipFile(saved) as archive:
        document = json.loads(archive.read("nodepert.json"))
    good = saved.read_bytes()
    for parts in (
        {"nodepert.json": bomb},
        {"tensors.safetensors": bomb},
        {"data": bomb, "policy.pth": bomb, "pytorch_variables.pth": bomb},
    ):
        saved.write_bytes(good)
        rewrite(saved, extra=parts)
        with contextlib.suppress(FileFormatError):
            NodePerturbation.load(saved)
    for policy in ("os:mkdir", f"os:mkdir('{victim}')", "builtins:exec"):
        saved.write_bytes(good)
        rewrite(saved, {**document, "policy": policy})
        with pytest.raises(ConfigError):
            NodePerturbation.load(saved)
    refuses(tmp_path / "model.pt")
    assert not victim.exists()


# Half-written files ------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["replace", "fsync", "chmod"])
def test_a_failing_write_leaves_the_old_file(model, saved, monkeypatch, function):
    before = saved.read_bytes()
    model.learn(80)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(saving_module.os, function, fail)
    with pytest.raises(OSError, match="disk full"):
        model.save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]
    model.save(saved)
    assert saved.read_bytes() != before


def test_files_are_as_readable_as_any_other(saved, tmp_path):
    (tmp_path / "other").touch()
    assert saved.stat().st_mode == (tmp_path / "other").stat().st_mode
