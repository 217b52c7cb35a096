"""Reading ``KEY=VALUE`` arguments, and telling users what is wrong with an environment's."""

from __future__ import annotations

import ast
import inspect
import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro

import nodepert.envs  # noqa: F401
from nodepert.agents.errors import ConfigError, NodepertError, explain
from nodepert.agents.executors import Executor, make_executor

__all__ = ["ExecutorArguments", "Pairs", "make_env", "parse_env_kwargs", "parse_pairs"]

Pairs = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")]
"""The type of ``--env-kwarg`` and ``--policy-kwarg``, flags that may be given again."""


@dataclass(frozen=True, kw_only=True)
class ExecutorArguments:
    """Where runs are carried out."""

    jobs: int = 1
    """Runs at once, each in a process with one thread."""
    executor: Literal["local", "ray"] = "local"
    """Processes of this machine, or Ray, which runs those of a worker that dies up to three times
    more."""
    address: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Of the Ray cluster, such as auto or HOST:PORT. Default: Ray is started on this machine."""

    def make_executor(self) -> Executor:
        """Raises ConfigError where they are not valid."""
        return make_executor(self.executor, self.jobs, self.address)


def parse_env_kwargs(pairs: Sequence[str]) -> dict[str, Any]:
    """What ``--env-kwarg`` gives; see :func:`parse_pairs`."""
    return parse_pairs(pairs, "--env-kwarg", "loss=mse")


def parse_pairs(pairs: Sequence[str], flag: str, example: str) -> dict[str, Any]:
    """``["delay=8", "stream=true", "loss=mse"]`` as keyword arguments.

    A value is read as JSON, else as a Python literal, else it is a string. Literals that JSON can't
    hold, such as sets, are strings too, since a run's files hold its arguments.

    Raises:
        ConfigError: An argument without "=".
    """
    kwargs = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key.isidentifier():
            raise ConfigError(f"{flag} {pair!r}: expected KEY=VALUE, such as {example}")
        kwargs[key] = _literal(text)
    return kwargs


def _literal(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
            json.dumps(value)
        except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
            continue  # the last two: of text that nests too deep to be parsed
        return value
    return text


def make_env(env_id: str, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    """``gym.make`` with errors in words.

    Raises:
        ConfigError: No such environment, or one that can't be made with these arguments.
    """
    try:
        return gym.make(env_id, **kwargs)
    except gym.error.UnregisteredEnv as error:
        raise ConfigError(
            f"{error} `nodepert envs` lists those that come with nodepert; one of your own is "
            "given as module:Id (to `nodepert evaluate`: by --env)"
        ) from error
    except TypeError as error:
        raise ConfigError(f"{env_id}: {error}; {_accepted(env_id)}") from error
    except ModuleNotFoundError as error:
        raise ConfigError(f"{env_id}: {error} Is its folder on PYTHONPATH?") from error
    except NodepertError:
        raise
    except (Exception, SystemExit) as error:  # of its module or its constructor
        raise ConfigError(f"{env_id}: can't be made: {explain(error)} ({_place(error)})") from error


def _place(error: BaseException) -> str:
    """Where in the code an error was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}, line {frame.lineno}"


def _accepted(env_id: str) -> str:
    """What ``--env-kwarg`` takes for an environment, where its class tells."""
    entry = gym.spec(env_id.rpartition(":")[2]).entry_point
    if not isinstance(entry, type):
        return "see its documentation for what it takes"
    names = [name for name in inspect.signature(entry.__init__).parameters if name != "self"]
    return f"it takes {', '.join(names)}"
