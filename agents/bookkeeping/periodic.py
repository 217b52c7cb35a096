"""Things to do every so many env steps, between two updates."""

from __future__ import annotations

from abc import abstractmethod

from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents.errors import ConfigError

__all__ = ["Periodic"]


class Periodic(BaseCallback):
    """Acts at the first end of an update at or after each multiple of ``every`` env steps.

    Weights and counters belong together there. When the next time is follows from the env steps
    alone, so a run that is resumed acts when the run that was not interrupted does.

    Args:
        every: Env steps.

    Raises:
        ConfigError: It is not positive.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        if every < 1:
            raise ConfigError(f"every={every!r}: expected a positive number of env steps")
        self.every = every

    @abstractmethod
    def act(self) -> None:
        """What to do."""

    def _on_training_start(self) -> None:
        self._plan()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next:
            self._plan()
            self.act()

    def _on_step(self) -> bool:
        return True

    def _plan(self) -> None:
        self._next = (self.num_timesteps // self.every + 1) * self.every
