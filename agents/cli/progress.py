"""``progress.csv``: a line for each score of a run, whole at any moment."""

from __future__ import annotations

import csv
import pathlib
from typing import Any

from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from nodepert.agents.files.formats import as_csv
from nodepert.agents.files.saving import write_atomically

__all__ = ["ProgressFile"]

STEPS, SECONDS = "time/total_timesteps", "time/time_elapsed"


class ProgressFile(KVWriter):
    """Output of a logger; each line written replaces the whole file, which has few.

    Args:
        path: The file.
        since: Keep the lines that a run had written when it had played so many env steps; None to
            start without any.

    Attributes:
        seconds: How long the run had taken for these lines; added to those of the lines to come.
    """

    def __init__(self, path: pathlib.Path, since: int | None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if since is not None and path.is_file():
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row[STEPS]) <= since]
        self.seconds = int(self.rows[-1][SECONDS]) if self.rows else 0

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
