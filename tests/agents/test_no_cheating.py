"""The agent learns from observation, reward, terminated and truncated, and from nothing else."""

import gymnasium as gym
import numpy as np
import pytest

from nodepert.agents import NodePerturbation


@pytest.mark.parametrize("policy", ["MlpPolicy", "RnnPolicy"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"probes": 2, "error_model": True},
        {"credit": "one_sided"},
        {"credit": "one_point"},
        {"rule": "loss"},
        {"alignment_interval": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("MNIST-v0", {"expose_gradient": True}),
        ("DelayedXOR-v0", {"expose_gradient": True}),
        ("DelayedXOR-v0", {"discrete": True}),
    ],
    ids=str,
)
def test_opaque_proxy_gives_bit_identical_weights(
    tasks, same_weights, policy, settings, name, kwargs
):
    """Infos that tell the gradient and the right answer change nothing."""
    models = []
    for wrap in (tasks.Opaque, lambda env: env):
        env = wrap(gym.make_vec(name, num_envs=32, **kwargs))
        model = NodePerturbation(policy, env, net_arch=(12,), seed=0, **settings)
        models.append(model.learn(32 * 16))
        assert settings.get("probes", 1) * 2 >= model.lanes_per_context - 2
    assert models[0]._vector_env.steps == 16, "the proxy was in use"
    assert same_weights(*models)


def test_infos_are_not_read(tasks, same_weights):
    """The proxy's counterpart: infos full of lies."""

    class Liar(tasks.Opaque):
        def step(self, actions):
            lies = np.full((self.num_envs, 10), 1e6, np.float32)
            flags = np.ones(self.num_envs, np.bool_)
            info = {"action_gradient": lies, "_action_gradient": flags, "correct": flags}
            return (*self.env.step(actions)[:4], {**info, "final_info": dict(info)})

    models = [
        NodePerturbation(
            "MlpPolicy", wrap(gym.make_vec("MNIST-v0", num_envs=32)), net_arch=(12,), seed=0
        ).learn(640)
        for wrap in (tasks.Opaque, Liar)
    ]
    assert same_weights(*models)


def test_given_is_the_only_estimator_that_reads_the_gradient(tasks):
    env = tasks.Opaque(gym.make_vec("MNIST-v0", num_envs=4, expose_gradient=True))
    with pytest.raises(ValueError, match="expose_gradient"):
        NodePerturbation("MlpPolicy", env, credit="given", net_arch=(12,), seed=0).learn(4)
