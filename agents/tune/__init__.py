"""Searching for hyperparameters: as many trials of as many env steps for any agent."""

from nodepert.agents.tune.driver import tune
from nodepert.agents.tune.search import Search
from nodepert.agents.tune.space import family_of, read_space

__all__ = ["Search", "family_of", "read_space", "tune"]
