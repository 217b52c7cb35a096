"""The black boxes: each script learns in its quick mode, and the boxes are what they say."""

import json
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

LEARNERS = {"node perturbation", "PPO", "ARS", "evolution strategy"}


@pytest.fixture
def first_and_last(run_script, read_csv, is_png, tmp_path):
    """Runs a script and gives our agent's scores before and after learning, for each table."""

    def run(script, *names, learners=LEARNERS):
        printed = run_script(f"black_box/{script}", "--quick", "--out", tmp_path, cwd=tmp_path)
        found = []
        for name in names:
            rows = read_csv(tmp_path / f"{name}.csv")
            assert {row["learner"] for row in rows} == learners
            assert is_png(tmp_path / f"{name}.png")
            assert (tmp_path / f"{name}.md").read_text() in printed
            used = {row["learner"]: int(row["evaluations"]) for row in rows}  # in the end
            assert max(used.values()) < 1.05 * min(used.values())
            scores = [float(row["score"]) for row in rows if row["learner"] == "node perturbation"]
            found.append((scores[0], scores[-1]))
        return found

    return run


def test_metrics_without_a_gradient_are_learned(first_and_last):
    (f1_before, f1_after), (before, after) = first_and_last("metrics.py", "f1", "accuracy")
    assert before > 0.8
    assert after < 0.6
    assert f1_after < f1_before - 0.03


def test_the_program_behind_a_pipe_is_learned(first_and_last, read_csv, tmp_path):
    ((before, after),) = first_and_last("external_program.py", "external_program")
    assert after < before - 0.3
    one, many = read_csv(tmp_path / "external_program_speed.csv")
    assert float(many["evaluations_per_second"]) > 2 * float(one["evaluations_per_second"])


def test_the_simulated_shop_is_learned(first_and_last):
    ((before, after),) = first_and_last("inventory.py", "inventory")
    assert after < before - 0.1


def test_the_true_pumps_are_learned_and_straight_through_is_misled(
    first_and_last, read_csv, tmp_path
):
    surrogates = {"backprop, straight-through", "backprop, no strokes"}
    ((before, after),) = first_and_last(
        "quantised_actuator.py", "quantised_actuator", learners=LEARNERS | surrogates
    )
    assert after < before - 0.15
    rows = read_csv(tmp_path / "quantised_actuator.csv")
    misled = [float(row["score"]) for row in rows if row["learner"].endswith("straight-through")]
    assert misled[-1] > after + 0.05


def test_the_program_answers_lines_alike_and_differs_by_seed(load_script):
    kiln = load_script("black_box/kiln.py")
    asked = {"order": [0.5, 0.2, 0.8], "controls": [0.9, 0.5, 0.5], "seed": 7}
    lines = [json.dumps(one) for one in (asked, asked, {**asked, "seed": 8})]
    done = subprocess.run(
        [sys.executable, kiln.__file__, "--seconds", "0"],
        input="\n".join(lines) + "\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, again, other = [json.loads(line)["cost"] for line in done.stdout.splitlines()]
    assert first == again == kiln.cost(asked["order"], asked["controls"], 7)
    assert first != other


def test_the_kiln_is_an_environment_whose_seeds_stay_in_step(load_script):
    script = load_script("black_box/external_program.py")
    env = script.Kiln()
    check_env(env, skip_render_check=True)
    env.close()
    one, two = script.Kiln(), script.Kiln()
    (shown, _), (same, _) = one.reset(seed=5), two.reset(seed=5)
    for action in (np.zeros(3), np.ones(3)):
        np.testing.assert_array_equal(shown, same)
        assert one.step(action)[1] == two.step(action)[1]
        (shown, _), (same, _) = one.reset(), two.reset()
    one.close()
    two.close()


def test_a_program_that_ends_is_reported(load_script):
    script = load_script("black_box/external_program.py")
    env = script.Kiln()
    env.reset(seed=0)
    env.step(np.zeros(3))
    env._program.kill()
    env.reset()
    with pytest.raises((RuntimeError, BrokenPipeError)):
        env.step(np.zeros(3))


def test_customers_do_not_depend_on_the_levels(load_script):
    """With no stock at all every customer is lost: their number follows from the seed alone."""
    shop = load_script("black_box/inventory.py").Shop
    rates = np.array([2.0, 1.0, 0.0])
    costs = [shop(rates, np.array([[-1, 0], [-1, full]]), seed=3).cost for full in (0, 5)]
    lost_less = costs[0] - costs[1]  # five more customers are served, at no cost of keeping
    assert lost_less == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--steps", "0"), "--steps 0: expected"), (("--seeds", "100"), "--seeds 100: expected")],
)
def test_bad_arguments_are_named(arguments, message, load_script, monkeypatch, capsys):
    contest = load_script("black_box/contest.py")
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    with pytest.raises(SystemExit):
        contest.parse("what it does")
    assert message in capsys.readouterr().err


def test_every_learner_has_as_many_trials(load_script):
    rivals = load_script("black_box/rivals.py")
    own = {
        "rivals.py": ("OWN_DEAR_TRIALS",),
        "metrics.py": ("OWN_F1_TRIALS", "OWN_ACCURACY_TRIALS"),
        "quantised_actuator.py": ("OWN_TRIALS", "RATES"),
    }
    for script, names in own.items():
        module = load_script(f"black_box/{script}")
        for name in names:
            counts = {len(one.trials) for one in rivals.learners(getattr(module, name)).values()}
            assert len(counts) == 1, (script, name)
