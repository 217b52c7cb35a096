"""Ray actors that are asked all at once; those that die or are late are replaced."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nodepert.agents.errors import ConfigError, LaneError

__all__ = ["Workers"]

SECONDS_TO_START = 120.0
CatchUp = Callable[[int], tuple[str, tuple[Any, ...], int] | None]
"""From the number of a new worker to the call that makes it stand where the old one stood, and how
many ordinary calls' time that may take; None where there is nothing to catch up with."""


class Workers:
    """Actors of one class, spread over the nodes of the cluster.

    One that has died, or has not answered within ``timeout`` seconds, is replaced by a new one,
    which is brought up to date and asked again. So one failure holds the others up for ``timeout``
    at most, and for as long as the new worker takes to start and to catch up.

    Args:
        kind: The actors' class.
        arguments: Of its constructor, one tuple for each worker.
        timeout: Seconds that a call may take; None for ever.
        max_restarts: How many workers may be replaced, all together.
        catch_up: What a new worker has to be asked first.

    Attributes:
        restarts: How many were replaced.

    Raises:
        ConfigError: An argument that is not valid, or Ray is not installed.
        LaneError: A worker can't be started.
    """

    def __init__(
        self,
        kind: type,
        arguments: Sequence[tuple[Any, ...]],
        *,
        timeout: float | None,
        max_restarts: int,
        catch_up: CatchUp = lambda worker: None,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"timeout={timeout!r}: expected None or a positive number of seconds")
        if max_restarts < 0:
            raise ConfigError(f"max_restarts={max_restarts!r}: expected 0 or more")
        self.timeout, self.max_restarts, self.restarts = timeout, max_restarts, 0
        self._ray = import_ray()
        self._class = self._ray.remote(kind).options(scheduling_strategy="SPREAD")
        self._arguments, self._catch_up = arguments, catch_up
        self._actors = [self._start(worker) for worker in range(len(arguments))]
        self._await_start(range(len(arguments)))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._actors)

    def ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Calls a method of every worker, each with its arguments; answers in their order.

        Raises:
            LaneError: More workers failed than may be replaced.
            Exception: What a worker's environment raised.
        """
        answers: dict[int, Any] = {}
        pending = list(range(len(self)))
        while pending:
            calls = {
                getattr(self._actors[worker], method).remote(*arguments[worker]): worker
                for worker in pending
            }
            failed = self._gather(calls, answers)
            self._replace(failed)
            pending = list(failed)
        return [answers[worker] for worker in range(len(self))]

    def _gather(self, calls: Mapping[Any, int], answers: dict[int, Any]) -> dict[int, str]:
        """Adds to the answers; says which workers gave none, and why."""
        done, late = self._ray.wait(list(calls), num_returns=len(calls), timeout=self.timeout)
        errors = self._ray.exceptions
        failed = {calls[call]: f"has not answered within {self.timeout} s" for call in late}
        for call in done:
            try:
                answers[calls[call]] = self._ray.get(call)
            except errors.RayActorError:
                failed[calls[call]] = "has died"
            except errors.RayTaskError as error:  # by the environment, not by the engine
                raise (error.cause or error) from None
        return failed

    def _replace(self, failed: Mapping[int, str]) -> None:
        """New workers, brought up to date, for those that failed for a reason."""
        for worker, why in failed.items():
            what = f"worker {worker} {why}"
            if self.restarts >= self.max_restarts:
                self.close()
                raise LaneError(f"{what}, after {self.restarts} restarts (max_restarts)")
            self.restarts += 1
            count = f"{self.restarts} of {self.max_restarts}"
            warnings.warn(f"{what}; replaced ({count})", stacklevel=4)
            self._ray.kill(self._actors[worker])
            self._actors[worker] = self._start(worker)
        self._await_start(failed)
        for worker in failed:
            self._bring_up_to_date(worker)

    def _bring_up_to_date(self, worker: int) -> None:
        call = self._catch_up(worker)
        if call is not None:
            method, arguments, length = call
            limit = None if self.timeout is None else self.timeout * length
            self._insist([getattr(self._actors[worker], method).remote(*arguments)], limit)

    def _start(self, worker: int) -> Any:
        """An actor, which takes its time to be made."""
        return self._class.remote(*self._arguments[worker])

    def _await_start(self, workers: Iterable[int]) -> None:
        """Returns once their actors have been made."""
        ready = [self._actors[worker].__ray_ready__.remote() for worker in workers]
        self._insist(ready, SECONDS_TO_START)

    def _insist(self, calls: list[Any], timeout: float | None) -> None:
        """Waits for calls of new workers, which have to succeed.

        Raises:
            LaneError: One failed.
        """
        errors = self._ray.exceptions
        try:
            self._ray.get(calls, timeout=timeout)
        except errors.RayTaskError as error:
            self.close()
            raise (error.cause or error) from None
        except (errors.RayActorError, errors.GetTimeoutError) as error:
            self.close()
            raise LaneError(f"a worker can't be started: {error}") from error

    def close(self) -> None:
        """Ends all workers."""
        if self._ray.is_initialized():
            for actor in self._actors:
                self._ray.kill(actor)


def import_ray() -> Any:
    """Ray, which is optional.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ConfigError("Ray is not installed: pip install 'nodepert[ray]'") from error
