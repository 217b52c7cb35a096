"""Frames: what they show, through Gymnasium's ways of asking for them."""

import sys
import types
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled, ResetNeeded
from gymnasium.spaces import Box

from nodepert.envs import MNIST, ConfigError, ContractError, DelayedXOR, LossEnv, MNISTAutoencoder
from nodepert.envs.rendering.drawing import (
    BLUE,
    DARK,
    GREEN,
    RED,
    bars,
    enlarge,
    picture,
    raster,
    text,
)

IDS = ("DelayedXOR-v0", "MNIST-v0", "MNISTAutoencoder-v0")


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def has(frame, colour):
    return (frame == colour).all(axis=2).any()


class Undrawn(LossEnv):
    """A task of 100 steps without a picture."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode=render_mode)
        self.observation_space = self.action_space = Box(-1, 1, (1,), np.float32)

    def sample_contexts(self, draws):
        return {"observation": draws.uniform(1).astype(np.float32)}

    def loss(self, context, actions):
        return abs(actions[:, 0])

    def episode_length(self, context):
        return 100


class Dot(Undrawn):
    """The same, with one pixel for each step played."""

    frame = np.zeros((2, 70, 3), np.uint8)

    def render_frame(self, context, actions):
        frame = self.frame.copy()
        frame[0, : len(actions)] = 100 * actions[:, :, None][:, 0]
        return frame


def test_one_method_gives_the_render_modes():
    assert Undrawn.metadata["render_modes"] == []
    assert Dot.metadata["render_modes"] == ["human", "rgb_array"]
    assert Dot.metadata["render_fps"] == 4
    env = Dot(render_mode="rgb_array")
    env.reset(seed=0)
    assert not env.render().any()
    for played in range(70):
        env.step(np.full(1, 0.5 if played < 6 else 1, np.float32))
    assert (env.render()[0, :64] == 100).all(), "the last 64 actions"
    assert not env.render()[:, 64:].any()
    env.reset()
    assert not env.render().any(), "a new episode has no actions"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Undrawn(render_mode="rgb_array"), "'rgb_array' of Undrawn: expected None"),
        (lambda: Dot(render_mode="ansi"), "expected None or 'human' or 'rgb_array'"),
        (lambda: gym.make_vec("MNIST-v0", 2, render_mode="human"), "vector.HumanRendering"),
    ],
)
def test_modes_that_there_are_not(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), None])
def test_frame_that_is_none(monkeypatch, frame):
    monkeypatch.setattr(Dot, "render_frame", lambda *_: frame)
    env = Dot(render_mode="rgb_array")
    env.reset()
    with pytest.raises(ContractError, match=r"Dot.*gave shape"):
        env.render()


def test_render_before_reset_and_without_a_mode():
    for env in (gym.make_vec("MNIST-v0", 2, render_mode="rgb_array"), MNIST(render_mode="human")):
        with pytest.raises(ResetNeeded):
            env.render()
    for env in (gym.make_vec("MNIST-v0", 2), MNIST()):
        env.reset()
        with pytest.warns(UserWarning, match="rgb_array"):
            assert env.render() is None


def test_actions_that_a_caller_changes_later_stay_as_they_were_drawn():
    env, action = Dot(render_mode="rgb_array"), np.ones(1)
    env.reset()
    env.step(action)
    action[:] = 0
    env.step(action)
    assert env.render()[0, 0, 0] == 100


@pytest.mark.parametrize("discrete", [False, True])
def test_mnist_shows_the_label_after_the_answer_only(discrete):
    env = MNIST(split="test", order="sequential", discrete=discrete, render_mode="rgb_array")
    env.reset()
    shown = env.render()
    pixels = env.examples.images[0].reshape(28, 28)
    np.testing.assert_array_equal(shown[8:-8:10, 8:288:10, 0], pixels)
    assert not has(shown, GREEN)
    assert not has(shown, RED)
    for digit, wrong in ((7, False), (2, True)):  # the first image is a 7
        env._lanes.episodes[:] = 0
        env.reset()
        env.step(digit if discrete else np.eye(10)[digit] - 0.5)
        frame = env.render()
        assert has(frame, RED) == wrong
        assert has(frame, GREEN) == (not wrong or not discrete)  # its bar may have no length
        row = frame[8 + 28 * digit + 14, 304:]
        assert (row == (RED if wrong else GREEN)).all(axis=1).sum() == (69 if discrete else 34)


def test_autoencoder_shows_image_and_reconstruction():
    env = MNISTAutoencoder(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert not env.render()[8:-8, 296:-8].any()
    env.step(observation / 2)
    frame = env.render()
    np.testing.assert_array_equal(frame[:, 8:288], frame[:, 296:576])


@pytest.mark.parametrize("arguments", [{}, {"discrete": True}, {"stream": True}])
def test_xor_shows_what_was_said_and_asked_for(arguments):
    env = DelayedXOR(render_mode="rgb_array", **arguments)
    observation, _ = env.reset(seed=1)
    shown, targets, said = [observation], [], []
    for step in range(40):
        targets.append(env.schedule.answer(env._lanes._context)[0][0])
        said.append(step % 2)
        observation, _, ended, _, _ = env.step(said[-1] if "discrete" in arguments else [step % 2])
        if ended:
            break
        shown.append(observation)
    first = max(0, len(targets) + 1 - 24)
    squares = env.render()[20:-8:24, 96:-8:24].astype(int)  # the middle of each
    signs = np.sign(squares[:, :, 2] - squares[:, :, 0])
    shown, last = np.array(shown)[first:], len(targets) - first
    np.testing.assert_array_equal(signs[:2, : len(shown)], shown.T)
    low = -1 if "discrete" in arguments else 0
    np.testing.assert_array_equal(signs[2, :last], np.where(said, 1, low)[first:])
    np.testing.assert_array_equal(signs[3, :last], targets[first:])
    assert not signs[:, len(shown) :].any()
    assert not signs[2:, last:].any()


@pytest.mark.parametrize("env_id", IDS)
def test_frames_of_lanes(env_id):
    lanes = gym.make_vec(env_id, 3, render_mode="rgb_array", autoreset_mode="NextStep")
    lanes.reset(seed=0)
    before = lanes.render()
    lanes.step(lanes.action_space.sample())
    frames = lanes.render()
    assert type(frames) is tuple
    assert [frame.shape for frame in frames] == [before[0].shape] * 3
    assert all((one != two).any() for one, two in zip(before, frames, strict=True))
    assert (frames[0] != frames[1]).any()
    lanes.set_state(lanes.get_state())  # what was played before is not known
    assert len(lanes.render()) == 3


def record(env_id, folder):
    env = gym.make(env_id, render_mode="rgb_array")
    env = gym.wrappers.RecordVideo(
        env, str(folder / "videos"), episode_trigger=lambda episode: True
    )
    env.reset(seed=0)
    while not env.step(env.action_space.sample())[2]:
        pass
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_record_video_gets_every_frame(env_id, tmp_path, monkeypatch):
    """With a stand-in for moviepy, which is no dependency."""
    videos = []

    class ImageSequenceClip:
        def __init__(self, frames, fps):
            videos.append((list(frames), fps))

        def write_videofile(self, path, logger):
            pass

    monkeypatch.setitem(sys.modules, "moviepy", types.ModuleType("moviepy"))
    module = types.ModuleType("ImageSequenceClip")
    module.ImageSequenceClip = ImageSequenceClip
    for name in ("video", "video.io"):
        monkeypatch.setitem(sys.modules, f"moviepy.{name}", types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "moviepy.video.io.ImageSequenceClip", module)
    record(env_id, tmp_path)
    [(frames, fps)] = videos
    assert fps == 4
    assert len(frames) == (8 if env_id == "DelayedXOR-v0" else 2)
    assert all((one != two).any() for one, two in pairwise(frames))


def test_record_video_with_moviepy(tmp_path):
    pytest.importorskip("moviepy")
    record("MNIST-v0", tmp_path)
    assert (tmp_path / "videos/rl-video-episode-0.mp4").stat().st_size > 1000


def test_human_shows_each_step(monkeypatch):
    pygame = pytest.importorskip("pygame")
    env = gym.make("MNISTAutoencoder-v0", render_mode="human")
    observation, _ = env.reset(seed=0)
    env.step(observation / 2)
    assert env.render() is None
    screen = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    np.testing.assert_array_equal(screen[:, 8:288], screen[:, 296:576])
    env.close()
    env.close()
    assert not pygame.display.get_init()
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(DependencyNotInstalled, match=r"gymnasium\[classic_control\]"):
        MNIST(render_mode="human").reset()


def test_drawing():
    levels = picture(np.array([[0.0, 0.5, 2.0]]), side=6)
    np.testing.assert_array_equal(levels[0, :, 0], [0, 0, 128, 128, 255, 255])
    assert enlarge(levels, 2).shape == (4, 12, 3)
    np.testing.assert_array_equal(
        (text("1", factor=1) == DARK).all(axis=2)[:, :3],
        [[0, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0], [1, 1, 1]],
    )
    chart = bars(np.array([0.5, -2.0]), [GREEN, RED], width=100)
    assert chart.shape == (56, 116, 3)
    assert (chart[14] == GREEN).all(axis=1).nonzero()[0].tolist() == [*range(67, 91)]
    assert (chart[42] == RED).all(axis=1).nonzero()[0].tolist() == [*range(16, 66)]
    squares = raster({"GO": np.array([1, -1, 0, np.nan])}, cell=24)[12, 88::24]
    np.testing.assert_array_equal(squares, [BLUE, RED, [255] * 3, [225] * 3])
