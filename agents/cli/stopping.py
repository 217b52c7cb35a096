"""Ctrl-C and SIGTERM: finish the update, save, stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, cast

from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents.files.checkpoints import Checkpoints

if TYPE_CHECKING:
    from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["StopOnSignal"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal(BaseCallback):
    """Within a ``with``, the first signal ends training after the update; a second one at once.

    Of processes that share a run, all end after the same update.

    Args:
        checkpoints: Save where training ends.
        says: Tell the user that the signal has come.

    Attributes:
        received: The first signal that came to this process, or None.
        stopped: Whether one ended training.
    """

    def __init__(self, checkpoints: Checkpoints, says: bool = True) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.says = says
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
            if self.says:
                os.write(2, said.encode())  # print may be what was interrupted
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            sys.exit(128 + number)

    def _on_rollout_start(self) -> None:
        model = cast("NodePerturbation", self.model)
        if model.anywhere(self.received is not None):
            self.checkpoints.act()
            self.stopped = True

    @property
    def exit_code(self) -> int:
        """Of the command, by convention."""
        return 128 + (self.received or signal.SIGTERM)

    def _on_step(self) -> bool:
        # The first step of the next window is for nothing: only here can a callback end training.
        return not self.stopped
