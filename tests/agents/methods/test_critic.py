"""Critic mode: deterministic policy gradients from two critics, by learned feedback."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.callbacks import CheckpointCallback

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.methods.action_gradients import (
    gradient_at_input,
    policy_error,
    smoothed,
    twin_returns,
)
from nodepert.agents.methods.replay_buffer import Transitions
from nodepert.agents.networks import MLP

SMALL = {"credit": "critic", "net_arch": (16, 16), "n_envs": 4, "batch_size": 32, "seed": 0,
         "lr_schedule": "constant"}  # fmt: skip
EXACT = ["symmetric", "backprop"]


class Glide(gym.Env):
    """Come to rest at 0: the action is a push, the reward minus the squared distance."""

    observation_space = spaces.Box(-2, 2, (2,), np.float32)
    action_space = spaces.Box(-3, 1, (1,), np.float32)  # whose middle is a push to the left

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.speed, self.steps = self.np_random.uniform(-1, 1), 0.0, 0
        return self.shown(), {}

    def shown(self):
        return np.array([self.place, self.speed], np.float32)

    def step(self, action):
        self.speed = np.clip(0.5 * self.speed + 0.2 * float(action[0]), -0.5, 0.5)
        self.place = np.clip(self.place + self.speed, -2, 2)
        self.steps += 1
        return self.shown(), -(self.place**2), False, self.steps == 15, {}


class Endless(gym.Env):
    """Reward 1 a step, for ever; a time limit cuts it off after three, or the task ends."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, terminates):
        self.terminates = terminates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.ones(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == 3
        shown = np.ones(2, np.float32)
        return shown, 1.0, over and self.terminates, over and not self.terminates, {}


def transitions(generator, rows=8):
    """Some of Glide's, of which the last two do not count."""
    return Transitions(
        torch.arange(rows),
        torch.randn(rows, 2, generator=generator).numpy(),
        torch.rand(rows, 1, generator=generator) * 2 - 1,
        torch.randn(rows, generator=generator),
        torch.tensor([True, False] * (rows // 2)),
        torch.tensor([True] * (rows - 2) + [False] * 2),
    )


# Equations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["transpose", "autograd"])
def test_gradient_at_the_input_is_that_of_autograd(path):
    generator = torch.Generator().manual_seed(0)
    network = MLP(5, (7, 6), 1, activation=("relu", "tanh"), path=path, generator=generator)
    x = torch.randn(9, 5, generator=generator, requires_grad=True)
    network.set_path("autograd")
    wanted = torch.autograd.grad(network.step(x).prediction.sum(), x)[0]
    network.set_path(path)
    torch.testing.assert_close(gradient_at_input(network, x.detach()), wanted)
    assert not any(layer.calls for layer in network.layers), "calls are left over"


def test_gradient_at_the_input_takes_the_feedback_weights():
    generator = torch.Generator().manual_seed(0)
    network = MLP(5, (7,), 1, activation="identity", path="feedback", generator=generator)
    first, last = network.layers
    wanted = (last.feedback @ first.weight).expand(3, 5)
    torch.testing.assert_close(gradient_at_input(network, torch.ones(3, 5)), wanted)


def test_error_points_up_the_gradient_and_back_from_edges():
    gradient = torch.tensor([[2.0], [2.0], [2.0], [-2.0], [-2.0]])
    said = torch.tensor([[0.0], [0.5], [1.5], [0.5], [-1.0]])
    assert policy_error(gradient, said, True).flatten().tolist() == [-1.0, -0.5, 0.5, 1.5, 0.0]
    assert policy_error(gradient, said, False).tolist() == (-gradient).tolist()


def test_targets_take_the_lesser_value_unless_the_task_has_ended():
    rewards, terminated = torch.tensor([1.0, 1.0]), torch.tensor([False, True])
    following = torch.tensor([[3.0, 2.0], [5.0, 7.0]])
    assert twin_returns(rewards, terminated, following, 0.5).tolist() == [2.0, 1.0]


def test_noise_on_actions_is_clipped_and_so_are_they():
    said, generator = torch.full((10_000, 1), 0.9), torch.Generator().manual_seed(0)
    free = smoothed(said, 0.2, 0.3, False, generator) - said
    assert free.abs().max() <= 0.3 + 1e-6
    assert free.std() == pytest.approx(0.18, abs=0.02)
    assert smoothed(said, 0.2, 0.3, True, generator).max() == 1


@pytest.mark.parametrize("rule", EXACT)
def test_steps_of_the_critics_are_those_of_autograd(rule, monkeypatch):
    settings = {"optimizer": "sgd", "gamma": 0.5, "target_policy_noise": 0.0}
    method = NodePerturbation("MlpPolicy", Glide(), **SMALL, rule=rule, **settings).method
    generator = torch.Generator().manual_seed(1)
    part, following = transitions(generator), torch.randn(8, 2, generator=generator)
    monkeypatch.setattr(method.buffer, "following", lambda rows: following[rows].numpy())
    with torch.no_grad():  # the target networks are others
        method.target.layers[-1].bias += 0.3
        for j in range(2):
            method.target_critics[j].layers[-1].bias += 1.0 + j
        joint = torch.cat([following, method.target.step(following, None).prediction], 1)
        after = torch.minimum(*(q.step(joint, None).prediction for q in method.target_critics))
    targets = part.rewards + 0.5 * after[:, 0] * ~part.terminated
    x = torch.from_numpy(part.observations)
    wanted = []
    for descent in method.critic_descents:
        values = descent.network.step(torch.cat([x, part.actions], 1), None).prediction[:, 0]
        loss = 0.5 * (values - targets)[part.valid].square().mean()
        wanted += torch.autograd.grad(loss, descent.network.forward_weights)
        descent.network.forget_calls()
    method._step_critics(x, part, part.valid, 6, 1)
    found = [w.grad for one in method.critic_descents for w in one.network.forward_weights]
    for gradient, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, right)


@pytest.mark.parametrize("rule", EXACT)
def test_a_step_of_the_policy_is_that_of_autograd(rule):
    method = NodePerturbation("MlpPolicy", Glide(), **SMALL, rule=rule, optimizer="sgd").method
    network, critic = method.policy.network, method.critic_descents[0].network
    x, valid = torch.randn(8, 2), torch.tensor([True] * 6 + [False] * 2)
    said = network.step(x, None).prediction
    network.forget_calls()
    mirror = copy.deepcopy(critic)
    mirror.set_path("autograd")
    at = said.detach().requires_grad_()
    slope = torch.autograd.grad(mirror.step(torch.cat([x, at], 1), None).prediction.sum(), at)[0]
    room = torch.where(slope > 0, 1 - at, 1 + at).detach() / 2
    wanted = torch.autograd.grad(-(slope * room * said)[valid].sum() / 6, network.forward_weights)
    before = [weight.clone() for weight in critic.forward_weights]
    method._step_actor(x, valid, 6, 1)
    for weight, gradient in zip(network.forward_weights, wanted, strict=True):
        torch.testing.assert_close(weight.grad, gradient)
    assert all(map(torch.equal, before, critic.forward_weights)), "the critic has learned"


def test_targets_follow_slowly():
    method = NodePerturbation("MlpPolicy", Glide(), **SMALL, tau=0.25).method
    pairs = [(method.target, method.policy.network)]
    pairs += [
        (t, d.network) for t, d in zip(method.target_critics, method.critic_descents, strict=True)
    ]
    with torch.no_grad():
        for _, network in pairs:
            network.layers[0].bias += 1.0
    method._follow()
    for target, _ in pairs:
        torch.testing.assert_close(target.layers[0].bias, torch.full((16,), 0.25))


# Learning ----------------------------------------------------------------------------------------


def mean_return(model, episodes=20):
    env, total = Glide(), 0.0
    for episode in range(episodes):
        shown, _ = env.reset(seed=1_000 + episode)
        over = False
        while not over:
            shown, reward, _, over, _ = env.step(model.predict(shown)[0])
            total += reward
    return total / episodes


@pytest.mark.parametrize("rule", ["response", "backprop"])
def test_learns_to_come_to_rest(rule):
    model = NodePerturbation(
        "MlpPolicy", Glide, **SMALL, rule=rule, gradient_steps=2, learning_rate=3e-3, gamma=0.9
    )
    assert mean_return(model) < -20
    model.learn(1_600)
    assert mean_return(model) > -1


@pytest.mark.parametrize("terminates", [False, True])
def test_a_time_limit_does_not_end_the_task(terminates):
    env = SyncVectorEnv([lambda: Endless(terminates)] * 4)
    settings = {"gamma": 0.8, "tau": 0.05, "learning_rate": 3e-3, "policy_delay": 1,
                "gradient_steps": 1}  # fmt: skip
    method = NodePerturbation("MlpPolicy", env, **SMALL, **settings).learn(2_000).method
    # One observation stands for all three steps; the task goes on after each, or after 2 of 3.
    expected = 1 / (1 - 0.8 * (2 / 3 if terminates else 1))
    for descent in method.critic_descents:
        value = descent.network.step(torch.tensor([[1.0, 1.0, 0.0]]), None).prediction.item()
        assert value == pytest.approx(expected, rel=0.1)


def test_learned_feedback_follows_the_weights():
    model = NodePerturbation("MlpPolicy", Glide, **SMALL, gradient_steps=2).learn(1_600)
    for network in (model.policy.network, *(one.network for one in model.method.critic_descents)):
        for layer in network.layers[1:]:
            cosine = torch.cosine_similarity(layer.feedback.flatten(), layer.weight.flatten(), 0)
            assert cosine > 0.9


# Runs --------------------------------------------------------------------------------------------


def test_networks_start_as_small_as_torchs_unless_told_otherwise():
    for options, gain in ({}, 3**-0.5), ({"init_gain": 1.0}, 1.0):
        model = NodePerturbation(
            "MlpPolicy", Glide, **{**SMALL, "net_arch": (400, 400)}, policy_kwargs=options
        )
        for network in (model.policy.network, model.method.critic_descents[1].network):
            std = network.layers[1].weight.std().item()
            assert std == pytest.approx(gain / 20, rel=0.02)


def test_as_many_minibatches_as_env_steps_unless_told_otherwise():
    counted = []
    for options in ({}, {"gradient_steps": 3}):
        model = NodePerturbation("MlpPolicy", Glide, **SMALL, **options)
        method = model.method
        step, calls = method._step_critics, []
        method._step_critics = lambda *args, step=step, calls=calls: calls.append(1) or step(*args)
        model.learn(400)
        counted.append(len(calls))
    assert counted[0] > 250, "from learning_starts on"
    assert counted[0] / 4 == counted[1] / 3


def test_a_run_too_short_to_learn_says_so():
    model = NodePerturbation("MlpPolicy", Glide, **SMALL, learning_starts=400)
    with pytest.warns(UserWarning, match="learning_starts=400: .*ends after 300 env steps"):
        model.learn(300)


def test_starts_with_uniform_actions_and_learns_nothing_from_them_yet(same_weights):
    tried = []

    class Watched(Glide):
        def step(self, action):
            tried.append(float(action[0]))
            return super().step(action)

    def model():
        return NodePerturbation("MlpPolicy", Watched, **SMALL, learning_starts=400)

    # A time limit takes up a row of the buffer, too.
    assert same_weights(model(), model().learn(372))
    share = np.histogram(tried, bins=4, range=(-3, 1))[0] / len(tried)
    assert share == pytest.approx([0.25] * 4, abs=0.08)
    assert not same_weights(model(), model().learn(500))


def test_equal_seeds_give_equal_models(same_weights):
    def trained(seed):
        return NodePerturbation("MlpPolicy", Glide, **{**SMALL, "seed": seed}).learn(600)

    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert same_weights(trained(3), trained(3))
    assert not same_weights(trained(3), trained(4))
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("buffer_size", [128, 10_000])
def test_a_checkpoint_resumes_bit_for_bit(same_weights, tmp_path, buffer_size):
    settings = {**SMALL, "buffer_size": buffer_size, "n_steps": 3, "gradient_steps": 2}
    whole = NodePerturbation("MlpPolicy", "nodepert.envs:Pendulum-v1", **settings)
    whole.learn(600, callback=CheckpointCallback(100, tmp_path, "run"))
    resumed = NodePerturbation.load(
        tmp_path / "run_400_steps", "nodepert.envs:Pendulum-v1", force_reset=False
    )
    resumed.learn(600 - resumed.num_timesteps, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert same_weights(whole, resumed)
    ours, theirs = whole.memory.state_dict(), resumed.memory.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_file_that_only_predicts(tmp_path):
    model = NodePerturbation("MlpPolicy", Glide, **SMALL).learn(400)
    model.save(tmp_path / "model")
    loaded = NodePerturbation.load(tmp_path / "model")
    shown = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    assert np.array_equal(model.predict(shown)[0], loaded.predict(shown)[0])
    assert NodePerturbation.load(tmp_path / "model", Glide).learn(400).num_timesteps == 400


# What does not go together -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "env", "changes", "message"),
    [
        ("MlpPolicy", "CartPole-v1", {}, r"credit='critic': action space Discrete.*expected a Box"),
        ("RnnPolicy", "Pendulum-v1", {}, r"RnnPolicy has no MLP.*expected MlpPolicy"),
        ("CnnPolicy", "MNIST-v0", {}, r"CnnPolicy has no MLP.*expected MlpPolicy"),
        ("MlpPolicy", "Pendulum-v1", {"rule": "loss"}, r"rule='loss'.*credit='critic'"),
        ("MlpPolicy", "Pendulum-v1", {"tau": 2.0}, r"tau=2.0: expected a finite number"),
        ("MlpPolicy", "Pendulum-v1", {"policy_delay": 0}, r"policy_delay=0: expected an integer"),
        (
            "MlpPolicy",
            "Pendulum-v1",
            {"learning_starts": 200, "buffer_size": 100},
            r"learning_starts=200: expected at most buffer_size=100",
        ),
        (
            "MlpPolicy",
            "Pendulum-v1",
            {"exploration_schedule": "learned"},
            r"exploration_schedule='learned': expected 'constant' or 'linear'",
        ),
    ],
)
def test_what_is_not_valid_is_named(policy, env, changes, message):
    with pytest.raises(ConfigError, match=message):
        NodePerturbation(policy, env, credit="critic", **changes)
