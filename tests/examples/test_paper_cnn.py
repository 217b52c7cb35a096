"""The convolutional study in its quick mode: what learned feedback does, and random does not."""

import pytest


@pytest.fixture(scope="session")
def rows(run_study, read_csv):
    out = run_study("cnn")
    report = (out / "cnn.md").read_text()
    assert report.count("| holds |") == 2
    assert "**not reproduced**" not in report
    return read_csv(out / "cnn.csv")


def last(rows, credit, rule, column):
    return float([r for r in rows if (r["credit"], r["rule"]) == (credit, rule)][-1][column])


def test_scalar_rewards_teach_a_convolutional_network(rows):
    assert last(rows, "scalar", "response", "test_error") < 0.35
    assert last(rows, "scalar", "response", "env_steps") >= 24_000


def test_random_feedback_does_worse(rows):
    ours, random = (last(rows, "scalar", rule, "test_error") for rule in ("response", "fixed"))
    assert ours < 0.7 * random


def test_feedback_turns_to_the_weights_by_response_alone(rows):
    for layer in (2, 3, 4):
        assert last(rows, "scalar", "response", f"angle_{layer}") < 5
        assert last(rows, "scalar", "fixed", f"angle_{layer}") > 70


def test_the_oracle_bounds_them(rows):
    assert last(rows, "given", "backprop", "test_error") < 0.15
