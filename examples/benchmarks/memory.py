"""Peak memory of a piece of work, in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def with_peak_memory(work: Callable[..., Result], *arguments: Any) -> tuple[Result, float]:
    """Carries out some work in a forked process.

    Returns:
        What the work returned, and by how many MB the process grew at its peak. What was imported
        before does not count, nor do processes that the work itself starts.
    """
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=fork) as pool:
        return pool.submit(_work, work, arguments).result()


def _work(work: Callable[..., Result], arguments: tuple[Any, ...]) -> tuple[Result, float]:
    before = peak_mb()
    result = work(*arguments)
    return result, peak_mb() - before


def peak_mb(whose: int = resource.RUSAGE_SELF) -> float:
    """The largest resident set so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(whose).ru_maxrss * unit / 1e6
