"""What ``nodepert train`` takes, and how a run that is resumed takes it again."""

from __future__ import annotations

import importlib.util
import pathlib
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

import torch
import tyro

from nodepert.agents.cli.arguments import Pairs
from nodepert.agents.cli.processes import are_several
from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError, FileFormatError
from nodepert.agents.files.model_file import config_from_json, config_to_json
from nodepert.agents.presets import preset_for

__all__ = [
    "ResumeArguments",
    "TrainArguments",
    "arguments_from_json",
    "arguments_to_json",
    "check",
    "default_arguments",
]

Device = Literal["cpu", "cuda", "auto"]
OnDivergence = Literal["stop", "rollback"]


@dataclass(frozen=True)
class TrainArguments:
    """Train on an environment from its scalar rewards alone.

    Ctrl-C or SIGTERM finishes the update, saves, and says how to go on; a second one stops at once.

    nodepert train --resume DIR goes on with a run that was stopped, was killed, or failed.

    Exit codes: 0 done, 1 failed, 2 bad usage, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.
    """

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]
    """Environment id, such as MNIST-v0, or module:Id."""
    steps: int
    """Env steps to train for, every probe counted."""
    out: pathlib.Path
    """Folder for model.zip, progress.csv, curve.png and result.json."""
    policy: str
    """MlpPolicy, RnnPolicy or CnnPolicy."""
    config: Annotated[Config, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="")]
    preset: str = "default"
    """Start from the hyperparameters of this preset; flags win over it."""
    seed: int = 0
    """Of everything random."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the files of an earlier run in --out."""
    env_kwarg: Pairs = ()
    """An argument of the environment, such as loss=mse."""
    policy_kwarg: Pairs = ()
    """An option of the policy, such as cell=lstm (RnnPolicy), channels=[16,32] (CnnPolicy) or
    init_gain=1.4 (all)."""
    device: Device = "cpu"
    """Where the network is."""
    threads: int = 1
    """Of torch on the CPU; more help only wide networks."""
    evaluations: int = 20
    """How often to score and save the model, at equal distances; the last score is the result."""
    tensorboard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Log for TensorBoard, too: `tensorboard --logdir runs` then shows the runs in that folder."""
    checkpoint_every: int | None = None
    """Env steps from one checkpoint to the next, from which --resume goes on; the newest three stay
    until the run is complete. Default: a twentieth of the run."""
    checkpoint_resets: tyro.conf.FlagCreatePairsOff[bool] = False
    """Start new episodes at each checkpoint. A resumed run is bit for bit the run that was not
    interrupted: in our environments and Gymnasium's classic control always, in others with this."""
    on_divergence: OnDivergence = "stop"
    """When weights or predictions are not finite or the loss explodes: stop, or go back to the
    last checkpoint, at most five times, with lower step sizes."""
    rollback_factor: float = 0.5
    """What a rollback multiplies the step sizes by; 1 leaves them, and only the noise is new."""


@dataclass(frozen=True)
class ResumeArguments:
    """Go on with a run of `nodepert train` that was stopped, killed, or failed.

    It keeps its settings. Of damaged checkpoints the newest good one is taken, and named.
    """

    resume: Annotated[pathlib.Path, tyro.conf.arg(metavar="DIR")]
    """The run's folder."""
    env: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[ENV]")] = None
    """The run's environment; needed where it is module:Id, since no module is imported because a
    file names it."""


def default_arguments(env: str, preset: str) -> TrainArguments:
    """The arguments of ``nodepert train`` where no flag is given."""
    chosen = preset_for(env, preset)
    out = pathlib.Path("runs") / env.replace(":", "_").replace("/", "_")
    return TrainArguments(
        env,
        chosen.steps,
        out,
        policy=chosen.policy,
        config=chosen.config,
        preset=preset,
        env_kwarg=chosen.env_pairs,
    )


def check(arguments: TrainArguments) -> None:
    """Raises ConfigError where a value is out of range, or asks for a device that isn't there."""
    for name in ("steps", "evaluations", "threads", "checkpoint_every"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected a positive integer")
    if not 0 <= arguments.seed < 2**32:
        raise ConfigError(f"--seed {arguments.seed}: expected an integer from 0 to {2**32 - 1}")
    if not 0 < arguments.rollback_factor <= 1:
        raise ConfigError(
            f"--rollback-factor {arguments.rollback_factor}: expected a number above 0, at most 1"
        )
    if arguments.on_divergence == "rollback" and are_several():
        raise ConfigError(
            "--on-divergence rollback: one of several processes can't go back by itself; expected "
            "stop under torchrun"
        )
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no such device here; expected cpu or auto")
    if arguments.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard: there is no TensorBoard; pip install tensorboard")


SETTINGS: dict[str, Any] = {
    "env": str,
    "steps": int,
    "policy": str,
    "config": dict,
    "preset": str,
    "seed": int,
    "env_kwarg": list,
    "policy_kwarg": list,
    "device": str,
    "threads": int,
    "evaluations": int,
    "tensorboard": bool,
    "checkpoint_every": int | None,
    "checkpoint_resets": bool,
    "on_divergence": str,
    "rollback_factor": float | int,
}
"""The schema of a run's settings."""
CHOICES = {"device": get_args(Device), "on_divergence": get_args(OnDivergence)}


def arguments_to_json(arguments: TrainArguments) -> dict[str, Any]:
    """All that a run goes on with, wherever its folder is by then."""
    document = {**asdict(arguments), "config": config_to_json(arguments.config)}
    return {name: document[name] for name in SETTINGS}


def arguments_from_json(document: dict[str, Any], out: pathlib.Path) -> TrainArguments:
    """What :func:`arguments_to_json` wrote.

    Raises:
        FileFormatError: It did not write this.
        ConfigError: A value is out of range.
    """
    for name, types in SETTINGS.items():
        value = document.get(name, ...)
        # A truth value is an int to Python.
        if not isinstance(value, types) or isinstance(value, bool) != (types is bool):
            raise FileFormatError(f"settings of the run: {name} is missing or not valid")
    for name, valid in CHOICES.items():
        if document[name] not in valid:
            raise FileFormatError(
                f"settings of the run: {name} {document[name]!r}: expected {' or '.join(valid)}"
            )
    values = {name: document[name] for name in SETTINGS}
    for name in ("env_kwarg", "policy_kwarg"):
        values[name] = tuple(map(str, values[name]))
    arguments = TrainArguments(
        **{**values, "config": config_from_json(values["config"], {})}, out=out
    )
    check(arguments)
    return arguments
