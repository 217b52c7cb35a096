import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from torch.nn import functional as F

from nodepert.agents import NodePerturbation, NonFiniteError
from nodepert.agents.evaluation import Score, evaluate, play
from nodepert.agents.lanes.vec_env import SB3VecEnv
from nodepert.envs import DelayedXOR
from nodepert.envs.mnist_data import load_examples


class Acts:
    """A model that is a function of (observation, memory, started) to (action, memory)."""

    def __init__(self, act):
        self.act = act

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        return self.act(observation, state, episode_start)


def forward(model, pixels):
    """A feed-forward network by hand."""
    *hidden, last = model.policy.network.layers
    x = torch.as_tensor(pixels)
    for layer in hidden:
        x = torch.relu(F.linear(x, layer.weight, layer.bias))
    return F.linear(x, last.weight, last.bias).detach().numpy()


@pytest.fixture(scope="module")
def mnist_model():
    return NodePerturbation("MlpPolicy", "MNIST-v0", seed=0, net_arch=(30,),
                            learning_rate=5e-3).learn(8000)  # fmt: skip


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_mnist_error_is_that_of_every_image(mnist_model, split):
    examples = load_examples(None, split, False)
    predicted = forward(mnist_model, examples.images.astype(np.float32) / 255).argmax(axis=1)
    score = evaluate(mnist_model, "MNIST-v0", split=split)
    assert score.metric == f"{split}_error"
    assert score.value == np.mean(predicted != examples.labels)
    assert 0.1 < score.value < 0.8
    assert len(examples) == {"test": 10_000, "validation": 5_000, "train": 60_000}[split]


def test_arguments_that_do_not_change_the_error(mnist_model):
    """The split asked for wins over that of the training, and so on."""
    expected = evaluate(mnist_model, "MNIST-v0")
    training = {"split": "validation", "holdout": True, "order": "sequential",
                "max_episode_steps": 3}  # fmt: skip
    for kwargs in (training, {"split": "train", "holdout": True}, {"loss": "cross_entropy"}):
        assert evaluate(mnist_model, "nodepert.envs:MNIST-v0", kwargs) == expected


def test_discrete_mnist():
    always = Acts(lambda observation, state, started: (np.full(len(observation), 7), None))
    share = np.mean(load_examples(None, "test", False).labels == 7)
    score = evaluate(always, "MNIST-v0", {"discrete": True})
    assert score == Score("test_error", 1 - share)


def test_autoencoder_error_is_per_image_and_pixel():
    model = NodePerturbation("MlpPolicy", "MNISTAutoencoder-v0", seed=0, net_arch=(5,))
    for split in ("test", "validation"):
        pixels = load_examples(None, split, False).images.astype(np.float32) / 255
        score = evaluate(model, "MNISTAutoencoder-v0", split=split)
        assert score.metric == f"{split}_mse"
        expected = np.square(forward(model, pixels).astype(np.float64) - pixels).mean()
        assert score.value == pytest.approx(expected, rel=1e-5)
    black = Acts(lambda observation, state, started: (0 * observation, None))
    blank = np.square(pixels.astype(np.float64)).mean()
    assert evaluate(black, "MNISTAutoencoder-v0", split="validation").value == pytest.approx(blank)


def oracle(respond_late):
    """Answers the XOR of the last two bits shown before the cue; one step late on a stream."""

    def act(observation, memory, started):
        if memory is None:
            memory = np.zeros((3, len(observation)))  # the last two bits, what to answer next
        memory = np.where(started, 0, memory)
        cue, bit = observation.T
        answer = -memory[0] * memory[1] * cue
        said = memory[2] if respond_late else answer
        bits = np.where(bit != 0, [memory[1], bit], memory[:2])
        return said[:, None] / 2, np.stack([*bits, answer])

    return Acts(act)


@pytest.mark.parametrize("delay", [0, 4, (1, 6)])
def test_oracle_answers_every_trial(delay):
    kwargs = {"delay": delay}
    assert evaluate(oracle(False), "DelayedXOR-v0", kwargs) == Score("go_accuracy", 1.0)


@pytest.mark.parametrize("delay", [0, (1, 6)])
def test_oracle_answers_a_stream(delay):
    score = evaluate(oracle(True), "DelayedXOR-v0", {"stream": True, "delay": delay})
    assert score == Score("go_accuracy", 1.0)


def test_only_response_steps_count():
    late = evaluate(oracle(True), "DelayedXOR-v0")  # silent at the cue
    assert late == Score("go_accuracy", 0.0)
    guess = Acts(lambda observation, state, started: (np.ones((len(observation), 1)), None))
    for kwargs in ({}, {"stream": True}):
        assert evaluate(guess, "DelayedXOR-v0", kwargs).value == pytest.approx(0.5, abs=0.06)


def test_each_lane_counts_one_trial_however_long_the_others_last():
    lanes = DelayedXOR.vector(50, delay=(0, 20))
    correct = play(oracle(False), lanes, 0, 1000)[1]
    assert len(correct) == 50


def test_other_seeds_are_other_trials():
    guess = Acts(lambda observation, state, started: (np.ones((len(observation), 1)), None))
    one, again, other = (evaluate(guess, "DelayedXOR-v0", seed=s).value for s in (1, 1, 5000))
    assert one == again != other


@pytest.fixture
def registered():
    """Registers a class or a function under an id, for one test."""
    ids = []

    def register(entry_point, **kwargs):
        ids.append(f"Tested{len(ids)}-v0")
        gym.register(ids[-1], entry_point=entry_point, **kwargs)
        return ids[-1]

    yield register
    for env_id in ids:
        gym.registry.pop(env_id)


class Counts(gym.Env):
    """An episode of as many steps as its seed says: reward 1 a step."""

    observation_space = gym.spaces.Box(0, 100, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 30)) if seed is not None else 99
        return np.array([self.left], np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.array([self.left], np.float32), float(action), self.left == 0, False, {}


def test_mean_return_of_somebody_else_s_environment(registered):
    """The first episode of 20 lanes each, however long the others last."""
    env_id = registered(Counts)
    lengths = [int(Counts().reset(seed=10_000 + lane)[0][0]) for lane in range(20)]
    always = Acts(lambda observation, state, started: (np.ones(len(observation), int), None))
    assert evaluate(always, env_id) == Score("mean_return", np.mean(lengths))
    capped = evaluate(always, env_id, {"max_episode_steps": 5})
    assert capped.value == np.mean(np.minimum(lengths, 5))


def test_environments_are_closed(registered):
    made, closed = [], []

    class Server(Counts):
        def __init__(self):
            made.append(self)

        def close(self):
            closed.append(self)

    act = Acts(lambda observation, state, started: (np.ones(len(observation), int), None))
    evaluate(act, registered(Server))
    assert len(made) == 21
    assert {id(one) for one in made} == {id(one) for one in closed}


def test_mean_return_of_a_loss_environment(registered, tasks):
    env_id = registered(tasks.Echo)
    right = Acts(lambda observation, state, started: (observation / 2, None))
    silent = Acts(lambda observation, state, started: (0 * observation, None))
    assert evaluate(right, env_id).value == pytest.approx(0, abs=1e-12)
    assert evaluate(silent, env_id).value == pytest.approx(-0.5, abs=0.03)
    assert evaluate(silent, env_id, {"length": 3}).value == pytest.approx(-1.5, abs=0.05)


def test_episode_that_never_ends(registered, tasks, monkeypatch):
    monkeypatch.setattr("nodepert.agents.evaluation.MOST_STEPS", 50)
    env_id = registered(tasks.Echo)
    silent = Acts(lambda observation, state, started: (0 * observation, None))
    score = evaluate(silent, env_id, {"length": float("inf")})
    assert score.value == pytest.approx(-25, rel=0.05)


def test_lost_reward_names_step_and_lane(registered, tasks):
    class Lossy(tasks.Echo):
        def loss(self, context, actions):
            losses = super().loss(context, actions)
            losses[5] = np.where(context["step"][5] == 2, np.nan, losses[5])
            return losses

    env_id = registered(Lossy)
    silent = Acts(lambda observation, state, started: (0 * observation, None))
    with pytest.raises(NonFiniteError, match="reward nan in lane 5 at step 3"):
        evaluate(silent, env_id, {"length": 4})
    assert np.isfinite(evaluate(silent, env_id, {"length": 2}).value)


def test_any_stable_baselines3_model(tasks, registered):
    env_id = registered(tasks.Echo)
    env = SB3VecEnv(tasks.Echo.vector(4))
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=32, seed=0, device="cpu")
    one, other = evaluate(model, env_id), evaluate(model, env_id)
    assert one == other
    assert one.value == pytest.approx(-0.5, abs=0.2)
