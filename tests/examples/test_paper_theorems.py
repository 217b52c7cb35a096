"""Theorems 1 and 2: rates, floors, and what breaks without each assumption."""

import math
import statistics

import pytest


@pytest.fixture(scope="session")
def rows(run_study, read_csv):
    out = run_study("theorems")
    assert "**not reproduced**" not in (out / "theorems.md").read_text()
    return read_csv(out / "theorems.csv")


def curve(rows, name, column):
    """Median over seeds at each number of samples."""
    points = {}
    for row in rows:
        if row["curve"] == name:
            points.setdefault(int(row["samples"]), []).append(float(row[column]))
    return {samples: statistics.median(values) for samples, values in sorted(points.items())}


def floors(rows, name):
    """Median over seeds of the bias at each c."""
    points = {}
    for row in rows:
        if row["floor"] == name:
            points.setdefault(float(row["std"]), []).append(float(row["bias"]))
    return {std: statistics.median(values) for std, values in sorted(points.items())}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("theorem 1", "relative_error_2"),
        *[("theorem 2", f"relative_error_{i}") for i in (2, 3, 4)],
        ("A3 wide", "carried_1"),
        ("A3 softmax", "carried_1"),
        ("A1 correlated", "limit_correlated"),
    ],
)
def test_a_hundred_times_the_samples_give_a_tenth_of_the_error(rows, name, column):
    errors = curve(rows, name, column)
    ratio = errors[1_000] / errors[100_000]
    assert 10**0.8 < ratio < 10**1.3


def test_powers_of_the_noise(rows):
    for name, power in (("symmetric", 2), ("skewed", 1), ("kink", 1), ("jump", 0)):
        bias = floors(rows, name)
        assert math.log(bias[0.4] / bias[0.05], 8) == pytest.approx(power, abs=0.25)


def test_what_breaks(rows):
    last = {
        name: curve(rows, name, "relative_error_2")[100_000]
        for name in ("theorem 1", "A1 infinite variance", "A3 wide", "A3 softmax", "A4 drift")
    }
    assert last["theorem 1"] < 0.05
    assert last["A1 infinite variance"] > 1
    assert 0.3 < last["A3 softmax"] < 0.6  # √(1/5) = 0.45 of W is its mean over outputs
    assert 0.8 < last["A3 wide"] < 0.95
    assert 0.15 < last["A4 drift"] < 0.35
