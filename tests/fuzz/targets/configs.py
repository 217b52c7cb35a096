"""Hyperparameters as Python gives them: each field of the config, and options of policies."""

from __future__ import annotations

from dataclasses import fields
from random import Random
from typing import Any

from driver import Target
from wild import value

from nodepert.agents import Config

__all__ = ["TARGET"]

NAMES = [field.name for field in fields(Config)]
SOUND: dict[str, tuple[Any, ...]] = {
    "credit": ("paired", "one_sided", "one_point", "given", "score", "value", "critic", "episode"),
    "rule": ("loss", "loss_ridge", "fixed", "backprop", "direct"),
    "replays": (1, 4),
    "error_model": (True,),
    "node_std": (0.1, (0.1, 0.2), 0.0),
    "n_envs": (1, 2),
    "exploration_schedule": ("learned", "linear"),
    "probe_std": (0, 0.5),
}


def make(random: Random) -> dict[str, Any]:
    """A few fields: wild values, and sound ones that may not go together."""
    given = {name: random.choice(SOUND[name]) for name in random.sample(sorted(SOUND), 2)}
    for name in random.sample(NAMES, random.choice((0, 1, 1, 2, 5))):
        given[name] = value(random)
    return given


def feed(given: dict[str, Any]) -> None:
    """Makes a config."""
    Config(**given)


TARGET = Target("config values", make, feed, share=0.35)
