"""Running statistics are Stable-Baselines3's."""

import numpy as np
import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd

from nodepert.agents.statistics import RunningStatistics


def test_mean_and_variance_of_all_rows_so_far():
    rows = np.random.default_rng(0).normal(3, 5, (60, 4))
    ours, theirs = RunningStatistics(4), RunningMeanStd(shape=(4,))
    for start, end in ((0, 1), (1, 30), (30, 30), (30, 60)):
        ours.update(torch.from_numpy(rows[start:end]))
        if end > start:
            theirs.update(rows[start:end])
    assert np.allclose(ours.mean, theirs.mean)
    assert np.allclose(ours.variance, theirs.var)
    assert np.allclose(ours.mean, rows.mean(0), atol=1e-3)
    shown = ours.normalized(torch.from_numpy(rows))
    assert np.allclose(shown.mean(0), 0, atol=1e-3)
    assert np.allclose(shown.std(0, unbiased=False), 1, atol=1e-3)
    assert np.allclose(ours.scaled(torch.from_numpy(rows)), rows / rows.std(0), atol=1e-3)


def test_outliers_are_cut_and_types_kept():
    statistics = RunningStatistics(1)
    statistics.update(torch.linspace(-1, 1, 50)[:, None])
    shown = statistics.normalized(torch.tensor([[1e6], [-1e6]]))
    assert shown.flatten().tolist() == [10.0, -10.0]
    assert shown.dtype is torch.float32
