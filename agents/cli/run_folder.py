"""The folder that a run leaves behind."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

from nodepert.agents.errors import ConfigError
from nodepert.agents.files.saving import remove_leftovers, write_atomically

__all__ = ["RunFolder"]


class RunFolder:
    """Paths of a run's files. Nothing is written before :meth:`create`.

    Args:
        path: The folder.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.result = path / "result.json"
        self.progress = path / "progress.csv"
        self.curve = path / "curve.png"
        self.model = path / "model.zip"
        self.dashboard = path / "watch.png"
        self.checkpoints = path / "checkpoints"
        self.settings = self.checkpoints / "run.json"

    def check_new(self, overwrite: bool) -> None:
        """Sees that a run can be put here.

        Args:
            overwrite: Replace the files of an earlier run. Other files in the folder stay.

        Raises:
            ConfigError: It exists already, and is not to be overwritten.
        """
        path = self.path
        if path.exists() and not overwrite:
            raise ConfigError(
                f"--out {path}: exists already; expected a new folder or --overwrite, or "
                "--resume to go on with a run that was stopped"
            )
        if path.exists() and not path.is_dir():
            raise ConfigError(f"--out {path}: is a file, expected a folder")

    def create(self, settings: dict[str, Any]) -> None:
        """Makes the folder, without the files of an earlier run.

        Args:
            settings: What the run needs to be gone on with.

        Raises:
            ConfigError: It can't be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._clear()
            write_json(self.settings, settings)
        except OSError as error:
            raise ConfigError(f"--out {self.path}: can't be written to: {error}") from error

    def read_settings(self) -> dict[str, Any]:
        """What :meth:`create` was given, of a run that can be gone on with.

        Raises:
            ConfigError: There is no such run here.
        """
        if self.result.is_file():
            shutil.rmtree(self.checkpoints, ignore_errors=True)  # killed between the two
            raise ConfigError(f"--resume {self.path}: this run is complete; see {self.result}")
        try:
            settings = json.loads(self.settings.read_text("utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(
                f"--resume {self.path}: there is no {self.settings}; expected the folder of a run "
                "of `nodepert train` that was stopped. Nothing is lost: start the run again"
            ) from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.settings}: can't be read: {error}") from error
        if not isinstance(settings, dict):
            raise ConfigError(f"{self.settings}: expected a JSON object")
        for file in (self.result, self.progress, self.model):
            remove_leftovers(self.path, file.name)
        return settings

    @property
    def has_checkpoints(self) -> bool:
        """Whether there are any, good or damaged."""
        return any(self.checkpoints.glob("*.zip"))

    def finish(self, result: dict[str, Any]) -> None:
        """Writes ``result.json``, which makes the run complete, and removes its checkpoints."""
        write_json(self.result, result)
        shutil.rmtree(self.checkpoints)

    def discard(self) -> None:
        """Removes the run's files, and the folder if nothing else is in it."""
        self._clear()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _clear(self) -> None:
        files = (self.result, self.progress, self.curve, self.model, self.dashboard)
        for file in (*files, *self.path.glob("events.out.tfevents.*")):  # TensorBoard's
            file.unlink(missing_ok=True)
        if self.checkpoints.is_dir():
            shutil.rmtree(self.checkpoints)


def write_json(path: pathlib.Path, document: dict[str, Any]) -> None:
    """Writes JSON, the whole of it or nothing."""
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())
