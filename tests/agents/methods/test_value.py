"""Value mode: the regression of action values, from a replay buffer, by learned feedback."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.callbacks import CheckpointCallback

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.methods.action_values import one_step_returns, softmax_choice, value_error
from nodepert.agents.methods.replay_buffer import Transitions
from nodepert.envs import LossVectorEnv

SMALL = {"credit": "value", "net_arch": (16,), "n_envs": 16, "batch_size": 16, "seed": 0}


class Walk(gym.Env):
    """Four places in a row: leave for 0.3 at once, or go on to 1 at the end. Actions 5 and 6."""

    LENGTH = 4

    def __init__(self):
        self.observation_space = spaces.Discrete(self.LENGTH)
        self.action_space = spaces.Discrete(2, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return 0, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        if action == 5:
            return self.place, 0.3, True, False, {}
        end = self.place == self.LENGTH - 1
        self.place += not end
        return self.place, float(end), end, False, {}


class Endless(gym.Env):
    """Reward 1 a step, for ever; a time limit cuts it off after three."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

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


# Equations ---------------------------------------------------------------------------------------


def test_error_is_the_gradient_of_the_regression():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    actions, targets = torch.tensor([0, 1, 2, 2, 1, 0]), torch.randn(6, generator=generator)
    loss = 0.5 * (values[torch.arange(6), actions] - targets).square().sum()
    loss.backward()
    torch.testing.assert_close(value_error(values.detach(), actions, targets.double()), values.grad)


def test_targets_go_on_unless_the_task_has_ended():
    rewards, terminated = torch.tensor([1.0, 1.0, -2.0]), torch.tensor([False, True, False])
    following = torch.tensor([[0.0, 3.0], [5.0, 7.0], [-4.0, -6.0]])
    targets = one_step_returns(rewards, terminated, following, 0.5)
    assert targets.tolist() == [2.5, 1.0, -4.0]


def test_actions_are_drawn_by_softmax():
    values = torch.tensor([[0.0, 0.1, -0.1]]).expand(40_000, 3)
    actions = softmax_choice(values, 0.1, torch.Generator().manual_seed(0))
    shares = torch.bincount(actions) / len(actions)
    torch.testing.assert_close(shares, torch.softmax(values[0] / 0.1, 0), atol=0.01, rtol=0)


@pytest.mark.parametrize("rule", ["symmetric", "backprop"])
def test_one_step_of_the_weights_is_that_of_autograd(tasks, rule, monkeypatch):
    model = NodePerturbation(
        "MlpPolicy", tasks.Which(), **SMALL, rule=rule, optimizer="sgd", gamma=0.5
    )
    method, network = model.method, model.policy.network
    with torch.no_grad():
        method.target.layers[-1].bias += 1.0  # the target network is another one
    generator = torch.Generator().manual_seed(1)
    shown, following = torch.randn(2, 8, 3, generator=generator)
    monkeypatch.setattr(method.buffer, "following", lambda rows: following[rows].numpy())
    part = Transitions(
        torch.arange(8),
        shown.numpy(),
        torch.randint(3, (8,), generator=generator),
        torch.randn(8, generator=generator),
        torch.tensor([True, False] * 4),
        torch.tensor([True] * 6 + [False] * 2),
    )
    with torch.no_grad():
        best = method.target.step(following, None).prediction.max(1).values
    targets = part.rewards + 0.5 * best * ~part.terminated
    taken = network.step(shown, None).prediction[torch.arange(8), part.actions]
    loss = 0.5 * (taken - targets)[part.valid].square().mean()
    wanted = torch.autograd.grad(loss, network.forward_weights)
    network.forget_calls()
    method._step(part, 1)
    for weight, gradient in zip(network.forward_weights, wanted, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


# Learning ----------------------------------------------------------------------------------------


def returns(model, env, episodes=20):
    """Mean return of the greedy policy."""
    total = 0.0
    for episode in range(episodes):
        shown, _ = env.reset(seed=1_000 + episode)
        over = False
        while not over:
            shown, reward, terminated, truncated, _ = env.step(model.predict(shown)[0])
            total += reward
            over = terminated or truncated
    return total / episodes


@pytest.mark.parametrize("rule", ["response", "fixed"])
def test_learns_which_action_is_right(tasks, rule):
    model = NodePerturbation(
        "MlpPolicy", tasks.Which(), **SMALL, rule=rule, gradient_steps=3, learning_rate=1e-2
    )
    assert returns(model, tasks.Which(), 200) < -0.4
    model.learn(3_000)
    assert returns(model, tasks.Which(), 200) > -0.08


def test_learns_to_wait_for_a_reward_that_comes_late():
    settings = {"temperature": 0.3, "target_update_interval": 160, "gradient_steps": 4}
    model = NodePerturbation(
        "MlpPolicy", Walk, **SMALL, **settings, gamma=0.9, learning_rate=5e-3
    ).learn(4_000)
    assert returns(model, Walk(), 1) == 1.0
    values = model.policy(torch.eye(4)).detach()
    wanted = torch.tensor([[0.3, 0.9**k] for k in (3, 2, 1, 0)])
    torch.testing.assert_close(values, wanted, atol=0.1, rtol=0)


@pytest.mark.parametrize("terminates", [False, True])
def test_a_time_limit_does_not_end_the_task(terminates):
    env = SyncVectorEnv([lambda: Endless(terminates)] * 4)
    settings = {"gamma": 0.8, "target_update_interval": 40, "learning_rate": 1e-2}
    model = NodePerturbation("MlpPolicy", env, **SMALL, **settings).learn(2_000)
    # One observation stands for all three steps; the task goes on after each, or after 2 of 3.
    expected = 1 / (1 - 0.8 * (2 / 3 if terminates else 1))
    assert model.policy(torch.ones(1, 2)).max().item() == pytest.approx(expected, rel=0.1)


def test_learned_feedback_follows_the_weights(tasks):
    model = NodePerturbation(
        "MlpPolicy",
        tasks.Which(),
        **{**SMALL, "net_arch": (16, 16)},
        alignment_interval=1,
        gradient_steps=2,
    )
    found = []
    learn = model.method.learn_from

    def learn_from(*arguments):
        found.append(learn(*arguments))
        return found[-1]

    model.method.learn_from = learn_from
    model.learn(3_000)
    angles = [name for name in found[0] if "angle" in name]
    assert angles
    for name in angles:
        assert found[0][name] > 50
        assert found[-1][name] < 5


# Runs --------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_models(tasks, same_weights):
    def trained(seed):
        return NodePerturbation("MlpPolicy", tasks.Which(), **{**SMALL, "seed": seed}).learn(600)

    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert same_weights(trained(3), trained(3))
    assert not same_weights(trained(3), trained(4))
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_nothing_is_learned_from_info(tasks, same_weights):
    def trained(wrap):
        lanes = wrap(LossVectorEnv(tasks.Which(), 4))
        return NodePerturbation("MlpPolicy", lanes, **SMALL).learn(400)

    # Where an episode ends SAME_STEP, final observations come in info: Which's are never used.
    plain = trained(lambda lanes: lanes)
    assert same_weights(plain, trained(lambda lanes: Blind(lanes)))


class Blind(gym.vector.VectorWrapper):
    """Passes on final observations alone."""

    def step(self, actions):
        *first, info = self.env.step(actions)
        return (*first, {"final_obs": info["final_obs"]})


@pytest.mark.parametrize("buffer_size", [64, 10_000])
def test_a_checkpoint_resumes_bit_for_bit(tasks, same_weights, tmp_path, buffer_size):
    class Which3(tasks.Which):  # three steps an episode, of which a time limit leaves two
        def episode_length(self, context):
            return 3

    def lanes():
        return LossVectorEnv(Which3(), 4, max_episode_steps=2)

    settings = {**SMALL, "buffer_size": buffer_size, "gradient_steps": 2, "gamma": 0.5,
                "n_steps": 3, "target_update_interval": 40, "lr_schedule": "constant"}  # fmt: skip
    whole = NodePerturbation("MlpPolicy", lanes(), **settings)
    # Saved in the middle of three steps: as of before them.
    whole.learn(600, callback=CheckpointCallback(100, tmp_path, "run"))
    resumed = NodePerturbation.load(tmp_path / "run_400_steps", lanes(), force_reset=False)
    assert resumed.num_timesteps == 396
    resumed.learn(600 - 396, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert same_weights(whole, resumed)
    ours, theirs = whole.memory.state_dict(), resumed.memory.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_file_that_only_predicts_and_new_episodes(tasks, tmp_path):
    model = NodePerturbation("MlpPolicy", tasks.Which(), **SMALL).learn(400)
    model.save(tmp_path / "model")
    loaded = NodePerturbation.load(tmp_path / "model")
    shown = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    assert np.array_equal(model.predict(shown)[0], loaded.predict(shown)[0])
    with torch.no_grad():
        best = model.policy(torch.from_numpy(shown)).argmax(1)
    assert np.array_equal(model.predict(shown)[0], best.numpy()), "predict() explores"
    again = NodePerturbation.load(tmp_path / "model", tasks.Which()).learn(400)
    assert again.num_timesteps == 400


# What does not go together -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "env", "changes", "message"),
    [
        ("MlpPolicy", "MNIST-v0", {}, r"credit='value': action space Box.*expected a Discrete"),
        ("RnnPolicy", "CartPole-v1", {}, r"RnnPolicy is recurrent.*expected MlpPolicy"),
        ("MlpPolicy", "CartPole-v1", {"rule": "loss"}, r"rule='loss'.*credit='value'"),
        ("MlpPolicy", "CartPole-v1", {"error_model": True}, r"error_model=True.*'value'"),
        ("MlpPolicy", "CartPole-v1", {"temperature": 0}, r"temperature=0: expected a positive"),
        ("MlpPolicy", "CartPole-v1", {"buffer_size": 0}, r"buffer_size=0: expected an integer"),
        ("MlpPolicy", "CartPole-v1", {"gradient_steps": 1.5}, r"gradient_steps=1.5: expected"),
    ],
)
def test_what_is_not_valid_is_named(policy, env, changes, message):
    with pytest.raises(ConfigError, match=message):
        NodePerturbation(policy, env, credit="value", **changes)
