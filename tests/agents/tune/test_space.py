import gymnasium as gym
import pytest
import yaml

from nodepert.agents import ConfigError
from nodepert.agents.compare.rivals import RIVALS
from nodepert.agents.tune import family_of, read_space
from nodepert.agents.tune.space import PACKAGED, Range

PLACES = {"dqn": "CartPole-v1", "np/score": "CartPole-v1", "recurrent_ppo": "CartPole-v1",
          "np/one_point": "DelayedXOR-v0", "np/paired": "DelayedXOR-v0",
          "all_units": "DelayedXOR-v0",
          "np/value": "MNIST-v0"}  # fmt: skip


@pytest.mark.parametrize("space", PACKAGED)
def test_packaged_ranges_hold_valid_values(made, space):
    families = yaml.safe_load(PACKAGED[space].read_text()).keys() - {"sampler"}
    if space == "default":
        assert families >= {*RIVALS, "all_units"} - {"random"}
    for family in families - {"np/episode"}:  # of which there is no preset
        env_id = PLACES.get(family, "Pendulum-v1")
        kwargs = {"discrete": True} if family == "np/value" else {}
        env = gym.make(env_id, **kwargs)
        agent = "np:critic" if family == "np/critic" else family.partition("/")[0]
        if family != "np/paired":  # nor of this one, but its ranges suit the same tasks
            assert family_of(agent, env_id, env, kwargs) == family
        search = made.search(
            env=env_id, agent=agent, env_kwargs=kwargs, space=read_space(space, family)
        )
        search.check(env)


def test_credit_is_found_out_where_no_preset_tells():
    """Lanes of one seed part where their actions do."""
    env = gym.make("MountainCar-v0")
    assert family_of("np:fixed", "MountainCar-v0", env, {}) == "np/score"
    assert family_of("ppo", "MountainCar-v0", env, {}) == "ppo"


def test_own_file(tmp_path):
    path = tmp_path / "own.yml"
    path.write_text(
        "sampler: random\nppo: {gamma: {uniform: [0, 1]}, learning_rate: {lin: [1e-4, 1]}}"
    )
    space = read_space(str(path), "ppo")
    assert space.sampler == "random"
    assert space.ranges == {
        "gamma": Range("uniform", (0.0, 1.0)), "learning_rate": Range("lin", (1e-4, 1.0)),
    }  # fmt: skip
    assert space.ranges["learning_rate"].ends() == ("lin_0.0001", "lin_1.0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "can't be read as YAML"),
        ("- 1", "expected agent: hyperparameter: range"),
        ("sampler: grid", "sampler: 'grid': expected tpe or random"),
        ("a2c: {gamma: {uniform: [0, 1]}}", "has no ranges of ppo; expected one of a2c"),
        ("ppo: {gamma: [0, 1]}", "ppo, gamma: .*expected one of log, uniform, lin, choice"),
        ("ppo: {gamma: {logg: [0, 1]}}", "expected one of log"),
        ("ppo: {gamma: {log: [0, 1]}}", "0 < LOW < HIGH"),
        ("ppo: {gamma: {uniform: [1, 1]}}", "LOW < HIGH"),
        ("ppo: {gamma: {uniform: [1]}}", r"expected \[LOW, HIGH\]"),
        ("ppo: {gamma: {choice: []}}", "expected a list"),
        ("ppo: {gamma: {choice: [[1], [2]]}}", "expected a list"),
    ],
)
def test_files_that_are_not_valid(tmp_path, text, said):
    path = tmp_path / "own.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_space(str(path), "ppo")


def test_no_such_file():
    with pytest.raises(ConfigError, match=r"--space nothing.yml"):
        read_space("nothing.yml", "ppo")


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"learningrate": Range("log", (0.1, 1.0))}, "learningrate"),
        ({"probes": Range("choice", (1, 0))}, "probes=0"),
    ],
)
def test_ends_of_ranges_are_checked(made, env, ranges, said):
    space = read_space("default", "np/paired")
    search = made.search(space=type(space)("tpe", ranges))
    with pytest.raises(ConfigError, match=said):
        search.check(env)
