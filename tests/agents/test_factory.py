"""What is made of a config, and what is said of it."""

import warnings

import pytest

from nodepert.agents import NodePerturbation
from nodepert.envs import MNIST


@pytest.mark.parametrize("changes", [{"probes": 10}, {"error_model": True}, {"rule": "response"}])
def test_a_regressor_low_in_noise_needs_no_warning(changes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NodePerturbation("MlpPolicy", MNIST(), batch_size=4, **{"rule": "loss", **changes})


def test_the_loss_rule_warns_of_a_noisy_regressor_and_names_the_cost():
    with pytest.warns(UserWarning, match="probes=10 .22 lanes a context. or error_model=True"):
        NodePerturbation("MlpPolicy", MNIST(), batch_size=4, rule="loss", probes=3)
