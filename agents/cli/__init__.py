"""The command line: ``nodepert train``, ``evaluate``, ``watch`` and the other commands."""

from nodepert.agents.cli.main import main

__all__ = ["main"]
