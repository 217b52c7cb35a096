"""Score mode learns in environments with dynamics, and handles the ends of their episodes."""

import gc

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from nodepert.agents import ConfigError, NodePerturbation, NonFiniteError
from nodepert.envs import DelayedXOR

CARTPOLE = {"net_arch": (32, 32), "activation": "tanh", "batch_size": 256, "lr_schedule": "linear"}
SMALL = {"net_arch": (8,), "n_envs": 4, "n_steps": 16, "batch_size": 32, "n_epochs": 2}


class Walk(gym.Env):
    """Five places in a row; the action says where to go, the reward waits at the right end.

    The episode ends there, or after ``limit`` steps. No other step is rewarded, so that only a
    critic that looks ahead tells which actions were good.
    """

    def __init__(self, action_space=None, limit=12):
        self.observation_space = spaces.Box(-1, 1, (5,), np.float32)
        self.action_space = action_space or spaces.Discrete(2)
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = int(self.np_random.integers(3)), 0
        return self.shown(), {}

    def shown(self):
        return np.eye(5, dtype=np.float32)[self.place]

    def step(self, action):
        assert self.action_space.contains(action), action
        right = np.asarray(action).ravel()[-1] > 0
        self.place = max(self.place + (1 if right else -1), 0)
        self.steps += 1
        done = self.place == 4
        return self.shown(), float(done), done, self.steps >= self.limit and not done, {}


def test_environments_with_dynamics_are_learned_by_score():
    model = NodePerturbation("MlpPolicy", "CartPole-v1", seed=0, **CARTPOLE)
    assert model.config.credit == "score"
    assert model.learn(25_000).num_timesteps == 25_600
    assert evaluate_policy(model, make_vec_env("CartPole-v1", 5, seed=99), 10)[0] > 350


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(2),
        spaces.Box(-2, 2, (1,), np.float32),
        spaces.MultiBinary(2),
        spaces.MultiDiscrete([3, 2]),
    ],
    ids=str,
)
def test_delayed_rewards_are_learned_with_every_kind_of_action(space):
    model = NodePerturbation("MlpPolicy", lambda: Walk(space), credit="score", seed=0, **SMALL)
    model.learn(4_000)
    mean, _ = evaluate_policy(model, DummyVecEnv([lambda: Walk(space, limit=4)]), 20, warn=False)
    assert mean == 1, "no step is wasted"


@pytest.mark.parametrize("rule", ["response", "fixed", "matched", "direct", "backprop"])
def test_rules_that_need_no_probes(rule):
    model = NodePerturbation("MlpPolicy", Walk, credit="score", rule=rule, seed=1, **SMALL)
    model.learn(4_000)
    assert evaluate_policy(model, DummyVecEnv([Walk]), 20, warn=False)[0] == 1


def test_rules_that_learn_from_probes_are_refused():
    with pytest.raises(ConfigError, match=r"rule='loss': .*credit='score'"):
        NodePerturbation("MlpPolicy", Walk, credit="score", rule="loss")


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
def test_seeds_give_bit_identical_runs(same_weights, policy):
    models = [NodePerturbation(policy, Walk, seed=seed, **SMALL).learn(300) for seed in (3, 3, 4)]
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


class Recall(gym.Env):
    """The first observation says which action is right in the last of three steps."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.right, self.steps = int(self.np_random.integers(2)), 0
        return np.array([2 * self.right - 1, 0], np.float32), {}

    def step(self, action):
        self.steps += 1
        done = self.steps == 3
        shown = np.array([0, self.steps == 2], np.float32)
        return shown, float(done and action == self.right), done, False, {}


def test_recurrent_policies_remember():
    means = {}
    for policy in ("RnnPolicy", "MlpPolicy"):
        model = NodePerturbation(policy, Recall, credit="score", seed=0, net_arch=(16,),
                                 activation="tanh", n_envs=8, n_steps=30, sequence_length=6,
                                 batch_size=60, n_epochs=4, learning_rate=5e-3)  # fmt: skip
        model.learn(6_000)
        means[policy] = evaluate_policy(model, DummyVecEnv([Recall]), 40, warn=False)[0]
    assert means["RnnPolicy"] > 0.95
    assert means["MlpPolicy"] < 0.8


def test_sequences_must_fit():
    with pytest.raises(ConfigError, match="n_steps=10: expected a multiple of sequence_length=4"):
        NodePerturbation("RnnPolicy", Walk, n_steps=10, sequence_length=4)


# Ends of episodes --------------------------------------------------------------------------------


class Clock(gym.Env):
    """Shows how many steps were played; each is worth 1. Ends or is cut off after three."""

    observation_space = spaces.Box(0, 10, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, terminates):
        self.terminates = terminates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == 3
        shown = np.full(1, self.steps, np.float32)
        return shown, 1.0, over and self.terminates, over and not self.terminates, {}


def played(mode, terminates):
    """One rollout of lanes whose critic says what the observation shows, times 100."""
    env = SyncVectorEnv([lambda: Clock(terminates)] * 2, autoreset_mode=mode)
    model = NodePerturbation(
        "MlpPolicy", env, credit="score", net_arch=(), n_steps=8, gamma=0.5, gae_lambda=0.0,
        normalize_observation=False, normalize_reward=False,
    )  # fmt: skip
    critic = model.policy.critic.layers[-1]
    critic.weight.data.fill_(100.0)
    _, callback = model._setup_learn(100)
    return model._collect(callback)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("terminates", [True, False])
def test_a_cut_off_episode_is_worth_its_last_observation_and_an_ended_one_nothing(mode, terminates):
    rollout = played(mode, terminates)
    returns = rollout.returns[rollout.valid].view(-1, 2)[:6, 0].tolist()  # of one lane
    last = 1.0 if terminates else 1 + 0.5 * 300
    assert returns == pytest.approx([1 + 0.5 * 100, 1 + 0.5 * 200, last] * 2)
    assert int((~rollout.valid).sum()) == (0 if mode is AutoresetMode.SAME_STEP else 4)


# Scales ------------------------------------------------------------------------------------------


def test_observations_and_rewards_of_any_scale():
    class Scaled(Walk):
        def shown(self):
            return 1e3 * super().shown() + 5e4

        def step(self, action):
            shown, reward, *rest = super().step(action)
            return shown, 1e4 * reward, *rest

    Scaled.observation_space = spaces.Box(-1e6, 1e6, (5,), np.float32)
    model = NodePerturbation("MlpPolicy", Scaled, credit="score", seed=0, **SMALL).learn(4_000)
    assert evaluate_policy(model, DummyVecEnv([Scaled]), 20, warn=False)[0] == 1e4


def test_an_environment_that_is_normalised_already_is_left_as_it_is():
    model = NodePerturbation("MlpPolicy", VecNormalize(DummyVecEnv([Walk] * 4)), **SMALL)
    assert model.config.credit == "score"
    assert model.policy.statistics is None
    assert model.method.reward_statistics is None
    model.learn(200)
    model = NodePerturbation("MlpPolicy", VecNormalize(DummyVecEnv([Walk] * 4)),
                             normalize_observation=True, **SMALL)  # fmt: skip
    assert model.policy.statistics is not None


@pytest.mark.parametrize("schedule", ["constant", "linear", "learned"])
def test_noise_follows_its_schedule(schedule):
    model = NodePerturbation("MlpPolicy", Walk, exploration_schedule=schedule, seed=0, **SMALL)
    exploration = model.method.exploration
    start = exploration.current(1.0).exp()
    assert start.tolist() == pytest.approx([1.0, 1.0])
    model.learn(2_000)
    assert (exploration.current(0.5).exp() < 0.6).all() == (schedule == "linear")
    assert torch.equal(exploration.log_std, torch.zeros(2)) == (schedule != "learned")
    assert evaluate_policy(model, DummyVecEnv([Walk]), 20, warn=False)[0] == 1


# Files and failures ------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
def test_saved_models_predict_the_same(tmp_path, same_weights, policy):
    model = NodePerturbation(policy, Walk, exploration_schedule="learned", seed=0, **SMALL)
    model.learn(500).save(tmp_path / "model")
    loaded = NodePerturbation.load(tmp_path / "model", Walk)
    assert same_weights(model, loaded)
    assert loaded.config == model.config
    assert loaded.policy.statistics.count > 100
    observation = np.eye(5, dtype=np.float32)
    assert (model.predict(observation)[0] == loaded.predict(observation)[0]).all()
    loaded.learn(100)


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path, same_weights, policy):
    settings = {**SMALL, "lr_schedule": "constant", "credit": "score", "seed": 0}
    whole = NodePerturbation(policy, DelayedXOR(), **settings).learn(640)
    first = NodePerturbation(policy, DelayedXOR(), **settings)
    first.learn(640, callback=lambda own, _: own["self"].num_timesteps < 300)  # within a rollout
    first.save(tmp_path / "model")
    rest = NodePerturbation.load(tmp_path / "model", DelayedXOR(), force_reset=False)
    rest.learn(640 - rest.num_timesteps, reset_num_timesteps=False)
    assert rest.num_timesteps == whole.num_timesteps
    assert same_weights(whole, rest)


def test_divergence_names_the_lane():
    model = NodePerturbation("MlpPolicy", Walk, credit="score", learning_rate=1e38,
                             optimizer="sgd", max_grad_norm=1e30, **SMALL)  # fmt: skip
    with pytest.raises(NonFiniteError, match=r"lane \d.*smaller learning_rate"):
        model.learn(1_000)


def test_progress_is_logged(tmp_path):
    from stable_baselines3.common.logger import configure

    model = NodePerturbation("MlpPolicy", Walk, alignment_interval=1, **SMALL)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(200)
    columns = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    assert {"rollout/ep_rew_mean", "train/value_loss", "train/std", "train/clip_fraction",
            "alignment/weight_angle_2"} <= set(columns)  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "settings"), [("RnnPolicy", {"policy_kwargs": {"cell": "lstm"}}), ("MlpPolicy", {})]
)
@pytest.mark.parametrize("rule", ["response", "backprop"])
def test_nothing_of_a_rollout_is_kept(policy, settings, rule):
    """Errors that remember where they came from would hold on to every graph there ever was."""

    def alive():
        gc.collect()
        return sum(type(one) is torch.Tensor for one in gc.get_objects())

    model = NodePerturbation(policy, Walk, rule=rule, seed=0, **SMALL, **settings)
    model.learn(128)
    before = alive()
    model.learn(256, reset_num_timesteps=False)
    assert alive() <= before + 20
