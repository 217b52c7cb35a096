"""Policies: networks with feedback weights, as Stable-Baselines3 policies."""

from nodepert.agents.policies.base import FeedbackPolicy
from nodepert.agents.policies.cnn import CnnPolicy
from nodepert.agents.policies.mlp import MlpPolicy
from nodepert.agents.policies.rnn import RnnPolicy

__all__ = ["CnnPolicy", "FeedbackPolicy", "MlpPolicy", "RnnPolicy"]
