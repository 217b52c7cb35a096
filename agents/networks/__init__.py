"""Networks whose backward pass carries errors through feedback weights."""

from nodepert.agents.networks.activations import ACTIVATIONS
from nodepert.agents.networks.base import Network, Step
from nodepert.agents.networks.layer import Call, FeedbackLinear, Path
from nodepert.agents.networks.mlp import MLP
from nodepert.agents.networks.rnn import RNN

__all__ = ["ACTIVATIONS", "MLP", "RNN", "Call", "FeedbackLinear", "Network", "Path", "Step"]
