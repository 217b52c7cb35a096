import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from nodepert.agents.compare import run as run_module
from nodepert.agents.compare.models import Predictor, make_lanes, make_model, settings_for
from nodepert.agents.compare.run import Run, carry_out
from nodepert.agents.evaluation import Score

SMALL = {"policy_kwargs": {"net_arch": [4]}}
SETTINGS = {
    "ppo": {"n_envs": 2, "n_steps": 16, "batch_size": 32, "n_epochs": 1, **SMALL},
    "a2c": {"n_envs": 3, "normalize": True, **SMALL},
    "dqn": {"learning_starts": 10, "train_freq": 8, **SMALL},
    "ars": {"n_delta": 1, "policy": "LinearPolicy"},
    "es": {"n_delta": 1, "policy": "LinearPolicy"},
    "random": {},
}


def a_run(agent="ppo", env="CartPole-v1", **changes):
    usual = {"seed": 0, "env_kwargs": {}, "steps": 250, "evaluations": 5, "minutes": 30.0}
    settings = SETTINGS.get(agent) or settings_for(agent, env, [])
    return Run(env=env, agent=agent, hyperparameters=settings, **{**usual, **changes})


@pytest.fixture
def scored(monkeypatch):
    """Scores are the sums of the weights; what the environment is told is kept."""
    calls = []

    def evaluate(predictor, env_id, env_kwargs, *, split):
        calls.append((env_id, env_kwargs, split))
        time.sleep(0.02)
        policy = predictor.model.policy if hasattr(predictor.model, "policy") else None
        weights = [] if policy is None else policy.parameters()
        return Score("mean_return", float(sum(w.detach().double().square().sum() for w in weights)))

    monkeypatch.setattr(run_module, "evaluate", evaluate)
    return calls


def column(record, name):
    return [point[name] for point in record["points"]]


@pytest.mark.parametrize("agent", ["ppo", "a2c", "dqn", "ars", "es"])
def test_scored_at_equal_distances_and_never_beyond_the_steps(scored, agent):
    budget = 3_000 if agent in ("ars", "es") else 250  # an update of which takes whole episodes
    record = carry_out(a_run(agent, steps=budget))
    steps = column(record, "env_steps")
    assert (steps[0], steps[-1]) == (0, budget)
    assert record["cut"] is None
    if budget == 250:
        assert len(steps) == 6
        for number, at in enumerate(steps[:-1]):
            assert 50 * number <= at < 50 * number + 32  # between updates
    seconds = column(record, "seconds")
    assert seconds == sorted(seconds)
    weights = column(record, "value")
    assert weights[0] != weights[-1], "nothing was learned"
    assert scored == [("CartPole-v1", {}, "test")] * len(steps)


def test_last_update_counts_where_it_fits(scored):
    """Rollouts of 32 steps: 64 make two updates, 95 no third, 96 a third."""
    last = {s: column(carry_out(a_run(steps=s)), "value")[-1] for s in (64, 95, 96)}
    assert last[64] == last[95] != last[96]


def test_seeds_decide(scored):
    one, again, other = (carry_out(a_run(steps=64, seed=seed)) for seed in (0, 0, 1))
    assert column(one, "value") == column(again, "value")
    assert column(one, "value") != column(other, "value")


@pytest.mark.parametrize("agent", ["ppo", "ars"])
def test_run_whose_time_is_up(scored, agent):
    record = carry_out(a_run(agent, steps=100_000, minutes=0.1 / 60))
    assert 0 < record["cut"] < 100_000
    assert column(record, "env_steps")[-1] == record["cut"]
    assert column(record, "seconds")[-1] < 2


def test_evaluations_take_no_time(monkeypatch):
    def evaluate(*_, **__):
        time.sleep(0.3)
        return Score("mean_return", 0.0)

    monkeypatch.setattr(run_module, "evaluate", evaluate)
    assert column(carry_out(a_run("random")), "seconds")[-1] < 0.1


def test_ours_learns_and_is_named():
    record = carry_out(a_run("np", "MNIST-v0", steps=6_000, evaluations=1))
    errors = column(record, "value")
    assert errors[0] > 0.75
    assert errors[-1] < 0.6
    assert column(record, "metric") == ["test_error"] * 2
    assert (record["agent"], record["hyperparameters"]["rule"]) == ("np", "response")
    assert {"python", "torch"} <= record["versions"].keys()


def test_chance_has_a_score():
    record = carry_out(a_run("random", "DelayedXOR-v0"))
    assert column(record, "env_steps") == [0, 250]
    assert all(0.4 < value < 0.6 for value in column(record, "value"))


def test_observations_are_normalised_for_the_model_by_frozen_statistics():
    model = make_model("a2c", "CartPole-v1", {}, SETTINGS["a2c"], seed=0)
    model.learn(60)
    normaliser = model.get_vec_normalize_env()
    observations = np.array([[0.1, 1.0, 0.1, -0.5], [-0.1, 0.0, 0.0, 0.2]], np.float32)
    statistics = normaliser.obs_rms
    before = (statistics.mean.copy(), statistics.var.copy(), statistics.count)
    shown = []
    model.policy.predict = lambda observation, *_: (shown.append(observation), None)
    Predictor(model).predict(observations, deterministic=True)
    expected = (observations - before[0]) / np.sqrt(before[1] + normaliser.epsilon)
    np.testing.assert_allclose(shown[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(statistics.mean, before[0])
    assert statistics.count == before[2]


def test_models_without_normalisation_see_what_there_is():
    model = make_model("ppo", "CartPole-v1", {}, SETTINGS["ppo"], seed=0)
    shown = []
    model.policy.predict = lambda observation, *_: (shown.append(observation), None)
    observations = np.ones((2, 4), np.float32)
    Predictor(model).predict(observations)
    assert shown[0] is observations


@pytest.mark.parametrize("env", ["CartPole-v1", "DelayedXOR-v0"])
def test_lanes_of_different_seeds_differ(env):
    starts = []
    for seed in (0, 1):
        settings = {"n_envs": 8, "n_steps": 8, "batch_size": 64, **SMALL}
        starts.append(make_model("ppo", env, {}, settings, seed).get_env().reset())
    if env == "CartPole-v1":  # SB3's seeds, seed + lane, would share seven of eight
        shared = {tuple(row) for row in starts[0]} & {tuple(row) for row in starts[1]}
        assert not shared
    else:
        assert not np.array_equal(*starts)


def test_loss_environments_are_native_lanes_and_others_are_not():
    native = make_lanes("MNIST-v0", {"discrete": True}, {"n_envs": 16})
    assert type(native).__name__ == "SB3VecEnv"
    assert (native.num_envs, native.action_space.n) == (16, 10)
    other = make_lanes("CartPole-v1", {}, {"n_envs": 2, "normalize": {"norm_reward": False}})
    assert (type(other).__name__, type(other.venv).__name__) == ("VecNormalize", "DummyVecEnv")
    assert (other.norm_obs, other.norm_reward) == (True, False)


def test_gamma_of_the_normalised_return_is_the_agents():
    assert make_lanes("CartPole-v1", {}, {"normalize": True, "gamma": 0.9}).gamma == 0.9
    assert make_lanes("CartPole-v1", {}, {"normalize": True}).gamma == 0.99


def test_one_thread(scored):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        carry_out(a_run("random"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_file_names_are_safe_and_differ():
    runs = [a_run(agent) for agent in ("ppo", "np", "np:fixed")]
    runs += [replace(runs[0], seed=1), replace(runs[0], env="my.envs:Task/Sub-v0")]
    names = [run.file_name for run in runs]
    assert len(set(names)) == len(names)
    assert names[2] == "CartPole-v1-np_fixed-0.json"
    assert names[-1] == "my.envs_Task_Sub-v0-ppo-0.json"
