"""``nodepert check`` on environments that are broken on purpose, and on some that are not."""

import sys

import pytest

from nodepert.agents.checking.check import check_env
from nodepert.agents.cli.check import find_env

BROKEN = '''
import sys
import time

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from nodepert.envs import LossEnv

BOX = spaces.Box(-1, 1, (3,), np.float32)


class Sound(gym.Env):
    """Contexts follow from the seed; the reward is best at half of what is shown."""

    observation_space = BOX
    action_space = BOX

    def __init__(self, length=1):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.look(), {}

    def look(self):
        self.shown = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self.shown.copy()

    def step(self, action):
        self.steps += 1
        reward = -float(np.square(action - self.shown / 2).sum())
        return self.look(), reward, self.steps >= self.length, False, {}


class Endless(Sound):
    def __init__(self):
        super().__init__(10**9)


class RaisesWhenMade(Sound):
    def __init__(self):
        raise FileNotFoundError("no licence\\nfile")


class RaisesInReset(Sound):
    def reset(self, *, seed=None, options=None):
        raise KeyError("arm")


class LeavesTheProgram(Sound):
    def reset(self, *, seed=None, options=None):
        sys.exit("simulator closed")


class NoSpaces(gym.Env):
    pass


class SpaceOfAnotherKind(Sound):
    action_space = (3,)


class OutOfItsSpace(Sound):
    def look(self):
        return super().look() + 7


class FourValues(Sound):
    def step(self, action):
        return super().step(action)[:4]


class WrongTypes(Sound):
    def step(self, action):
        shown, reward, terminated, truncated, info = super().step(action)
        return shown, str(reward), terminated, truncated, info


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Later(Sound):
    """Breaks too late for the two checkers to see."""

    def __init__(self, how):
        super().__init__()
        self.how, self.played = how, 0

    def step(self, action):
        self.played += 1
        shown, reward, *flags = super().step(action)
        if self.played >= 50:
            if self.how == "raise":
                raise RuntimeError("arm lost")
            if self.how == "hang":
                time.sleep(100)
            if self.how == "leave":
                raise GeneratorExit
            if self.how == "unspeakable":
                raise Unspeakable
            if self.how == "swallow":
                try:
                    time.sleep(100)
                except BaseException:
                    time.sleep(100)
            if self.how == "write":
                action *= 0
            reward = {"nan": float("nan")}.get(self.how, reward)
            shown = {"shape": shown[:2], "outside": shown + 7}.get(self.how, shown)
            flags[0] = {"flag": "no"}.get(self.how, flags[0])
            flags[2] = {"info": None}.get(self.how, flags[2])
        return shown, reward, *flags


class Noisy(Sound):
    def step(self, action):
        shown, reward, *flags = super().step(action)
        return shown, reward + np.random.default_rng().normal(), *flags


class Unseeded(Sound):
    """Draws without the environment's own random numbers."""

    def look(self):
        super().look()
        return np.random.default_rng().uniform(-1, 1, 3).astype(np.float32)


class LeakyLanes(LossEnv):
    """A loss that depends on the other lanes."""

    def __init__(self):
        super().__init__()
        self.observation_space, self.action_space = BOX, BOX

    def sample_contexts(self, draws):
        return {"observation": (2 * draws.uniform(3) - 1).astype(np.float32)}

    def loss(self, context, actions):
        return np.square(actions - context["observation"]).sum(axis=1) + actions.mean()


def function():
    return Sound()


class NoEnvironment:
    pass
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the current folder, which is what `nodepert` searches."""

    def write(name, content):
        (tmp_path / f"{name}.py").write_text(content)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    yield write
    sys.modules.pop("broken_tasks", None)


@pytest.fixture
def checked(run, module):
    """Runs the check on a class of the module above: exit code, and lines by their first word."""

    def checked(name, *flags):
        module("broken_tasks", BROKEN)
        done = run("check", f"broken_tasks:{name}", *flags)
        assert "Traceback" not in done.out + done.err
        return done

    return checked


def modes(done):
    """Which modes are supported, by name, and why."""
    lines = [line.split(maxsplit=2) for line in done.out.splitlines()]
    return {
        line[1].rstrip(":"): (line[0] == "yes", line[2])
        for line in lines
        if line[0] in ("yes", "no")
    }


def supported(done):
    return {name for name, (yes, _) in modes(done).items() if yes}


def test_a_task_that_follows_from_its_seed(checked):
    done = checked("Sound")
    assert (done.code, done.err) == (0, "")
    assert supported(done) == {"paired", "score", "critic", "episode"}
    assert modes(done)["value"] == (False, "actions are a Box, expected Discrete")
    assert "broken" not in done.out.replace("broken_tasks", "")
    assert done.out.splitlines()[-1] == "usable, with credit paired or score or critic or episode"


def test_episodes_that_never_end(checked):
    done = checked("Endless")
    assert supported(done) == {"paired", "score", "critic"}
    assert "no episode ended within 1,000 random steps" in modes(done)["episode"][1]
    assert supported(checked("Sound", "--env-kwarg", "length=900")) >= {"episode"}


@pytest.mark.parametrize(
    ("env", "expected", "why_not"),
    [
        ("CartPole-v1", {"score", "value", "episode"}, "lanes with one seed come apart: observa"),
        ("Pendulum-v1", {"score", "critic", "episode"}, "lanes with one seed come apart: observa"),
        ("nodepert.envs:DelayedXOR", {"paired", "score", "critic", "episode"}, None),
        ("nodepert.envs:CartPole-v1", {"score", "value", "episode"}, "lanes with one seed come"),
    ],
)
def test_ids_and_classes(run, env, expected, why_not):
    done = run("check", env)
    assert (done.code, done.err) == (0, "")
    assert supported(done) == expected
    assert ("contract of loss environments" in done.out) == (why_not is None)
    if why_not:
        assert modes(done)["paired"][1].startswith(why_not)


def test_arguments_that_the_environment_does_not_take(run):
    done = run("check", "CartPole-v1", "--env-kwarg", "poles=2")
    assert done.code == 1
    assert "broken   it can be made, and has spaces: TypeError" in done.out
    assert "poles" in done.out


def test_warnings_of_the_checkers_are_told_once_and_break_nothing(run):
    done = run("check", "Pendulum-v1")
    warned = [line for line in done.out.splitlines() if line.startswith("  warning")]
    assert [line.split("check_env")[0].split(maxsplit=1)[1] for line in warned] == [
        "Gymnasium's ",
        "Stable-Baselines3's ",
    ]
    assert "\x1b" not in done.out


MADE, GYM, SB3 = "it can be made, and has spaces", "Gymnasium's check_env", "Stable-Baselines3's"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RaisesWhenMade", [f"{MADE}: FileNotFoundError: no licence file"]),
        ("NoSpaces", [f"{MADE}: observation_space is None, expected a gymnasium.spaces.Space"]),
        ("SpaceOfAnotherKind", [f"{MADE}: action_space is (3,), expected"]),
        ("RaisesInReset", [f"{GYM}: KeyError: 'arm'", "actions: after step 0: KeyError: 'arm'"]),
        ("LeavesTheProgram", [f"{GYM}: SystemExit: simulator closed"]),
        ("OutOfItsSpace", [f"{GYM}: The first element returned by `env.reset()`", SB3]),
        ("FourValues", [SB3, "actions: after step 0: ValueError: not enough values to"]),
        ("WrongTypes", [SB3, "at step 1: reward '-"]),
        ("Unseeded", [f"{GYM}: Deterministic step observations"]),
        ("LeakyLanes", ["contract of loss environments: LeakyLanes: loss: a lane depends on oth"]),
    ],
)
def test_broken_environments(checked, name, said):
    done = checked(name)
    assert done.code == 1
    lines = [line for line in done.out.splitlines() if line.startswith("  broken   ")]
    for text in said:
        assert any(text in line for line in lines), done.out
    assert done.out.splitlines()[-1] == "something is broken"
    assert all(len(line) < 400 for line in lines)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "after step 49: RuntimeError: arm lost"),
        ("nan", "at step 50: reward nan, expected a finite number"),
        ("shape", "at step 50: observation of shape (2,), expected (3,)"),
        ("flag", "at step 50: terminated is 'no', expected True or False"),
        ("info", "at step 50: info is None, expected a dict"),
        ("leave", "after step 49: GeneratorExit"),
        ("unspeakable", "after step 49: Unspeakable: its message can't be shown"),
    ],
)
def test_what_breaks_after_the_checkers_have_gone(checked, how, said):
    done = checked("Later", "--env-kwarg", f"how={how}")
    assert done.code == 1
    assert f"  ok       {GYM}" in done.out
    assert f"  broken   300 steps of random actions: {said}" in done.out
    assert supported(done) == set()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("write", "step writes into the action that it is given"),
        ("outside", "an observation has another dtype than its space, or is out of its bounds"),
    ],
)
def test_what_is_odd_after_the_checkers_have_gone(checked, how, said):
    done = checked("Later", "--env-kwarg", f"how={how}")
    assert (done.code, done.err) == (0, "")
    assert f"  warning  300 steps of random actions: {said}" in done.out


@pytest.mark.parametrize("how", ["hang", "swallow"])
def test_an_environment_that_hangs(checked, how):
    done = checked("Later", "--env-kwarg", f"how={how}", "--timeout", 2)
    assert done.code == 1
    assert "broken   300 steps of random actions: no end within 2 s" in done.out
    assert supported(done) == set()


def test_rewards_with_noise_of_their_own_are_not_paired(checked):
    done = checked("Noisy")
    assert supported(done) == {"score", "critic"}
    assert "rewards of two copies with one seed differ at step 2" in modes(done)["paired"][1]
    assert "a seed and actions do not fix what happens" in modes(done)["episode"][1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nope-v0", "Environment `Nope` doesn't exist"),
        ("broken_tasks:Nope", "module 'broken_tasks' has no class of that name"),
        ("broken_tasks:function", "module 'broken_tasks' has no class of that name"),
        ("broken_tasks:NoEnvironment", "the class NoEnvironment is no gymnasium.Env"),
        ("absent_module:Sound", "module 'absent_module' can't be imported (ModuleNotFoundError"),
        ("damaged:Sound", "module 'damaged' can't be imported (SyntaxError"),
    ],
)
def test_names_of_nothing(run, module, name, said):
    module("broken_tasks", BROKEN)
    module("damaged", "def broken(:\n")
    done = run("check", name)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"\nnodepert: {name}: ")
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_timeout_that_is_not_one(run):
    done = run("check", "CartPole-v1", "--timeout", 0)
    assert done.code == 1
    assert "--timeout 0: expected a positive number of seconds" in done.err


def test_the_report_as_an_object(module, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module("broken_tasks", BROKEN)
    good = check_env(find_env("broken_tasks:Sound", {"length": 3}))
    assert good.usable
    assert not good.broken
    assert [mode.name for mode in good.modes] == ["paired", "score", "value", "critic", "episode"]
    bad = check_env(find_env("broken_tasks:RaisesInReset", {}))
    assert bad.broken
    assert not bad.usable
    assert not bad.modes
