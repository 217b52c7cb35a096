"""Stored probes that keep teaching while the policy moves."""

from nodepert.agents.replay.replay import Replay

__all__ = ["Replay"]
