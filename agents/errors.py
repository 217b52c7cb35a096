"""Errors of the agents; all derive from :class:`nodepert.envs.NodepertError`."""

from nodepert.envs.errors import ConfigError, NodepertError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DivergenceError",
    "FileFormatError",
    "LaneError",
    "MissingFileError",
    "NodepertError",
    "NonFiniteError",
    "NonFiniteLaneError",
    "PairingError",
    "PartnerError",
    "RunError",
    "explain",
]


class PairingError(NodepertError, RuntimeError):
    """Lanes that should show the same context do not."""


class NonFiniteError(NodepertError, ArithmeticError):
    """A reward or a weight is NaN or infinite."""


class DivergenceError(NonFiniteError):
    """The loss explodes."""


class LaneError(NodepertError, RuntimeError):
    """An environment failed in one of its lanes, while it was being played.

    A model whose training ended with this error is as it was before the last ``n_steps`` steps:
    ``model.save(path)`` keeps it, and ``NodePerturbation.load(path, env)`` goes on with it in an
    environment made anew.

    Args:
        message: What happened.
        lane: Which one; None where the vector environment does not tell.
        step: How many steps of all lanes had been played, this one counted; 0 for a reset before
            the first.
    """

    def __init__(self, message: str, lane: int | None = None, step: int | None = None) -> None:
        super().__init__(message)
        self.lane = lane
        self.step = step


class NonFiniteLaneError(LaneError, NonFiniteError):
    """A lane's observation or reward is NaN or infinite."""


class FileFormatError(NodepertError, ValueError):
    """A model file is damaged, or is not one."""


class MissingFileError(NodepertError, FileNotFoundError):
    """There is no file to read."""


class CheckpointError(NodepertError, RuntimeError):
    """A checkpoint can't be written, or there is none that can be read."""


class PartnerError(NodepertError, RuntimeError):
    """Of two learners that exchange weights, the other has ended or does not keep up."""


class RunError(NodepertError, RuntimeError):
    """Runs of a comparison failed."""


def explain(error: BaseException) -> str:
    """Type and message of an error in one line."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # of an environment's own class
        message = "its message can't be shown"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
