import sys

import pytest
from gymnasium import spaces
from stable_baselines3 import PPO

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.compare.rivals import (
    RIVALS,
    check_actions,
    check_agent,
    preset_of,
    rule_of,
)

BOX, FOUR, BITS = spaces.Box(-1, 1, (2,)), spaces.Discrete(4), spaces.MultiBinary(3)


def test_names():
    assert check_agent("ppo").algorithm() is PPO
    assert check_agent("np").algorithm() is NodePerturbation
    assert check_agent("np:fixed").algorithm() is NodePerturbation
    assert (rule_of("np"), rule_of("np:fixed"), rule_of("ppo")) == (None, "fixed", None)
    for name, preset, rule in (
        ("np:replay", "replay", None),
        ("np:fixed", None, "fixed"),
        ("np:critic:fixed", "critic", "fixed"),
    ):
        assert check_agent(name).algorithm() is NodePerturbation
        assert (preset_of(name), rule_of(name)) == (preset, rule)
    assert check_agent("all_units").algorithm().__name__ == "AllUnits"
    for name in RIVALS:
        assert check_agent(name).algorithm().__name__.lower().startswith(name[:3])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pppo", "np, all_units, np:RULE, np:PRESET, np:PRESET:RULE, ppo, a2c"),
        ("np:magic", "np:RULE with one of .*response.*np:PRESET with one of .*critic.*replay"),
        ("np:", "np:RULE"),
        ("np:fixed:critic", "np:PRESET:RULE"),
        ("np:critic:", "np:PRESET:RULE"),
        ("ppo:critic", "np:PRESET"),
        ("", "ppo"),
    ],
)
def test_unknown_names(name, said):
    with pytest.raises(ConfigError, match=said):
        check_agent(name)


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    monkeypatch.delitem(sys.modules, "nodepert.agents.compare.search", raising=False)
    with pytest.raises(ConfigError, match=r"ARS: .*nodepert\[contrib\]"):
        check_agent("ars")
    check_agent("ppo")


@pytest.mark.parametrize(
    ("agent", "space", "able"),
    [
        ("sac", FOUR, "np, ppo, a2c, dqn, recurrent_ppo, ars, es, random"),
        ("dqn", BOX, "np, all_units, ppo, a2c, sac, td3, recurrent_ppo, ars, es, random"),
        ("ars", BITS, "np, ppo, a2c, recurrent_ppo, random"),
    ],
)
def test_who_can_act(agent, space, able):
    with pytest.raises(ConfigError, match=f"{agent}: can't act in Task-v0.*expected {able}$"):
        check_actions(agent, "Task-v0", space)
    for other in able.split(", "):
        check_actions(other, "Task-v0", space)
