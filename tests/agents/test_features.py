"""Observations of several parts and images: frozen extractors, and what a rollout makes of them."""

import io

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.envs import SimpleMultiObsEnv
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from nodepert.agents import ConfigError, NodePerturbation, NonFiniteError, PairingError
from nodepert.agents.errors import NonFiniteLaneError
from nodepert.agents.files.saving import space_from_json, space_to_json
from nodepert.agents.lanes.observations import as_bytes, from_bytes, pack
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.agents.policies import CnnPolicy, MlpPolicy
from nodepert.envs import LossEnv, LossVectorEnv
from nodepert.envs.losses import mse

IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)  # channel-last
NUMBERS = spaces.Box(-5, 5, (2, 2), np.float64)
ACTION = spaces.Box(-1, 1, (2,), np.float32)
SMALL = {"seed": 0, "policy_kwargs": {"net_arch": (8,)}}


class Panel(gym.Env):
    """Say how bright an image is, and where a switch and a number are; all follow from the seed."""

    observation_space = spaces.Dict(
        {"switch": spaces.Discrete(2, start=1), "image": IMAGE, "numbers": NUMBERS}
    )
    action_space = ACTION

    def __init__(self, length=1, bad=None):
        self.length, self.bad, self.steps = length, bad, 0

    def observe(self):
        self.switch = int(self.np_random.integers(2)) + 1
        self.bright = bool(self.np_random.integers(2))
        self.numbers = self.np_random.uniform(-1, 1, (2, 2))
        level = 200 if self.bright else 20
        image = np.full(IMAGE.shape, level, np.uint8)
        return {"image": image, "switch": np.int64(self.switch), "numbers": self.numbers.copy()}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        target = [0.5 if self.bright else -0.5, self.switch - 1.5 + self.numbers[0, 0] / 2]
        reward = -float(np.square(np.asarray(target) - action).sum())
        if self.steps == self.bad:
            reward = float("nan")
        return self.observe(), reward, self.steps >= self.length, False, {}


class Gauge(LossEnv):
    """The same task as :class:`Panel`, on native lanes."""

    observation_space = Panel.observation_space
    action_space = ACTION
    action_scale = 2.0

    def sample_contexts(self, draws):
        chance = draws.uniform(6)
        level = np.where(chance[:, 0] < 0.5, 200, 20).astype(np.uint8)
        image = np.broadcast_to(level[:, None, None, None], (len(draws), *IMAGE.shape))
        switch = (chance[:, 1] < 0.5) + np.int64(1)
        return {
            "image": image,
            "switch": switch,
            "numbers": 2 * chance[:, 2:].reshape(-1, 2, 2) - 1,
        }

    def observe(self, context):
        return {name: context[name].copy() for name in self.observation_space}

    @staticmethod
    def targets(observation):
        first = np.where(observation["image"][:, 0, 0, 0] > 100, 0.5, -0.5)
        second = observation["switch"] - 1.5 + observation["numbers"][:, 0, 0] / 2
        return np.stack([first, second], axis=1)

    def loss(self, context, actions):
        return mse(self.action_scale * actions, self.targets(context))


class Pixels(gym.ObservationWrapper):
    """The image alone."""

    observation_space = IMAGE

    def observation(self, observation):
        return observation["image"]


class Mine(BaseFeaturesExtractor):
    """Somebody's own extractor."""

    def __init__(self, observation_space, width=3):
        super().__init__(observation_space, features_dim=width)
        self.layer = nn.Sequential(
            nn.Flatten(), nn.Linear(4, width), nn.BatchNorm1d(width), nn.Dropout()
        )

    def forward(self, observations):
        return self.layer(observations["numbers"])


def panels(count, length=1, mode=AutoresetMode.SAME_STEP):
    return SyncVectorEnv([lambda: Panel(length)] * count, autoreset_mode=mode)


def saved(model):
    buffer = io.BytesIO()
    model.save(buffer)
    buffer.seek(0)
    return buffer


def shown(count=3, space=Panel.observation_space):
    space.seed(1)
    rows = [space.sample() for _ in range(count)]
    return {name: np.stack([row[name] for row in rows]) for name in space}


def extractor_state(model):
    return {k: v.clone() for k, v in model.policy.features_extractor.state_dict().items()}


# Rollouts ----------------------------------------------------------------------------------------


def test_packed_observations_read_like_dicts_and_keep_every_bit():
    observation = shown()
    packed = pack(observation, Panel.observation_space)
    assert packed.shape == (3,)
    again = from_bytes(as_bytes(packed), Panel.observation_space)
    for name, values in observation.items():
        assert np.array_equal(packed[name], values)
        assert packed[name].dtype == values.dtype
        assert np.array_equal(again[name], values)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_an_episode_ends_with(mode):
    """Of every lane in the last step, not the next episode's first observation."""
    lanes, alone = PairedLanes(panels(2, 2, mode), 1), Panel(2)
    lanes.reset([3, 4])
    first = alone.reset(seed=4)[0]
    expected = [first, *(alone.step(np.zeros(2))[0] for _ in range(2)), alone.reset()[0]]
    for step in (1, 2):
        played = lanes.step(np.zeros((2, 2)))
        for name, values in expected[step].items():
            assert np.array_equal(lanes.last(played)[1][name], values)
    following = expected[2 if mode is AutoresetMode.NEXT_STEP else 3]
    assert played.ended.all()
    for name, values in following.items():
        assert np.array_equal(played.observation[1][name], values)


def test_lanes_that_differ_in_one_part_are_seen():
    class Loose(Panel):
        def step(self, action):
            observation, *rest = super().step(action)
            observation["numbers"][1, 1] += float(action[0]) / 1e6
            return observation, *rest

    lanes = PairedLanes(SyncVectorEnv([lambda: Loose(9)] * 2), 2)
    lanes.reset([0])
    lanes.step(np.zeros((2, 2)))
    with pytest.raises(PairingError, match="observations of lanes 0 and 1 differ"):
        lanes.step(np.array([[0.0, 0.0], [1.0, 0.0]]))


def test_missing_numbers_are_an_error():
    class Gaps(Panel):
        def observe(self):
            return {**super().observe(), "numbers": np.full((2, 2), np.nan)}

    lanes = PairedLanes(SyncVectorEnv([lambda: Panel(9), lambda: Gaps(9)]), 1)
    with pytest.raises(NonFiniteLaneError, match=r"observation with NaN .* in lane 1"):
        lanes.reset([0, 1])


# Learning ----------------------------------------------------------------------------------------


def learner(**settings):
    return NodePerturbation(
        "MultiInputPolicy",
        Gauge(),
        seed=0,
        batch_size=16,
        learning_rate=1e-2,
        policy_kwargs={
            "net_arch": (32,),
            "features_extractor_kwargs": {"cnn_output_dim": 8},
        },
        **settings,
    )


def test_dicts_are_learned_from_paired_probes():
    """By each part: brightness gives the first target, switch and numbers the second."""
    model = learner()
    assert model.config.credit == "paired"
    before = extractor_state(model)
    model.learn(32 * 100)
    for name, value in extractor_state(model).items():
        assert torch.equal(value, before[name]), "frozen"
    env = LossVectorEnv(Gauge(), 200)
    observation, _ = env.reset(seed=10_000)
    miss = Gauge.targets(observation) - 2 * model.predict(observation)[0]
    first, second = np.square(miss).mean(axis=0)
    assert first < 0.04  # 0.25 without the image
    assert second < 0.04  # 0.25 without the switch, 0.083 without the numbers


def test_resumed_run_on_dicts_is_the_run_that_was_not_interrupted(same_weights):
    whole = learner(lr_schedule="constant").learn(32 * 4)
    part = learner(lr_schedule="constant").learn(32 * 2)
    loaded = NodePerturbation.load(saved(part), Gauge(), force_reset=False)
    loaded.learn(32 * 2, reset_num_timesteps=False)
    assert same_weights(whole, loaded)
    assert not same_weights(whole, part)


@pytest.mark.parametrize("channel_last", [True, False])
def test_score_mode_on_dicts(channel_last):
    env = TimeLimit(SimpleMultiObsEnv(channel_last=channel_last), 5)
    model = NodePerturbation(
        "MultiInputPolicy",
        env,
        credit="score",
        n_envs=2,
        n_steps=16,
        seed=0,
        policy_kwargs={
            "net_arch": (8,),
            "features_extractor_kwargs": {"cnn_output_dim": 4},
        },
    )
    before = {k: v.clone() for k, v in model.policy.state_dict().items()}
    model.learn(64)
    after = model.policy.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "network.linears.0.weight" in moved
    assert not {name for name in moved if name.startswith("features_extractor")}
    observation = model.get_env().reset()
    loaded = NodePerturbation.load(saved(model))
    assert loaded.observation_space == model.observation_space
    actions, _ = model.predict(observation)
    assert np.array_equal(actions, loaded.predict(observation)[0])
    one, _ = loaded.predict({name: rows[1] for name, rows in observation.items()})
    assert one == actions[1]


def test_sb3_vector_environments_of_dicts():
    model = NodePerturbation(
        "MultiInputPolicy", DummyVecEnv([Panel] * 2), credit="score", n_steps=4, **SMALL
    )
    model.learn(8)


def test_cnn_policy_on_channel_last_images(same_weights):
    env = SyncVectorEnv([lambda: Pixels(Panel())] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
    model = NodePerturbation("CnnPolicy", env, credit="paired", learning_rate=1e-2, **SMALL)
    assert model.policy.image_shape == (3, 36, 40)
    model.learn(8)
    images = shown()["image"]
    actions, _ = model.predict(images)
    x = torch.as_tensor(images.transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
    with torch.no_grad():
        expected = model.policy.network.step(x).prediction.numpy()
    np.testing.assert_allclose(actions, np.clip(expected, -1, 1), rtol=1e-5, atol=1e-6)
    assert same_weights(model, NodePerturbation.load(saved(model)))
    assert NodePerturbation("CnnPolicy", env, credit="score", **SMALL).policy.statistics is None


# Policies ----------------------------------------------------------------------------------------


def test_weights_follow_from_the_seed_and_global_random_numbers_go_on():
    torch.manual_seed(5)
    before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (
        NodePerturbation("MlpPolicy", panels(2), credit="paired", **{**SMALL, "seed": seed})
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], of_numpy)  # noqa: NPY002
    name = "extractors.image.linear.0.weight"
    assert torch.equal(extractor_state(one)[name], extractor_state(same)[name])
    assert not torch.equal(extractor_state(one)[name], extractor_state(other)[name])


def test_own_extractor():
    options = {
        "net_arch": (8,),
        "features_extractor_class": Mine,
        "features_extractor_kwargs": {"width": 5},
    }
    model = NodePerturbation(
        "RnnPolicy", panels(4), credit="score", n_steps=16, seed=0, policy_kwargs=options
    )
    model.policy.set_training_mode(True)
    assert not model.policy.features_extractor.training, "no dropout, no batch statistics"
    before = extractor_state(model)
    model.learn(64)
    assert all(torch.equal(v, before[k]) for k, v in extractor_state(model).items())
    with pytest.raises(ConfigError, match=r"custom_objects=.*features_extractor_class"):
        NodePerturbation.load(saved(model))
    loaded = NodePerturbation.load(saved(model), custom_objects={"features_extractor_class": Mine})
    assert np.array_equal(model.predict(shown())[0], loaded.predict(shown())[0])
    loaded.set_parameters(saved(model))


def test_extractors_by_class_and_by_name():
    first = spaces.Box(0, 255, (3, 36, 40), np.uint8)
    for chosen in (NatureCNN, "NatureCNN"):
        policy = MlpPolicy(
            first,
            ACTION,
            features_extractor_class=chosen,
            features_extractor_kwargs={"features_dim": 7},
        )
        assert policy.network.n_in == 7
        assert policy.options()["features_extractor_class"] is NatureCNN


def test_numbers_are_normalised_and_nothing_else():
    policy = MlpPolicy(Panel.observation_space, ACTION, normalize_observation=True)
    observation = shown(64)
    found = policy.observe(observation)
    plain = MlpPolicy(Panel.observation_space, ACTION).to_input(observation)
    names = list(Panel.observation_space.spaces)
    widths = {"image": 256, "numbers": 4, "switch": 2}
    split = dict(zip(names, found.split([widths[name] for name in names], 1), strict=True))
    kept = dict(zip(names, plain.split([widths[name] for name in names], 1), strict=True))
    assert torch.equal(split["image"], kept["image"])
    assert torch.equal(split["switch"], kept["switch"])
    torch.testing.assert_close(split["numbers"].mean(0), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        split["numbers"].std(0, unbiased=False), torch.ones(4), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("space", "width"),
    [
        (spaces.MultiDiscrete([2, 3], start=[1, 0]), 5),
        (spaces.MultiBinary((2, 3)), 6),
        (spaces.Discrete(4, start=-1), 4),
        (spaces.Box(0, 1, ()), 1),
    ],
    ids=str,
)
def test_other_spaces(space, width):
    for whole in (space, spaces.Dict({"part": space})):
        policy = MlpPolicy(whole, ACTION, net_arch=(4,), normalize_observation=True)
        whole.seed(0)
        for _ in range(5):
            assert policy.predict(whole.sample())[0].shape == (2,)
        assert policy.network.n_in == width
        again = space_from_json(space_to_json(whole))
        assert again == whole


def test_one_hot_of_a_space_that_does_not_start_at_zero():
    policy = MlpPolicy(spaces.MultiDiscrete([2, 3], start=[1, 0]), ACTION)
    assert policy.to_input(np.array([[2, 2]])).tolist() == [[0, 1, 0, 0, 1]]


def test_order_of_parts_comes_back_from_a_file():
    parts = [("b", spaces.Discrete(2)), ("a", spaces.Box(0, 1, (2,), np.float32))]
    again = space_from_json(space_to_json(spaces.Dict(parts)))
    assert list(again.spaces) == ["b", "a"]


# Errors ------------------------------------------------------------------------------------------


def test_observations_that_do_not_fit():
    policy = MlpPolicy(Panel.observation_space, ACTION)
    observation = shown()
    with pytest.raises(ConfigError, match=r"observation has a ndarray, expected a dict of \["):
        policy.predict(np.zeros(3))
    with pytest.raises(ConfigError, match=r"observation has \['image'\], expected a dict of"):
        policy.predict({"image": observation["image"]})
    with pytest.raises(ConfigError, match=r"observation\['numbers'\] has shape \(3,\), expected"):
        policy.predict({**observation, "numbers": np.zeros(3)})
    with pytest.raises(ConfigError, match="batches of sizes"):
        policy.predict({**observation, "numbers": np.zeros((2, 2))})


@pytest.mark.parametrize(
    ("policy", "space", "options", "message"),
    [
        (MlpPolicy, NUMBERS, {"features_extractor_class": "CombinedExtractor"}, "does not fit"),
        (MlpPolicy, NUMBERS, {"features_extractor_class": nn.Linear}, "BaseFeaturesExtractor"),
        (MlpPolicy, NUMBERS, {"features_extractor_kwargs": {"depth": 1}}, "depth"),
        (
            MlpPolicy,
            Panel.observation_space,
            {"features_extractor_class": "FlattenExtractor"},
            "does not fit",
        ),
        (CnnPolicy, IMAGE, {"features_extractor_class": NatureCNN}, "learns its own features"),
        (CnnPolicy, Panel.observation_space, {}, "MultiInputPolicy"),
        (MlpPolicy, spaces.Dict({}), {}, "not nested"),
        (MlpPolicy, spaces.MultiDiscrete([[2, 2], [2, 2]]), {}, "flat MultiDiscrete"),
    ],
)
def test_options_and_spaces_that_do_not_fit(policy, space, options, message):
    with pytest.raises(ConfigError, match=message):
        policy(space, ACTION, **options)


def test_bad_reward_of_a_dict_environment():
    model = NodePerturbation("MlpPolicy", lambda: Panel(9, bad=2), credit="score", **SMALL)
    with pytest.raises(NonFiniteError, match="lane 0 at vector step 2"):
        model.learn(64)
