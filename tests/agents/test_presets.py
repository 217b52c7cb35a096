import gymnasium as gym
import pytest

import nodepert.envs
from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.presets import preset_for, preset_with, presets


@pytest.mark.parametrize(
    ("env_id", "name"),
    [(env, name) for env, named in presets().items() for name in named if env != "default"],
)
def test_each_preset_fits_its_environment(env_id, name):
    preset = preset_for(env_id, name)
    try:
        env = gym.make(env_id, **preset.env_kwargs)
    except gym.error.DependencyNotInstalled as error:
        pytest.skip(str(error))
    model = NodePerturbation(preset.policy, env, preset.config, seed=0)
    assert preset.steps >= 20_000
    assert model.n_envs == preset.config.n_envs, "what rl_zoo3 would make"
    if preset.config.credit == "critic":
        with pytest.warns(UserWarning, match="learning_starts=.*ends after 1 env steps"):
            model.learn(1)
    else:
        model.learn(1)
    assert model.num_timesteps >= model.n_envs


def test_paper():
    preset = preset_for("MNIST-v0", "paper")
    config = preset.config
    model = NodePerturbation(preset.policy, "MNIST-v0", config, seed=0)
    widths = [layer.weight.shape[1] for layer in model.policy.network.layers]
    assert [*widths, model.action_space.shape[0]] == [784, 50, 20, 10]
    assert (config.activation, config.batch_size) == ("sigmoid", 32)
    assert model.n_envs == 32
    assert gym.make("MNIST-v0").unwrapped.loss_name == "mse"


def test_every_environment_has_a_default():
    own = {
        env_id for env_id, spec in gym.registry.items()
        if getattr(spec.entry_point, "__module__", "").startswith(nodepert.envs.__name__)
    }  # fmt: skip
    assert own <= presets().keys()
    assert all("default" in named for named in presets().values())


def test_module_before_the_id():
    assert preset_for("nodepert.envs:MNIST-v0", "paper") is preset_for("MNIST-v0", "paper")


def test_environments_without_presets_get_a_general_one():
    assert preset_for("Theirs-v0") is preset_for("module:Theirs-v0")
    assert preset_for("Theirs-v0").policy == "MlpPolicy"
    assert preset_for("Theirs-v0", "critic") is preset_for("Hopper-v5", "critic")
    assert preset_for("Pendulum-v1", "critic") is not preset_for("Hopper-v5", "critic")


@pytest.mark.parametrize(("env_id", "name"), [("MNIST-v0", "papper"), ("Theirs-v0", "paper")])
def test_unknown_names_list_the_valid_ones(env_id, name):
    with pytest.raises(ConfigError, match=f"preset='{name}': {env_id} has default"):
        preset_for(env_id, name)


def test_arguments_of_the_environment_choose_the_preset():
    discrete = preset_for("MNIST-v0", "discrete")
    assert preset_with("nodepert.envs:MNIST-v0", {"discrete": True, "loss": "mse"}) is discrete
    assert preset_with("MNIST-v0", {"loss": "mse"}) is preset_for("MNIST-v0")
    assert preset_with("Theirs-v0", {"discrete": True}) is preset_for("Theirs-v0")
