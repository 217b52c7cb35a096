"""The convolutional study in its quick mode: what learned feedback does, and random does not."""

import csv
import os
import pathlib
import subprocess
import sys

import pytest

PAPER = pathlib.Path(__file__).parents[2] / "examples/paper"


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    out = tmp_path_factory.mktemp("cnn")
    done = subprocess.run(
        [sys.executable, str(PAPER / "cnn.py"), "--quick", "--jobs", "1", "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "cnn.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "cnn.md").read_text()
    assert report.count("| holds |") == 2
    assert "**not reproduced**" not in report
    with (out / "cnn.csv").open(newline="") as file:
        return list(csv.DictReader(file))


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
