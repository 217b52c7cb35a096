"""Figure 3: what a bottleneck asks of feedback shows within a thousand updates."""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def ends(run_study, read_csv):
    out = run_study("figure3")
    assert "response ≤ 1.05 × Adam | " in (out / "figure3.md").read_text()
    rows = read_csv(out / "figure3.csv")
    return {row["method"]: row for row in rows if row["update"] == row["updates"]}


def loss(ends, method):
    return float(ends[method]["test_mse"])


def accuracy(ends, method):
    return float(ends[method]["neighbours_accuracy"])


def test_learned_feedback_keeps_up_with_backprop(ends):
    assert loss(ends, "response, Adam") <= 1.05 * loss(ends, "backprop, Adam")
    assert 0.03 < loss(ends, "backprop, Adam") < 0.055


def test_node_perturbation_does_better_than_feedback_alignment(ends):
    alignment = loss(ends, "feedback alignment, SGD")
    assert loss(ends, "node perturbation, Adam") < 0.97 * alignment
    assert alignment > 1.12 * loss(ends, "backprop, Adam")


def test_feedback_alignment_separates_digits_less(ends):
    assert accuracy(ends, "feedback alignment, SGD") < accuracy(ends, "response, Adam") - 0.1


def test_the_scalar_reward_alone_teaches(ends):
    assert loss(ends, "scalar: response") < 0.07  # 0.116 for black images, 0.067 for their mean


def test_the_search_leaves_a_row_a_trial(run_study, read_csv):
    rows = read_csv(run_study("figure3_search") / "figure3_search.csv")
    assert {row["trial"] for row in rows} == {"0", "1"}
    adam = [float(row["validation_mse"]) for row in rows if row["method"] == "backprop, Adam"]
    assert min(adam) < 0.1


@pytest.fixture
def figure3(load_script):
    return load_script("paper/figure3.py")


def test_every_method_is_searched_and_drawn_alike(figure3):
    planned = figure3.tasks(False, figure3.STUDY.seeds)
    for name, method in figure3.METHODS.items():
        assert set(method.ranges) == set(figure3.chosen(name))
        runs = [task for task in planned if task["method"] == name and task["updates"] < 60_000]
        assert len(runs) == len(figure3.STUDY.seeds)
        assert [task["pictures"] for task in runs] == [1] + [0] * (len(runs) - 1)
    first = [task["seed"] for task in planned[: len(figure3.METHODS)]]
    assert first == [0] * len(figure3.METHODS)


def test_neighbours_tell_separate_clusters_apart(figure3):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2000) % 10
    centres = torch.stack([labels % 5, labels // 5], dim=1).float()
    codes = centres + 0.05 * torch.randn(2000, 2, generator=generator)
    assert figure3.neighbours_accuracy(codes, labels, codes[:1000], labels[:1000]) == 1.0
    mixed = torch.randn(2000, 2, generator=generator)
    assert figure3.neighbours_accuracy(mixed, labels, codes[:1000], labels[:1000]) < 0.2


def test_pictures_come_back_from_a_cell(figure3):
    values = np.linspace(0, 1, 20).reshape(-1, 2)
    back = figure3.unpacked(figure3.packed(values), 2)
    assert np.abs(back - values).max() < 0.01
