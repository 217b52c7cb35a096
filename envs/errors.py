"""The exception tree: every error that nodepert raises on purpose derives from one root."""

__all__ = ["ActionError", "ConfigError", "ContractError", "DatasetError", "NodepertError"]


class NodepertError(Exception):
    """Root of all errors raised by nodepert."""


class ConfigError(NodepertError, ValueError):
    """An argument has a value that is not valid; the message says which values are."""


class ActionError(NodepertError, ValueError):
    """An action has the wrong shape or type, is out of range, or is not finite."""


class ContractError(NodepertError, ValueError):
    """An environment broke the contract of loss environments."""


class DatasetError(NodepertError, ValueError):
    """A data file is missing, damaged, or not what was expected."""
