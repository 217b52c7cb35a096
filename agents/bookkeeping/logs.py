"""What the next line of a log will be made of, so that a resumed run logs what it would have."""

from __future__ import annotations

from collections import deque
from typing import Any

from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import safe_mean

__all__ = ["Logs"]


class Logs:
    """Losses of the last updates, and what was recorded and not written yet.

    Args:
        window: How many losses to keep.

    Attributes:
        losses: Of the last updates, the newest at the end.
    """

    def __init__(self, window: int) -> None:
        self.losses: deque[float] = deque(maxlen=window)
        self._unlogged = 0
        self._recorded: dict[str, float] = {}

    def clear(self) -> None:
        """Forgets all, for a run that starts."""
        self.losses.clear()
        self._unlogged = 0
        self._recorded = {}

    def add_loss(self, loss: float) -> None:
        """Takes in the loss of an update."""
        self.losses.append(loss)
        self._unlogged = min(self._unlogged + 1, len(self.losses))

    def take_mean_loss(self) -> float:
        """The mean of those that were not logged yet; NaN if there are none."""
        unlogged = list(self.losses)[len(self.losses) - self._unlogged :]
        self._unlogged = 0
        return float(safe_mean(unlogged))

    def to_json(self, logger: Logger | None) -> dict[str, Any]:
        """All of it, with the numbers that wait in ``logger``."""
        waiting = {} if logger is None else logger.name_to_value
        numbers = {k: float(v) for k, v in waiting.items() if isinstance(v, int | float)}
        return {"losses": list(self.losses), "unlogged": self._unlogged, "recorded": numbers}

    def from_json(self, document: dict[str, Any]) -> None:
        """Goes back to what :meth:`to_json` gave.

        Raises:
            KeyError: A part is missing.
            TypeError: A part is not valid; so is ValueError.
        """
        self.losses.extend(map(float, document["losses"]))
        self._unlogged = min(max(int(document["unlogged"]), 0), len(self.losses))
        self._recorded = {str(k): float(v) for k, v in document["recorded"].items()}

    def hand_over(self, logger: Logger) -> None:
        """Records what waited in the logger of the run that is gone on with."""
        for name, value in self._recorded.items():
            logger.record(name, value)
        self._recorded = {}
