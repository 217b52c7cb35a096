"""The command line: ``nodepert train``, ``evaluate``, ``check``, ``compare`` and ``envs``."""

from nodepert.agents.cli.main import main

__all__ = ["main"]
