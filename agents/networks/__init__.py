"""Networks whose backward pass carries errors through feedback weights."""

from nodepert.agents.networks.activations import ACTIVATIONS
from nodepert.agents.networks.base import Network, Step, predictions, restarted
from nodepert.agents.networks.cnn import CNN
from nodepert.agents.networks.conv import FeedbackConv2d
from nodepert.agents.networks.layer import Call, FeedbackLayer, FeedbackLinear, Path
from nodepert.agents.networks.mlp import MLP
from nodepert.agents.networks.rnn import RNN

__all__ = [
    "ACTIVATIONS",
    "CNN",
    "MLP",
    "RNN",
    "Call",
    "FeedbackConv2d",
    "FeedbackLayer",
    "FeedbackLinear",
    "Network",
    "Path",
    "Step",
    "predictions",
    "restarted",
]
