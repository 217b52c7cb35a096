"""A search whose trials are over at once, in this process."""

from types import SimpleNamespace

import gymnasium as gym
import pytest

from nodepert.agents.executors import Outcome
from nodepert.agents.tune import Search, driver, read_space, tune
from nodepert.agents.tune.trial import Result

XOR = "DelayedXOR-v0"


def a_search(**changes):
    usual = {
        "env": XOR, "agent": "np", "env_kwargs": {}, "space": read_space("default", "np/paired"),
        "trials": 4, "steps": 1_000, "seeds": 2, "evaluations": 4, "minutes": 1.0,
        "score": "final", "seed": 0,
    }  # fmt: skip
    return Search(**{**usual, **changes})


def rate_of(task):
    return task.runs[0].hyperparameters["learning_rate"]


def a_result(task):
    """Better the closer the step size is to 0.01."""
    rate = float(str(rate_of(task)).removeprefix("lin_"))
    score = 1 - abs(rate - 0.01)
    return Result([{0: 0.5, 4: score - 0.1}, {0: 0.5, 4: score + 0.1}], "go_accuracy", 2_000, 1.5)


class Here:
    """Carries tasks out by a function of the test, and keeps them."""

    def __init__(self, act=a_result):
        self.act, self.tasks = act, []

    def run(self, work, tasks, log_of):
        for task in tasks:
            assert log_of(task).parent.is_dir()
            self.tasks.append(task)
            yield Outcome(task, self.act(task))

    def rates(self):
        return [rate_of(task) for task in self.tasks]


@pytest.fixture(scope="module")
def env():
    return gym.make(XOR)


@pytest.fixture
def made(env, tmp_path, monkeypatch):
    """Functions of this module, and ``tune``, without pictures, in a folder that does not exist."""
    monkeypatch.setattr(driver, "write_picture", lambda *_: None)
    out = tmp_path / "out"

    def carry_out(executor, say=lambda _: None, **changes):
        return tune(a_search(**changes), env, out, executor, say)

    return SimpleNamespace(search=a_search, result=a_result, Here=Here, out=out, tune=carry_out)
