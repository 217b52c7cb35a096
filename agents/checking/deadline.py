"""A limit on how long something may take, in the main thread of a Unix system."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TimeIsUp", "time_limit"]


AGAIN = 1.0
"""Seconds to the next one, where ``except:`` or ``finally:`` of what is running stops the first."""


class TimeIsUp(BaseException):
    """Raised by :func:`time_limit`; no ``except Exception`` of what is running stops it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raises :class:`TimeIsUp` inside the ``with`` after so many seconds, and again each second.

    None is no limit. Neither is there one where alarms are missing: on Windows, and in any thread
    but the main one.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if seconds is None or not hasattr(signal, "setitimer") or not in_main:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
