"""Tasks on the machines of a Ray cluster; those of a worker that dies are carried out again."""

from __future__ import annotations

import logging
import os
import pathlib
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from nodepert.agents.errors import ConfigError, explain
from nodepert.agents.executors.base import Outcome, Result, Task

__all__ = ["OnRay"]

RETRIES = 3
"""Of a task whose worker or machine died. One that raised an error is not tried again."""
NO_REPORTS = "RAY_USAGE_STATS_ENABLED"  # Ray tells its makers about its use unless this is 0


@dataclass(frozen=True)
class OnRay:
    """Ray tasks, each with a core and a worker process of its own.

    Results and what tasks print come back here: workers need nodepert, and no shared folder.
    """

    jobs: int
    """How many at once."""
    address: str = "local"
    """Of the cluster, such as ``"auto"`` or ``"HOST:PORT"``; ``"local"`` starts Ray here."""

    def run(
        self,
        work: Callable[[Task], Result],
        tasks: Iterable[Task],
        log_of: Callable[[Task], pathlib.Path],
    ) -> Iterator[Outcome[Task, Result]]:
        """See :class:`~nodepert.agents.executors.Executor`.

        Raises:
            ConfigError: Ray is not installed, or there is no cluster at the address.
        """
        ray = connected(self.address, self.jobs)
        # A worker ends after one call, so that nothing of one task reaches the next.
        remote = ray.remote(num_cpus=1, max_retries=RETRIES, max_calls=1)(printed)
        waiting = iter(tasks)
        running: dict[Any, Task] = {}
        try:
            while True:
                for task in islice(waiting, self.jobs - len(running)):
                    running[remote.remote(work, task)] = task
                if not running:
                    return
                for reference in ray.wait(list(running))[0]:
                    task = running.pop(reference)
                    try:
                        result, failure, log = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        log = str(error)
                        result, failure = None, f"{type(error).__name__}: {log.splitlines()[-1]}"
                    log_of(task).write_text(log, "utf-8")
                    yield Outcome(task, result, failure)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            ray.shutdown()


def connected(address: str, cores: int) -> Any:
    """The module ``ray``, connected to a cluster.

    Raises:
        ConfigError: See :meth:`OnRay.run`.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--executor ray: {error}; it comes with pip install 'nodepert[ray]'"
        ) from error
    os.environ.setdefault(NO_REPORTS, "0")
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": cores, "include_dashboard": False}
    try:
        host, _, port = address.rpartition(":")
        if port.isdecimal() and "//" not in host:  # Ray itself tries for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **own)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--address {address}: {error}") from error
    return ray


def printed(work: Callable[[Task], Result], task: Task) -> tuple[Result | None, str | None, str]:
    """What runs in a worker: the result or what went wrong, and what was printed."""
    with tempfile.TemporaryFile() as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        result, failure = None, None
        try:
            result = work(task)
        except Exception as error:
            traceback.print_exc()
            failure = explain(error)
        sys.stdout.flush()
        sys.stderr.flush()
        file.seek(0)
        return result, failure, file.read().decode("utf-8", "replace")
