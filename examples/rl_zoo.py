"""rl_zoo3 with our agent: all of its command line for ``--algo np``.

    pip install rl_zoo3 pandas
    python examples/rl_zoo.py --env CartPole-v1
    python examples/rl_zoo.py --env CartPole-v1 -optimize --n-trials 20 --n-timesteps 20000

Training takes one line, ``ALGOS["np"] = NodePerturbation``; tuning also asks which hyperparameters
to try. Their start are the presets of nodepert, which are a file in rl_zoo3's format.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rl_zoo3 import ALGOS
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from rl_zoo3.train import train

from nodepert.agents import NodePerturbation
from nodepert.agents.presets import PRESET_FILE

if TYPE_CHECKING:
    import optuna

Hyperparameters = dict[str, Any]


def sample(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: Hyperparameters
) -> Hyperparameters:
    """One trial of score mode."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "batch_size": 2 ** trial.suggest_int("batch_size_pow", 5, 9),
        "n_steps": 2 ** trial.suggest_int("n_steps_pow", 5, 10),
        "gamma": 1 - trial.suggest_float("one_minus_gamma", 1e-4, 0.1, log=True),
        "gae_lambda": 1 - trial.suggest_float("one_minus_gae_lambda", 1e-2, 0.3, log=True),
        "exploration_std": trial.suggest_float("exploration_std", 0.1, 2.0, log=True),
        "max_grad_norm": trial.suggest_float("max_grad_norm", 0.3, 2.0),
    }


def convert(sampled: Hyperparameters) -> Hyperparameters:
    """Hyperparameters from what a finished trial was told."""
    made = dict(sampled)
    for name in ("batch_size", "n_steps"):
        made[name] = 2 ** made.pop(f"{name}_pow")
    for name in ("gamma", "gae_lambda"):
        made[name] = 1 - made.pop(f"one_minus_{name}")
    return made


ALGOS["np"] = NodePerturbation
HYPERPARAMS_SAMPLER["np"] = sample
HYPERPARAMS_CONVERTER["np"] = convert

if __name__ == "__main__":
    for flag, value in (("--algo", "np"), ("--conf-file", str(PRESET_FILE))):
        if flag not in sys.argv:
            sys.argv += [flag, value]
    train()
