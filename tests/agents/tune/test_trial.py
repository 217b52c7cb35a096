import pytest

from nodepert.agents.tune import trial as trial_module
from nodepert.agents.tune.trial import TrialTask, carry_out_trial, score_of

pytest.importorskip("optuna")


def points(values, metric="go_accuracy"):
    return [
        {"env_steps": 250 * i, "seconds": float(i), "metric": metric, "value": value}
        for i, value in enumerate(values)
    ]


@pytest.fixture
def carry_out(made, env, monkeypatch):
    """Runs have the learning curves given, one each; an exception in place of a value is raised."""

    def carry_out(*curves, finished=(), kind="final"):
        left = list(curves)

        def run(run, watch):
            shown = points(left.pop(0))
            for end in range(1, len(shown) + 1):
                if isinstance(shown[end - 1]["value"], Exception):
                    raise shown[end - 1]["value"]
                watch(shown[:end])
            return {"points": shown}

        monkeypatch.setattr(trial_module, "carry_out", run)
        values = {"learning_rate": 0.01}
        runs = made.search(seeds=len(curves)).runs(values, env)
        return carry_out_trial(TrialTask(0, runs, kind, list(finished)))

    return carry_out


def test_mean_over_runs(carry_out):
    result = carry_out([0, 0.5, 0.6, 0.7, 0.8], [0, 0, 0, 0, 0.4])
    assert result.score == pytest.approx(0.6)
    assert (result.env_steps, result.seconds, result.metric) == (2_000, 8.0, "go_accuracy")
    assert (result.pruned, result.error) == (False, None)


def test_area_of_what_is_reported(carry_out):
    result = carry_out([0, 1, 1, 1, 1], kind="area")
    curve = result.curves[0]
    assert [curve[place] for place in (0, 1, 2, 4)] == pytest.approx(
        [0, 0.5, 0.75, 0.875], abs=1e-6
    )
    assert result.score == curve[4]


def test_each_run_is_compared_with_the_same_run_of_trials_before(carry_out):
    """The second runs before were worse than the first ones: what is behind is told by place."""
    before = [[{0: 0, 1: 0.5, 2: 0.6, 4: 0.8}, {0: 0, 1: 0.1, 2: 0.2, 4: 0.3}]] * 5
    good, slow = [0, 0.5, 0.6, 0.7, 0.8], [0, 0.2, 0.2, 0.2, 0.25]
    result = carry_out(good, slow, finished=before)
    assert (result.pruned, len(result.curves)) == (False, 2)
    result = carry_out(slow, good, finished=before)
    assert (result.pruned, len(result.curves)) == (True, 1)
    assert result.env_steps == 250, "pruned where it fell behind"
    assert result.curves == [{0: 0, 1: 0.2}]
    assert not carry_out(slow, good, finished=before[:4]).pruned, "too few to judge by"


def test_last_evaluation_prunes_nothing(carry_out):
    before = [[{0: 0, 1: 0, 2: 0, 3: 0, 4: 0.9}]] * 5
    assert not carry_out([0, 0, 0, 0, 0.1], finished=before).pruned


def test_failed_run(carry_out):
    result = carry_out([0, 0.5, ValueError("not finite"), 0, 0], [1] * 5)
    assert (result.error, len(result.curves)) == ("ValueError: not finite", 1)
    assert result.env_steps == 250


def test_scores_are_higher_where_errors_are_lower():
    errors = points([0.9, 0.1, 0.1, 0.1, 0.1], "validation_error")
    assert score_of(errors, "final", 1_000) == -0.1
    assert score_of(errors, "area", 1_000) == pytest.approx(-0.2, abs=1e-3)


def test_last_value_holds_where_a_run_was_cut():
    assert score_of(points([0, 1]), "area", 1_000) == pytest.approx(0.875, abs=1e-6)
