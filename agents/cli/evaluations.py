"""Scores on the way."""

from __future__ import annotations

import pathlib
from typing import Any

from nodepert.agents.bookkeeping.periodic import Periodic
from nodepert.agents.evaluation import Score, evaluate
from nodepert.agents.files.checkpoints import check_weights
from nodepert.agents.metrics import weight_alignment, weight_norms
from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["Evaluations"]


class Evaluations(Periodic):
    """Scores the model at equal distances, logs the score, and saves the model.

    Args:
        env: Id of the environment.
        env_kwargs: Of the environment.
        steps: Env steps of the whole run.
        count: How often to score it.
        path: Where the model goes, replaced at once so that a good one is always there.
        at_start: Also score it before anything is learned; a run that goes on has been.
    """

    def __init__(
        self,
        env: str,
        env_kwargs: dict[str, Any],
        *,
        steps: int,
        count: int,
        path: pathlib.Path,
        at_start: bool,
    ) -> None:
        super().__init__(max(steps // count, 1))
        self.at_start = at_start
        self.env, self.env_kwargs, self.steps, self.path = env, env_kwargs, steps, path
        self.score: Score | None = None

    def _on_training_start(self) -> None:
        super()._on_training_start()
        if self.at_start and self.num_timesteps == 0:
            self.act()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps < self.steps:
            super()._on_rollout_start()

    def _on_training_end(self) -> None:
        if self.num_timesteps >= self.steps:  # else it was stopped
            self.act()

    def act(self) -> None:
        """One score.

        Raises:
            NonFiniteError: A weight is NaN or infinite.
        """
        assert isinstance(self.model, NodePerturbation)
        check_weights(self.model)
        self.score = evaluate(self.model, self.env, self.env_kwargs)
        network = self.model.policy.network
        self.logger.record(f"eval/{self.score.metric}", self.score.value)
        for name, value in weight_alignment(network).items():
            self.logger.record(f"alignment/{name}", value)
        for name, value in weight_norms(network).items():
            self.logger.record(f"weights/{name}", value)
        self.model.dump_logs()
        self.model.save(self.path)
