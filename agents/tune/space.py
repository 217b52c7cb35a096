"""What is searched: ranges of hyperparameters, read from YAML."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from nodepert.agents.compare.rivals import own_preset
from nodepert.agents.errors import ConfigError
from nodepert.agents.files.plain_yaml import read_yaml
from nodepert.agents.lanes.pairing import can_be_paired

if TYPE_CHECKING:
    from optuna import Trial

__all__ = ["Range", "Space", "family_of", "read_space"]

FOLDER = pathlib.Path(__file__).parent
PACKAGED = {"default": FOLDER / "spaces.yml", "paper": FOLDER / "paper.yml"}
KINDS = ("log", "uniform", "lin", "choice")
SAMPLERS = ("tpe", "random")
Value = float | int | str | bool


@dataclass(frozen=True)
class Range:
    """Where a hyperparameter is looked for."""

    kind: str
    """``"log"``, ``"uniform"``, ``"lin"`` or ``"choice"``: see ``spaces.yml``."""
    values: tuple[Any, ...]

    def suggest(self, trial: Trial, name: str) -> Value:
        """The trial's value, always the same once it is drawn."""
        if self.kind == "choice":
            return trial.suggest_categorical(name, self.values)
        low, high = self.values
        return self.written(trial.suggest_float(name, low, high, log=self.kind != "uniform"))

    def written(self, drawn: Value) -> Value:
        """A drawn value, in the form in which the hyperparameter is set."""
        return f"lin_{drawn}" if self.kind == "lin" else drawn

    def ends(self) -> tuple[Value, Value]:
        """Its first and its last value, in that form."""
        return self.written(self.values[0]), self.written(self.values[-1])


@dataclass(frozen=True)
class Space:
    """The ranges of an agent, and how they are sampled."""

    sampler: str
    ranges: dict[str, Range]


def family_of(agent: str, env_id: str, env: gym.Env[Any, Any], env_kwargs: dict[str, Any]) -> str:
    """The entry of a space that is an agent's: its name, or ``np/CREDIT`` of ours.

    Args:
        agent: Such as ``"ppo"``, ``"np:fixed"`` or ``"np:critic"``.
        env_id: Whose preset says where our agent has the error at the output from.
        env: The environment, for agents that find that out.
        env_kwargs: What it was made with.
    """
    if agent.partition(":")[0] != "np":
        return agent
    credit: str = own_preset(agent, env_id, env_kwargs).config.credit
    if credit == "auto":
        credit = "paired" if can_be_paired(env) else "score"
    return f"np/{credit}"


def read_space(space: str, family: str) -> Space:
    """The ranges of one family.

    Args:
        space: ``"default"``, ``"paper"`` or the path of a YAML file like ``spaces.yml``.
        family: See :func:`family_of`.

    Raises:
        ConfigError: The file can't be read, or has no valid ranges of that family.
    """
    try:
        table = read_yaml(PACKAGED.get(space, pathlib.Path(space)))
    except ConfigError as error:
        raise ConfigError(f"--space {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"--space {space}: expected agent: hyperparameter: range, got {table!r}")
    sampler = table.pop("sampler", "tpe")
    if sampler not in SAMPLERS:
        valid = " or ".join(SAMPLERS)
        raise ConfigError(f"--space {space}: sampler: {sampler!r}: expected {valid}")
    ranges = table.get(family)
    if not isinstance(ranges, dict) or not ranges:
        raise ConfigError(
            f"--space {space}: has no ranges of {family}; expected one of {', '.join(table)}"
        )
    where = f"--space {space}, {family}"
    return Space(
        sampler, {name: read_range(one, f"{where}, {name}") for name, one in ranges.items()}
    )


def read_range(entry: Any, where: str) -> Range:
    """One range.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in KINDS:
        raise ConfigError(f"{where}: {entry!r}: expected one of {', '.join(KINDS)} with its values")
    ((kind, values),) = entry.items()
    if kind == "choice":
        if isinstance(values, list) and values and all(isinstance(v, Value) for v in values):
            return Range(kind, tuple(values))
        raise ConfigError(f"{where}: {values!r}: expected a list of numbers, words or truth values")
    try:
        low, high = (float(value) for value in values)  # YAML takes 1e-3 for a word
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {values!r}: expected [LOW, HIGH]") from error
    if not low < high < float("inf") or (kind != "uniform" and low <= 0):
        valid = "LOW < HIGH" if kind == "uniform" else "0 < LOW < HIGH"
        raise ConfigError(f"{where}: {values!r}: expected {valid}")
    return Range(kind, (low, high))
