"""The command line: ``nodepert train``, ``nodepert evaluate``, ``nodepert envs``."""

from nodepert.agents.cli.main import main

__all__ = ["main"]
