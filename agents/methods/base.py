"""What a method is: how actions are tried, and what is learned from what they lead to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nodepert.agents.config import Config
from nodepert.agents.errors import NonFiniteError
from nodepert.agents.lanes.rollout import PairedLanes, Played
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.policies import FeedbackPolicy

__all__ = ["INITIAL_OUTPUT_GAIN", "Method", "OnStep", "check_finite"]

Batch = TypeVar("Batch")
OnStep = Callable[[Played], bool]
"""Told of each step; False stops the run."""
INITIAL_OUTPUT_GAIN = 0.01
"""Of a policy whose actions start in the middle of their range, as in Stable-Baselines3's PPO."""


class Method(ABC, Generic[Batch]):
    """Plays and learns; one subclass for each kind of credit.

    Attributes:
        optimizers: By the name that they have in a model file.
        memory: All that is learned besides the policy's weights.
    """

    shows_contexts: ClassVar[bool]
    """Whether lanes show contexts in groups, batch_size of them; else n_envs lanes go their way."""
    has_critic: ClassVar[bool]
    """Whether the policy has a critic."""
    normalizes_observation: ClassVar[bool] = False
    """Whether observations that are numbers are normalised by default."""
    whole_episodes: ClassVar[bool] = False
    """Whether each update plays one episode a lane from its start; a lane can rest after it."""
    init_gain: ClassVar[float | None] = None
    """Of the initial weights, where ``policy_kwargs`` says nothing; None: the network's own."""
    default_log_interval: ClassVar[int]
    """Updates from one log to the next."""
    starts_after: int = 0
    """Env steps before the first that is learned from."""
    n_steps: int
    """Vector steps from one update to the next, at most."""
    optimizers: dict[str, torch.optim.Optimizer]
    memory: nn.ModuleDict

    @abstractmethod
    def __init__(
        self,
        config: Config,
        policy: FeedbackPolicy,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None: ...

    @property
    def forward_optimizers(self) -> list[torch.optim.Optimizer]:
        """Those whose step size follows the schedule."""
        return [v for k, v in self.optimizers.items() if not k.endswith("feedback_optimizer")]

    def share_seeds(self, seeds: list[int]) -> list[int]:
        """Seeds of the contexts, given one for each; some may be made equal to others."""
        return seeds

    @abstractmethod
    def begin(self, situation: Situation) -> None:
        """Completes a situation in which all episodes have just started."""

    @abstractmethod
    def collect(
        self, lanes: PairedLanes, situation: Situation, remaining: float, on_step: OnStep
    ) -> Batch | None:
        """Plays until there is something to learn from, and leaves ``situation`` where that ends.

        Args:
            lanes: Where to play.
            situation: Where to go on.
            remaining: Progress remaining, from 1 to 0.
            on_step: Told of each step; False stops the run.

        Returns:
            What to learn from, or None if ``on_step`` stopped the run.

        Raises:
            NonFiniteError: A prediction is NaN or infinite.
        """

    @abstractmethod
    def learn_from(self, batch: Batch, update: int, measure: bool) -> dict[str, float]:
        """One update.

        Args:
            batch: What :meth:`collect` gave.
            update: Which update this is, from 1.
            measure: Also measure how well the feedback weights do.

        Returns:
            What to log, by name; ``"train/loss"`` is averaged over the updates between two logs.
        """


def check_finite(prediction: Tensor, lanes: PairedLanes) -> None:
    """Raises NonFiniteError where a prediction, shape (N, d), is not finite."""
    lost = ~np.isfinite(prediction.cpu().numpy()).all(axis=1)  # on so few numbers numpy is faster
    if lost.any():
        raise NonFiniteError(
            f"the prediction for lane {int(lost.argmax())} is not finite after env step "
            f"{lanes.env_steps}: the weights have diverged or the observation is not finite; try a "
            "smaller learning_rate"
        )
