"""Every kind of thing that a user may call an environment."""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from nodepert.agents import ConfigError, NodePerturbation, PairingError, SB3VecEnv
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.envs import DelayedXOR, LossVectorEnv

SMALL = {"net_arch": (8,), "batch_size": 4, "seed": 0}
ID = "DelayedXOR-v0"


def native():
    return gym.make_vec(ID, num_envs=8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ID,
        lambda: gym.make(ID),
        lambda: gym.make(ID).unwrapped,
        lambda: Monitor(gym.make(ID)),
        lambda: DelayedXOR,
        lambda: lambda: gym.make(ID),
        lambda: native,
        native,
        lambda: SB3VecEnv(native()),
        lambda: lambda: SB3VecEnv(native()),
        lambda: DelayedXOR.vector(8),
    ],
)
def test_loss_environments_run_on_native_lanes(make, same_weights):
    """However it is handed over, the same steps are counted and the same weights are learned."""
    model = NodePerturbation("MlpPolicy", make(), **SMALL).learn(800)
    assert isinstance(model._vector_env.unwrapped, LossVectorEnv)
    assert (model.num_timesteps, model.n_envs, model.action_scale) == (800, 8, 2.0)
    assert same_weights(model, NodePerturbation("MlpPolicy", ID, **SMALL).learn(800))


@pytest.mark.parametrize(
    "make",
    [
        lambda: DummyVecEnv([DelayedXOR] * 8),
        lambda: DummyVecEnv([lambda: Monitor(gym.make(ID))] * 8),
        lambda: VecMonitor(DummyVecEnv([DelayedXOR] * 8)),
        lambda: VecNormalize(DummyVecEnv([DelayedXOR] * 8)),
        lambda: VecNormalize(SB3VecEnv(native())),
        lambda: VecFrameStack(DummyVecEnv([DelayedXOR] * 8), 3),
        lambda: SyncVectorEnv([DelayedXOR] * 8, autoreset_mode=AutoresetMode.SAME_STEP),
        lambda: gym.wrappers.vector.RecordEpisodeStatistics(native()),
        lambda: gym.wrappers.RescaleObservation(DelayedXOR(), 0, 1),
    ],
)
def test_other_containers_train_and_count_the_same(make):
    model = NodePerturbation("MlpPolicy", make(), **SMALL).learn(800)
    assert (model.num_timesteps, model.n_envs, model.action_scale) == (800, 8, 2.0)
    model.predict(model.get_env().reset())


def test_time_limits_are_kept(tasks):
    inner, outer = 5, 3
    for limits in ((inner, outer), (outer, inner), (outer,)):
        env = tasks.Echo(length=9)
        for limit in limits:
            env = gym.wrappers.TimeLimit(env, limit)
        model = NodePerturbation("MlpPolicy", env, **SMALL).learn(8 * 9)
        assert {one["l"] for one in model.ep_info_buffer} == {3}


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_autoreset_modes_learn_from_the_same_transitions(tasks, mode, same_weights):
    """The modes differ in when they reset; what is learned is the same, bit for bit."""
    for policy in ("MlpPolicy", "RnnPolicy"):
        settings = {**SMALL, "n_steps": 1, "lr_schedule": "constant", "error_model": True}
        models = []
        for env in (
            SyncVectorEnv([lambda: tasks.Echo(length=2)] * 8, autoreset_mode=mode),
            tasks.Echo.vector(8, length=2, autoreset_mode=mode),
            tasks.Echo.vector(8, length=2),
        ):
            played = 90 if env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP else 60
            models.append(NodePerturbation(policy, env, **settings).learn(8 * played))
        # In the NEXT_STEP mode 90 steps of a lane are 60 that count and 30 that reset.
        assert same_weights(models[1], models[0])
        if policy == "MlpPolicy" and mode is not AutoresetMode.NEXT_STEP:
            assert same_weights(models[1], models[2])


@pytest.mark.parametrize("rule", ["response", "loss", "fixed"])
@pytest.mark.parametrize("error_model", [False, True])
def test_a_step_that_only_resets_teaches_nothing(tasks, same_weights, rule, error_model):
    """An environment that pays for resets: no weight changes, whatever it pays."""

    class Paid(gym.vector.VectorWrapper):
        def step(self, actions):
            observation, reward, *rest = super().step(actions)
            paid = self.bonus * np.random.default_rng(0).normal(size=self.num_envs)
            self.resets = getattr(self, "resets", np.zeros(self.num_envs, bool))
            reward = np.where(self.resets, paid, reward)
            self.resets = rest[0] | rest[1]
            return observation, reward, *rest

    for length, steps in ((1, 1), (2, 3)):
        models = []
        for bonus in (0.0, 100.0):
            env = Paid(tasks.Echo.vector(16, length=length, autoreset_mode="NextStep"))
            env.bonus = bonus
            model = NodePerturbation("RnnPolicy", env, rule=rule, n_steps=steps,
                                     error_model=error_model, seed=0, net_arch=(8,))  # fmt: skip
            models.append(model.learn(16 * 30))
        assert same_weights(*models)
        assert np.isfinite(models[0].policy.network.layers[0].weight.detach().numpy()).all()


def test_window_of_resets_alone_is_no_update(tasks, same_weights):
    """All lanes reset at once: not even momentum moves a weight."""
    model = NodePerturbation(
        "MlpPolicy", tasks.Echo.vector(8, autoreset_mode="NextStep"), **SMALL, momentum=0.9,
        optimizer="sgd", lr_schedule="constant",
    )  # fmt: skip
    kept = []

    def note(locals_, globals_):
        kept.append(model.policy.network.layers[0].weight.detach().clone())
        return True

    model.learn(8 * 9, note)
    changed = [not np.array_equal(a, b) for a, b in pairwise(kept)]
    assert changed == [True, False] * 4


def test_reused_buffers_are_no_trouble(tasks, same_weights):
    """Gymnasium's copy=False writes each observation into the array of the last one."""
    models = [
        NodePerturbation("RnnPolicy", SyncVectorEnv(
            [lambda: tasks.Echo(length=3)] * 8, copy=copy, autoreset_mode=AutoresetMode.SAME_STEP
        ), **SMALL).learn(800)
        for copy in (True, False)
    ]  # fmt: skip
    assert same_weights(*models)


# Somebody else's environments --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["instance", "callable", "spec", "dummy", "sync", "wrapped"])
@pytest.mark.parametrize("length", [1, 3])
def test_third_party_environments_are_learned(tasks, kind, length):
    if kind == "spec":
        gym.register("nodepert-tests/Bandit-v0", entry_point=lambda **kw: tasks.Bandit(**kw))
    make = {
        "instance": lambda: tasks.Bandit(length),
        "callable": lambda: lambda: tasks.Bandit(length),
        "spec": lambda: gym.make("nodepert-tests/Bandit-v0", length=length, max_episode_steps=9),
        "dummy": lambda: DummyVecEnv([lambda: tasks.Bandit(length)] * 16),
        "sync": lambda: SyncVectorEnv([lambda: tasks.Bandit(length)] * 16),
        "wrapped": lambda: gym.wrappers.TimeLimit(tasks.Bandit(length), 100),
    }[kind]
    model = NodePerturbation("MlpPolicy", make(), net_arch=(16,), batch_size=8, seed=0,
                             learning_rate=0.01)  # fmt: skip
    env = tasks.Bandit(length)
    if kind == "spec":
        gym.registry.pop("nodepert-tests/Bandit-v0")
    shown = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    model.learn(16 * 300)
    assert model.num_timesteps == 16 * 300
    assert model.action_scale is None
    miss = model.predict(shown)[0] - np.array([env.target(one) for one in shown])
    # At most 0.023 over three seeds; guessing the middle 0.2, with a frozen top layer 0.07.
    assert np.abs(miss / (env.HIGH - env.LOW)).mean() < 0.05


def test_environment_in_processes(tasks):
    """Asking a process for an attribute that it lacks would end it."""
    env = SubprocVecEnv([gymnasium_bandit] * 2, start_method="fork")
    try:
        model = NodePerturbation("MlpPolicy", env, **SMALL).learn(20)
        assert model.num_timesteps == 20
        assert model.action_scale is None
    finally:
        env.close()


def gymnasium_bandit():
    env = gym.make("Blackjack-v1")
    return gym.wrappers.TransformAction(
        gym.wrappers.TransformObservation(
            env, lambda _: np.zeros(1, np.float32), gym.spaces.Box(-1, 1, (1,))
        ),
        lambda _: 0,
        gym.spaces.Discrete(2),
    )


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_environments_with_dynamics_can_not_be_paired(name):
    model = NodePerturbation("MlpPolicy", name, credit="paired", probe_std=1.0, **SMALL)
    with pytest.raises(PairingError, match=r"(?s)lanes \d+ and \d+ differ.*same seed.*'score'"):
        model.learn(2000)


def test_ends_of_episodes_that_differ_are_found(tasks):
    class Early(tasks.Bandit):
        def step(self, action):
            observation, reward, _, truncated, info = super().step(action)
            return observation, reward, bool(action[0] > 5), truncated, info

    with pytest.raises(PairingError, match="terminations of lanes"):
        NodePerturbation("MlpPolicy", Early, credit="paired", **SMALL).learn(2000)


def test_environments_that_ignore_the_seed_are_found(tasks):
    class Deaf(tasks.Bandit):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=None)

    with pytest.raises(PairingError, match="observations of lanes"):
        NodePerturbation("MlpPolicy", Deaf, credit="paired", **SMALL).learn(1)


def test_pairing_error_names_the_lanes(tasks):
    lanes = PairedLanes(tasks.Echo.vector(6), 3)
    lanes.env.reset(seed=0)
    with pytest.raises(PairingError, match="lanes 0 and 1 differ"):
        lanes.step(np.zeros((6, 3)))
    lanes.env.reset(seed=[1, 1, 1, 2, 2, 3])
    with pytest.raises(PairingError, match="lanes 3 and 5 differ"):
        lanes.step(np.zeros((6, 3)))
    assert lanes.reset([1, 2]).shape == (2, 3)


@pytest.mark.parametrize("lanes", [1, 7])
def test_lanes_that_do_not_fit(lanes):
    for env in (gym.make_vec(ID, num_envs=lanes), DummyVecEnv([DelayedXOR] * lanes)):
        with pytest.raises(ConfigError, match=rf"env has {lanes} lanes: expected a multiple of 2"):
            NodePerturbation("MlpPolicy", env, **SMALL)


@pytest.mark.parametrize("thing", [3, None, [], {"id": ID}])
def test_things_that_are_no_environment(thing):
    model = NodePerturbation("MlpPolicy", ID, **SMALL)
    with pytest.raises(ConfigError, match=r"expected an id, a gymnasium\.Env"):
        model.set_env(thing)


def test_environments_that_can_not_be_copied_ask_for_a_function(tasks):
    class Stuck(tasks.Bandit):
        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    with pytest.raises(ConfigError, match="pass a function"):
        NodePerturbation("MlpPolicy", Stuck(), **SMALL)
    NodePerturbation("MlpPolicy", Stuck, **SMALL).learn(8)


@pytest.mark.parametrize("changes", [{"batch_size": 2**31}, {"probes": 2**40}], ids=str)
def test_more_lanes_than_can_be_made(tasks, changes):
    with pytest.raises(ConfigError, match=r"lanes of one environment: expected at most 1048576"):
        NodePerturbation("MlpPolicy", tasks.Echo(), **{**SMALL, **changes})


def test_observations_that_can_not_be_read(tasks):
    class Mixed(tasks.Bandit):
        def __init__(self):
            super().__init__()
            nested = gym.spaces.Dict({"a": self.observation_space})
            self.observation_space = gym.spaces.Dict({"b": nested})

    with pytest.raises(ConfigError, match=r"observation space.*expected a Box, .* not nested"):
        NodePerturbation("MlpPolicy", Mixed, **SMALL)


def test_a_vector_environment_that_takes_no_list_of_seeds_is_named():
    model = NodePerturbation("MlpPolicy", gym.make_vec("CartPole-v1", 4), credit="paired", **SMALL)
    with pytest.raises(PairingError, match="vectorization_mode='sync'"):
        model.learn(8)
