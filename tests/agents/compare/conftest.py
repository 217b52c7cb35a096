"""Records of runs that nobody made, and a table's worth of them."""

import pytest


def record(
    env="Task-v0", agent="np", seed=0, finals=(1.0,), metric="mean_return", cut=None, **changes
):
    """A finished run whose evaluations at 0, 100, 200, … env steps took a second each hundred."""
    points = [
        {"env_steps": 100 * i, "seconds": float(i), "metric": metric, "value": value}
        for i, value in enumerate(finals)
    ]
    return {
        "env": env,
        "agent": agent,
        "seed": seed,
        "env_kwargs": {},
        "steps": 100 * (len(points) - 1) or 100,
        "evaluations": 5,
        "minutes": 30.0,
        "split": "test",
        "hyperparameters": {},
        "cut": cut,
        "points": points,
        "versions": {"python": "3.11.0"},
        **changes,
    }


@pytest.fixture
def make_record():
    return record
