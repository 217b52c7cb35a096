"""``nodepert evaluate MODEL``: scores a saved model."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field

import tyro

from nodepert.agents.cli.arguments import make_env, parse_env_kwargs
from nodepert.agents.errors import ConfigError
from nodepert.agents.evaluation import evaluate
from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["EvaluateArguments", "evaluate_file"]


@dataclass(frozen=True)
class EvaluateArguments:
    """Score a saved model on the environment that it was trained on, or on another one."""

    model: tyro.conf.Positional[pathlib.Path]
    """What `nodepert train` or NodePerturbation.save wrote."""
    env: str | None = None
    """Environment id. Default: the one that the model was trained on."""
    env_kwarg: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """KEY=VALUE for the environment; may be given again. Default: as in training."""
    split: str = "test"
    """Which examples of MNIST tasks: test, validation or train."""


def evaluate_file(arguments: EvaluateArguments) -> None:
    """Runs ``nodepert evaluate``.

    Raises:
        ConfigError: An argument that is not valid, or no environment to score on.
    """
    if not arguments.model.exists():
        raise ConfigError(f"{arguments.model}: no such file")
    model = NodePerturbation.load(arguments.model, device="cpu")
    env_id, env_kwargs = model.trained_on or (None, {})
    if arguments.env is not None:
        env_id, env_kwargs = arguments.env, {}
    if env_id is None:
        raise ConfigError("--env: the model does not say what it was trained on; expected an id")
    env_kwargs = {**env_kwargs, **parse_env_kwargs(arguments.env_kwarg)}
    make_env(env_id, env_kwargs)  # for its error messages
    score = evaluate(model, env_id, env_kwargs, split=arguments.split)
    print(f"{score.metric}: {score.value:.6g}")
