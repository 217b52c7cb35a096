import numpy as np
import pytest

from nodepert.agents.compare.curves import curves, profiles
from nodepert.agents.compare.summary import normalised, overall, table


@pytest.fixture
def errors(make_record):
    """Test errors, where lower is better: ours wins 7 of 8 pairs and ties in none."""
    rivals = {"np": (0.1, 0.2, 0.3, 0.4), "ppo": (0.35, 0.5, 0.6, 0.7), "random": (0.9, 0.9)}
    return [
        make_record(agent=agent, seed=seed, finals=(0.95, value), metric="test_error")
        for agent, values in rivals.items()
        for seed, value in enumerate(values)
    ]


def test_table(errors):
    ours, ppo, chance = table(errors)
    assert [line.agent for line in (ours, ppo, chance)] == ["np", "ppo", "random"]
    assert (ours.seeds, ppo.seeds, chance.seeds) == (4, 4, 2)
    assert ours.score.value == pytest.approx(0.25)  # of the middle two
    assert chance.score.value == pytest.approx(0.9)
    low, high = ours.score.interval
    assert 0.1 <= low < 0.25 < high <= 0.4
    assert ours.improvement is None
    assert ppo.improvement.value == 15 / 16
    assert chance.improvement.value == 1
    assert ppo.improvement.interval[0] < 15 / 16
    assert (ours.env_steps, ours.seconds, ours.cut) == (100, 1.0, ())


def test_higher_is_better_for_returns(make_record):
    records = [make_record(agent=a, finals=(0.0, v)) for a, v in (("np", 5.0), ("ppo", 3.0))]
    ours, ppo = table(records)
    assert ppo.improvement.value == 1
    assert (ours.score.interval, ppo.improvement.interval) == (None, None)  # a single seed


def test_few_seeds_are_summed_up_by_their_median(make_record):
    records = [make_record(seed=i, finals=(v,)) for i, v in enumerate((1.0, 2.0, 30.0))]
    assert table(records)[0].score.value == 2


def test_ablations_beside_ours_and_chance_last(make_record):
    agents = ("random", "a2c", "np:fixed", "sac", "np", "np:backprop")
    records = [make_record(agent=agent) for agent in agents]
    order = ["np", "np:backprop", "np:fixed", "a2c", "sac", "random"]
    assert [line.agent for line in table(records)] == order
    without = [record for record in records if record["agent"] != "np"]
    assert all(line.improvement is None for line in table(without))


def test_cut_runs_are_marked(make_record):
    records = [make_record(seed=0, finals=(0.0, 1.0), cut=100), make_record(seed=1, finals=(0, 2))]
    assert table(records)[0].cut == (100,)


def test_when_a_target_was_reached(make_record, errors):
    curves = [(0.0, 5.0, 3.0), (0.0, 4.9, 6.0), (0.0, 1.0, 2.0)]
    records = [make_record(seed=i, finals=curve) for i, curve in enumerate(curves)]
    (line,) = table(records, target=5.0)
    assert (line.target, line.reached) == (5.0, (100, 200))
    assert table(records)[0].target is None  # no spec says what solves it
    ours, *_ = table(errors, target=0.25)
    assert ours.reached == (100, 100)  # lower is better
    solved = [make_record("gymnasium.envs:CartPole-v1", finals=(9.0, 475.0))]
    assert (table(solved)[0].target, table(solved)[0].reached) == (475.0, (100,))


def test_normalised_by_chance_and_the_best(errors, make_record):
    scores = normalised(errors)
    np.testing.assert_allclose(scores["random"], [[0, 0]], atol=1e-12)
    np.testing.assert_allclose(scores["np"][0], (0.9 - np.array([0.1, 0.2, 0.3, 0.4])) / 0.65)
    # Another environment, without ppo and without chance: the worst is 0.
    other = [make_record("Other-v0", agent, finals=(v,)) for agent, v in (("np", 4), ("a2c", 2))]
    scores = normalised(errors + other)
    assert scores.keys() == {"np"}, "only agents that were on all environments"
    other_env, this_env = scores["np"]  # in order of their ids
    np.testing.assert_allclose(other_env, [1])
    assert len(this_env) == 4
    assert not normalised([*errors, make_record("Third-v0", "a2c")])


def test_overall(errors):
    scores = overall(errors)
    assert scores["np"][0].value == pytest.approx(1)
    assert scores["np"][1] is None
    assert scores["ppo"][1].value == 15 / 16


def test_agents_that_are_all_alike_have_a_profile(make_record):
    records = [make_record(agent=agent, seed=s) for agent in ("np", "ppo") for s in range(2)]
    made = profiles(records)
    assert made["np"].centre[0] == 1
    assert made["np"].centre[-1] == 0


def test_curves(make_record):
    records = [
        make_record(seed=0, finals=(0.0, 10.0, 20.0)),
        make_record(seed=1, finals=(2.0, 4.0)),  # ends sooner
    ]
    curve = curves(records, "env_steps", points=3)["np"]
    np.testing.assert_allclose(curve.x, [0, 50, 100])
    np.testing.assert_allclose(curve.centre, [1, 4, 7])
    np.testing.assert_allclose(curve.low, [0, 3, 4])  # of two seeds: the lower one
    np.testing.assert_allclose(curve.high, [2, 5, 10])
    np.testing.assert_allclose(curves(records, "seconds", points=3)["np"].x, [0, 0.5, 1])
