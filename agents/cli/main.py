"""Entry point of the ``nodepert`` command."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import replace

import tyro

from nodepert.agents.cli.check import CheckArguments, check
from nodepert.agents.cli.compare import CompareArguments, compare_agents
from nodepert.agents.cli.envs import list_envs
from nodepert.agents.cli.evaluate import EvaluateArguments, evaluate_file
from nodepert.agents.cli.train import resume, train
from nodepert.agents.cli.train_arguments import (
    ResumeArguments,
    TrainArguments,
    default_arguments,
)
from nodepert.agents.cli.tune import TuneArguments, tune_agent
from nodepert.agents.cli.watch import WatchArguments, watch
from nodepert.agents.errors import NodepertError

__all__ = ["main"]

USAGE = """\
usage: nodepert COMMAND ...

  nodepert train ENV [flags]     train on an environment; `nodepert train ENV --help` lists flags
  nodepert train --resume DIR    go on with a run that was stopped, killed, or failed
  nodepert evaluate MODEL        score a saved model
  nodepert watch DIR             show the curves of a run, while it trains or afterwards
  nodepert check ENV             say what is wrong with an environment, and how it can be learned
  nodepert compare ENV ...       compare agents with the same env steps for all
  nodepert tune ENV [flags]      search for the hyperparameters of an agent
  nodepert envs                  list the environments that come with nodepert
  nodepert --version

exit codes: 0 done, 1 failed, 2 bad usage, 130 stopped by Ctrl-C, 143 stopped by SIGTERM
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; exits with one of the codes that ``nodepert --help`` lists."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "" not in sys.path:  # the current folder, for environments given as module:Id
        sys.path.append("")
    command, rest = (words[0], words[1:]) if words else ("--help", [])
    try:
        if command == "train" and any(word.partition("=")[0] == "--resume" for word in rest):
            resume(tyro.cli(ResumeArguments, args=rest, prog="nodepert train"))
        elif command == "train":
            train(parse_train(rest))
        elif command == "evaluate":
            evaluate_file(tyro.cli(EvaluateArguments, args=rest, prog="nodepert evaluate"))
        elif command == "watch":
            watch(tyro.cli(WatchArguments, args=rest, prog="nodepert watch"))
        elif command == "check":
            check(tyro.cli(CheckArguments, args=rest, prog="nodepert check"))
        elif command == "compare":
            compare_agents(tyro.cli(CompareArguments, args=rest, prog="nodepert compare"))
        elif command == "tune":
            tune_agent(tyro.cli(TuneArguments, args=rest, prog="nodepert tune"))
        elif command == "envs" and not rest:
            list_envs()
        elif command in ("--version", "-V"):
            print(importlib.metadata.version("nodepert"))
        elif command in ("--help", "-h"):
            print(USAGE, end="")
        else:
            print(f"nodepert: no command {' '.join(words)!r}\n\n{USAGE}", end="", file=sys.stderr)
            sys.exit(2)
    except NodepertError as error:
        print(f"\nnodepert: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"\nnodepert: a file can't be read or written: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nnodepert: interrupted", file=sys.stderr)
        sys.exit(130)


def parse_train(words: list[str]) -> TrainArguments:
    """Flags over the defaults that environment and preset imply, so both must be known first."""
    help_only = not words or words[0].startswith("-")
    env = "ENV" if help_only else words[0]
    defaults = default_arguments(env, find_preset(words))
    if help_only and words not in (["--help"], ["-h"]):
        print("nodepert train: the environment comes first, such as MNIST-v0", file=sys.stderr)
        sys.exit(2)
    defaults = replace(defaults, env=tyro.MISSING)
    return tyro.cli(TrainArguments, args=words, default=defaults, prog="nodepert train")


def find_preset(words: list[str]) -> str:
    """The value of ``--preset``, wherever it stands."""
    for i, word in enumerate(words):
        if word.startswith("--preset="):
            return word.partition("=")[2]
        if word == "--preset" and i + 1 < len(words):
            return words[i + 1]
    return "default"
