"""Words after ``nodepert``: parsed and checked, up to where training or scoring would begin."""

from __future__ import annotations

import contextlib
import io
import pathlib
from random import Random
from typing import Any
from unittest.mock import patch

from driver import Target
from wild import NUMBERS, text

from nodepert.agents import NodePerturbation
from nodepert.agents.checking.check import Report
from nodepert.agents.cli import main
from nodepert.agents.errors import NodepertError

__all__ = ["TARGET"]

ENVS = ("CartPole-v1", "Pendulum-v1", "DelayedXOR-v0", "nodepert.envs:DelayedXOR-v0", "Nope-v0",
        "ENV", "os:system", "absent_module:X-v0", "CartPole-v99", ":", "a:b:c")  # fmt: skip
FLAGS = {
    "train": ("--steps", "--out", "--policy", "--preset", "--seed", "--overwrite", "--env-kwarg",
              "--policy-kwarg", "--device", "--threads", "--evaluations", "--credit", "--rule",
              "--probes", "--probe-std", "--batch-size", "--n-steps", "--net-arch", "--activation",
              "--learning-rate", "--node-std", "--n-envs", "--gamma", "--error-model", "--replays",
              "--optimizer", "--buffer-size", "--sequence-length", "--warmup", "--clip-range",
              "--resume", "--checkpoint-every", "--checkpoint-resets", "--on-divergence",
              "--rollback-factor", "--tensorboard", "--help"),
    "evaluate": ("--env", "--env-kwarg", "--split", "--help"),
    "check": ("--env-kwarg", "--timeout", "--help"),
    "compare": ("--agents", "--steps", "--seeds", "--jobs", "--out", "--evaluations", "--target",
                "--minutes", "--split", "--hyperparameters", "--env-kwarg", "--quick", "--executor",
                "--address", "--help"),
    "tune": ("--agent", "--trials", "--steps", "--seeds", "--score", "--out", "--space", "--seed",
             "--evaluations", "--minutes", "--env-kwarg", "--jobs", "--executor", "--address",
             "--help"),
    "watch": ("--every", "--help"),
    "envs": ("--help",),
}  # fmt: skip
VALUES = ("1", "2", "8", "True", "False", "None", "paired", "score", "value", "critic", "MlpPolicy",
          "RnnPolicy", "CnnPolicy", "cpu", "loss", "loss_ridge", "relu", "tanh", "default", "np",
          "np:loss", "ppo", "random", "delay=3", "cell=lstm", "net_arch=[0]", "init_gain=x",
          "channels=[]", "made", "ray", "rollback", "paper", ".", "missing.yml", "/dev/null",
          "/proc/x", "-1", "--", "-", "@x",
          "64 64", "nan", "inf", "1e-3", "0.5", "test", "1000000 1000000",
          "999999999999")  # fmt: skip


class Begun(BaseException):
    """All words were accepted."""


def begin(*args: Any, **kwargs: Any) -> Any:
    """In place of what would take long."""
    raise Begun


STAND_INS = (
    patch.object(NodePerturbation, "learn", begin),
    patch("nodepert.agents.cli.evaluate.evaluate", begin),
    patch("nodepert.agents.cli.compare.compare", begin),
    patch("nodepert.agents.cli.tune.tune", begin),
    patch("nodepert.agents.cli.check.check_env", lambda *args, **kwargs: Report()),
)


def make(random: Random) -> list[str]:
    """A command, mostly an environment, and flags with values of all kinds."""
    command = random.choice(list(FLAGS)) if random.random() < 0.95 else text(random)
    words = [command]
    if random.random() < 0.9:
        words.append(random.choice(ENVS[:4] if random.random() < 0.7 else ENVS))
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        flags = FLAGS.get(command, FLAGS["train"])
        words.append(random.choice(flags) if random.random() < 0.95 else text(random))
        words += one_value(random).split(" ") if random.random() < 0.9 else []
    return words


def one_value(random: Random) -> str:
    if random.random() < 0.7:
        return random.choice(VALUES)
    return str(random.choice(NUMBERS)) if random.random() < 0.6 else text(random)


def feed(words: list[str]) -> None:
    """Runs the command; an exit code that is not 0 comes with words, and never with a traceback."""
    code, told = 0, io.StringIO()
    with contextlib.ExitStack() as stack:
        for stand_in in STAND_INS:
            stack.enter_context(stand_in)
        stack.enter_context(contextlib.redirect_stdout(told))
        stack.enter_context(contextlib.redirect_stderr(told))
        try:
            main(words)
        except Begun:
            pass
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
    assert "Traceback" not in told.getvalue()
    if code:
        assert code in (1, 2), f"exit code {code}"
        raise NodepertError(told.getvalue())
    left = [path for path in pathlib.Path().rglob("*") if path.is_file()]
    assert not left, f"nothing was learned, but {left} is there"


TARGET = Target("command lines", make, feed, share=0.015)
