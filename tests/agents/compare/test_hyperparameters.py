import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from torch import nn

from nodepert.agents import ConfigError
from nodepert.agents.compare.hyperparameters import (
    Linear,
    arguments,
    entry,
    packaged,
    read_table,
)
from nodepert.agents.compare.models import check_settings, settings_for
from nodepert.agents.compare.rivals import RIVALS

SOURCES = ("rl_zoo3", "chosen by hand", "examples/benchmarks/value_mode.py --search")
BOX, FOUR = spaces.Box(-1, 1, (2,)), spaces.Discrete(4)
ENTRIES = [(agent, env) for agent, envs in packaged().items() for env in envs]


@pytest.mark.parametrize(("agent", "env"), ENTRIES)
def test_packaged_entries_are_what_the_algorithms_take(agent, env):
    settings = packaged()[agent][env]
    if agent in RIVALS:
        check_settings(agent, settings, BOX if BOX.__class__ in RIVALS[agent].actions else FOUR)
    else:  # fields of our own config
        assert settings_for(agent, env, [packaged()]).items() >= settings.items()
    assert settings["source"] in SOURCES
    numbers = [value for value in settings.values() if isinstance(value, str)]
    assert not any(text.replace(".", "").replace("e-", "").isdigit() for text in numbers)


def test_packaged_table_has_what_is_compared():
    classic = {"CartPole-v1", "Acrobot-v1", "MountainCar-v0", "LunarLander-v3"}
    continuous = {"Pendulum-v1", "MountainCarContinuous-v0"}
    mujoco = {"HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Swimmer-v5"}
    for agent in ("ppo", "a2c", "ars"):
        assert packaged()[agent].keys() >= classic | continuous | mujoco | {"MNIST-v0"}
    for agent in ("sac", "td3"):
        assert packaged()[agent].keys() >= continuous | mujoco | {"MNIST-v0"}
    assert packaged()["dqn"].keys() >= classic | {"MNIST-v0"}
    assert packaged()["recurrent_ppo"].keys() >= {"CartPole-v1", "DelayedXOR-v0"}


def test_arguments():
    made = arguments(
        {
            "n_envs": 8,
            "normalize": True,
            "n_timesteps": 1e5,
            "source": "somewhere",
            "learning_rate": "lin_0.002",
            "clip_range": "1e-1",
            "gamma": 0.9,
            "train_freq": [1, "episode"],
            "policy_kwargs": {
                "activation_fn": "nn.ReLU",
                "net_arch": [3],
                "optimizer_class": "torch.optim.AdamW",
            },
            "noise_type": "normal",
            "noise_std": 0.5,
        },
        BOX,
    )
    noise = made.pop("action_noise")
    assert made == {
        "learning_rate": Linear(0.002),
        "clip_range": 0.1,
        "gamma": 0.9,
        "train_freq": (1, "episode"),
        "policy_kwargs": {
            "activation_fn": nn.ReLU,
            "net_arch": [3],
            "optimizer_class": torch.optim.AdamW,
        },
    }
    assert [Linear(0.002)(left) for left in (1, 0.25, 0)] == [0.002, 0.0005, 0]
    assert isinstance(noise, NormalActionNoise)
    np.testing.assert_array_equal(noise._sigma, [0.5, 0.5])
    other = arguments({"noise_type": "ornstein-uhlenbeck", "noise_std": 1}, BOX)["action_noise"]
    assert isinstance(other, OrnsteinUhlenbeckActionNoise)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"policy_kwargs": "dict(net_arch=[64])"}, "not evaluated"),
        ({"policy_kwargs": {"activation_fn": "Step"}}, "ReLU, Tanh"),
        ({"policy_kwargs": {"optimizer_class": "Lion"}}, "optimizer_class: 'Lion'.*Adam, AdamW"),
        ({"learning_rate": "cos_0.1"}, "lin_NUMBER"),
        ({"learning_rate": "lin_fast"}, "lin_NUMBER"),
        ({"noise_type": "pink", "noise_std": 0.1}, "normal, ornstein"),
        ({"noise_type": "normal"}, "noise_std: None"),
        ({"batchsize": 3}, "batchsize: no hyperparameter of ppo"),
    ],
)
def test_wrong_values_are_named(settings, said):
    with pytest.raises(ConfigError, match=said):
        check_settings("ppo", settings, BOX)


def test_noise_needs_a_box():
    with pytest.raises(ConfigError, match="a Box, got Discrete"):
        arguments({"noise_type": "normal", "noise_std": 0.1}, FOUR)


def test_entries_by_id_with_or_without_module_and_by_rule():
    table = {"np": {"A-v0": {"batch_size": 1}}, "np:fixed": {"m:A-v0": {"batch_size": 2}}}
    assert entry(table, "np", "m:A-v0") == {"batch_size": 1}
    assert entry(table, "np:backprop", "A-v0") == {"batch_size": 1}
    assert entry(table, "np:fixed", "m:A-v0") == {"batch_size": 2}
    assert entry(table, "np:fixed", "A-v0") == {"batch_size": 1}
    assert entry(table, "ppo", "A-v0") is None
    assert entry(table, "np", "B-v0") is None


def test_first_table_wins_whole_entries():
    over = {"ppo": {"CartPole-v1": {"n_steps": 7}}}
    assert settings_for("ppo", "CartPole-v1", [over, packaged()]) == {"n_steps": 7}
    assert settings_for("ppo", "Acrobot-v1", [over, packaged()])["n_steps"] == 256
    assert settings_for("ppo", "New-v0", [over, packaged()]) == {}


def test_our_settings_are_the_preset_with_rule_and_changes():
    changes = {"policy": "MlpPolicy", "net_arch": [9], "source": "a search"}
    ours = settings_for("np:fixed", "DelayedXOR-v0", [{"np": {"DelayedXOR-v0": changes}}])
    assert (ours["policy"], ours["rule"], ours["net_arch"]) == ("MlpPolicy", "fixed", (9,))
    assert (ours["batch_size"], ours["learning_rate"]) == (20, 4e-3)
    assert ours["source"] == "a search"
    assert settings_for("np", "DelayedXOR-v0", [])["rule"] == "response"
    with pytest.raises(ConfigError, match="batchsize"):
        settings_for("np", "DelayedXOR-v0", [{"np": {"DelayedXOR-v0": {"batchsize": 1}}}])


@pytest.mark.parametrize(
    "text",
    ["- ppo", "ppo: CartPole-v1", "ppo: {CartPole-v1: 3}", "3: {}", "a: {b: [", "!!python/name:os"],
)
def test_files_that_are_no_tables(tmp_path, text):
    path = tmp_path / "table.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"table\.yml"):
        read_table(path)


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]" for i in range(1, 12))])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2021-99-99", "month"),
        ("2021-09-09", "expected text, numbers"),
        ("!!timestamp 1", "can't be read"),
        ("9" * 5000, "digits"),
        ("9" * 30, "more than 64 bits"),
        ("{1: 2}", "text keys"),
        ("&a [*a]", "more than 100,000 values"),
        ("1\n" + BOMB, "more than 100,000 values"),
    ],
)
def test_values_that_a_run_can_not_keep(tmp_path, value, said):
    path = tmp_path / "table.yml"
    path.write_text(f"ppo: {{CartPole-v1: {{x: {value}}}}}" if "\n" not in value else f"z: {value}")
    with pytest.raises(ConfigError, match=f"{path.name}: can't be read as YAML.*{said}|{said}"):
        read_table(path)


def test_missing_file_and_good_file(tmp_path):
    with pytest.raises(ConfigError, match="nothing"):
        read_table(tmp_path / "nothing.yml")
    (tmp_path / "good.yml").write_text("ppo:\n  CartPole-v1:\n    n_steps: 7\n")
    assert read_table(tmp_path / "good.yml") == {"ppo": {"CartPole-v1": {"n_steps": 7}}}


def test_an_agent_can_be_another_preset():
    over = {"np": {"DelayedXOR-v0": {"replays": 3}}, "np:replay": {"MNIST-v0": {"replays": 5}}}
    found = settings_for("np:replay", "DelayedXOR-v0", [over])
    assert (found["replays"], found["learning_rate"], found["rule"]) == (9, 0.01, "response")
    assert settings_for("np:replay", "MNIST-v0", [over])["replays"] == 5
    fixed = settings_for("np:replay:fixed", "MNIST-v0", [over])
    assert (fixed["replays"], fixed["rule"]) == (5, "fixed")
    assert settings_for("np:critic", "Pendulum-v1", [over])["credit"] == "critic"
    with pytest.raises(ConfigError, match="preset='cnn': CartPole-v1 has default, critic"):
        settings_for("np:cnn", "CartPole-v1", [])
    with pytest.raises(ConfigError, match=r"preset='discrete'.*expected --env-kwarg discrete=true"):
        settings_for("np:discrete", "MNIST-v0", [])
    assert settings_for("np:discrete", "MNIST-v0", [], {"discrete": True})["credit"] == "value"
