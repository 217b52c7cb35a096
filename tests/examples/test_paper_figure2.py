"""Figure 2 in its quick mode: what the paper claims of it, and that it goes on where it stopped."""

import pytest


@pytest.fixture(scope="session")
def figure(run_study):
    return run_study("figure2")


@pytest.fixture(scope="session")
def rows(figure, read_csv):
    return read_csv(figure / "figure2.csv")


def final(rows, column, method):
    ended = [row for row in rows if row["epoch"] == row["epochs"]]
    (row,) = [row for row in ended if (row["column"], row["method"]) == (column, method)]
    return {k: float(v) for k, v in row.items() if v and k not in ("column", "method")}


def test_learned_feedback_is_aligned_and_random_feedback_is_not(rows):
    learned, fixed = (final(rows, "given", m) for m in ("node perturbation", "feedback alignment"))
    for layer in (1, 2):
        assert learned[f"error_angle_{layer}"] < 30 < fixed[f"error_angle_{layer}"]
    assert learned["relative_error_3"] < 0.6 * fixed["relative_error_3"]
    assert learned["sign_congruence_3"] > fixed["sign_congruence_3"]


def test_errors(rows):
    names = ("node perturbation", "feedback alignment", "backprop", "response")
    error = {name: final(rows, "given", name)["test_error"] for name in names}
    assert error["backprop"] < 0.15
    assert error["node perturbation"] < error["backprop"] + 0.05
    assert error["response"] < error["backprop"] + 0.03
    assert final(rows, "scalar", "response")["test_error"] < 0.12


def test_report_and_picture(figure, is_png):
    report = (figure / "figure2.md").read_text()
    assert "angle to the true gradient far below feedback alignment's" in report
    assert is_png(figure / "figure2.png")


def test_a_study_goes_on_where_it_was_cut_off(figure, run_script):
    path = figure / "figure2.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("scalar,response")))
    arguments = ("paper/figure2.py", "--quick", "--jobs", "1", "--out", figure)
    assert "6 of 7 tasks are in" in run_script(*arguments, cwd=figure)
    assert len(path.read_text().splitlines()) == len(lines)
