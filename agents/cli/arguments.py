"""Reading ``KEY=VALUE`` arguments, and telling users what is wrong with an environment's."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

import nodepert.envs  # noqa: F401
from nodepert.agents.errors import ConfigError

__all__ = ["make_env", "parse_env_kwargs"]


def parse_env_kwargs(pairs: Sequence[str]) -> dict[str, Any]:
    """``["delay=8", "stream=true", "loss=mse"]`` as keyword arguments.

    A value is read as JSON, else as a Python literal, else it is a string.

    Raises:
        ConfigError: An argument without "=".
    """
    kwargs = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key.isidentifier():
            raise ConfigError(f"--env-kwarg {pair!r}: expected KEY=VALUE, such as loss=mse")
        kwargs[key] = _literal(text)
    return kwargs


def _literal(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def make_env(env_id: str, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    """``gym.make`` with errors in words.

    Raises:
        ConfigError: No such environment, or one that does not take these arguments.
    """
    try:
        return gym.make(env_id, **kwargs)
    except gym.error.UnregisteredEnv as error:
        raise ConfigError(
            f"{error} `nodepert envs` lists those that come with nodepert."
        ) from error
    except TypeError as error:
        raise ConfigError(f"{env_id}: {error}; {_accepted(env_id)}") from error
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise ConfigError(f"{env_id}: {error}") from error


def _accepted(env_id: str) -> str:
    """What ``--env-kwarg`` takes for an environment, where its class tells."""
    entry = gym.spec(env_id).entry_point
    if not isinstance(entry, type):
        return "see its documentation for what it takes"
    names = [name for name in inspect.signature(entry.__init__).parameters if name != "self"]
    return f"it takes {', '.join(names)}"
