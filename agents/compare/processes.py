"""Tasks in processes of their own, a few at a time; one that dies takes no other with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar

__all__ = ["in_processes"]

Task = TypeVar("Task")
LONGEST = 4_000  # characters of a message: all that a pipe surely holds while nobody reads


def in_processes(
    work: Callable[[Task], None], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, str | None]]:
    """Carries out each task in a freshly spawned process.

    No pool: a process that is killed breaks a ``ProcessPoolExecutor`` and hangs a ``Pool``, and
    nothing of one run should reach the next. The processes end when this one does, even if killed.

    Args:
        work: A function of a module, called with a task.
        tasks: What can be pickled.
        jobs: How many at once.

    Yields:
        Each task as it ends, with None, or with what went wrong.
    """
    spawn = multiprocessing.get_context("spawn")
    waiting = list(reversed(tasks))
    running: dict[int, tuple[SpawnProcess, Connection, Task]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop()
                receiver, sender = spawn.Pipe(duplex=False)
                process = spawn.Process(target=_child, args=(work, task, sender))
                with _one_thread():
                    process.start()
                sender.close()
                running[process.sentinel] = process, receiver, task
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int)
                process, receiver, task = running.pop(sentinel)
                process.join()
                yield task, _outcome(process, receiver)
    finally:
        for process, _, _ in running.values():
            process.kill()
        for process, _, _ in running.values():
            process.join()


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


def _child(work: Callable[[Task], None], task: Task, sender: Connection) -> None:
    """What runs in a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(task)
    except Exception as error:
        traceback.print_exc()
        sender.send(f"{type(error).__name__}: {error}"[:LONGEST])
    sender.close()


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _outcome(process: SpawnProcess, receiver: Connection) -> str | None:
    """What went wrong in a process that has ended, or None."""
    with receiver:
        try:
            return str(receiver.recv()) if receiver.poll() else None
        except EOFError:  # it said nothing
            pass
    return None if process.exitcode == 0 else f"its process ended with code {process.exitcode}"
