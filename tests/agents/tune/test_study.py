import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

from nodepert.agents import ConfigError
from nodepert.agents.compare import Plan, plan_runs, read_table
from nodepert.agents.tune import read_space, tune

optuna = pytest.importorskip("optuna")
XOR = "DelayedXOR-v0"


def rows(made):
    with (made.out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_best_settings_are_read_by_compare(made, env):
    here, said = made.Here(), []
    assert made.tune(here, said.append) == 0
    assert said[0] == "0 of 4 trials are finished already"
    assert len(said) == 5
    scores = [made.result(task).score for task in here.tasks]
    best = scores.index(max(scores))
    assert f"best {max(scores):.5g} (trial {best})" in said[-1]
    table = rows(made)
    assert [float(row["score"]) for row in table] == scores
    assert [float(row["learning_rate"]) for row in table] == here.rates()
    assert {row["state"] for row in table} == {"complete"}
    tables = read_table(made.out / "best.yml")
    (again,) = plan_runs({XOR: env}, Plan(agents=("np",), steps=1_000, seeds=1), {}, tables)
    assert again.hyperparameters == here.tasks[best].runs[0].hyperparameters


def test_rivals_keep_what_is_not_searched(made, tmp_path):
    cartpole = gym.make("CartPole-v1")
    search = made.search(env="CartPole-v1", agent="ppo", space=read_space("default", "ppo"))

    here = made.Here()
    tune(search, cartpole, tmp_path / "ppo", here, lambda _: None)
    table = read_table(tmp_path / "ppo/best.yml")["ppo"]["CartPole-v1"]
    assert table["learning_rate"] in here.rates()
    assert (table["n_envs"], table["clip_range"]) == (8, "lin_0.2")  # rl_zoo3's
    plan_runs({"CartPole-v1": cartpole}, Plan(agents=("ppo",)), {}, {"ppo": {"CartPole-v1": table}})


def test_scored_where_no_report_is_made(made):
    run = made.search().runs({}, gym.make(XOR))[0]
    assert (run.split, run.seed, run.env_kwargs) == ("validation", 1_000, {})
    images = made.search(env="MNIST-v0").runs({}, gym.make("MNIST-v0"))
    assert [(run.split, run.seed) for run in images] == [
        ("validation", 1_000),
        ("validation", 1_001),
    ]
    assert images[0].env_kwargs == {"holdout": True}


def test_search_that_was_cut_off_goes_on_as_if_it_were_not(made, env, tmp_path):
    whole = made.Here()
    tune(made.search(trials=7), env, tmp_path / "whole", whole, lambda _: None)
    assert len(set(whole.rates())) == 7

    def cut_off(task):
        if task.number == 3:
            raise KeyboardInterrupt
        return made.result(task)

    first, second, third = made.Here(cut_off), made.Here(), made.Here()
    with pytest.raises(KeyboardInterrupt):
        made.tune(first, trials=5)
    made.tune(second, trials=5)
    assert [task.number for task in second.tasks] == [3, 4]
    made.tune(third, trials=7)  # more than before
    assert first.rates()[:3] + second.rates() + third.rates() == whole.rates()
    assert [row["score"] for row in rows(made)] == [
        str(made.result(task).score) for task in whole.tasks
    ]


def test_failed_trials_count_and_died_ones_are_carried_out_again(made):
    def act(task):
        if task.number == 1:
            return replace(made.result(task), error="NonFiniteError: a weight")
        if task.number == 2:
            return replace(made.result(task), curves=[{0: 0.5, 1: 0.5}], pruned=True)
        return None if task.number == 3 else made.result(task)

    first, said = made.Here(act), []
    assert made.tune(first, said.append) == 1
    assert "trial 3 FAILED" in said[-1]
    assert [(row["state"], row["score"]) for row in rows(made)][1:] == [
        ("failed", ""),
        ("pruned", "0.5"),
    ]
    assert rows(made)[1]["error"] == "NonFiniteError: a weight"
    again = made.Here()
    assert made.tune(again) == 0
    assert [task.number for task in again.tasks] == [3]
    assert again.tasks[0].finished == [made.result(first.tasks[0]).curves], "of complete trials"


def test_other_settings_and_two_at_once(made):
    made.tune(made.Here())
    with pytest.raises(ConfigError, match="has a study with steps=1000, now 2000"):
        made.tune(made.Here(), steps=2_000)

    def meanwhile(task):
        with pytest.raises(ConfigError, match="another search"):
            made.tune(made.Here())
        return made.result(task)

    made.tune(made.Here(meanwhile), trials=5)
    assert len(rows(made)) == 5


def test_folder_that_is_a_file(made):
    made.out.write_text("")
    with pytest.raises(ConfigError, match=r"--out .*can't be written to"):
        made.tune(made.Here())


def test_damaged_study(made):
    made.out.mkdir()
    (made.out / "study.db").write_bytes(b"no database at all" * 99)
    with pytest.raises(ConfigError, match=r"study.db can't be read or written"):
        made.tune(made.Here())


KILLED = """
import os, signal, sys
import gymnasium as gym
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import Here, a_result, a_search
from nodepert.agents.tune import tune

def act(task):
    if task.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return a_result(task)

tune(a_search(), gym.make("DelayedXOR-v0"), Path(sys.argv[2]), Here(act))
"""


def test_killed_search_goes_on(made):
    folder = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, folder, str(made.out)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert len(rows(made)) == 2
    before = (made.out / "trials.csv").read_text()
    again = made.Here()
    made.tune(again)
    assert [task.number for task in again.tasks] == [2, 3]
    assert (made.out / "trials.csv").read_text().startswith(before)
    study = optuna.load_study(study_name=f"np on {XOR}", storage=f"sqlite:///{made.out}/study.db")
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    assert os.listdir(made.out / "logs") == []
    assert yaml.safe_load((made.out / "best.yml").read_text())["np"].keys() == {XOR}
