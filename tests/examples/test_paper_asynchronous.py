"""MNIST is learned by two learners apart; a lag costs something, but not the learning."""

import csv
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "examples/paper/asynchronous.py"


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    out = tmp_path_factory.mktemp("asynchronous")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--jobs", "1", "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "asynchronous.png").read_bytes().startswith(b"\x89PNG")
    assert "| holds |" in (out / "asynchronous.md").read_text()
    with (out / "asynchronous.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["env_steps"]]


@pytest.mark.parametrize("credit", ["given", "paired"])
def test_learners_apart_do_what_one_model_does(rows, credit):
    own = [row for row in rows if row["credit"] == credit]
    errors = {(row["part"], row["lag"]): float(row["test_error"]) for row in own}
    together, fixed = errors["together", "0"], errors["fixed", "0"]
    assert together < 0.4 < 0.5 < fixed
    for apart in (("exact", "0"), ("exact", "64"), ("apart", "16")):
        assert errors[apart] < 0.6 * fixed
    assert errors["exact", "0"] < errors["exact", "64"]

    (apart,) = (row for row in own if row["part"] == "apart")
    assert int(apart["most_behind"]) <= 16
    assert int(apart["most_ahead"]) <= 17
    assert float(apart["weight_angle_3"]) < 5
    steps = int(apart["forward_env_steps"])
    assert 1.8 * steps < int(apart["env_steps"]) < 2.2 * steps
