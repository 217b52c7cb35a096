"""Options of policies: what they do, what is saved of them, and what is not valid."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from gymnasium import spaces

from nodepert.agents import ConfigError, FileFormatError, NodePerturbation
from nodepert.agents.policies import CnnPolicy, MlpPolicy, RnnPolicy

SMALL = {"batch_size": 4, "seed": 0}
BOX = spaces.Box(-1, 1, (3,))
CASES = [
    ("MlpPolicy", "MNIST-v0", {"init_gain": 2**0.5, "net_arch": (8, 6)}),
    ("MlpPolicy", "MNIST-v0", {"net_arch": [8, 6], "activation": ("tanh", "sigmoid")}),
    ("RnnPolicy", "DelayedXOR-v0", {"cell": "lstm", "net_arch": (8,), "init_gain": 0.5}),
    ("RnnPolicy", "DelayedXOR-v0", {"cell": "gru", "net_arch": (8,), "transposed_readout": True}),
    ("CnnPolicy", "MNIST-v0", {"channels": (3, 4), "kernel_size": 4, "net_arch": (6,)}),
]


class Tagged(MlpPolicy):
    """Somebody's own policy with options: one that JSON can hold and one that it can't."""

    default_net_arch = (6,)

    def __init__(self, observation_space, action_space, *, tag=1, hook=None, **common):
        self.tag, self.hook = tag, hook
        super().__init__(observation_space, action_space, **common)


def saved(model):
    buffer = io.BytesIO()
    model.save(buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize(("policy", "env", "options"), CASES, ids=str)
def test_options_come_back_from_a_file(policy, env, options, same_weights):
    model = NodePerturbation(policy, env, policy_kwargs=options, **SMALL).learn(100)
    loaded = NodePerturbation.load(saved(model))
    assert loaded.policy.options() == model.policy.options()
    for name, value in options.items():
        given = tuple(value) if isinstance(value, list) else value
        assert getattr(loaded.policy, name) == given
    assert same_weights(model, loaded)
    x = np.stack([model.observation_space.sample() for _ in range(4)])
    one, other = model.predict(x), loaded.predict(x)
    assert np.array_equal(one[0], other[0])
    if one[1] is not None:
        again, same = model.predict(x, one[1]), loaded.predict(x, other[1])
        assert np.array_equal(again[0], same[0])
        assert not np.array_equal(again[0], one[0]), "the state counts"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_resumed_run_is_the_run_that_was_not_interrupted(cell, same_weights):
    options = {"cell": cell, "net_arch": (8,)}
    settings = {"policy_kwargs": options, "lr_schedule": "constant", **SMALL}
    whole = NodePerturbation("RnnPolicy", "DelayedXOR-v0", **settings).learn(640)
    part = NodePerturbation("RnnPolicy", "DelayedXOR-v0", **settings).learn(320)
    loaded = NodePerturbation.load(saved(part), "DelayedXOR-v0", force_reset=False)
    loaded.learn(320, reset_num_timesteps=False)
    assert same_weights(whole, loaded)


def test_files_without_the_new_options_load(same_weights):
    """As earlier versions wrote them: with net_arch and activation alone."""
    model = NodePerturbation("RnnPolicy", "DelayedXOR-v0", **SMALL).learn(100)
    edited = io.BytesIO()
    with zipfile.ZipFile(saved(model)) as old, zipfile.ZipFile(edited, "w") as new:
        document = json.loads(old.read("nodepert.json"))
        kwargs = document["policy_kwargs"]
        document["policy_kwargs"] = {name: kwargs[name] for name in ("net_arch", "activation")}
        new.writestr("nodepert.json", json.dumps(document))
        new.writestr("tensors.safetensors", old.read("tensors.safetensors"))
    edited.seek(0)
    assert same_weights(NodePerturbation.load(edited), model)


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"net_arch": [8]}, FileFormatError),
        ({"net_arch": [8], "activation": "tanh", "cells": 1}, ConfigError),
        ({"net_arch": [8], "activation": "tanh", "cell": "mystery"}, ConfigError),
        ({"net_arch": [8], "activation": "tanh", "cell": "lstm"}, FileFormatError),
    ],
    ids=str,
)
def test_files_whose_options_do_not_fit(kwargs, error):
    model = NodePerturbation("RnnPolicy", "DelayedXOR-v0", net_arch=(8,), **SMALL)
    edited = io.BytesIO()
    with zipfile.ZipFile(saved(model)) as old, zipfile.ZipFile(edited, "w") as new:
        document = {**json.loads(old.read("nodepert.json")), "policy_kwargs": kwargs}
        new.writestr("nodepert.json", json.dumps(document))
        new.writestr("tensors.safetensors", old.read("tensors.safetensors"))
    edited.seek(0)
    with pytest.raises(error):
        NodePerturbation.load(edited)


def test_own_options(tasks):
    model = NodePerturbation(
        Tagged, tasks.Echo(), policy_kwargs={"tag": [2], "hook": print}, **SMALL
    )
    loaded = NodePerturbation.load(saved(model), custom_objects={"policy_class": Tagged})
    assert (loaded.policy.tag, loaded.policy.hook) == ([2], None)


def test_names_of_options():
    extractor = ["features_extractor_class", "features_extractor_kwargs"]
    common = ["net_arch", "activation", "activation_fn", "init_gain", *extractor]
    assert MlpPolicy.option_names() == common
    assert RnnPolicy.option_names() == [*common, "cell", "transposed_readout"]
    assert CnnPolicy.option_names() == [*common, "channels", "kernel_size"]
    assert Tagged.option_names() == [*common, "tag", "hook"]


def test_unknown_options_list_the_valid_ones(tasks):
    with pytest.raises(ConfigError, match=r"policy_kwargs: MlpPolicy takes no 'cell'; .*net_arch"):
        NodePerturbation("MlpPolicy", tasks.Echo(), policy_kwargs={"cell": "lstm"}, **SMALL)


# init_gain ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [MlpPolicy, RnnPolicy])
def test_initial_weights_and_feedback_have_the_gain(policy):
    space = spaces.Box(-1, 1, (400,))
    made = policy(space, BOX, net_arch=[300], init_gain=3.0)
    for layer in made.network.layers:
        n_in = layer.weight.shape[1]
        for weight in (layer.weight, layer.feedback):
            if weight is not None:
                assert float(weight.detach().std()) == pytest.approx(3 / n_in**0.5, rel=0.1)


def test_gain_of_relu_networks_is_hes_unless_told_otherwise():
    space = spaces.Box(-1, 1, (400,))
    default, he = (MlpPolicy(space, BOX, init_gain=gain) for gain in (None, 2**0.5))
    for one, other in zip(default.network.layers[:2], he.network.layers[:2], strict=True):
        assert torch.equal(one.weight, other.weight)
    assert not torch.equal(default.network.layers[2].weight, he.network.layers[2].weight)


@pytest.mark.parametrize("gain", [0, -1.0, float("nan"), float("inf"), "he", True])
def test_gains_that_are_not_valid(gain):
    with pytest.raises(ConfigError, match=r"init_gain=.*positive number"):
        MlpPolicy(BOX, BOX, init_gain=gain)
