"""What executors have in common: the interface, and how a task has ended."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["Executor", "Outcome"]

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """A task that has ended."""

    task: Task
    result: Result | None = None
    failure: str | None = None
    """What went wrong, or None."""


class Executor(Protocol):
    """Carries out tasks elsewhere, several at once."""

    def run(
        self,
        work: Callable[[Task], Result],
        tasks: Iterable[Task],
        log_of: Callable[[Task], pathlib.Path],
    ) -> Iterator[Outcome[Task, Result]]:
        """Carries out each task in a process that nothing else has used.

        Args:
            work: A function of a module, called with a task. Tasks and results can be pickled.
            tasks: Taken one at a time, when there is room for another: a generator may decide on
                the next task by the outcomes so far.
            log_of: The file, in a folder that exists, for what a task prints.

        Yields:
            Outcomes, in the order in which tasks end. Closing the iterator ends the tasks that run.
        """
