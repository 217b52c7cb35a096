"""Figure 4: what its quick run shows of the paper's claims, and how it measures angles."""

import csv
import importlib
import os
import pathlib
import subprocess
import sys

import pytest
import torch

from nodepert.agents.networks import RNN

PAPER = pathlib.Path(__file__).parents[2] / "examples/paper"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("figure4")
    done = subprocess.run(
        [sys.executable, str(PAPER / "figure4.py"), "--quick", "--jobs", "1", "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def rows(folder):
    with (folder / "figure4.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def of(rows, column, method):
    return [row for row in rows if (row["column"], row["method"]) == (column, method)]


def updates_to_solve(points):
    return next(int(point["update"]) for point in points if float(point["accuracy"]) >= 0.99)


def end_loss(points):
    return float(points[-1]["loss"])


def end_angles(points):
    (end,) = (point for point in points if point["update"] == "500")
    return [float(end[f"angle_{back}"]) for back in range(7)]


def test_it_leaves_a_picture_and_a_report(folder):
    assert (folder / "figure4.png").read_bytes().startswith(b"\x89PNG")
    assert "BPTT" in (folder / "figure4.md").read_text()


@pytest.mark.parametrize(
    ("column", "method"),
    [
        ("given", "BPTT"),
        ("given", "node perturbation, no warm-up"),
        ("scalar", "BPTT"),
        ("scalar", "response"),
    ],
)
def test_it_is_learned(rows, column, method):
    assert updates_to_solve(of(rows, column, method)) <= 500


def test_feedback_in_time_lowers_the_loss_the_better_the_more_it_is_true(rows):
    methods = ("BPTT", "node perturbation, no warm-up", "no feedback in time")
    losses = [end_loss(of(rows, "given", method)) for method in methods]
    assert losses == sorted(losses)


def test_that_random_feedback_fails_is_not_reproduced(rows, folder):
    # Nor does it need any feedback in time: the paper's task is solved without.
    assert updates_to_solve(of(rows, "given", "feedback alignment")) <= 500
    assert updates_to_solve(of(rows, "given", "no feedback in time")) <= 500
    report = (folder / "figure4.md").read_text().splitlines()
    (line,) = (line for line in report if line.startswith("| given, feedback alignment: does not"))
    assert line.endswith("| **not reproduced** |")


def test_learned_feedback_turns_towards_the_true_gradient_and_random_feedback_does_not(rows):
    learned = end_angles(of(rows, "given", "node perturbation, no warm-up"))
    random = end_angles(of(rows, "given", "feedback alignment"))
    assert learned[0] == random[0] == 0  # the output layer's own weights
    assert learned[1] < 60 < random[1]
    assert max(end_angles(of(rows, "scalar", "response"))) < 10


@pytest.mark.parametrize(("sign", "expected"), [(1.0, [0.0] * 4), (-1.0, [0.0, 180.0, 0.0, 180.0])])
def test_angles_by_step_follow_the_feedback_weights(monkeypatch, sign, expected):
    monkeypatch.syspath_prepend(str(PAPER))
    figure4 = importlib.import_module("figure4")
    network = RNN(
        2,
        (6,),
        1,
        activation="tanh",
        path="feedback",
        generator=torch.Generator().manual_seed(0),
        transposed_readout=True,
    )
    network.recurrent.feedback.data.copy_(sign * network.recurrent.weight)
    seen = torch.randn(9, 3, 2, generator=torch.Generator().manual_seed(1))
    angles = figure4.angles_by_step(network, seen)
    assert list(angles.values())[:4] == pytest.approx(expected, abs=0.1)
    assert [layer.path for layer in network.layers] == ["feedback", "feedback", "transpose"]
    assert network.recurrent.calls == []
