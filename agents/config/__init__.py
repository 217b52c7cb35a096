"""Every hyperparameter of the agent: one flat dataclass, written down in groups."""

from nodepert.agents.config.config import Config, Credit, Residual, with_changes
from nodepert.agents.config.schedules import learning_rate_schedule

__all__ = ["Config", "Credit", "Residual", "learning_rate_schedule", "with_changes"]
