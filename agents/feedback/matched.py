"""Feedback that receives the forward weights' own updates."""

from __future__ import annotations

from torch import Tensor

from nodepert.agents.feedback.base import UpdateRule

__all__ = ["Matched"]


class Matched(UpdateRule):
    """B ← B + ΔW: both learn from the same pre- and postsynaptic activity (Kolen & Pollack 1994).

    "Matched" of arXiv 1906.00889, figure 3 (Rombouts et al. 2015; Martinolli et al. 2018). Without
    ``weight_decay`` the difference of W and B stays what it was at the start; with it, it decays.
    """

    def gradient(self, weight_gradient: Tensor) -> Tensor:
        """W's."""
        return weight_gradient.clone()
