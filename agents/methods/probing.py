"""Credit by probes: the same context on several lanes, with different actions."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nodepert.agents.algorithm.window import Window, collect
from nodepert.agents.config import Config
from nodepert.agents.factory import make_learner
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.methods.base import Method, OnStep
from nodepert.agents.metrics import alignment
from nodepert.agents.policies import FeedbackPolicy

__all__ = ["Probing"]


class Probing(Method[Window]):
    """Windows of probes, and a learner that reads the output error from their losses.

    Args:
        config: Hyperparameters.
        policy: What learns.
        learning_rate: Step size at the start.
        generator: Random numbers for the noise.
    """

    shows_contexts = True
    has_critic = False
    default_log_interval = 100

    def __init__(
        self,
        config: Config,
        policy: FeedbackPolicy,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        self.policy = policy
        self.generator = generator
        self.n_steps = config.n_steps or policy.default_n_steps
        self.learner = make_learner(config, policy.network, learning_rate, generator)
        self.optimizers = self.learner.descent.optimizers
        self.memory = self.learner.memory

    def share_seeds(self, seeds: list[int]) -> list[int]:
        """Pairs of contexts are the same where scouts are sent."""
        return seeds if self.learner.replay is None else self.learner.replay.share_seeds(seeds)

    def begin(self, situation: Situation) -> None:
        """Nothing to add."""

    def collect(
        self, lanes: PairedLanes, situation: Situation, remaining: float, on_step: OnStep
    ) -> Window | None:
        """One window of T steps; see :func:`nodepert.agents.algorithm.window.collect`."""
        replay = self.learner.replay
        return collect(
            self.policy.network,
            lanes,
            situation,
            n_steps=self.n_steps,
            to_input=self.policy.to_input,
            actions=self.policy.actions,
            estimator=self.learner.estimator,
            node_probe=self.learner.node_probe,
            send_scouts=None if replay is None else replay.send_scouts,
            generator=self.generator,
            on_step=on_step,
        )

    def learn_from(self, batch: Window, update: int, measure: bool) -> dict[str, float]:
        """One step of W and B."""
        logged: dict[str, float] = {}
        tell = partial(self._measure, batch, logged) if measure else None
        self.learner.learn_from(batch, update, tell)
        if batch.count:
            logged["train/loss"] = batch.mean_loss()
        return logged

    def _measure(self, window: Window, logged: dict[str, float], error: Tensor) -> None:
        """How well the feedback weights do, given ê."""
        found = alignment(self.policy.network, window, error)
        logged.update({f"alignment/{name}": value for name, value in found.items()})
