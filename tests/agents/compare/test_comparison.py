import json
from dataclasses import asdict, replace

import gymnasium as gym
import pytest

from nodepert.agents import ConfigError
from nodepert.agents.compare.comparison import Plan, compare, plan_runs
from nodepert.agents.compare.records import Folder
from nodepert.agents.executors import Outcome

CARTPOLE, XOR = "CartPole-v1", "DelayedXOR-v0"


@pytest.fixture(scope="module")
def envs():
    return {env_id: gym.make(env_id) for env_id in (CARTPOLE, XOR)}


@pytest.fixture
def runs(envs):
    plan = Plan(agents=("random", "ppo"), steps=100, seeds=2)
    return plan_runs({CARTPOLE: envs[CARTPOLE]}, plan, {})


class Here:
    """Runs happen in this process, and are over at once; those of ``failing`` agents fail."""

    def __init__(self, make_record):
        self.make_record, self.failing, self.done = make_record, [], []

    def run(self, work, runs, log_of):
        for run in runs:
            assert log_of(run).parent.is_dir()
            if run.agent in self.failing:
                yield Outcome(run, failure="ValueError: no")
                continue
            self.done.append((run.agent, run.seed))
            yield Outcome(run, {**self.make_record(finals=(0.0, 1.0)), **asdict(run)})


@pytest.fixture
def here(make_record):
    return Here(make_record)


def test_plan(envs):
    plan = Plan(agents=("np", "ppo", "np"), seeds=2, evaluations=7, minutes=3, split="validation")
    runs = plan_runs(envs, plan, {})
    assert [(run.seed, run.env, run.agent) for run in runs] == [
        (seed, env, agent) for seed in (0, 1) for env in (CARTPOLE, XOR) for agent in ("np", "ppo")
    ]
    assert {run.env: run.steps for run in runs}[XOR] == 320_000  # the preset's
    assert {(run.evaluations, run.minutes, run.split) for run in runs} == {(7, 3, "validation")}
    replayed = plan_runs({XOR: gym.make(XOR)}, Plan(("np:replay", "ppo")), {})
    assert {run.steps for run in replayed} == {20_000}, "the first agent's preset says"
    assert runs[1].hyperparameters["n_steps"] == 32  # rl_zoo3's


def test_quick_plan(envs):
    runs = plan_runs(envs, Plan(agents=("np", "ppo"), steps=5_000, quick=True), {})
    assert len(runs) == 4
    assert {(run.seed, run.steps, run.evaluations) for run in runs} == {(0, 100, 5)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "--steps 0"),
        ({"seeds": 0}, "--seeds 0"),
        ({"seeds": 2**63}, "--seeds 9"),
        ({"evaluations": 0}, "--evaluations 0"),
        ({"minutes": 0}, "--minutes 0"),
        ({"minutes": float("inf")}, "--minutes inf"),
        ({"agents": ()}, "--agents"),
        ({"agents": ("pppo",)}, "pppo"),
        ({"agents": ("ppo", "sac")}, "sac: can't act in CartPole-v1"),
    ],
)
def test_wrong_plans(envs, changes, said):
    with pytest.raises(ConfigError, match=said):
        plan_runs(envs, Plan(**changes), {})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"pppo": {}}, "pppo"),
        ({"ppo": {CARTPOLE: {"batchsize": 1}}}, "ppo on CartPole-v1: batchsize"),
        ({"np": {XOR: {"probes": 0}}}, "np on DelayedXOR-v0: probes=0"),
    ],
)
def test_wrong_hyperparameters(envs, table, said):
    with pytest.raises(ConfigError, match=said):
        plan_runs(envs, Plan(agents=("np", "ppo")), {}, table)


def test_finished_runs_are_not_repeated_and_failed_ones_are_tried_again(runs, here, tmp_path):
    failing, done = here.failing, here.done
    folder, said = Folder(tmp_path / "out"), []
    failing.append("ppo")
    failures = compare(runs, folder, here, said.append)
    assert failures == dict.fromkeys(
        ("ppo on CartPole-v1, seed 0", "ppo on CartPole-v1, seed 1"), "ValueError: no"
    )
    assert done == [("random", 0), ("random", 1)]
    assert said[0] == "0 of 4 runs are finished already"
    assert "2/4 ppo on CartPole-v1, seed 0: FAILED: ValueError: no" in said[2]
    failing.clear()
    said.clear()
    assert compare(runs, folder, here, said.append) == {}
    assert done[2:] == [("ppo", 0), ("ppo", 1)]
    assert said[0] == "2 of 4 runs are finished already"
    assert "1/2 ppo on CartPole-v1, seed 0: mean_return 1 after 100 env steps" in said[1]
    compare(runs, folder, here, said.append)
    assert len(done) == 4
    assert len(folder.records()) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 200}, r"steps=100, now 200"),
        ({"evaluations": 3}, r"evaluations=20, now 3"),
        ({"minutes": 1.0}, r"minutes=30.0, now 1.0"),
        ({"split": "validation"}, "split='test', now 'validation'"),
        ({"env_kwargs": {"sutton_barto_reward": True}}, "env_kwargs sutton_barto_reward='unset'"),
        ({"hyperparameters": {"n_steps": 9}}, "hyperparameters"),
    ],
)
def test_other_settings_are_not_mixed(runs, here, tmp_path, changes, said):
    folder = Folder(tmp_path)
    compare(runs, folder, here, lambda _: None)
    changed = [replace(run, **changes) for run in runs]
    with pytest.raises(ConfigError, match=said):
        compare(changed, folder, here)
    # Nor for a further agent on the same environment; its hyperparameters are its own.
    further = [replace(run, agent="a2c", **changes) for run in runs]
    if "hyperparameters" in changes:
        compare(further, folder, here, lambda _: None)
    else:
        with pytest.raises(ConfigError, match=said):
            compare(further, folder, here)
    compare(
        [replace(run, env="Acrobot-v1", **changes) for run in runs], folder, here, lambda _: None
    )


def test_words_on_sources_may_change(runs, here, tmp_path):
    folder = Folder(tmp_path)
    compare(runs, folder, here, lambda _: None)
    for run in runs:
        run.hyperparameters["source"] = "in other words"
    compare(runs, folder, here, lambda _: None)
    assert len(here.done) == len(runs)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"env": 3}', "nan"])
def test_damaged_file_is_named(runs, here, tmp_path, text):
    folder = Folder(tmp_path)
    compare(runs, folder, here, lambda _: None)
    path = folder.record_of(runs[0])
    json.loads(path.read_text())
    path.write_text(text)
    with pytest.raises(ConfigError, match=path.name):
        compare(runs, folder, here)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points", []),
        ("points", [3]),
        ("points", [{"env_steps": 1, "seconds": 1.0, "metric": "mean_return"}]),
        ("points", [{"env_steps": 1, "seconds": 1.0, "metric": "mean_return", "value": "x"}]),
        ("versions", {"python": ["3"]}),
        ("seed", 2**64),
        ("cut", "missing"),
        ("agent", "\ud800"),
    ],
)
def test_damaged_values_are_named(make_record, tmp_path, name, value):
    path = tmp_path / "runs" / "one.json"
    path.parent.mkdir()
    path.write_text(json.dumps(make_record()))
    assert len(Folder(tmp_path).records()) == 1
    path.write_text(json.dumps(make_record(**{name: value})))
    with pytest.raises(ConfigError, match=rf"one\.json: ({name}|can't be read)"):
        Folder(tmp_path).records()


def test_folder_is_checked(runs, here, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--out"):
        compare(runs, Folder(tmp_path / "file"), here)
