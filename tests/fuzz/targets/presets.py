"""Look-ups of presets, and KEY=VALUE arguments."""

from __future__ import annotations

from random import Random

from driver import Target
from wild import json_value, text

from nodepert.agents.cli.arguments import parse_env_kwargs
from nodepert.agents.presets import preset_for, preset_with

__all__ = ["TARGET"]

ENVS = ("MNIST-v0", "nodepert.envs:MNIST-v0", "CartPole-v1", "DelayedXOR-v0", "default", "a:b:c")
NAMES = ("default", "paper", "replays", "discrete")
PAIRS = ("discrete=true", "loss=mse", "delay=8", "x=[1,", "x={'a':1}", "x=1e999", "=1", "x", "x=",
         "x=" + "[" * 5000, "x=" + "9" * 5000, "x=1_0", "x=b'a'", "x={1}", "x=()",
         "x=\x00")  # fmt: skip


def make(random: Random) -> tuple[str, str, list[str]]:
    """An environment, a name and arguments."""
    env = random.choice(ENVS) if random.random() < 0.6 else text(random)
    name = random.choice(NAMES) if random.random() < 0.6 else text(random)
    pairs = [random.choice(PAIRS) for _ in range(random.randrange(3))]
    if random.random() < 0.5:
        pairs.append(f"{text(random)}={json_value(random)}")
    return env, name, pairs


def feed(given: tuple[str, str, list[str]]) -> None:
    """Looks both up."""
    env, name, pairs = given
    preset_with(env, parse_env_kwargs(pairs))
    preset_for(env, name)


TARGET = Target("presets and pairs", make, feed, share=0.115)
