"""What ``nodepert train`` does while the agent learns: it scores, logs, saves, and shows a bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stable_baselines3.common.callbacks import BaseCallback, ProgressBarCallback

from nodepert.agents.cli.results import RunFolder
from nodepert.agents.evaluation import Score, evaluate
from nodepert.agents.metrics import weight_alignment, weight_norms
from nodepert.agents.node_perturbation import NodePerturbation

if TYPE_CHECKING:
    from nodepert.agents.cli.train import TrainArguments

__all__ = ["Evaluations", "Progress"]


class Evaluations(BaseCallback):
    """Scores the model at equal distances, logs the score, and saves the model.

    Args:
        arguments: Of the run.
        env_kwargs: Of the environment.
        folder: Where the model goes, replaced at once so that a good one is always there.
    """

    def __init__(self, arguments: TrainArguments, env_kwargs: dict[str, Any], folder: RunFolder):
        super().__init__()
        self.arguments, self.env_kwargs, self.folder = arguments, env_kwargs, folder
        self.every = max(arguments.steps // max(arguments.evaluations, 1), 1)
        self.next = self.every
        self.score: Score | None = None

    def _on_training_start(self) -> None:
        self.evaluate()

    def _on_rollout_start(self) -> None:
        # Between updates: weights and counters belong together there.
        if self.num_timesteps >= self.next and self.num_timesteps < self.arguments.steps:
            self.next += self.every
            self.evaluate()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.evaluate()

    def evaluate(self) -> None:
        """One score."""
        self.score = evaluate(self.model, self.arguments.env, self.env_kwargs)
        assert isinstance(self.model, NodePerturbation)
        network = self.model.policy.network
        self.logger.record(f"eval/{self.score.metric}", self.score.value)
        for name, value in weight_alignment(network).items():
            self.logger.record(f"alignment/{name}", value)
        for name, value in weight_norms(network).items():
            self.logger.record(f"weights/{name}", value)
        self.model.dump_logs()
        self.model.save(self.folder.model)


class Progress(ProgressBarCallback):
    """A bar of env steps, of all processes where there are several."""

    def _on_step(self) -> bool:
        self.pbar.update(self.num_timesteps - self.pbar.n)
        return True
