"""The agent as a Stable-Baselines3 algorithm, after the ideas of SB3's own tests."""

import random

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from nodepert.agents import ConfigError, MlpPolicy, NodePerturbation, NonFiniteError, RnnPolicy
from nodepert.agents.feedback import Response
from nodepert.agents.metrics import weight_alignment

SMALL = {"net_arch": (8,), "batch_size": 4, "seed": 0}
LANES = 8


@pytest.fixture
def make(tasks):
    def make(policy="MlpPolicy", length=1, env=None, **changes):
        env = env or tasks.Echo(length=length)
        return NodePerturbation(policy, env, **{**SMALL, **changes})

    return make


class Probe(BaseCallback):
    """Notes what a callback sees at each step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _on_step(self):
        assert self.locals["dones"].shape == self.locals["rewards"].shape == (LANES,)
        self.seen.append(self.num_timesteps)
        return True


# Learning ----------------------------------------------------------------------------------------


def test_is_a_stable_baselines3_algorithm(make):
    model = make()
    assert isinstance(model, BaseAlgorithm)
    assert model.learn(100) is model
    assert model.get_env().num_envs == model.n_envs == LANES


@pytest.mark.parametrize(("policy", "steps"), [("MlpPolicy", 104), ("RnnPolicy", 128)])
def test_every_lane_is_counted(make, policy, steps):
    probe = Probe()
    model = make(policy, length=3).learn(100, probe)
    assert model.num_timesteps == steps  # whole windows of all lanes
    assert probe.seen == list(range(LANES, steps + 1, LANES))


@pytest.mark.parametrize(
    ("changes", "lanes"),
    [
        ({}, 2),
        ({"probes": 3}, 6),
        ({"credit": "one_sided", "probes": 3}, 4),
        ({"credit": "one_point"}, 1),
        ({"credit": "one_point", "probes": 3}, 3),
        ({"credit": "one_point", "rule": "loss"}, 3),
        ({"rule": "loss"}, 4),
        ({"credit": "one_sided", "rule": "loss"}, 4),
    ],
)
def test_lanes_per_context(make, changes, lanes):
    model = make(**changes)
    assert model.lanes_per_context == lanes
    assert model.n_envs == 4 * lanes
    model.learn(1)
    assert model.num_timesteps == 4 * lanes


def test_learn_goes_on_or_starts_to_count_anew(make):
    model = make().learn(80)
    model.learn(80, reset_num_timesteps=False)
    assert model.num_timesteps == 160
    model.learn(80)
    assert model.num_timesteps == 80


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_learning_rate_schedules(make, schedule):
    rates = []

    def note(locals_, globals_):
        rates.append(locals_["self"].optimizer.param_groups[0]["lr"])
        return True

    make(learning_rate=0.1, lr_schedule=schedule).learn(8 * 100, note)
    assert rates[0] == 0.1
    assert rates[51] == pytest.approx(0.1 if schedule == "constant" else 0.05, rel=0.05)
    assert rates[99] == pytest.approx(0.1 if schedule == "constant" else 0.0, abs=0.002)


def test_learning_rate_may_be_a_function(make):
    model = make(learning_rate=lambda remaining: 0.25 + remaining).learn(8)
    assert model.optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_optimizers(make, optimizer):
    model = make(optimizer=optimizer, momentum=0.5, feedback_optimizer=optimizer).learn(80)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    assert isinstance(model.optimizer, kind)
    assert isinstance(model.feedback_optimizer, kind)
    assert optimizer == "adam" or model.optimizer.param_groups[0]["momentum"] == 0.5


def test_gradient_norm_is_clipped_without_the_feedback_weights(make):
    """A tight clip slows W down, and leaves what B learns alone."""
    model = make(optimizer="sgd", lr_schedule="constant", learning_rate=1.0, max_grad_norm=1e-3)
    weights, feedback = model.optimizer.param_groups[0]["params"], model.policy.network.layers[-1]
    start = [p.detach().clone() for p in weights]
    before = feedback.feedback.clone()
    model.learn(8)
    moved = sum(float((a - b).detach().square().sum()) for a, b in zip(start, weights, strict=True))
    assert moved**0.5 == pytest.approx(1e-3, rel=0.01)
    assert (feedback.feedback - before).norm() > 0.1


# Random numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
@pytest.mark.parametrize("rule", ["response", "loss"])
def test_same_seed_same_weights(make, same_weights, policy, rule):
    one, other, third = (
        make(policy, length=3, rule=rule, seed=seed).learn(500) for seed in (0, 0, 1)
    )
    assert same_weights(one, other)
    assert not same_weights(one, third)


def test_no_global_random_numbers_are_touched_or_read(make, same_weights):
    def states():
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        return random.getstate(), (kind, keys.tolist(), rest), torch.get_rng_state().tolist()

    before = states()
    one = make().learn(200)
    one.predict(np.zeros((2, 3), np.float32))
    assert states() == before
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert same_weights(one, make().learn(200))


def test_without_a_seed_runs_differ(make, same_weights):
    assert not same_weights(make(seed=None), make(seed=None))


def test_set_random_seed(make, same_weights):
    models = [make(), make()]
    for model in models:
        model.learn(40 if model is models[0] else 80)
    models[1].set_parameters(models[0].get_parameters())
    models[1]._n_updates = models[0]._n_updates
    for model in models:
        model.set_random_seed(3)
        model.learn(80)
    assert same_weights(*models)


# Callbacks and logs ------------------------------------------------------------------------------


def test_function_callback_stops(make):
    model = make().learn(10_000, lambda locals_, globals_: locals_["self"].num_timesteps < 80)
    assert model.num_timesteps == 80
    model.learn(80, reset_num_timesteps=False)
    assert model.num_timesteps == 160


def test_stop_in_the_middle_of_a_window(make):
    model = make("RnnPolicy", length=3)
    model.learn(10_000, lambda locals_, globals_: locals_["self"].num_timesteps < 80)
    assert model.num_timesteps == 80
    model.learn(64, reset_num_timesteps=False)
    assert model.num_timesteps == 144


def test_an_interrupted_window_is_forgotten(make, same_weights, monkeypatch):
    """An exception in the middle of a window leaves nothing behind for the next one."""
    models = [make("RnnPolicy", length=3), make("RnnPolicy", length=3)]

    def stop(locals_, globals_):
        if locals_["self"].num_timesteps == 40:
            if locals_["self"] is models[0]:
                raise KeyboardInterrupt
            return False
        return True

    with pytest.raises(KeyboardInterrupt):
        models[0].learn(1000, stop)
    models[1].learn(1000, stop)
    assert models[0].policy.network.layers[0].calls, "there was something to forget"
    counts, original = set(), Response.gradient
    for model in models:
        layers = model.policy.network.layers

        def count(*arguments, layers=layers):
            counts.update(len(layer.calls) for layer in layers)
            return original(*arguments)

        monkeypatch.setattr(Response, "gradient", count)
        model.learn(300, reset_num_timesteps=False)
    assert same_weights(*models)
    assert counts == {8}, "the steps of one window"


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
def test_callbacks_of_stable_baselines3(make, tasks, tmp_path):
    evaluation = EvalCallback(
        gym.wrappers.TimeLimit(tasks.Echo(), 10),
        eval_freq=10,
        n_eval_episodes=5,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        callback_after_eval=StopTrainingOnNoModelImprovement(100),
        warn=False,
        verbose=0,
    )
    checkpoint = CheckpointCallback(20, str(tmp_path), name_prefix="step")
    make().learn(800, CallbackList([evaluation, checkpoint, EveryNTimesteps(80, Probe())]))
    assert len(np.load(tmp_path / "evaluations.npz")["results"]) == 10
    assert sorted(p.name for p in tmp_path.glob("step*")) == sorted(
        f"step_{n}_steps.zip" for n in range(160, 801, 160)
    )
    NodePerturbation.load(tmp_path / "best_model").predict(np.zeros(3, np.float32))


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
def test_stop_at_a_reward_threshold(make, tasks):
    stop = StopTrainingOnRewardThreshold(-0.1)
    evaluation = EvalCallback(tasks.Echo(), callback_on_new_best=stop, eval_freq=50, verbose=0,
                              warn=False, n_eval_episodes=20)  # fmt: skip
    model = make(batch_size=16, learning_rate=0.01).learn(1_000_000, evaluation)
    assert 1000 < model.num_timesteps < 100_000


def test_stop_after_so_many_episodes(make):
    """SB3 counts episodes an environment, and each lane is one."""
    model = make(length=5).learn(10_000, StopTrainingOnMaxEpisodes(3))
    assert model.num_timesteps == 3 * 5 * LANES


def test_logs(make, tmp_path):
    model = make(length=2, stats_window_size=50)
    model.set_logger(configure(str(tmp_path), ["csv", "tensorboard", "json"]))
    model.learn(1600, log_interval=50)
    header, *rows = (tmp_path / "progress.csv").read_text().splitlines()
    assert len(rows) == 4
    last = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert float(last["time/total_timesteps"]) == 1600
    assert float(last["train/n_updates"]) == 200
    assert float(last["rollout/ep_len_mean"]) == 2
    assert float(last["rollout/ep_rew_mean"]) < 0
    assert float(last["train/loss"]) == pytest.approx(
        -float(last["rollout/ep_rew_mean"]) / 2, rel=0.3
    )
    assert "train/learning_rate" in last
    assert not [name for name in last if name.startswith("alignment")]
    assert list(tmp_path.glob("events.out.tfevents*"))


def test_tensorboard_log(make, tmp_path):
    model = make(tensorboard_log=str(tmp_path))
    model.learn(80, tb_log_name="first", log_interval=1)
    assert list((tmp_path / "first_1").glob("events.out.tfevents*"))


def test_progress_bar(make, capsys):
    make().learn(80, progress_bar=True)
    printed = capsys.readouterr()
    assert "80" in printed.out + printed.err


def test_verbose_prints_a_table(make, capsys):
    make(verbose=1).learn(80, log_interval=5)
    assert "total_timesteps" in capsys.readouterr().out


def test_alignment_is_logged_on_request(make):
    model = make(net_arch=(8, 6), alignment_interval=3).learn(8 * 4, log_interval=0)
    names = {name for name in model.logger.name_to_value if name.startswith("alignment/")}
    assert {f"alignment/weight_angle_{i}" for i in (2, 3)} <= names
    assert {f"alignment/error_angle_{i}" for i in (1, 2, 3)} <= names
    for kind in ("relative_error", "sign_congruence", "norm_ratio"):
        assert f"alignment/{kind}_2" in names


def test_alignment_is_logged_at_the_first_update_and_every_so_many(make):
    model = make(alignment_interval=3)
    model.set_logger(configure(None, []))
    logged = []
    for _ in range(7):
        model.learn(8, log_interval=0, reset_num_timesteps=False)
        names = [name for name in model.logger.name_to_value if name.startswith("alignment/")]
        logged.append(bool(names))
        model.logger.name_to_value.clear()
    assert logged == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
def test_carried_errors_turn_towards_the_true_ones(make, policy):
    model = make(policy, net_arch=(20,), batch_size=32, alignment_interval=1)
    model.learn(1, log_interval=0)
    start = dict(model.logger.name_to_value)
    model.learn(64 * 8 * 100, log_interval=0)
    end = model.logger.name_to_value
    top = len(model.policy.network.layers)
    assert start["alignment/error_angle_1"] > 45 > 5 > end["alignment/error_angle_1"]
    assert start[f"alignment/error_angle_{top}"] < 0.1, "the same error at the output"


def test_alignment_costs_nothing_when_off(make, monkeypatch):
    def never(*args):
        raise AssertionError("computed")

    monkeypatch.setattr("nodepert.agents.methods.probing.alignment", never)
    make().learn(80)
    with pytest.raises(AssertionError, match="computed"):
        make(alignment_interval=1).learn(80)


@pytest.mark.parametrize("rule", ["response", "loss", "fixed", "symmetric", "backprop"])
@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
def test_measuring_changes_nothing(make, same_weights, rule, policy):
    models = [make(policy, length=3, rule=rule, alignment_interval=n) for n in (0, 1)]
    assert same_weights(*(model.learn(300) for model in models))


# Predictions -------------------------------------------------------------------------------------


def test_evaluate_policy(make, tasks):
    model = make(batch_size=32, learning_rate=0.01)
    before, _ = evaluate_policy(model, tasks.Echo(), 50, warn=False)
    model.learn(40_000)
    after, _ = evaluate_policy(model, tasks.Echo(), 50, warn=False)
    assert after > before / 4
    assert evaluate_policy(model, model.get_env(), 50)[0] == pytest.approx(after, rel=0.5, abs=0.02)


def test_predict_shapes(make):
    model = make()
    single, state = model.predict(np.zeros(3, np.float32))
    assert single.shape == (3,)
    assert state is None
    batch, _ = model.predict(np.zeros((5, 3), np.float32), deterministic=True)
    assert batch.shape == (5, 3)
    assert batch.dtype == np.float32
    assert np.allclose(batch, single)
    for shape in ((4,), (2, 4), (1, 1, 3), ()):
        with pytest.raises(ConfigError, match="shape"):
            model.predict(np.zeros(shape, np.float32))


def test_predict_discrete(make, tasks):
    model = make(env=tasks.Which())
    action, _ = model.predict(np.zeros(3, np.float32))
    assert np.ndim(action) == 0
    assert model.action_space.contains(action)
    actions, _ = model.predict(np.zeros((5, 3), np.float32))
    assert actions.shape == (5,)


def test_discrete_observations():
    class Digits(gym.Env):
        observation_space = gym.spaces.Discrete(4)
        action_space = gym.spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.shown = int(self.np_random.integers(4))
            return self.shown, {}

        def step(self, action):
            return self.shown, -float(np.square(action - self.shown / 4).sum()), True, False, {}

    model = NodePerturbation("MlpPolicy", Digits, learning_rate=0.01, **SMALL).learn(4000)
    assert model.policy.network.layers[0].weight.shape == (8, 4), "one-hot"
    actions, _ = model.predict(np.arange(4))
    assert actions[:, 0] == pytest.approx([0, 0.25, 0.5, 0.75], abs=0.1)
    assert model.predict(2)[0].shape == (1,)


def test_recurrent_predict_is_what_training_computes(make, monkeypatch):
    """predict with state and episode_start gives the centres of the probes."""
    model = make("RnnPolicy", length=3)
    model.learn(200)
    network, seen = model.policy.network, []
    original = network.record
    monkeypatch.setattr(
        network, "record", lambda *args: seen.append((args[0], original(*args))) or seen[-1][1]
    )
    started = model._situation.started.numpy().copy()
    assert model._situation.state.abs().sum() > 0
    state = (model._situation.state.numpy().copy(),)
    model._collect(model._init_callback(None))
    monkeypatch.undo()
    assert len(seen) == 8
    for t, (x, step) in enumerate(seen):
        action, state = model.predict(x.numpy(), state, started)
        assert action == pytest.approx(step.prediction.detach().numpy() / 2, abs=1e-6)
        started = np.full(4, (model._n_updates * 8 + t + 1) % 3 == 0)
        if t < 2:
            assert state[0].shape == (4, 8)


def test_recurrent_state_matters(make):
    model = make("RnnPolicy", length=3)
    x = np.ones(3, np.float32)
    first, state = model.predict(x)
    second, _ = model.predict(x, state)
    fresh, _ = model.predict(x, state, np.array([True]))
    assert not np.allclose(first, second)
    assert np.allclose(first, fresh)
    kept, _ = model.predict(x, state, np.array([False]))
    assert np.allclose(kept, second)


def test_policy_classes_and_kwargs(tasks):
    for policy, cls in (("MlpPolicy", MlpPolicy), ("RnnPolicy", RnnPolicy)):
        for given in (policy, cls):
            model = NodePerturbation(given, tasks.Echo(), seed=0)
            assert type(model.policy) is cls
    kwargs = {"net_arch": [5, 4], "activation_fn": torch.nn.Tanh}
    model = NodePerturbation("MlpPolicy", tasks.Echo(), policy_kwargs=kwargs)
    assert model.policy.network.hidden_shapes == ((5,), (4,))
    assert isinstance(model.policy.network.activations[0], torch.nn.Tanh)


def test_policy_repeats_its_constructor(make):
    policy = make().policy
    copy = type(policy)(**policy._get_constructor_parameters())
    copy.load_state_dict(policy.state_dict())
    x = np.ones(3, np.float32)
    assert np.array_equal(copy.predict(x)[0], policy.predict(x)[0])


# Environments and parameters ---------------------------------------------------------------------


def test_set_env(make, tasks, same_weights):
    model = make().learn(80)
    model.set_env(tasks.Echo(length=7))
    model.learn(80, reset_num_timesteps=False)
    assert model.num_timesteps == 160
    lanes, seven = model.get_env(), model._vector_env
    with pytest.raises(ConfigError, match="spaces"):
        model.set_env(tasks.Echo(dim=4))
    with pytest.raises(ConfigError, match="multiple of 2"):
        model.set_env(tasks.Echo.vector(3))
    assert (model.get_env(), model._vector_env) == (lanes, seven), "a refused env changes nothing"


def test_only_episodes_of_the_same_env_go_on(make, tasks, same_weights):
    model, untouched = make().learn(80), make().learn(80)
    with pytest.raises(ConfigError, match=r"force_reset=False.*another"):
        model.set_env(tasks.Echo(), force_reset=False)
    model.set_env(model.get_env(), force_reset=False)
    for one in (model, untouched):
        one.learn(80, reset_num_timesteps=False)
    assert same_weights(model, untouched)


def test_set_env_keeps_the_meaning_of_predictions(make, tasks, tmp_path):
    class Louder(tasks.Echo):
        action_scale = 10.0

    model, x = make(), np.ones(3, np.float32)
    before, _ = model.predict(x)
    model.set_env(Louder())
    model.save(tmp_path / "model")
    after, _ = NodePerturbation.load(tmp_path / "model").predict(x)
    assert np.array_equal(before, after)


def test_new_episodes_after_set_env_show_new_contexts(make, tasks):
    model = make().learn(80)
    first = model._context_seeds
    model.set_env(tasks.Echo())
    model.learn(80, reset_num_timesteps=False)
    assert not set(first) & set(model._context_seeds)


def test_parameters(make, same_weights):
    one, other = make(error_model=True).learn(80), make(error_model=True, seed=5)
    parameters = one.get_parameters()
    assert {"policy", "optimizer", "feedback_optimizer", "memory"} == set(parameters)
    assert not same_weights(one, other)
    other.set_parameters(parameters)
    assert same_weights(one, other)
    with pytest.raises(ValueError, match="match"):
        other.set_parameters({"policy": parameters["policy"]})
    other.set_parameters({"policy": parameters["policy"]}, exact_match=False)


def test_parameters_from_a_file(make, same_weights, tmp_path):
    one = make(learning_rate=lambda remaining: 0.1).learn(80)
    one.save(tmp_path / "model")
    other = make(learning_rate=lambda remaining: 0.1, seed=5)
    other.set_parameters(tmp_path / "model")
    assert same_weights(one, other)


def test_vec_normalize_is_found(tasks):
    env = VecNormalize(DummyVecEnv([tasks.Echo] * 8))
    model = NodePerturbation("MlpPolicy", env, **SMALL).learn(80)
    assert model.get_vec_normalize_env() is env


def test_device(make):
    assert make(device="cpu").device.type == "cpu"


@pytest.mark.parametrize("policy", ["TransformerPolicy", "mlp", ""])
def test_unknown_policy(tasks, policy):
    with pytest.raises(ConfigError, match="expected one of MlpPolicy, RnnPolicy"):
        NodePerturbation(policy, tasks.Echo())


def test_learning_without_an_environment(make, tmp_path):
    make().save(tmp_path / "model")
    with pytest.raises(ConfigError, match="set_env"):
        NodePerturbation.load(tmp_path / "model").learn(1)


# What goes wrong ---------------------------------------------------------------------------------


def test_nan_reward_names_lane_and_step(tasks):
    makers = iter([tasks.Bandit(bad=5 if i == 3 else None) for i in range(8)])
    model = NodePerturbation("MlpPolicy", lambda: next(makers), credit="paired", **SMALL)
    with pytest.raises(
        NonFiniteError, match=r"reward nan in lane 3 at vector step 5 \(env step 40"
    ):
        model.learn(1000)


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
def test_divergence_is_an_error_and_leaves_the_last_good_file(make, tmp_path, policy):
    save = CheckpointCallback(1, str(tmp_path))
    model = make(
        policy,
        optimizer="sgd",
        learning_rate=1e12,
        lr_schedule="constant",
        policy_kwargs={"activation_fn": torch.nn.Identity},
    )
    with pytest.raises(NonFiniteError, match=r"lane \d+ is not finite after env step \d+"):
        model.learn(10_000, save)
    for path in tmp_path.glob("*.zip"):
        good = NodePerturbation.load(path)
        assert all(torch.isfinite(p).all() for p in good.policy.parameters())


def test_given_needs_an_environment_that_gives(make, tasks):
    with pytest.raises(ConfigError, match="expose_gradient=True"):
        make(credit="given").learn(1)
    model = make(credit="given", env=tasks.Echo(expose_gradient=True), batch_size=32,
                 learning_rate=0.01, rule="backprop")  # fmt: skip
    model.learn(10_000)
    assert evaluate_policy(model, tasks.Echo(), 50, warn=False)[0] > -0.05


def test_metrics_of_the_start_and_the_end(make):
    model = make(net_arch=(20,), batch_size=32)
    start = weight_alignment(model.policy.network)
    end = weight_alignment(model.learn(64 * 200).policy.network)
    assert start["weight_angle_2"] > 60 > 5 > end["weight_angle_2"]
    assert start["relative_error_2"] > 0.8 > 0.1 > end["relative_error_2"]
    assert start["sign_congruence_2"] < 0.75 < 0.95 < end["sign_congruence_2"]
    assert end["norm_ratio_2"] == pytest.approx(1, abs=0.1)
