import numpy as np
import pytest
from scipy import stats

from nodepert.agents.compare.statistics import (
    bootstrap_interval,
    iqm,
    median,
    performance_profile,
    probability_of_improvement,
)


def tasks(seed, *, runs=7, tasks=3):
    """Scores (runs,) of each task, rounded so that there are ties."""
    drawn = np.random.default_rng(seed).normal(size=(tasks, runs)).round(1)
    return [task + number for number, task in enumerate(drawn)]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11])
def test_iqm_is_the_trimmed_mean(n):
    scores = np.random.default_rng(n).normal(size=n)
    assert iqm([scores]) == pytest.approx(stats.trim_mean(scores, 0.25))
    assert median([scores]) == np.median(scores)


def test_iqm_by_hand():
    assert iqm([np.array([100.0, 2, 3, -50]), np.array([4.0, 5, 7, 6])]) == (3 + 4 + 5 + 6) / 4


def test_probability_of_improvement_by_hand_and_by_mann_whitney():
    ours, theirs = [np.array([1.0, 2, 3])], [np.array([2.0, 0])]
    assert probability_of_improvement(ours, theirs) == (1 + 1.5 + 2) / 6
    assert probability_of_improvement(theirs, ours) == pytest.approx(1 - 4.5 / 6)
    ours, theirs = tasks(0), tasks(1, runs=4)
    u = [stats.mannwhitneyu(x, y).statistic / 28 for x, y in zip(ours, theirs, strict=True)]
    assert probability_of_improvement(ours, theirs) == pytest.approx(np.mean(u))


def test_performance_profile_by_hand():
    scores = [np.array([0.0, 1.0]), np.array([0.5, 0.7])]
    profile = performance_profile(scores, np.array([-1.0, 0.0, 0.6, 1.0]))
    np.testing.assert_array_equal(profile, [1, 0.75, 0.5, 0])


def test_interval_of_the_mean_is_the_known_one():
    # The bootstrap's mean of n scores has the standard deviation of the scores over √n.
    scores = np.random.default_rng(0).normal(size=200)
    low, high = bootstrap_interval(lambda s: s[0].mean(axis=-1), [scores], resamples=4000)
    half = 1.96 * scores.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=0.01)


def test_bootstrap_stays_within_tasks():
    """Tasks whose runs agree leave nothing to chance, however different the tasks are."""
    scores = [np.full(4, 1.0), np.full(2, 9.0)]
    assert bootstrap_interval(iqm, scores) == (iqm(scores), iqm(scores))
    low, high = bootstrap_interval(probability_of_improvement, scores, tasks(0, tasks=2))
    assert 0 <= low <= high <= 1


def test_narrower_level_and_same_seed():
    scores = tasks(3)
    low, high = bootstrap_interval(iqm, scores, level=0.5)
    wide_low, wide_high = bootstrap_interval(iqm, scores)
    assert wide_low < low < iqm(scores) < high < wide_high
    assert bootstrap_interval(iqm, scores, level=0.5) == (low, high)


def test_profile_interval_has_the_profile_inside():
    scores, thresholds = tasks(4), np.linspace(-1, 3, 9)
    low, high = bootstrap_interval(lambda s: performance_profile(s, thresholds), scores)
    profile = performance_profile(scores, thresholds)
    assert low.shape == (9,)
    assert ((low <= profile) & (profile <= high)).all()


def test_against_rliable():
    library = pytest.importorskip("rliable.library", reason="rliable is not installed")
    metrics = pytest.importorskip("rliable.metrics")
    ours, theirs = tasks(5), tasks(6, runs=5)
    x, y = np.stack(ours, axis=1), np.stack(theirs, axis=1)  # (runs, tasks)
    assert iqm(ours) == pytest.approx(metrics.aggregate_iqm(x))
    expected = metrics.probability_of_improvement(x, y)
    assert probability_of_improvement(ours, theirs) == pytest.approx(expected)
    thresholds = np.linspace(-1, 3, 9)
    expected = library.score_distributions(x, thresholds)
    np.testing.assert_allclose(performance_profile(ours, thresholds), expected)
    # Its bootstrap classes do not run with arch 6 or later, so the resamples are drawn here as
    # StratifiedBootstrap.update_indices draws them.
    rng = np.random.default_rng(0)

    def resampled(scores):
        return scores[rng.integers(len(scores), size=scores.shape), np.arange(scores.shape[1])]

    for statistic, own, metric, arrays in (
        (iqm, [ours], metrics.aggregate_iqm, [x]),
        (
            probability_of_improvement,
            [ours, theirs],
            metrics.probability_of_improvement,
            [x, y],
        ),
    ):
        values = [metric(*map(resampled, arrays)) for _ in range(2000)]
        expected = np.percentile(values, [2.5, 97.5])
        np.testing.assert_allclose(bootstrap_interval(statistic, *own), expected, atol=0.05)
