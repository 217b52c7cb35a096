"""The command line: ``nodepert train``, ``nodepert evaluate``, ``nodepert check`` and others."""

from nodepert.agents.cli.main import main

__all__ = ["main"]
