"""The adapters between Gymnasium's vector environments and Stable-Baselines3's."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from nodepert.agents import NodePerturbation, SB3VecEnv
from nodepert.agents.lanes.vec_env import GymVectorEnv


def rolled(env, steps=12):
    """Observations, rewards, dones and infos of a fixed sequence of actions."""
    rng = np.random.default_rng(0)
    shown = [env.reset()]
    rest = []
    for _ in range(steps):
        shape = (env.num_envs, *env.action_space.shape)
        if isinstance(env.action_space, gym.spaces.Discrete):
            actions = rng.integers(env.action_space.n, size=shape)
        else:
            actions = rng.uniform(-1, 1, shape).astype(np.float32)
        observation, *others = env.step(actions)
        shown.append(observation)
        rest.append(others)
    return np.array(shown), rest


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("limit", [None, 2, 3])
def test_same_trajectories_as_single_environments(tasks, mode, limit):
    """The native lanes and DummyVecEnv of the single environment, lane for lane."""

    def single():
        env = tasks.Echo(length=3)
        return gym.wrappers.TimeLimit(env, limit) if limit else env

    native = tasks.Echo.vector(4, length=3, max_episode_steps=limit, autoreset_mode=mode)
    sync = SyncVectorEnv([single] * 4, autoreset_mode=mode)
    envs = [SB3VecEnv(native), SB3VecEnv(sync), DummyVecEnv([lambda: Monitor(single())] * 4)]
    for env in envs:
        env.seed(7)
    *ours, (shown, rest) = [rolled(env) for env in envs]
    for our_shown, our_rest in ours:
        assert np.array_equal(our_shown, shown)
        for (our_reward, our_done, our_infos), (reward, done, infos) in zip(
            our_rest, rest, strict=True
        ):
            assert np.array_equal(our_reward, reward)
            assert our_reward.dtype == reward.dtype
            assert np.array_equal(our_done, done)
            for our_info, info in zip(our_infos, infos, strict=True):
                assert our_info.get("correct") == info["correct"]
                assert our_info.get("TimeLimit.truncated", False) == info["TimeLimit.truncated"]
                assert ("terminal_observation" in our_info) == ("terminal_observation" in info)
                if "terminal_observation" in info:
                    assert np.array_equal(
                        our_info["terminal_observation"], info["terminal_observation"]
                    )
                    assert our_info["episode"]["r"] == pytest.approx(info["episode"]["r"], 1e-4)
                    assert our_info["episode"]["l"] == info["episode"]["l"]
    assert any(done.any() for _, done, _ in rest)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
@pytest.mark.parametrize("name", ["MNIST-v0", "DelayedXOR-v0"])
@pytest.mark.parametrize("discrete", [False, True])
def test_stable_baselines3_trains_on_native_lanes(algorithm, name, discrete):
    env = SB3VecEnv(gym.make_vec(name, num_envs=4, discrete=discrete))
    model = algorithm("MlpPolicy", env, n_steps=8, seed=0, device="cpu",
                      policy_kwargs={"net_arch": [8]})  # fmt: skip
    model.learn(64)
    assert model.num_timesteps == 64
    assert model.ep_info_buffer


def test_recurrent_ppo_trains_on_native_lanes():
    env = SB3VecEnv(gym.make_vec("DelayedXOR-v0", num_envs=4))
    model = RecurrentPPO("MlpLstmPolicy", env, n_steps=8, batch_size=16, n_epochs=1, seed=0,
                         device="cpu", policy_kwargs={"lstm_hidden_size": 8})  # fmt: skip
    assert model.learn(64).num_timesteps == 64


def test_wrappers_of_stable_baselines3_on_top(tasks):
    env = VecNormalize(SB3VecEnv(tasks.Echo.vector(4, length=2)))
    PPO("MlpPolicy", env, n_steps=8, batch_size=16, n_epochs=1, device="cpu").learn(64)
    with pytest.warns(UserWarning, match="already wrapped"):
        monitored = VecMonitor(SB3VecEnv(tasks.Echo.vector(2, length=2)))
    _, rest = rolled(monitored, 4)
    assert {"r", "l", "t"} <= set(rest[1][2][0]["episode"])


def test_evaluation_reads_the_episodes_of_the_adapter(tasks):
    env = SB3VecEnv(tasks.Echo.vector(4, length=3))
    model = NodePerturbation("MlpPolicy", tasks.Echo(), net_arch=(4,), batch_size=2, seed=0)
    returns, lengths = evaluate_policy(model, env, 8, return_episode_rewards=True)
    assert set(lengths) == {3}
    assert all(one < 0 for one in returns)


def test_adapter_has_attributes_but_no_lanes_to_call(tasks):
    env = SB3VecEnv(tasks.Echo.vector(3))
    assert env.get_attr("action_scale") == [2.0] * 3
    assert env.get_attr("length", indices=[0]) == [1]
    assert env.has_attr("length")
    assert not env.has_attr("nonsense")
    assert env.env_is_wrapped(Monitor) == [True] * 3
    with pytest.raises(NotImplementedError):
        env.set_attr("length", 2)
    with pytest.raises(NotImplementedError):
        env.env_method("reset")
    env.close()


def test_there_and_back_is_the_same(tasks):
    """GymVectorEnv of a VecEnv plays as the lanes it wraps, ends of episodes included."""
    lanes = tasks.Echo.vector(2, length=2, max_episode_steps=3)
    wrapped = GymVectorEnv(SB3VecEnv(tasks.Echo.vector(2, length=2, max_episode_steps=3)))
    first, _ = lanes.reset(seed=[5, 5])
    again, _ = wrapped.reset(seed=[5, 5])
    assert np.array_equal(first, again)
    for _ in range(5):
        actions = np.full((2, 3), 0.3)
        ours, theirs = lanes.step(actions), wrapped.step(actions)
        for i in (0, 2, 3):
            assert np.array_equal(ours[i], theirs[i])
        assert ours[1] == pytest.approx(theirs[1], 1e-6)
        assert "final_info" in ours[4] or not ours[2].any()
        assert ("final_info" in ours[4]) == ("final_info" in theirs[4])


def test_truncation_is_told_apart(tasks):
    venv = DummyVecEnv([lambda: gym.wrappers.TimeLimit(tasks.Echo(length=9), 2)] * 2)
    env = GymVectorEnv(venv)
    env.reset(seed=0)
    for step in range(4):
        _, _, terminated, truncated, _ = env.step(np.zeros((2, 3), np.float32))
        assert not terminated.any()
        assert truncated.all() == (step % 2 == 1)


def test_frames_pass_through_both_adapters():
    lanes = gym.make_vec("MNISTAutoencoder-v0", 4, render_mode="rgb_array")
    venv = SB3VecEnv(lanes)
    venv.reset()
    frames = lanes.render()
    assert venv.render().shape == (2 * frames[0].shape[0], 2 * frames[0].shape[1], 3)  # tiles
    for ours, theirs in zip(frames, GymVectorEnv(venv).render(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_does_not_remember_how_its_environment_was_shown():
    env = gym.make("MNIST-v0", loss="cross_entropy", render_mode="rgb_array")
    model = NodePerturbation("MlpPolicy", env, seed=0)
    assert model.trained_on == ("MNIST-v0", {"loss": "cross_entropy"})
