"""Estimators of the error at the output, by name. A new one is a new class and one line here."""

from collections.abc import Callable

from nodepert.agents.output_error.base import OutputError, ProbeError
from nodepert.agents.output_error.error_model import ErrorModel
from nodepert.agents.output_error.given import GivenGradient
from nodepert.agents.output_error.one_point import OnePointProbes
from nodepert.agents.output_error.one_sided import OneSidedProbes
from nodepert.agents.output_error.paired import PairedProbes

__all__ = [
    "PROBES",
    "ErrorModel",
    "GivenGradient",
    "OnePointProbes",
    "OneSidedProbes",
    "OutputError",
    "PairedProbes",
    "ProbeError",
]

PROBES: dict[str, Callable[[int, float], ProbeError]] = {
    "paired": PairedProbes,
    "one_sided": OneSidedProbes,
    "one_point": OnePointProbes,
}
