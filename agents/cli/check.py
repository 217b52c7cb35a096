"""``nodepert check ENV``: says what is wrong with an environment, and how it can be learned."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import gymnasium as gym
import tyro

from nodepert.agents.checking.check import Report, check_env
from nodepert.agents.checking.differences import Make
from nodepert.agents.cli.arguments import Pairs, parse_env_kwargs
from nodepert.agents.errors import ConfigError, explain

__all__ = ["CheckArguments", "check", "find_env"]


@dataclass(frozen=True)
class CheckArguments:
    """Say what is wrong with an environment, and which modes of the agent can learn in it.

    The exit code is 0 if it can be used, and 1 if something is broken.
    """

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]
    """Environment id, module:Id, or module:Class of a gymnasium.Env."""
    env_kwarg: Pairs = ()
    """An argument of the environment, such as loss=mse."""
    timeout: float = 300.0
    """Seconds that the whole check may take."""


def check(arguments: CheckArguments) -> None:
    """Runs ``nodepert check``; exits with 1 where the environment can't be used.

    Raises:
        ConfigError: No such environment, or an argument that is not valid.
    """
    if not arguments.timeout > 0:
        raise ConfigError(f"--timeout {arguments.timeout:g}: expected a positive number of seconds")
    make = find_env(arguments.env, parse_env_kwargs(arguments.env_kwarg))
    report = check_env(make, timeout=arguments.timeout)
    print("\n".join(lines(arguments.env, report)))
    if not report.usable:
        sys.exit(1)


def find_env(name: str, kwargs: dict[str, Any]) -> Make:
    """What makes the environment of that name.

    Args:
        name: A registered id, or ``module:Name``, where Name is a class of the module, or an id
            that importing it registers.
        kwargs: Arguments of the environment.

    Raises:
        ConfigError: The module can't be imported, or there is no such environment.
    """
    module, _, attribute = name.rpartition(":")
    if module:
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{name}: module {module!r} can't be imported ({explain(error)}); expected one in "
                "the current folder, on PYTHONPATH, or installed"
            ) from error
        if isinstance(found, type):
            if not issubclass(found, gym.Env):
                raise ConfigError(f"{name}: the class {attribute} is no gymnasium.Env")
            return partial(found, **kwargs)
    try:
        spec = gym.spec(attribute)
    except gym.error.Error as error:
        missing = f"module {module!r} has no class of that name, and: " if module else ""
        raise ConfigError(f"{name}: {missing}{explain(error)}") from error
    # Gymnasium's passive checker would repeat, as warnings, what its check_env says.
    return partial(gym.make, spec, disable_env_checker=True, **kwargs)


def lines(name: str, report: Report) -> Iterator[str]:
    """The report, a line for each finding."""
    yield name
    for part in report.parts:
        if not part.broken and not part.warned:
            yield f"  ok       {part.name}"
        yield from (f"  broken   {part.name}: {text}" for text in part.broken)
        yield from (f"  warning  {part.name}: {text}" for text in part.warned)
    if report.modes:
        yield "modes of the agent (credit)"
    for mode in report.modes:
        yield f"  {'yes' if mode.supported else 'no':7}  {mode.name}: {mode.why}"
    names = [mode.name for mode in report.modes if mode.supported]
    if report.usable:
        yield f"usable, with credit {' or '.join(names)}"
    elif report.broken:
        yield "something is broken"
    else:
        yield "not usable: no mode of the agent fits"
