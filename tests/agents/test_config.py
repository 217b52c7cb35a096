"""Hyperparameters: every one that is not valid is named, with what is."""

import dataclasses
import math

import numpy as np
import pytest

from nodepert.agents import Config, ConfigError, NodePerturbation
from nodepert.agents.config import learning_rate_schedule, with_changes

WRONG = [
    ("credit", "scores"),
    ("credit", None),
    ("rule", "respond"),
    ("rule", ["response"]),
    ("optimizer", "adamw"),
    ("lr_schedule", "step"),
    ("feedback_optimizer", "rmsprop"),
    *[("probes", value) for value in (0, -1, 1.5, "2", None, True)],
    *[("batch_size", value) for value in (0, 2.0, math.nan)],
    *[("n_steps", value) for value in (0, 0.5)],
    *[("alignment_interval", value) for value in (-1, None)],
    *[("probe_std", value) for value in (0, -0.1, math.inf, math.nan, "0.1", None)],
    *[("node_std", value) for value in (-0.1, math.nan, True)],
    *[("learning_rate", value) for value in (-1e-3, math.inf, None, "fast")],
    *[("momentum", value) for value in (-0.1, None)],
    *[("max_grad_norm", value) for value in (-1.0, math.nan)],
    *[("feedback_learning_rate", value) for value in (-1.0, "x")],
    ("error_model", "yes"),
    *[(name, np.zeros(2)) for name in ("credit", "probes", "node_std", "learning_rate")],
    *[(name, 10**400) for name in ("probes", "gamma", "node_std", "temperature")],
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_values_that_are_not_valid_are_named(name, value):
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    assert str(caught.value).startswith(f"{name}=")
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net_arch", (0,)),
        ("net_arch", (8, -1)),
        ("net_arch", "big"),
        ("net_arch", 8),
        ("net_arch", (8.0,)),
        ("activation", "swishy"),
        ("activation", ("relu", "tanh", "tanh")),
    ],
)
def test_shapes_that_are_not_valid_are_named(tasks, name, value):
    with pytest.raises(ConfigError, match=f"{name}=.*expected"):
        NodePerturbation("MlpPolicy", tasks.Echo(), **{"net_arch": (8,), name: value})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"credit": "given", "error_model": True}, "error_model"),
        ({"rule": "loss", "node_std": 0.0}, "node_std"),
    ],
)
def test_values_that_do_not_go_together(changes, name):
    with pytest.raises(ConfigError, match=f"{name}=.*expected"):
        Config(**changes)


def test_choices_are_listed():
    with pytest.raises(ConfigError, match=r"'response', 'loss', .*'backprop'"):
        Config(rule="x")
    with pytest.raises(ConfigError, match=r"'paired', 'one_sided', 'one_point', 'given'"):
        Config(credit="x")


def test_edges_that_are_valid():
    Config(probe_std=0.0, credit="given")
    Config(node_std=0.0)
    Config(learning_rate=0, momentum=0, max_grad_norm=None, n_steps=None)
    Config(learning_rate=lambda remaining: 0.1)


def test_unknown_names_list_the_valid_ones(tasks):
    with pytest.raises(ConfigError, match=r"lr: no such hyperparameter.*learning_rate"):
        NodePerturbation("MlpPolicy", tasks.Echo(), lr=0.1)
    with pytest.raises(ConfigError, match=r"lr: no such"):
        with_changes(Config(), {"lr": 1})


def test_keywords_win_over_the_config(tasks):
    config = Config(batch_size=4, net_arch=(8,))
    model = NodePerturbation("MlpPolicy", tasks.Echo(), config, probes=2)
    assert (model.config.batch_size, model.config.probes) == (4, 2)
    assert config.probes == 1


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().probes = 2


def test_schedules():
    for name, halfway in (("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)):
        schedule = learning_rate_schedule(Config(learning_rate=2.0, lr_schedule=name))
        assert schedule(1.0) == 2.0
        assert schedule(0.5) == pytest.approx(2 * halfway)
        assert schedule(0.0) == (2.0 if name == "constant" else 0.0)
        assert schedule(-0.1) == schedule(0.0), "a run may play a few steps more than asked for"
    assert learning_rate_schedule(Config(learning_rate=lambda x: x))(0.3) == 0.3
