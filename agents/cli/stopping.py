"""Ctrl-C and SIGTERM: finish the update, save, stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType

from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents.files.checkpoints import Checkpoints

__all__ = ["StopOnSignal"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal(BaseCallback):
    """Within a ``with``, the first signal ends training after the update; a second one at once.

    Args:
        checkpoints: Save where training ends.

    Attributes:
        received: The first signal, or None.
        stopped: Whether it ended training.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.received: signal.Signals | None = None
        self.stopped = False

    def __enter__(self) -> StopOnSignal:
        # Python allows handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._before = [signal.signal(one, self._handle) for one in SIGNALS]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one, handler in zip(SIGNALS, getattr(self, "_before", ()), strict=False):
            signal.signal(one, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
            said = (
                f"\nnodepert: {self.received.name}: finishing the update; again to stop at once\n"
            )
            os.write(2, said.encode())  # print may be what was interrupted
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            sys.exit(128 + number)

    def _on_rollout_start(self) -> None:
        if self.received is not None:
            self.checkpoints.act()
            self.stopped = True

    def _on_step(self) -> bool:
        # The first step of the next window is for nothing: only here can a callback end training.
        return not self.stopped
