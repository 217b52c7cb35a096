"""The counter-based random numbers: uniform, independent, and pure functions of (key, counter)."""

import numpy as np
import pytest
from scipy import stats

from nodepert.envs import Draws

N = 200_000
LEVEL = 1e-4  # seeds are fixed, so these tests pass or fail for good


def keys_of(how):
    """Random keys with one counter, or one key with counters in a row."""
    if how == "keys":
        return np.random.default_rng(0).integers(2**64, size=N, dtype=np.uint64), np.zeros(
            N, np.uint64
        )
    return np.full(N, 12345, np.uint64), np.arange(N, dtype=np.uint64)


@pytest.mark.parametrize("how", ["keys", "counters"])
class TestDistribution:
    def test_uniform(self, how):
        numbers = Draws(*keys_of(how)).uniform(2)
        assert numbers.min() >= 0
        assert numbers.max() < 1
        for column in numbers.T:
            assert stats.kstest(column, "uniform").pvalue > LEVEL

    def test_integers_are_equally_frequent(self, how):
        numbers = Draws(*keys_of(how)).integers(7)
        assert set(numbers) == set(range(7))
        assert stats.chisquare(np.bincount(numbers)).pvalue > LEVEL

    def test_signs_are_fair(self, how):
        signs = Draws(*keys_of(how)).signs()
        assert set(signs) == {-1, 1}
        assert stats.binomtest(int((signs > 0).sum()), N).pvalue > LEVEL

    def test_normal(self, how):
        assert stats.kstest(Draws(*keys_of(how)).normal(), "norm").pvalue > LEVEL

    def test_each_bit_is_fair(self, how):
        bits = Draws(*keys_of(how)).bits()
        for place in range(64):
            ones = int((bits >> np.uint64(place) & np.uint64(1)).sum())
            assert stats.binomtest(ones, N).pvalue > LEVEL

    def test_neighbours_calls_and_columns_are_uncorrelated(self, how):
        draws = Draws(*keys_of(how))
        numbers, again = draws.uniform(2), draws.uniform()
        for one, other in (
            (numbers[:-1, 0], numbers[1:, 0]),
            (numbers[:, 0], numbers[:, 1]),
            (numbers[:, 0], again),
        ):
            assert stats.pearsonr(one, other).pvalue > LEVEL


def test_no_two_words_are_equal():
    words = Draws(*keys_of("counters")).bits(4)
    assert len(np.unique(words)) == words.size


def test_numbers_of_a_lane_do_not_depend_on_the_others():
    keys, counters = np.arange(10, dtype=np.uint64), np.arange(10, dtype=np.uint64) % np.uint64(3)
    rows = [7, 2]
    together, alone = Draws(keys, counters), Draws(keys[rows], counters[rows])
    for method, arguments in (("uniform", (3,)), ("normal", ()), ("integers", (9, 2))):
        whole = getattr(together, method)(*arguments)
        np.testing.assert_array_equal(whole[rows], getattr(alone, method)(*arguments))


def test_calls_differ_and_new_objects_repeat():
    keys, counters = np.zeros(4, np.uint64), np.arange(4, dtype=np.uint64)
    draws = Draws(keys, counters)
    first, second = draws.bits(), draws.bits()
    assert not (first == second).any()
    repeat = Draws(keys, counters)
    np.testing.assert_array_equal(repeat.bits(), first)
    np.testing.assert_array_equal(repeat.bits(), second)


def test_integers_below_a_limit_of_each_lane():
    keys = np.random.default_rng(0).integers(2**64, size=1000, dtype=np.uint64)
    high = np.arange(1000) % 5 + 1
    numbers = Draws(keys, np.zeros(1000, np.uint64)).integers(high)
    assert (numbers >= 0).all()
    assert (numbers < high).all()
    assert all(numbers[high == h].max() == h - 1 for h in range(1, 6))


def test_keys_and_counters_are_not_changed():
    keys, counters = np.arange(5, dtype=np.uint64), np.arange(5, dtype=np.uint64)
    Draws(keys, counters).normal(3)
    np.testing.assert_array_equal(keys, np.arange(5))
    np.testing.assert_array_equal(counters, np.arange(5))


def test_shapes():
    draws = Draws(np.zeros(3, np.uint64), np.zeros(3, np.uint64))
    assert len(draws) == 3
    assert draws.bits().shape == (3,)
    assert draws.uniform(2, 4).shape == (3, 2, 4)
    assert draws.lanes.tolist() == [0, 1, 2]
    assert draws.num_lanes == 3
