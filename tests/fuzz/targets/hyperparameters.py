"""Files for ``nodepert compare --hyperparameters``: YAML that is broken or hostile."""

from __future__ import annotations

import pathlib
from functools import cache
from random import Random
from typing import Any

import gymnasium as gym
import yaml
from driver import Target
from wild import damaged, replaced

from nodepert.agents.compare import Plan, plan_runs, read_table

__all__ = ["TARGET", "broken_yaml"]

SETTINGS: dict[str, Any] = {
    "np": {"Pendulum-v1": {"learning_rate": 0.001, "net_arch": [8, 8], "policy": "MlpPolicy",
                           "policy_kwargs": {"init_gain": 1.0}, "rule": "fixed"}},
    "np:loss": {"Pendulum-v1": {"credit": "paired", "node_std": [0.1, 0.2]}},
    "ppo": {"Pendulum-v1": {"n_envs": 4, "normalize": {"norm_obs": True}, "gamma": 0.9,
                            "learning_rate": "lin_0.001", "clip_range": 0.2,
                            "policy_kwargs": {"net_arch": [8], "activation_fn": "nn.Tanh"}}},
    "td3": {"Pendulum-v1": {"noise_type": "normal", "noise_std": 0.1, "train_freq": [1, "step"]}},
}  # fmt: skip
LINES = (
    "!!python/object/apply:os.system ['touch executed']", "a: *b", "[" * 3000, "2021-99-99",
    "? [a]\n: b", "a: 0b", "a: !!int x", "a: !!timestamp 1", "a: !!binary 'é'", "a: .nan",
    "a: 0o99", "<<: 1", "%YAML 9.9", "a: &a [*a]", "a: &a {b: *a}", "np: {Pendulum-v1: &a {x: *a}}",
    "--- \n---", "1: {2: {3: 4}}", "a: " + "9" * 5000, "\x00",
    "np: {Pendulum-v1: {net_arch: [" + "9" * 30 + "]}}", "\n".join(["a0: &a0 [x, x]",
    *(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]" for i in range(1, 10))]),
)  # fmt: skip


@cache
def pendulum() -> dict[str, gym.Env[Any, Any]]:
    return {"Pendulum-v1": gym.make("Pendulum-v1")}


def make(random: Random) -> bytes:
    """A file with a value replaced, damaged bytes, or lines that mean something else."""
    return broken_yaml(random, SETTINGS)


def broken_yaml(random: Random, table: Any) -> bytes:
    """YAML of a table, changed in one of many ways."""
    for _ in range(random.choice((0, 1, 1, 2))):
        table = replaced(random, table)
    content = yaml.dump(table, allow_unicode=True).encode("utf-8", "surrogatepass")
    kind = random.randrange(4)
    if kind == 0:
        return damaged(random, content)
    if kind == 1:
        line = random.choice(LINES).encode()
        return random.choice((line, content + b"\n" + line, damaged(random, line)))
    return content


def feed(content: bytes) -> None:
    """Reads the file, and plans runs with what it says."""
    path = pathlib.Path("input")
    path.write_bytes(content)
    plan = Plan(agents=("np", "np:loss", "ppo", "td3"), steps=10, seeds=1)
    plan_runs(pendulum(), plan, {}, read_table(path))
    assert not pathlib.Path("executed").exists(), "a tag was run"


TARGET = Target("hyperparameter files", make, feed, share=0.025)
