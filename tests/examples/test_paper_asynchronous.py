"""MNIST is learned by two learners apart; a lag costs something, but not the learning."""

import pytest


@pytest.fixture(scope="session")
def rows(run_study, read_csv):
    out = run_study("asynchronous", apart=True)
    assert "| holds |" in (out / "asynchronous.md").read_text()
    return [row for row in read_csv(out / "asynchronous.csv") if row["env_steps"]]


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
