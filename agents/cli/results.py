"""The folder that a run leaves behind."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from nodepert.agents.errors import ConfigError
from nodepert.agents.files.saving import write_atomically

__all__ = ["RunFolder"]


class RunFolder:
    """Paths of a run's files. Nothing is written before :meth:`create`.

    Args:
        path: The folder.
        overwrite: Replace the files of an earlier run. Other files in it stay.

    Raises:
        ConfigError: It exists already, and is not to be overwritten.
    """

    def __init__(self, path: pathlib.Path, overwrite: bool) -> None:
        if path.exists() and not overwrite:
            raise ConfigError(f"--out {path}: exists already; expected a new folder or --overwrite")
        if path.exists() and not path.is_dir():
            raise ConfigError(f"--out {path}: is a file, expected a folder")
        self.path = path
        self.result = path / "result.json"
        self.progress = path / "progress.csv"
        self.curve = path / "curve.png"
        self.model = path / "model.zip"
        self.dashboard = path / "watch.png"

    def create(self) -> None:
        """Makes the folder, without the files of an earlier run.

        Raises:
            ConfigError: It can't be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._clear()
        except OSError as error:
            raise ConfigError(f"--out {self.path}: can't be written to: {error}") from error

    def discard(self) -> None:
        """Removes the run's files, and the folder if nothing else is in it."""
        self._clear()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _clear(self) -> None:
        files = (self.result, self.progress, self.curve, self.model, self.dashboard)
        for file in (*files, *self.path.glob("events.out.tfevents.*")):  # TensorBoard's
            file.unlink(missing_ok=True)

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes ``result.json``, the whole of it or nothing."""
        write_atomically(self.result, (json.dumps(result, indent=2) + "\n").encode())
