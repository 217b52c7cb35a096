"""The logs of a run: TensorBoard's, and ``progress.csv``, a line a score, whole at any moment."""

from __future__ import annotations

import csv
import pathlib
from typing import Any

from stable_baselines3.common.logger import (
    KVWriter,
    TensorBoardOutputFormat,
    filter_excluded_keys,
)

from nodepert.agents.errors import FileFormatError, explain
from nodepert.agents.files.formats import as_csv
from nodepert.agents.files.saving import write_atomically

__all__ = ["ProgressFile", "TensorBoardFile"]

STEPS, SECONDS = "time/total_timesteps", "time/time_elapsed"


class ProgressFile(KVWriter):
    """Output of a logger; each line written replaces the whole file, which has few.

    Args:
        path: The file.
        since: Keep the lines that a run had written when it had played so many env steps; None to
            start without any.

    Raises:
        FileFormatError: The lines can't be read.

    Attributes:
        since: As given.
        seconds: How long the run had taken for these lines; added to those of the lines to come.
    """

    def __init__(self, path: pathlib.Path, since: int | None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.since = since
        self.seconds = 0
        if since is not None and path.is_file():
            self._read(since)

    def _read(self, since: int) -> None:
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row[STEPS]) <= since]
            self.seconds = int(self.rows[-1][SECONDS]) if self.rows else 0
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise FileFormatError(
                f"{self.path}: not the log of a run, or damaged ({explain(error)}); without the "
                "file the run goes on with a new one"
            ) from error

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Adds a line; columns that are new are empty in those before."""
        row = filter_excluded_keys(key_values, key_excluded, "csv")
        self.rows.append({**row, SECONDS: row[SECONDS] + self.seconds})
        columns = dict.fromkeys(name for row in self.rows for name in row)
        write_atomically(self.path, as_csv(list(columns), self.rows))

    def close(self) -> None:
        """Nothing is open."""


class TensorBoardFile(TensorBoardOutputFormat):
    """TensorBoard's log, in which a run that goes on takes the place of what came after that.

    Args:
        folder: Where.
        since: As of :class:`ProgressFile`.
    """

    def __init__(self, folder: str, since: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # an extra

        # As the base class does, but for purge_step, which that can't be given.
        self.writer = SummaryWriter(folder, purge_step=None if since is None else since + 1)
        self._is_closed = False
