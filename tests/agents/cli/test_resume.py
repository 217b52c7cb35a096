"""Runs that are stopped, fail or diverge, and what becomes of them."""

import csv
import errno
import json
import os
import signal
import sys
import zipfile

import gymnasium as gym
import pytest

from nodepert.agents import NodePerturbation
from nodepert.agents.cli import main
from nodepert.agents.cli import train as train_module
from nodepert.agents.files import saving

XOR = ("train", "DelayedXOR-v0", "--steps", 400, "--batch-size", 2, "--net-arch", 8,
       "--evaluations", 3, "--checkpoint-every", 64, "--alignment-interval", 3)  # fmt: skip
FILES = {"result.json", "progress.csv", "curve.png", "model.zip"}
SECRETIVE = '''
import gymnasium as gym
import numpy as np


class Secretive(gym.Env):
    """Its state can't be read."""

    observation_space = gym.spaces.Box(-9, 9, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.normal()
        return np.array([self.place], np.float32).clip(-9, 9), {}

    def step(self, action):
        self.steps += 1
        self.place += action - 0.5 + self.np_random.normal()
        shown = np.array([self.place], np.float32).clip(-9, 9)
        return shown, -abs(self.place), False, self.steps == 33, {}


gym.register("Secretive-v0", Secretive)
'''


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    main([str(word) for word in (*XOR, "--out", folder)])
    return folder


@pytest.fixture
def secretive(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("own")
    (folder / "secretive.py").write_text(SECRETIVE)
    monkeypatch.syspath_prepend(folder)
    yield "secretive:Secretive-v0"
    gym.registry.pop("Secretive-v0", None)
    sys.modules.pop("secretive", None)


@pytest.fixture
def at(monkeypatch):
    """Lets something happen once, in the first step after so many env steps."""

    def at(steps, action):
        class Then(train_module.Evaluations):
            def _on_step(self):
                if self.num_timesteps > steps and not happened:
                    happened.append(True)
                    action()
                return True

        happened = []
        monkeypatch.setattr(train_module, "Evaluations", Then)

    return at


def ending(folder):
    """All that is learned and logged, but for times."""
    with zipfile.ZipFile(folder / "model.zip") as archive:
        tensors = archive.read("tensors.safetensors")
    with (folder / "progress.csv").open(newline="") as file:
        rows = [
            {k: v for k, v in row.items() if k not in ("time/fps", "time/time_elapsed")}
            for row in csv.DictReader(file)
        ]
    return tensors, rows


def kill():
    """As if the process had ended here: nothing is saved."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_update_and_the_run_goes_on(run, at, whole, tmp_path, number, code):
    before = signal.getsignal(number)
    at(200, lambda: signal.raise_signal(number))
    done = run(*XOR, "--out", "run")
    assert done.code == code
    assert signal.getsignal(number) is before
    assert "run/checkpoints/checkpoint_208_steps.zip" in done.err, "the update was finished"
    assert "To go on: nodepert train --resume run" in done.err
    assert not {path.name for path in (tmp_path / "run").iterdir()} >= FILES
    again = run("train", "--resume", "run")
    assert again.code == 0, again.err
    assert "Going on from run/checkpoints/checkpoint_208_steps.zip" in again.out
    assert "not exactly" not in again.out
    assert ending(tmp_path / "run") == ending(whole)
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    results = [json.loads((path / "result.json").read_text()) for path in (tmp_path / "run", whole)]
    assert {**results[0], "seconds": 0} == {**results[1], "seconds": 0}


@pytest.mark.parametrize("steps", [10, 40, 300])
def test_a_run_that_died_goes_on(run, at, whole, tmp_path, steps):
    """Also where checkpoints and scores fall on different updates, none lost, none twice."""
    at(steps, kill)
    assert run(*XOR, "--out", "run").code == 130
    again = run("train", "--resume", "run") if steps > 32 else run(*XOR, "--out", "run")
    assert again.code == 0, again.err
    assert ending(tmp_path / "run") == ending(whole)


def test_a_second_signal_stops_at_once(run, at, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    at(200, twice)
    done = run(*XOR, "--out", "run")
    assert done.code == 143
    assert "nodepert train --resume run" in done.err
    found = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert found == {"run.json", *(f"checkpoint_{n}_steps.zip" for n in (64, 128, 192))}


def test_a_run_killed_before_its_first_checkpoint_starts_again(run, at, whole, tmp_path):
    at(300, kill)
    run(*XOR, "--out", "run")
    for path in (tmp_path / "run/checkpoints").glob("*.zip"):
        path.unlink()
    again = run("train", "--resume", "run")
    assert "from the beginning" in again.out
    assert ending(tmp_path / "run") == ending(whole)


def test_damaged_checkpoints_are_named_and_the_one_before_is_used(run, at, whole, tmp_path):
    at(300, kill)
    run(*XOR, "--out", "run")
    newest = tmp_path / "run/checkpoints/checkpoint_256_steps.zip"
    newest.write_bytes(newest.read_bytes()[:-40])
    again = run("train", "--resume", "run")
    assert again.code == 0
    assert "run/checkpoints/checkpoint_256_steps.zip: not a model file" in again.err
    assert "Going on from run/checkpoints/checkpoint_192_steps.zip" in again.out
    assert ending(tmp_path / "run") == ending(whole)


def test_a_damaged_log_is_named(run, at, tmp_path):
    at(200, kill)
    assert run(*XOR, "--out", "run").code == 130
    (tmp_path / "run/progress.csv").write_text("a,b\n1,2\n")
    done = run("train", "--resume", "run")
    assert done.code == 1
    assert "run/progress.csv: not the log of a run, or damaged (KeyError" in done.err
    (tmp_path / "run/progress.csv").unlink()
    assert run("train", "--resume", "run").code == 0


def test_a_full_disk_stops_the_run_and_costs_nothing(run, at, whole, tmp_path, monkeypatch):
    def full(**options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    at(200, lambda: monkeypatch.setattr(saving.tempfile, "mkstemp", full))
    done = run(*XOR, "--out", "run")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert done.code == 1
    assert "can't be written: No space left on device" in done.err
    assert "the last good one is run/checkpoints/checkpoint_192_steps.zip" in done.err
    assert "Traceback" not in done.err
    assert run("train", "--resume", "run").code == 0
    assert ending(tmp_path / "run") == ending(whole)


def test_a_disk_that_is_full_from_the_start(run, tmp_path, monkeypatch):
    def full(model, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(NodePerturbation, "save", full)
    done = run(*XOR, "--out", "run")
    assert done.code == 1
    assert "files can't be written" in done.err
    assert "No space left on device. Nothing was learned yet" in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resets", [True, False])
def test_environments_whose_state_cannot_be_read(run, at, tmp_path, secretive, resets):
    flags = ("--steps", 400, "--n-envs", 2, "--n-steps", 16, "--net-arch", 4, "--batch-size", 16,
             "--evaluations", 2, "--checkpoint-every", 90)  # fmt: skip
    words = ("train", secretive, *flags, *(["--checkpoint-resets"] if resets else []))
    assert run(*words, "--out", "whole").code == 0
    at(250, kill)
    done = run(*words, "--out", "run")
    assert "nodepert train secretive:Secretive-v0 --resume run" in done.err
    refused = run("train", "--resume", "run")
    assert refused.code == 1
    assert "nodepert train secretive:Secretive-v0 --resume run" in refused.err
    again = run("train", secretive, "--resume", "run")
    assert again.code == 0, again.err
    assert ("not exactly the run" in again.out) is not resets
    assert (ending(tmp_path / "run") == ending(tmp_path / "whole")) is resets


def test_a_run_that_diverges_is_rolled_back_with_smaller_steps(run, tmp_path):
    flags = ("train", "MNIST-v0", "--steps", 4000, "--evaluations", 2, "--learning-rate", 1e30,
             "--on-divergence", "rollback", "--out", "run")  # fmt: skip
    done = run(*flags, "--rollback-factor", 1e-33)
    assert done.code == 0, done.err
    assert "not finite" in done.err
    assert "rolled back to run/checkpoints/checkpoint_0_steps.zip" in done.err
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["config"]["learning_rate"] == pytest.approx(1e-3)
    assert result["env_steps"] >= 4000
    assert result["value"] < 0.9, "it learns from there"
    assert NodePerturbation.load(tmp_path / "run/model.zip").num_timesteps == result["env_steps"]
    hopeless = run(*flags, "--rollback-factor", 1, "--overwrite")
    assert hopeless.code == 1
    assert hopeless.err.count("rolled back") == 5
    assert "after 5 rollbacks" in hopeless.err


@pytest.mark.parametrize("evaluations", [1, 1000])
def test_weights_that_are_lost_are_rolled_back_before_they_are_scored(
    run, at, monkeypatch, evaluations
):
    updates = []
    learn_from = NodePerturbation._learn_from

    def lose(model, batch):
        learn_from(model, batch)
        updates.append(model)
        if len(updates) == 3 or model.num_timesteps >= 400:
            model.policy.network.layers[0].weight.data.fill_(float("nan"))

    monkeypatch.setattr(NodePerturbation, "_learn_from", lose)
    done = run(*XOR, "--evaluations", evaluations, "--on-divergence", "rollback", "--out", "run")
    assert done.code == 0, done.err
    assert done.err.count("rolled back") == 2


def test_runs_that_cannot_be_resumed(run, at, tmp_path):
    def refused(*words):
        done = run("train", *words)
        assert "Traceback" not in done.err
        return done.code, done.err

    assert refused("--resume", "nowhere")[0] == 1
    assert "nowhere/checkpoints/run.json" in refused("--resume", "nowhere")[1]
    assert refused("--resume", "run", "--steps", "9")[0] == 2
    at(200, kill)
    run(*XOR, "--out", "run")
    assert "run is on DelayedXOR-v0" in refused("MNIST-v0", "--resume", "run")[1]
    settings = tmp_path / "run/checkpoints/run.json"
    good = json.loads(settings.read_text())
    for wrong, said in (
        ({**good, "steps": "many"}, "steps"),
        ({**good, "config": {**good["config"], "rule": "magic"}}, "rule"),
        ({**good, "policy_kwarg": None}, "policy_kwarg"),
        ([], "object"),
    ):
        settings.write_text(json.dumps(wrong))
        code, err = refused("--resume", "run")
        assert (code, said in err) == (1, True), err
    settings.write_text("{")
    assert "can't be read" in refused("--resume", "run")[1]
    settings.write_text(json.dumps(good))
    for path in settings.parent.glob("*.zip"):
        path.write_bytes(b"PK")
    code, err = refused("--resume", "run")
    assert (code, err.count("not a model file")) == (1, 3)
    assert run(*XOR, "--out", "run", "--overwrite").code == 0
    assert "run is complete" in refused("--resume", "run")[1]
