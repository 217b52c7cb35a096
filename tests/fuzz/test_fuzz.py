"""A small share of ``python tests/fuzz``, through Hypothesis, which shrinks what fails."""

import os
import warnings
from random import Random

import pytest
from driver import Target, feed, fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS

from nodepert.agents.errors import ConfigError

EXAMPLES = {
    "model files": 20,
    "hyperparameter files": 20,
    "command lines": 15,
    "records of runs": 2,
    "broken environments": 6,
}
"""Of the slower targets; 40 of others."""


@pytest.mark.parametrize("name", TARGETS)
def test_all_is_accepted_or_rejected_in_words(name):
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES.get(name, 40),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(random=st.randoms(use_true_random=False))
    def one(random):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            feed(target, target.make(random))

    one()


def test_a_number_and_a_seed_fix_an_input():
    for name in ("model files", "command lines", "hyperparameter files"):
        one, other, third = (TARGETS[name].make(Random(f"0/{number}")) for number in (1, 1, 2))
        assert one == other != third


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda: None, "accepted"),
        (lambda: (_ for _ in ()).throw(ConfigError("x=1: expected 2")).send(None), "rejected"),
        (lambda: (_ for _ in ()).throw(ConfigError("")).send(None), "uncaught"),
        (lambda: 1 / 0, "uncaught"),
        (lambda: exit(0), "uncaught"),
        (lambda: os.read(os.pipe()[0], 1), "uncaught"),  # waits for ever
    ],
)
def test_what_the_driver_counts(act, expected):
    target = Target("test", lambda random: None, lambda given: act(), share=1.0, seconds=0.2)
    outcome = fuzz(target, range(2), seed=0)
    assert (outcome.inputs, getattr(outcome, expected)) == (2, 2)
    assert len(outcome.failures) == outcome.uncaught


def test_half_a_file_is_a_failure():
    def leave(given):
        open("result.json", "w").close()
        raise ConfigError("x=1: expected 2")

    with pytest.raises(AssertionError, match=r"result\.json"):
        feed(Target("test", lambda random: None, leave, share=1.0), None)
