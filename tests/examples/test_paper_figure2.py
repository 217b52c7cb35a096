"""Figure 2 in its quick mode: what the paper claims of it, and that it goes on where it stopped."""

import csv
import os
import pathlib
import subprocess
import sys

import pytest

PAPER = pathlib.Path(__file__).parents[2] / "examples" / "paper"


def run(script, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, str(PAPER / script), "--quick", "--jobs", "1", *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def figure(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure2")
    run("figure2.py", "--out", str(folder), cwd=folder)
    return folder


def final(figure, column, method):
    rows = [row for row in read(figure / "figure2.csv") if row["epoch"] == row["epochs"]]
    (row,) = [row for row in rows if (row["column"], row["method"]) == (column, method)]
    return {k: float(v) for k, v in row.items() if v and k not in ("column", "method")}


def test_learned_feedback_is_aligned_and_random_feedback_is_not(figure):
    learned, fixed = (
        final(figure, "given", m) for m in ("node perturbation", "feedback alignment")
    )
    for layer in (1, 2):
        assert learned[f"error_angle_{layer}"] < 30 < fixed[f"error_angle_{layer}"]
    assert learned["relative_error_3"] < 0.6 * fixed["relative_error_3"]
    assert learned["sign_congruence_3"] > fixed["sign_congruence_3"]


def test_errors(figure):
    names = ("node perturbation", "feedback alignment", "backprop", "response")
    error = {name: final(figure, "given", name)["test_error"] for name in names}
    assert error["backprop"] < 0.15
    assert error["node perturbation"] < error["backprop"] + 0.05
    assert error["response"] < error["backprop"] + 0.03
    assert final(figure, "scalar", "response")["test_error"] < 0.12


def test_report_and_picture(figure):
    report = (figure / "figure2.md").read_text()
    assert "angle to the true gradient far below feedback alignment's" in report
    assert (figure / "figure2.png").read_bytes().startswith(b"\x89PNG")


def test_a_study_goes_on_where_it_was_cut_off(figure):
    path = figure / "figure2.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("scalar,response")))
    assert "6 of 7 tasks are in" in run("figure2.py", "--out", str(figure), cwd=figure)
    assert len(path.read_text().splitlines()) == len(lines)
