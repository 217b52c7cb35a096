"""How the command line's tests run a command, and an environment of a reader's own."""

import sys
from types import SimpleNamespace

import gymnasium as gym
import pytest
import torch

from nodepert.agents.cli import main

OWN_ENV = '''
import numpy as np
from gymnasium import spaces

from nodepert.envs import LossEnv, register


class Halves(LossEnv):
    """Say half of what you see."""

    def __init__(self, dim: int = 2, bad: int | None = None):
        super().__init__()
        self.dim, self.bad, self.steps = dim, bad, 0
        self.observation_space = spaces.Box(-1, 1, (dim,), np.float32)
        self.action_space = spaces.Box(-1, 1, (dim,), np.float32)

    def sample_contexts(self, draws):
        return {"observation": (2 * draws.uniform(self.dim) - 1).astype(np.float32)}

    def loss(self, context, actions):
        self.steps += 1
        losses = np.square(actions - context["observation"] / 2).sum(axis=1)
        if self.bad is not None and self.steps >= self.bad:
            losses[3] = np.nan
        return losses


register("Halves-v0", Halves)
'''


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs ``nodepert`` with these words in an empty folder: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the command adds the folder
    threads = torch.get_num_threads()

    def run(*words):
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as error:
            code = error.code
        printed = capsys.readouterr()
        return SimpleNamespace(code=code, out=printed.out, err=printed.err)

    yield run
    torch.set_num_threads(threads)


@pytest.fixture
def own_env(tmp_path_factory, monkeypatch):
    """``module:Id`` of an environment that only importing its module registers."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "halves_task.py").write_text(OWN_ENV)
    monkeypatch.syspath_prepend(folder)
    yield "halves_task:Halves-v0"
    gym.registry.pop("Halves-v0", None)
    sys.modules.pop("halves_task", None)
