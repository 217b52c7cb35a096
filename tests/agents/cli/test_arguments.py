import gymnasium as gym
import pytest

from nodepert.agents import ConfigError
from nodepert.agents.cli.arguments import make_env, parse_env_kwargs


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("-0.5", -0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("[2, 6]", [2, 6]),
        ("(2, 6)", (2, 6)),
        ('{"a": 1}', {"a": 1}),
        ("mse", "mse"),
        ('"8"', "8"),
        ("'8'", "8"),
        ("", ""),
        ("a=b", "a=b"),
        ("/data/mnist", "/data/mnist"),
        ("{1, 2}", "{1, 2}"),  # JSON has no sets, and the run's files are JSON
        ("b'x'", "b'x'"),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_values_are_json_else_literals_else_strings(text, value):
    [read] = parse_env_kwargs([f"key={text}"]).values()
    assert (read, type(read)) == (value, type(value))


def test_the_last_of_equal_keys_wins():
    assert parse_env_kwargs(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}
    assert parse_env_kwargs([]) == {}


@pytest.mark.parametrize("pair", ["delay", "=4", "two words=4", "a-b=4", ""])
def test_not_key_and_value(pair):
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        parse_env_kwargs([pair])


def test_make_env():
    assert make_env("DelayedXOR-v0", {"delay": 2}).unwrapped.schedule.longest == 2
    assert (
        make_env("nodepert.envs:DelayedXOR-v0", {"max_episode_steps": 7}).spec.max_episode_steps
        == 7
    )


def test_text_too_deep_to_parse_is_text():
    deep = "[" * 100_000
    assert parse_env_kwargs([f"x={deep}"]) == {"x": deep}


@pytest.mark.parametrize(
    ("env_id", "kwargs", "said"),
    [
        ("Nope-v0", {}, "nodepert envs"),
        ("DelayedXOR-v9", {}, "v9"),
        ("not an id", {}, "not an id"),
        ("nowhere:Nope-v0", {}, "PYTHONPATH"),
        (":", {}, "can't be made"),
        ("a:b:c", {}, "can't be made"),
        ("DelayedXOR-v0", {"size": 3}, "it takes delay, stream, overwrite, loss"),
        ("nodepert.envs:DelayedXOR-v0", {"size": 3}, "it takes delay, stream"),
        ("CartPole-v1", {"size": 3}, "see its documentation"),
    ],
)
def test_errors_in_words(env_id, kwargs, said):
    with pytest.raises(ConfigError, match=said):
        make_env(env_id, kwargs)


def test_an_environment_s_own_errors_are_told_with_their_place():
    gym.register("Broken-v0", entry_point=lambda: 1 / 0)
    with pytest.raises(
        ConfigError, match=r"division by zero \(.*test_arguments.py, line"
    ) as caught:
        make_env("Broken-v0", {})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    gym.registry.pop("Broken-v0")
