import json
import os
from dataclasses import asdict, replace

import gymnasium as gym
import pytest

from nodepert.agents import ConfigError
from nodepert.agents.compare import comparison
from nodepert.agents.compare.comparison import Plan, compare, plan_runs
from nodepert.agents.compare.processes import in_processes
from nodepert.agents.compare.records import Folder

CARTPOLE, XOR = "CartPole-v1", "DelayedXOR-v0"


@pytest.fixture(scope="module")
def envs():
    return {env_id: gym.make(env_id) for env_id in (CARTPOLE, XOR)}


@pytest.fixture
def runs(envs):
    plan = Plan(agents=("random", "ppo"), steps=100, seeds=2)
    return plan_runs({CARTPOLE: envs[CARTPOLE]}, plan, {})


@pytest.fixture
def here(monkeypatch, make_record):
    """Runs happen in this process, and are over at once; agents in the list returned fail."""
    failing, done = [], []

    def work(task):
        run, path = task
        done.append((run.agent, run.seed))
        made = make_record(finals=(0.0, 1.0))
        Folder(path).write(run, {**made, **asdict(run)})

    def in_this_process(_, tasks, jobs):
        for task in tasks:
            if task[0].agent in failing:
                yield task, "ValueError: no"
                continue
            work(task)
            yield task, None

    monkeypatch.setattr(comparison, "in_processes", in_this_process)
    return failing, done


def test_plan(envs):
    plan = Plan(agents=("np", "ppo", "np"), seeds=2, evaluations=7, minutes=3, split="validation")
    runs = plan_runs(envs, plan, {})
    assert [(run.seed, run.env, run.agent) for run in runs] == [
        (seed, env, agent) for seed in (0, 1) for env in (CARTPOLE, XOR) for agent in ("np", "ppo")
    ]
    assert {run.env: run.steps for run in runs}[XOR] == 320_000  # the preset's
    assert {(run.evaluations, run.minutes, run.split) for run in runs} == {(7, 3, "validation")}
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
    failing, done = here
    folder, said = Folder(tmp_path / "out"), []
    failing.append("ppo")
    failures = compare(runs, folder, 1, said.append)
    assert failures == dict.fromkeys(
        ("ppo on CartPole-v1, seed 0", "ppo on CartPole-v1, seed 1"), "ValueError: no"
    )
    assert done == [("random", 0), ("random", 1)]
    assert said[0] == "0 of 4 runs are finished already"
    assert "2/4 ppo on CartPole-v1, seed 0: FAILED: ValueError: no" in said[2]
    failing.clear()
    said.clear()
    assert compare(runs, folder, 1, said.append) == {}
    assert done[2:] == [("ppo", 0), ("ppo", 1)]
    assert said[0] == "2 of 4 runs are finished already"
    assert "1/2 ppo on CartPole-v1, seed 0: mean_return 1 after 100 env steps" in said[1]
    compare(runs, folder, 1, said.append)
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
    compare(runs, folder, 1, lambda _: None)
    changed = [replace(run, **changes) for run in runs]
    with pytest.raises(ConfigError, match=said):
        compare(changed, folder, 1)
    # Nor for a further agent on the same environment; its hyperparameters are its own.
    further = [replace(run, agent="a2c", **changes) for run in runs]
    if "hyperparameters" in changes:
        compare(further, folder, 1, lambda _: None)
    else:
        with pytest.raises(ConfigError, match=said):
            compare(further, folder, 1)
    compare([replace(run, env="Acrobot-v1", **changes) for run in runs], folder, 1, lambda _: None)


def test_words_on_sources_may_change(runs, here, tmp_path):
    folder = Folder(tmp_path)
    compare(runs, folder, 1, lambda _: None)
    for run in runs:
        run.hyperparameters["source"] = "in other words"
    compare(runs, folder, 1, lambda _: None)
    assert len(here[1]) == len(runs)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"env": 3}', "nan"])
def test_damaged_file_is_named(runs, here, tmp_path, text):
    folder = Folder(tmp_path)
    compare(runs, folder, 1, lambda _: None)
    path = folder.record_of(runs[0])
    json.loads(path.read_text())
    path.write_text(text)
    with pytest.raises(ConfigError, match=path.name):
        compare(runs, folder, 1)


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


def test_jobs_and_folder_are_checked(runs, tmp_path):
    with pytest.raises(ConfigError, match="--jobs 0"):
        compare(runs, Folder(tmp_path), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--out"):
        compare(runs, Folder(tmp_path / "file"), 1)


def test_process_that_dies_is_reported():
    before = dict(os.environ)
    outcomes = dict(in_processes(os._exit, [3], jobs=2))
    assert "ended with code 3" in outcomes[3]
    assert dict(os.environ) == before
