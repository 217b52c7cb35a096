"""W fixed, B learned: the top matrix as least squares says, sooner from the residual."""

import pytest


@pytest.fixture(scope="session")
def rows(run_study, read_csv):
    out = run_study("figure_s5")
    return read_csv(out / "figure_s5.csv")


def fixed(rows, **values):
    """The rows of one network, as numbers, by samples."""
    wanted = {"method": "clean", "width": "50", "probes": "0", "part": "fixed", **values}
    chosen = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    columns = ("relative_error_2", "relative_error_3", "predicted_3", "angle_2", "angle_3",
               "sign_3", "env_steps")  # fmt: skip
    points = {int(row["samples"]): {c: float(row[c]) for c in columns} for row in chosen}
    return dict(sorted(points.items()))


@pytest.mark.parametrize("width", ["20", "50", "200"])
def test_the_top_matrix_converges_as_least_squares_says(rows, width):
    curve = fixed(rows, width=width)
    last = curve[max(curve)]
    assert 0.65 < last["relative_error_3"] / last["predicted_3"] < 1.5
    assert last["relative_error_3"] < 0.6 * curve[min(curve)]["relative_error_3"]
    assert last["angle_3"] < 40
    assert last["sign_3"] > 0.75
    assert last["angle_2"] > 60, "the lower matrix does not match"


def test_the_residual_brings_both_matrices_to_w(rows):
    curve = fixed(rows, method="residual")
    last = curve[max(curve)]
    paper = fixed(rows)
    assert last["relative_error_3"] < 0.1 * paper[max(paper)]["relative_error_3"]
    assert last["relative_error_3"] < 0.008
    assert last["angle_2"] < 30


def test_scalar_rewards_need_enough_probes(rows):
    many, one = fixed(rows, probes="10"), fixed(rows, probes="1")
    last = many[max(many)]
    assert last["env_steps"] == 22 * max(many)
    assert 0.65 < last["relative_error_3"] / last["predicted_3"] < 1.5
    assert one[max(one)]["relative_error_3"] > 0.8


def test_weights_are_fixed_or_learn(rows):
    last = {row["weights"]: row for row in rows if row["part"] == "agent"}
    for weights in ("fixed", "learning"):
        assert float(last[weights]["angle_3"]) < 50
