"""The paper's network: λ̂ has one mean and different variances, and B learns accordingly."""

import pytest

BASELINES = ("clean", "antithetic", "ema", "critic", "none")


@pytest.fixture(scope="session")
def rows(run_study, read_csv):
    out = run_study("baselines")
    assert "| holds |" in (out / "baselines.md").read_text()
    return read_csv(out / "baselines.csv")


@pytest.mark.parametrize("layer", ["1", "2"])
def test_one_mean_and_different_variances(rows, layer):
    found = {row["baseline"]: row for row in rows if row["layer"] == layer}
    for baseline in BASELINES:
        slope, error = (float(found[baseline][name]) for name in ("slope", "slope_error"))
        assert abs(slope - 1) < 3.5 * error < 0.5
        assert float(found[baseline]["deviation"]) < 3
    variance = {baseline: float(found[baseline]["variance"]) for baseline in BASELINES}
    assert variance["antithetic"] < 0.5 * variance["clean"]
    assert variance["clean"] < 0.8 * variance["ema"] < 0.5 * variance["none"]


def test_less_variance_brings_b_nearer_to_w_for_the_same_env_steps(rows):
    last = {row["baseline"]: float(row["relative_error_3"]) for row in rows if row["env_steps"]}
    assert last["clean"] < 0.8 * last["ema"] < 0.8 * last["none"]
    assert last["antithetic"] < 0.8 * last["ema"]
