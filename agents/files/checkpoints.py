"""Checkpoints: a folder of model files of one run, the newest few of them."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from nodepert.agents.bookkeeping.periodic import Periodic
from nodepert.agents.errors import CheckpointError, ConfigError, FileFormatError, NonFiniteError
from nodepert.agents.files.saving import read_archive, remove_leftovers

if TYPE_CHECKING:
    from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["Checkpoints", "Newest", "check_weights", "newest_checkpoint"]

PREFIX, SUFFIX = "checkpoint_", "_steps.zip"


class Checkpoints(Periodic):
    """Saves the model every so many env steps, between two updates, and keeps the newest files.

    The first is written when training starts. Where processes share a run, each has this callback
    and the first one writes, for all.

    A file is ``checkpoint_120000_steps.zip``, which ``NodePerturbation.load`` reads; it holds all
    that the run's future depends on, with a checksum, and is there as a whole or not at all. To go
    on from the newest::

        path = newest_checkpoint(folder).path
        model = NodePerturbation.load(path, env, force_reset=False)
        model.learn(total - model.num_timesteps, checkpoints, reset_num_timesteps=False)

    Args:
        folder: Where to. Another run's checkpoints must not be in it.
        every: Env steps from one to the next, about.
        keep: How many files stay.
        new_episodes: Start new episodes at each checkpoint. For environments without
            ``get_state``: a run that goes on with ``force_reset=True`` is then the run that was not
            interrupted.

    Raises:
        ConfigError: An argument that is not valid; when training starts, a checkpoint in ``folder``
            that the model has not come to yet.
        CheckpointError: While training, a checkpoint can't be written.
        NonFiniteError: While training, a weight is NaN or infinite, and is not saved.
    """

    def __init__(
        self, folder: str | pathlib.Path, every: int, *, keep: int = 3, new_episodes: bool = False
    ) -> None:
        super().__init__(every)
        if keep < 1:
            raise ConfigError(f"keep={keep!r}: expected a positive number of files")
        self.folder = pathlib.Path(folder)
        self.keep = keep
        self.new_episodes = new_episodes

    def _on_training_start(self) -> None:
        super()._on_training_start()
        model = cast("NodePerturbation", self.model)
        if model.leads:
            self._tidy()
        if model.anywhere(model.leads and not self.path.exists()):
            self.act()

    def _tidy(self) -> None:
        """Removes what was half written; see :class:`Checkpoints` for what it raises."""
        remove_leftovers(self.folder, f"{PREFIX}*{SUFFIX}")
        for path in files(self.folder):
            if steps_of(path) <= self.num_timesteps:
                continue
            if fault(path) is None:
                raise ConfigError(
                    f"{path} is from another run, or from later in this one: expected a folder of "
                    f"its own, or a model that was loaded from that file"
                )
            path.unlink()

    def act(self) -> None:
        """Saves the model as it is between two updates."""
        if self.new_episodes:
            cast("NodePerturbation", self.model).start_new_episodes()
        self.save()

    @property
    def path(self) -> pathlib.Path:
        """Where :meth:`save` writes to."""
        model = cast("NodePerturbation", self.model)
        moment = model._moment
        steps = model.num_timesteps if moment is None else moment.counters["num_timesteps"]
        return self.folder / f"{PREFIX}{steps}{SUFFIX}"

    def save(self) -> None:
        """Saves the model as it was after its last update, whenever this is called."""
        model, path = cast("NodePerturbation", self.model), self.path
        check_weights(model)
        try:
            model.save_run(path)
            for old in files(self.folder)[: -self.keep] if model.leads else ():
                old.unlink()
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint {path} can't be written: {error.strerror or error}; "
                + self._last_good()
            ) from error

    def _last_good(self) -> str:
        try:
            return f"the last good one is {newest_checkpoint(self.folder).path}"
        except CheckpointError:
            return "there is none before it"


@dataclass(frozen=True)
class Newest:
    """The newest checkpoint that is whole."""

    path: pathlib.Path
    damaged: list[str]
    """What is wrong with newer files, if there are any."""


def newest_checkpoint(folder: str | pathlib.Path) -> Newest:
    """Finds where to go on.

    Args:
        folder: That of :class:`Checkpoints`.

    Raises:
        CheckpointError: No checkpoint in it can be read.
    """
    damaged: list[str] = []
    for path in reversed(files(pathlib.Path(folder))):
        wrong = fault(path)
        if wrong is None:
            return Newest(path, damaged)
        damaged.append(wrong)
    found = "\n".join(damaged) if damaged else "it has none"
    raise CheckpointError(f"no checkpoint in {folder} can be read: {found}")


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints of a folder, the newest at the end."""
    return sorted(
        (path for path in folder.glob(f"{PREFIX}*{SUFFIX}") if steps_of(path) >= 0), key=steps_of
    )


def steps_of(path: pathlib.Path) -> int:
    """After how many env steps a checkpoint was written; -1 if its name does not tell."""
    steps = path.name[len(PREFIX) : -len(SUFFIX)]
    return int(steps) if steps.isdecimal() else -1


def fault(path: pathlib.Path) -> str | None:
    """What is wrong with a file, in words; None if it is whole."""
    try:
        read_archive(path, "cpu")
    except FileFormatError as error:
        return str(error)
    except OSError as error:
        return f"{path}: can't be read: {error.strerror or error}"
    return None


def check_weights(model: NodePerturbation) -> None:
    """Raises NonFiniteError where a weight is NaN or infinite."""
    for name, values in model.policy.state_dict().items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise NonFiniteError(
                f"{name} is not finite after env step {model.num_timesteps}: the weights have "
                "diverged; try a smaller learning_rate or max_grad_norm=1.0"
            )
