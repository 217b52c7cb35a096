"""The threshold as a probe: unbiased where correlation is not, and good enough to learn from."""

import copy

import numpy as np
import pytest

from nodepert.envs.testing import check_loss_env


@pytest.fixture(scope="module")
def spiking(load_script):
    return load_script("spiking.py")


def test_only_the_discontinuity_is_right_where_units_share_noise_and_the_layer_learns(
    run_script, read_csv, is_png, tmp_path
):
    run_script("spiking.py", "--quick", "--out", tmp_path, cwd=tmp_path)
    rows = [row for row in read_csv(tmp_path / "effects.csv") if row["shared"] == "0.95"]
    truth, ours, naive = (
        np.array([float(row[name]) for row in rows])
        for name in ("true effect", "discontinuity", "correlation")
    )
    assert np.abs(ours - truth).max() < 0.5 < np.abs(naive - truth).max()
    clear = np.abs(truth) > 0.3
    assert (np.sign(ours) == np.sign(truth))[clear].all()
    assert (np.sign(naive) != np.sign(truth))[clear].any()

    losses: dict[str, list[float]] = {}
    for row in read_csv(tmp_path / "curves.csv"):
        losses.setdefault(row["estimator"], []).append(float(row["loss"]))
    last = {name: curve[-1] for name, curve in losses.items()}
    assert last["discontinuity"] < 0.3 * losses["discontinuity"][0]
    assert last["discontinuity"] < 1.15 * last["true effect"]
    assert last["discontinuity"] < 0.6 * last["correlation"]
    assert is_png(tmp_path / "spiking.png")


def test_the_jump_is_found_on_a_slope_and_below_noise_that_moves_with_the_drive(spiking):
    rng = np.random.default_rng(0)
    drive = rng.normal(size=200_000)
    other = drive + 0.5 * rng.normal(size=drive.shape)  # confounded with the drive
    effect = np.array([-0.7, 2.0])
    outcome = (drive >= 0.3)[:, None] * effect + 3 * other[:, None] + rng.normal(size=(200_000, 2))
    found = spiking.discontinuity(drive, outcome, threshold=0.3, window=0.4)
    np.testing.assert_allclose(found, effect, atol=0.12)
    assert np.abs(spiking.correlation(drive >= 0.3, outcome) - effect).min() > 2


def test_too_few_trials_beside_the_threshold_say_nothing(spiking):
    drive, outcome = np.array([0.1, 0.2, 2.0, 3.0, 4.0]), np.ones((5, 2))
    np.testing.assert_array_equal(spiking.discontinuity(drive, outcome, 1.0, 5.0), 0)


def test_the_gradient_is_that_of_the_expected_loss(spiking):
    """Against finite differences with common random numbers."""
    start = spiking.Layer(units=3, shared=0.8, trials=20_000, seed=1)

    def play(nudge):
        layer = copy.deepcopy(start)
        layer.weight += nudge
        return layer, layer.play()

    zero = np.zeros_like(start.weight)
    found = spiking.gradient("discontinuity", *play(zero))
    nudges = 0.05 * np.eye(zero.size).reshape(-1, *zero.shape)
    changes = [play(one)[1].loss.mean() - play(-one)[1].loss.mean() for one in nudges]
    expected = np.reshape(changes, zero.shape) / 0.1
    cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine > 0.97
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=0.1)


def test_the_task_keeps_to_the_contract(spiking):
    check_loss_env(spiking.Pulls)
