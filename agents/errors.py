"""Errors of the agents; all derive from :class:`nodepert.envs.NodepertError`."""

from nodepert.envs.errors import ConfigError, NodepertError

__all__ = [
    "ConfigError",
    "FileFormatError",
    "NodepertError",
    "NonFiniteError",
    "PairingError",
    "PartnerError",
    "RunError",
]


class PairingError(NodepertError, RuntimeError):
    """Lanes that should show the same context do not."""


class NonFiniteError(NodepertError, ArithmeticError):
    """A reward or a weight is NaN or infinite."""


class FileFormatError(NodepertError, ValueError):
    """A model file is damaged, or is not one."""


class PartnerError(NodepertError, RuntimeError):
    """Of two learners that exchange weights, the other has ended or does not keep up."""


class RunError(NodepertError, RuntimeError):
    """Runs of a comparison failed."""
