"""Runs that diverge: noticing it, and going back to the last good state."""

from __future__ import annotations

import math
import pathlib
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents.errors import ConfigError, DivergenceError

if TYPE_CHECKING:
    from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["DivergenceGuard", "roll_back"]

FEWEST = 10
"""Losses before which none is called exploding."""
RECENT = 3
"""Losses whose median explodes: a rare failure among few steps is large in one update alone."""


class DivergenceGuard(BaseCallback):
    """Ends training with an error, between two updates, once the loss explodes.

    It does where the mean loss, minus the mean reward, is in the median of three updates so many
    times as large as the largest in size of the updates before them (the last 100,
    ``stats_window_size``), or NaN. NaN and infinite predictions are errors without it, a
    :class:`~nodepert.agents.NonFiniteError` too.

    Args:
        factor: How many times.

    Raises:
        ConfigError: It is not above 1.
        DivergenceError: While training, the loss explodes.
    """

    def __init__(self, factor: float = 1e3) -> None:
        super().__init__()
        if not factor > 1:
            raise ConfigError(f"factor={factor!r}: expected a number above 1")
        self.factor = factor

    def _on_rollout_start(self) -> None:
        losses = cast("NodePerturbation", self.model).logs.losses
        if len(losses) < FEWEST + RECENT:
            return
        earlier, recent = list(losses)[:-RECENT], list(losses)[-RECENT:]
        loss, largest = statistics.median(recent), max(map(abs, earlier))
        if any(map(math.isnan, recent)) or loss > self.factor * largest > 0:
            raise DivergenceError(
                f"the loss explodes: {loss:.4g} after env step {self.num_timesteps}, at most "
                f"{largest:.4g} in the updates before; try a smaller learning_rate or "
                "max_grad_norm=1.0"
            )

    def _on_step(self) -> bool:
        return True


def roll_back(model: NodePerturbation, path: str | pathlib.Path, factor: float = 0.5) -> None:
    """Takes weights, optimisers and all else that is learned from a file, and lowers step sizes.

    Env steps stay counted: those that were lost were played. Random numbers go on too, in new
    episodes, so that what led astray is not repeated even where step sizes stay as they are.

    Args:
        model: Whose training ended with a NonFiniteError. Go on with
            ``learn(..., reset_num_timesteps=False)``.
        path: A checkpoint of it.
        factor: What its present step sizes are multiplied by, those of the feedback weights too
            where they were set.

    Raises:
        ConfigError: ``factor`` is not above 0 and at most 1, or the step size is a function.
    """
    if not 0 < factor <= 1:
        raise ConfigError(f"factor={factor!r}: expected a number above 0, at most 1")
    config = model.config
    if callable(config.learning_rate):
        raise ConfigError("learning_rate is a function: expected a number, which can be lowered")
    feedback = config.feedback_learning_rate
    model.config = replace(
        config,
        learning_rate=config.learning_rate * factor,
        feedback_learning_rate=None if feedback is None else feedback * factor,
    )
    model.learning_rate = model.config.learning_rate
    model._setup_lr_schedule()
    model.set_parameters(path)
    model.logs.clear()
    model.start_new_episodes()
