"""Where tasks are carried out: processes of this machine, or a Ray cluster."""

from nodepert.agents.errors import ConfigError
from nodepert.agents.executors.base import Executor, Outcome
from nodepert.agents.executors.local import Processes
from nodepert.agents.executors.ray import OnRay

__all__ = ["Executor", "OnRay", "Outcome", "Processes", "make_executor"]


def make_executor(name: str, jobs: int, address: str | None = None) -> Executor:
    """The executor of that name.

    Args:
        name: ``"local"`` or ``"ray"``.
        jobs: Tasks at once.
        address: See :class:`OnRay`.

    Raises:
        ConfigError: Jobs are not positive, or an address for local processes.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}: expected a positive integer")
    if name == "ray":
        return OnRay(jobs, address or "local")
    if address is not None:
        raise ConfigError(f"--address {address}: expected --executor ray with it")
    return Processes(jobs)
