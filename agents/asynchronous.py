"""W and B learned apart: two models in two processes that exchange their weights as they go.

Both are ordinary models. The forward learner (``feedback_interval=0``) learns W and takes B from
the other; the feedback learner (``forward_interval=0``) learns B and takes W. Each has contexts and
probes of its own, and waits where the other has fallen more than ``max_lag`` updates behind.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from nodepert.agents.errors import ConfigError, PartnerError
from nodepert.agents.networks import Network
from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["Apart", "Board", "Exchange", "MakeModel", "Role", "train_apart"]

Role = Literal["forward", "feedback"]
OTHER: dict[Role, Role] = {"forward": "feedback", "feedback": "forward"}
MOST_STEPS = 2**62  # the feedback learner goes on until the forward learner is done


class MakeModel(Protocol):
    """Makes a model from hyperparameters; a function that can be pickled."""

    def __call__(
        self, *, forward_interval: int = 1, feedback_interval: int = 1
    ) -> NodePerturbation:
        """The model."""


def weights_of(network: Network, role: Role) -> list[Tensor]:
    """What a learner learns: W and b of all layers, or B."""
    if role == "forward":
        return list(network.forward_weights)
    return [layer.feedback for layer in network.layers if layer.feedback is not None]


class Board:
    """Shared memory in which two learners leave their weights for each other.

    Args:
        network: One like theirs.
    """

    def __init__(self, network: Network) -> None:
        self.lock = torch.multiprocessing.get_context("spawn").Lock()
        self.weights = {role: shared_copies(weights_of(network, role)) for role in OTHER}
        self.updates = {role: shared_number(-1) for role in OTHER}
        """Updates of each learner so far; −1 before it has left any weights."""
        self.env_steps = {role: shared_number(0) for role in OTHER}
        self.finished = shared_number(0)
        """1 once the forward learner has ended."""


def shared_copies(tensors: list[Tensor]) -> list[Tensor]:
    """Copies in memory that all processes see."""
    return [tensor.detach().cpu().clone().share_memory_() for tensor in tensors]


def shared_number(value: int) -> Tensor:
    """A number that all processes see."""
    return torch.tensor(value).share_memory_()


class Exchange(BaseCallback):
    """Leaves a learner's weights on the board before each rollout, and takes the other's.

    Args:
        board: Where.
        role: What this model learns.
        max_lag: Wait while the other is more than so many updates behind; 0 keeps them in step.
        patience: Seconds to wait for that.
        partner_alive: Says whether the other can still catch up.

    Attributes:
        lags: At each update, how many updates the other was behind, negative if ahead.

    Raises:
        ConfigError: The model would learn the weights that it takes.
        PartnerError: The other has ended, or has not caught up in time.
    """

    def __init__(
        self,
        board: Board,
        role: Role,
        max_lag: int,
        patience: float = 60.0,
        partner_alive: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__()
        if max_lag < 0:
            raise ConfigError(f"max_lag={max_lag}: expected at least 0")
        self.board, self.role, self.max_lag, self.patience = board, role, max_lag, patience
        self.partner_alive = partner_alive
        self.other = OTHER[role]
        self.updates = 0
        self.lags: list[int] = []

    @property
    def network(self) -> Network:
        """The model's."""
        return cast(NodePerturbation, self.model).policy.network

    def _on_training_start(self) -> None:
        name = f"{self.other}_interval"
        interval = getattr(cast(NodePerturbation, self.model).config, name)
        if interval != 0:
            raise ConfigError(f"{name}={interval}: expected 0 for a {self.role} learner")

    def _on_rollout_start(self) -> None:
        self._leave()
        self._wait()
        if not self.board.finished:
            self._take()
        self.updates += 1

    def _on_step(self) -> bool:
        return self.role == "forward" or not self.board.finished

    def _on_training_end(self) -> None:
        self._leave()
        if self.role == "forward":
            self.board.finished.fill_(1)

    def _leave(self) -> None:
        """This learner's weights, for the other."""
        self._lock()
        try:
            copy_all(weights_of(self.network, self.role), self.board.weights[self.role])
            self.board.updates[self.role].fill_(self.updates)
            self.board.env_steps[self.role].fill_(self.model.num_timesteps)
        finally:
            self.board.lock.release()

    def _take(self) -> None:
        """The other's weights, as they are now."""
        self._lock()
        try:
            copy_all(self.board.weights[self.other], weights_of(self.network, self.other))
            self.lags.append(self.updates - int(self.board.updates[self.other]))
        finally:
            self.board.lock.release()

    def _wait(self) -> None:
        """Until the other is at most ``max_lag`` updates behind, or all is over."""
        needed, theirs = max(self.updates - self.max_lag, 0), self.board.updates[self.other]
        deadline = time.monotonic() + self.patience
        while theirs < needed and not self.board.finished:
            if not self.partner_alive():
                raise PartnerError(
                    f"the {self.other} learner ended after {max(int(theirs), 0)} updates, while "
                    f"the {self.role} learner waited for its update {needed}; see its traceback"
                )
            if time.monotonic() > deadline:
                self._give_up(f"at {max(int(theirs), 0)} updates")
            time.sleep(1e-4)

    def _lock(self) -> None:
        if not self.board.lock.acquire(timeout=self.patience):
            self._give_up("holding the lock")

    def _give_up(self, where: str) -> None:
        raise PartnerError(
            f"the {self.role} learner waited {self.patience:g} s at its update {self.updates} for "
            f"the {self.other} learner, which is still {where}; max_lag={self.max_lag}. Is it "
            "running? A slow one needs more patience"
        )


def copy_all(sources: list[Tensor], targets: list[Tensor]) -> None:
    """Copies tensors in place."""
    with torch.no_grad():
        for source, target in zip(sources, targets, strict=True):
            target.copy_(source)


@dataclass
class Apart:
    """What :func:`train_apart` leaves."""

    model: NodePerturbation
    """The forward learner, with the last B that it took."""
    env_steps: int
    """Of both learners together, every probe counted."""
    lags: list[int]
    """Of the feedback learner, at each update of the forward learner."""


def train_apart(
    make_model: MakeModel,
    steps: int,
    max_lag: int,
    *,
    patience: float = 60.0,
    callback: BaseCallback | None = None,
) -> Apart:
    """Trains W here and B in a process of its own.

    The other process is spawned: a script that calls this needs ``if __name__ == "__main__":``.

    Args:
        make_model: Makes both models.
        steps: Env steps of the forward learner.
        max_lag: Updates that one may be behind the other.
        patience: Seconds that one waits for the other, its start included.
        callback: Of the forward learner.

    Raises:
        PartnerError: The feedback learner has ended, or has not caught up in time.
    """
    model = make_model(feedback_interval=0)
    board = Board(model.policy.network)
    process = torch.multiprocessing.get_context("spawn").Process(
        target=learn_feedback,
        args=(make_model, board, max_lag, patience, torch.get_num_threads()),
        daemon=True,
    )
    exchange = Exchange(board, "forward", max_lag, patience, process.is_alive)
    process.start()
    try:
        model.learn(steps, callback=[exchange] if callback is None else [exchange, callback])
        process.join(patience)
    finally:
        process.kill()
        process.join()
    env_steps = sum(int(count) for count in board.env_steps.values())
    return Apart(model, env_steps, exchange.lags)


def learn_feedback(
    make_model: MakeModel, board: Board, max_lag: int, patience: float, threads: int
) -> None:
    """The feedback learner's process."""
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    assert parent is not None
    exchange = Exchange(board, "feedback", max_lag, patience, parent.is_alive)
    make_model(forward_interval=0).learn(MOST_STEPS, callback=exchange, log_interval=0)
