"""The folder of a comparison: one small file for each finished run."""

from __future__ import annotations

import json
import pathlib
from dataclasses import asdict, dataclass
from typing import Any

from nodepert.agents.compare.run import Record, Run
from nodepert.agents.errors import ConfigError
from nodepert.agents.files.formats import as_csv
from nodepert.agents.files.saving import write_atomically

__all__ = ["Folder"]

FIELDS = {
    "env": str,
    "agent": str,
    "seed": int,
    "env_kwargs": dict,
    "steps": int,
    "evaluations": int,
    "minutes": int | float,
    "split": str,
    "hyperparameters": dict,
    "cut": int | None,
    "points": list,
    "versions": dict,
}
POINT = {"env_steps": int, "seconds": int | float, "metric": str, "value": int | float}
COLUMNS = ("env", "agent", "seed", "env_steps", "seconds", "metric", "value")
OF_THE_ENVIRONMENT = ("steps", "evaluations", "minutes", "split", "env_kwargs")
"""Settings that all runs on an environment share."""


@dataclass(frozen=True)
class Folder:
    """Where a comparison keeps its files; a file appears whole or not at all."""

    path: pathlib.Path

    def record_of(self, run: Run) -> pathlib.Path:
        """The file of a run, there once it is finished."""
        return self.path / "runs" / run.file_name

    def log_of(self, run: Run) -> pathlib.Path:
        """What a run printed."""
        return (self.path / "logs" / run.file_name).with_suffix(".log")

    def create(self) -> None:
        """Makes the folder.

        Raises:
            ConfigError: It can't be written to.
        """
        try:
            for name in ("runs", "logs"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {self.path}: can't be written to: {error}") from error

    def write(self, run: Run, record: Record) -> None:
        """Keeps what a finished run left behind."""
        write_atomically(self.record_of(run), (json.dumps(record, indent=1) + "\n").encode())

    def read(self, run: Run) -> Record:
        """What a finished run left behind."""
        return read_record(self.record_of(run))

    def records(self) -> list[Record]:
        """All finished runs, sorted by environment, agent and seed.

        Raises:
            ConfigError: A file that is not one of a run.
        """
        found = [read_record(path) for path in sorted(self.path.glob("runs/*.json"))]
        return sorted(found, key=lambda record: (record["env"], record["agent"], record["seed"]))

    def check(self, runs: list[Run]) -> None:
        """Raises ConfigError where finished runs can't stand beside those that are planned."""
        records = self.records()
        for run in runs:
            planned = comparable(json.loads(json.dumps(asdict(run))))  # lists, not tuples
            for record in map(comparable, records):
                same_env = record["env"] == run.env
                same_agent = same_env and record["agent"] == run.agent
                names = OF_THE_ENVIRONMENT if same_env else ()
                for name in (*names, *(("hyperparameters",) if same_agent else ())):
                    if record[name] != planned[name]:
                        raise ConfigError(
                            f"--out {self.path}: has a run of {record['agent']} on {run.env} with "
                            f"{_difference(name, record[name], planned[name])}; expected the same "
                            "settings, or another folder"
                        )

    def write_table(self, records: list[Record]) -> None:
        """Writes ``comparison.csv``, a row for each evaluation."""
        rows = [
            {**{name: record[name] for name in ("env", "agent", "seed")}, **point}
            for record in records
            for point in record["points"]
        ]
        write_atomically(self.path / "comparison.csv", as_csv(COLUMNS, rows))


def read_record(path: pathlib.Path) -> Record:
    """One file.

    Raises:
        ConfigError: It is not one of a run.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate can't be written again
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: can't be read: {error}; without it, it is run again") from error
    for name, types in FIELDS.items():
        if not isinstance(record, dict) or not _fits(record.get(name, ...), types):
            raise ConfigError(f"{path}: {name} is missing or not valid; expected a finished run")
    for name, valid in (
        ("points", record["points"] and all(map(_is_point, record["points"]))),
        ("versions", all(isinstance(version, str) for version in record["versions"].values())),
    ):
        if not valid:
            raise ConfigError(f"{path}: {name} are not valid; expected a finished run")
    return record


def _is_point(point: Any) -> bool:
    """Whether this is one evaluation."""
    return (
        isinstance(point, dict)
        and point.keys() == POINT.keys()
        and all(_fits(point[name], types) for name, types in POINT.items())
    )


def _fits(value: Any, types: Any) -> bool:
    """Whether a value has one of the types; integers must fit into arrays."""
    return isinstance(value, types) and (not isinstance(value, int) or abs(value) < 2**63)


def comparable(record: Record) -> Record:
    """Without words on where hyperparameters come from."""
    settings = {k: v for k, v in record["hyperparameters"].items() if k != "source"}
    return {**record, "hyperparameters": settings}


def _difference(name: str, before: Any, now: Any) -> str:
    """``steps=1000, now 2000``; of hyperparameters, the first that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(k for k in (*before, *now) if before.get(k, "unset") != now.get(k, "unset"))
        return f"{name} {key}={before.get(key, 'unset')!r}, now {now.get(key, 'unset')!r}"
    return f"{name}={before!r}, now {now!r}"
