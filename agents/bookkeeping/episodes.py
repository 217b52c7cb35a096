"""Returns and lengths of the episodes that training plays."""

from __future__ import annotations

import numpy as np

from nodepert.agents.lanes.rollout import Played

__all__ = ["Episodes"]


class Episodes:
    """Adds up rewards until episodes end, as means over the lanes of a context.

    Args:
        contexts: How many.
    """

    def __init__(self, contexts: int) -> None:
        self.returns = np.zeros(contexts)
        self.lengths = np.zeros(contexts)

    def count(self, played: Played) -> dict[str, float] | None:
        """Mean return ``"r"`` and length ``"l"`` of the episodes that this step ended, if any."""
        self.returns -= played.losses.mean(axis=1)
        self.lengths += played.valid
        ended = played.ended
        if not ended.any():
            return None
        means = {"r": float(self.returns[ended].mean()), "l": float(self.lengths[ended].mean())}
        self.returns[ended] = 0
        self.lengths[ended] = 0
        return means
