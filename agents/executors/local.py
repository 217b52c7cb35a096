"""Tasks in processes of this machine; one that dies takes no other with it."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic

from nodepert.agents.errors import explain
from nodepert.agents.executors.base import Outcome, Result, Task

__all__ = ["Processes"]


@dataclass(frozen=True)
class Processes:
    """Freshly spawned processes, one a task.

    No pool: a process that is killed breaks a ``ProcessPoolExecutor`` and hangs a ``Pool``, and
    nothing of one task should reach the next. The processes end when this one does, even if killed.
    """

    jobs: int
    """How many at once."""

    def run(
        self,
        work: Callable[[Task], Result],
        tasks: Iterable[Task],
        log_of: Callable[[Task], pathlib.Path],
    ) -> Iterator[Outcome[Task, Result]]:
        """See :class:`~nodepert.agents.executors.Executor`."""
        waiting = iter(tasks)
        running: list[Running[Task]] = []
        try:
            while True:
                for task in islice(waiting, self.jobs - len(running)):
                    running.append(start(work, task, log_of(task)))
                if not running:
                    return
                ready = wait([one.receiver for one in running] + [one.sentinel for one in running])
                for one in list(running):
                    if one.receiver in ready or one.sentinel in ready:
                        outcome: Outcome[Task, Result] = one.outcome()
                        running.remove(one)
                        yield outcome
        finally:
            for one in running:
                one.process.kill()
            for one in running:
                one.process.join()


@dataclass(frozen=True)
class Running(Generic[Task]):
    """A task with its process."""

    task: Task
    process: SpawnProcess
    receiver: Connection

    @property
    def sentinel(self) -> int:
        """Ready when the process has ended."""
        return self.process.sentinel

    def outcome(self) -> Outcome[Task, Any]:
        """What the process said, or how it ended if it said nothing."""
        with self.receiver:
            try:
                said = self.receiver.recv() if self.receiver.poll() else None
            except (EOFError, OSError):  # it ended first, or in the middle of its message
                said = None
        self.process.join()
        if said is None:
            code = self.process.exitcode
            return Outcome(self.task, failure=f"its process ended with code {code}")
        result, failure = said
        return Outcome(self.task, result, failure)


def start(work: Callable[[Task], Any], task: Task, log: pathlib.Path) -> Running[Task]:
    """Begins a task."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_child, args=(work, task, log, sender))
    with _one_thread():
        process.start()
    sender.close()
    return Running(task, process, receiver)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started in here use one thread; numpy reads that when it is imported."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _child(work: Callable[[Task], Any], task: Task, log: pathlib.Path, sender: Connection) -> None:
    """What runs in a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("w") as file:
        for stream in (1, 2):  # of the process: simulators in C print, too
            os.dup2(file.fileno(), stream)
    try:
        sender.send((work(task), None))
    except Exception as error:
        traceback.print_exc()
        sender.send((None, explain(error)))
    sender.close()


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
