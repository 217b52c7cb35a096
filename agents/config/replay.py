"""Hyperparameters of probes that are learned from again."""

from __future__ import annotations

from dataclasses import dataclass

from nodepert.agents.config.checks import check_number

__all__ = ["ReplayFields"]


@dataclass(frozen=True)
class ReplayFields:
    """Of credit="paired", "one_sided" and "one_point"."""

    replays: int = 0
    """R, minibatches of stored probes that follow each fresh one; each probe is learned from R
    times more, on average, those of a run's start more often. 0: none. Of a recurrent policy, whole
    windows are stored."""

    def check_replays(self) -> None:
        """Raises ConfigError where a field is not valid."""
        check_number(self, "replays", int, 0)
