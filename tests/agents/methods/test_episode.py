"""Episode mode: noise held through whole episodes of one seed, in both signs."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

from nodepert.agents import NodePerturbation
from nodepert.agents.errors import ConfigError, PairingError
from nodepert.agents.methods import Episode
from nodepert.agents.methods.held_noise import both_signs, minimum_norm_errors, output_gradient


class Steer(gym.Env):
    """Bring a point to 0: it moves by the action, a step costs its square; far off, it is lost."""

    def __init__(self, length=6, seeded=True, log=None):
        self.length, self.seeded, self.log = length, seeded, [] if log is None else log
        self.observation_space = spaces.Box(-9, 9, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed if self.seeded else None)
        self.x = float(self.np_random.uniform(-1, 1))
        self.steps = 0
        self.log.append(("reset", seed, self.x))
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.x += 0.5 * float(action[0])
        self.steps += 1
        self.log.append(("step",))
        lost = abs(self.x) > 1.5
        reward = -(self.x**2) - 10 * lost
        return np.array([self.x], np.float32), reward, lost, self.steps >= self.length, {}


def make(env=Steer, seed=0, **changes):
    config = {"net_arch": (16,), "activation": "tanh", "learning_rate": 0.02, **changes}
    return NodePerturbation("MlpPolicy", env, credit="episode", seed=seed, **config)


def generator():
    return torch.Generator().manual_seed(0)


# The estimate -------------------------------------------------------------------------------


def test_the_output_gradient_is_half_of_what_ars_takes():
    pairs, dim, nodes = 5, 2, 3
    deltas = torch.randn(pairs, dim, nodes, generator=generator())
    returns = torch.randn(2 * pairs, generator=generator(), dtype=torch.float64)
    std = torch.tensor([0.3, 0.3])
    plus, minus = returns[0::2].float(), returns[1::2].float()
    spread = torch.cat([plus, minus]).std()
    step = ((plus - minus) @ deltas.flatten(1)).view(dim, nodes) / (pairs * spread)  # sb3_contrib
    torch.testing.assert_close(output_gradient(returns, 0.3 * deltas, std), -step / 2)


def test_episodes_that_all_end_alike_teach_nothing():
    held = torch.randn(4, 2, 3, generator=generator())
    returns = torch.full((8,), 500.0, dtype=torch.float64)
    assert not output_gradient(returns, held, torch.ones(2)).any()


def test_errors_that_are_linear_in_the_nodes_are_found_and_others_explain_the_gradient():
    nodes = torch.randn(7, 5, 4, generator=generator())
    valid = torch.rand(7, 5, generator=generator()) < 0.7
    true = (nodes @ torch.randn(4, 2, generator=generator())) * valid[..., None]
    gradient = torch.einsum("tnd,tnh->dh", true, nodes) / valid.sum()
    torch.testing.assert_close(minimum_norm_errors(gradient, nodes, valid), true)
    other = torch.randn(2, 4, generator=generator())
    errors = minimum_norm_errors(other, nodes, valid)
    explained = torch.einsum("tnd,tnh->dh", errors, nodes) / valid.sum()
    torch.testing.assert_close(explained, other)


def test_the_noise_of_a_pair_cancels():
    signed = both_signs(torch.randn(3, 2, 4, generator=generator()))
    assert torch.equal(signed[0::2], -signed[1::2])


def test_a_step_of_the_output_layer_is_the_estimate(monkeypatch):
    model = make(optimizer="sgd", learning_rate=1.0, lr_schedule="constant", n_envs=4)
    layer, batches = model.policy.network.layers[-1], []
    before = torch.cat([layer.weight, layer.bias[:, None]], dim=1).clone()
    learn_from = Episode.learn_from

    def keep(method, batch, update, measure):
        batches.append(batch)
        return learn_from(method, batch, update, measure)

    monkeypatch.setattr(Episode, "learn_from", keep)
    model.learn(1)
    after = torch.cat([layer.weight, layer.bias[:, None]], dim=1)
    (batch,) = batches
    expected = output_gradient(batch.returns, batch.held, batch.std)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(before - after, expected)


# Learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"seed": 2}, {"net_arch": (), "learning_rate": 0.1}]
)
def test_learns_to_steer(changes):
    model = make(n_envs=16, **changes)
    env = Steer()
    model.learn(5000)
    reached, _ = evaluate_policy(model, env, n_eval_episodes=20, warn=False)
    # With the output's sign flipped it ends at −14, with that of the errors below it at −0.8.
    assert reached > -0.25


def test_the_layers_below_the_output_learn_too():
    model = make(n_envs=4, net_arch=(4, 4))
    hidden = [layer.weight.clone() for layer in model.policy.network.layers[:-1]]
    model.learn(200)
    for layer, before in zip(model.policy.network.layers, hidden, strict=False):
        assert (layer.weight - before).abs().max() > 1e-3


def test_a_recurrent_policy_trains():
    model = NodePerturbation("RnnPolicy", Steer, credit="episode", net_arch=(8,), n_envs=4, seed=0)
    before = model.policy.network.recurrent.weight.clone()
    model.learn(100)
    after = model.policy.network.recurrent.weight
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


# Pairs and what they cost -------------------------------------------------------------------


def test_both_signs_start_alike_and_every_update_elsewhere():
    logs = [[] for _ in range(4)]
    makers = [lambda log=log: Steer(log=log) for log in logs]
    env = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    make(env).learn(100)
    starts = [[entry for entry in log if entry[0] == "reset" and entry[1]] for log in logs]
    first = [entry[2] for entry in starts[0]]
    assert len(first) > 2
    assert len(set(first)) == len(first)
    assert starts[0][1:] == starts[1][1:]  # the agent's first reset only looks
    assert starts[2][1:] == starts[3][1:]
    assert starts[0][1:] != starts[2][1:]


@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_every_step_played_counts_and_lanes_of_the_agents_own_play_none_for_nothing(mode):
    log = []
    env = lambda: Steer(length=20, log=log)  # noqa: E731
    if mode is not None:
        env = SyncVectorEnv([env] * 4, autoreset_mode=mode)
    model = make(env, n_envs=4, exploration_std=3.0)
    model.learn(300)
    played = sum(entry[0] == "step" for entry in log)
    if mode is AutoresetMode.NEXT_STEP:  # steps that only reset count too, as everywhere
        assert played <= model.num_timesteps
    else:
        assert played == model.num_timesteps
    if mode is None:  # lanes of your own play on until the longest episode ends
        longest = 20 * 4 * model._n_updates
        assert played < 0.9 * longest  # episodes differ in length


def test_lanes_go_on_as_usual_once_training_is_over():
    model = make(n_envs=4)
    model.learn(50)
    reached, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=8, warn=False)
    assert np.isfinite(reached)
    observation = model.get_env().reset()
    assert observation.shape == (4, 1)


def test_episodes_are_cut_at_n_steps():
    log = []
    model = make(lambda: Steer(length=10**9, log=log), n_envs=2, n_steps=7, exploration_std=1e-3)
    model.learn(1)
    assert 0 < model.num_timesteps <= 14
    assert model._episode_num == 2


def test_an_environment_that_ignores_seeds_is_named():
    with pytest.raises(PairingError, match=r"ignores its seed.*credit='score'"):
        make(lambda: Steer(seeded=False)).learn(10)


def test_configurations_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="n_envs=3: expected an even number"):
        make(n_envs=3)
    with pytest.raises(ConfigError, match="exploration_schedule='learned'"):
        make(exploration_schedule="learned")
    with pytest.raises(ConfigError, match="rule='loss'"):
        make(rule="loss")
    with pytest.raises(ConfigError, match="error_model=True"):
        make(error_model=True)
    with pytest.raises(ConfigError, match="3 lanes: expected an even number"):
        make(SyncVectorEnv([Steer] * 3)).learn(1)


# Repeating and going on ---------------------------------------------------------------------


def test_a_seed_gives_the_same_weights_bit_for_bit(same_weights):
    models = [make(seed=seed, n_envs=4).learn(200) for seed in (0, 0, 1)]
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_a_run_that_was_stopped_counts_whole_episodes():
    """What an abandoned episode lasted is not added to the next."""

    class Stays(Steer):
        def step(self, action):
            return super().step(0 * action)

    model = make(Stays, n_envs=4)
    model.learn(1000, StopAt(12))
    model.learn(24, reset_num_timesteps=False)
    assert {one["l"] for one in model.ep_info_buffer} == {6}


class StopAt(BaseCallback):
    """Stops in the middle of a batch of episodes."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def _on_step(self):
        return self.num_timesteps < self.at


class SaveAt(BaseCallback):
    """Saves in the middle of a batch of episodes."""

    def __init__(self, path, at):
        super().__init__()
        self.path, self.at = path, at

    def _on_step(self):
        if self.at is not None and self.num_timesteps >= self.at:
            self.model.save(self.path)
            self.at = None
        return True


def test_a_run_that_goes_on_from_a_file_is_the_run_that_was_not_interrupted(tmp_path, same_weights):
    whole = make(n_envs=4, lr_schedule="constant")
    whole.learn(300, SaveAt(tmp_path / "half.zip", 131))
    resumed = NodePerturbation.load(tmp_path / "half.zip", Steer)
    assert resumed.num_timesteps < 131
    assert not same_weights(whole, resumed)
    resumed.learn(300 - resumed.num_timesteps, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert same_weights(whole, resumed)
