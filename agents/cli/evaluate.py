"""``nodepert evaluate MODEL``: scores a saved model."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from nodepert.agents.cli.arguments import Pairs, make_env, parse_env_kwargs
from nodepert.agents.errors import ConfigError
from nodepert.agents.evaluation import evaluate
from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["EvaluateArguments", "evaluate_file"]


@dataclass(frozen=True)
class EvaluateArguments:
    """Score a saved model on the environment that it was trained on, or on another one."""

    model: tyro.conf.Positional[pathlib.Path]
    """What `nodepert train` or NodePerturbation.save wrote."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ENV")] = None
    """Environment id, or module:Id. Default: the one that the model was trained on."""
    env_kwarg: Pairs = ()
    """An argument of the environment, over those of the training."""
    split: Literal["test", "validation", "train"] = "test"
    """Which examples of MNIST tasks."""


def evaluate_file(arguments: EvaluateArguments) -> None:
    """Runs ``nodepert evaluate``.

    Raises:
        ConfigError: An argument that is not valid, or no environment to score on.
    """
    if not arguments.model.is_file():
        raise ConfigError(f"{arguments.model}: no such file; expected what `nodepert train` wrote")
    model = NodePerturbation.load(arguments.model, device="cpu")
    trained_id, env_kwargs = model.trained_on or (None, {})
    env_id = arguments.env or trained_id
    if env_id is None:
        raise ConfigError("--env: the model does not say what it was trained on; expected an id")
    if env_id.rpartition(":")[2] != trained_id:
        env_kwargs = {}
    env_kwargs = {**env_kwargs, **parse_env_kwargs(arguments.env_kwarg)}
    env = make_env(env_id, env_kwargs)
    if (env.observation_space, env.action_space) != (model.observation_space, model.action_space):
        raise ConfigError(
            f"{env_id} has spaces {env.observation_space} and {env.action_space}, the model was "
            f"trained on {model.observation_space} and {model.action_space}"
        )
    score = evaluate(model, env_id, env_kwargs, split=arguments.split)
    print(f"{score.metric}: {score.value}")
