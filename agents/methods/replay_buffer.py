"""What was done lately, and what came of it, to be learned from more than once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nodepert.agents.lanes.pixels import from_bytes, to_bytes
from nodepert.agents.lanes.rollout import PairedLanes, Played

__all__ = ["ReplayBuffer", "Transitions", "VectorStep"]

COLUMNS = ("observations", "actions", "rewards", "terminated", "valid")


@dataclass(frozen=True)
class VectorStep:
    """One step of all N lanes, on the CPU."""

    observations: NDArray[Any]  # what the actions answered, [N, ...]
    actions: Tensor  # indices, [N], or predictions, [N, d]
    rewards: Tensor  # [N]
    terminated: Tensor  # whether the task has ended the episode, [N]
    valid: Tensor  # False where the step only reset the lane, [N]
    following: NDArray[Any]  # what the actions led to, not yet the next episode, [N, ...]

    @classmethod
    def of(
        cls, observations: NDArray[Any], actions: Tensor, played: Played, lanes: PairedLanes
    ) -> VectorStep:
        """The step that these lanes have just played."""
        return cls(
            observations,
            actions,
            rewards=torch.from_numpy(-played.losses[:, 0]),
            terminated=torch.from_numpy(played.terminated),
            valid=torch.from_numpy(played.valid),
            following=lanes.last(played),
        )


@dataclass(frozen=True)
class Transitions:
    """Rows drawn from a buffer."""

    rows: Tensor  # where they are, [R]
    observations: NDArray[Any]  # [R, ...]
    actions: Tensor  # [R], or [R, d]
    rewards: Tensor  # [R]
    terminated: Tensor  # [R]
    valid: Tensor  # [R]


class ReplayBuffer(nn.Module):
    """A ring of vector steps that holds every observation once, in the type of its space.

    Those that are whole 255ths, such as pixels, are held in a byte each for as long as all are.

    Stable-Baselines3's draws from numpy's global generator, and holds observations twice or
    mistakes the observation after a time limit. Here a slot is one step of all lanes; the next slot
    has the observation that it led to. The slot being filled next has that of the newest step, and
    is overwritten, unless some lane still needs it: where a time limit, a reset or a step that was
    not recorded means that the next step starts elsewhere.

    Its state, which goes into the model file for the sake of exact resumption, is what is filled.

    Args:
        size: How many steps to hold, those of all lanes counted.
    """

    observations: Tensor  # [S, N, ...]
    actions: Tensor  # [S, N], or [S, N, d]
    rewards: Tensor
    terminated: Tensor
    valid: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.position = 0  # the slot to be filled next
        self.count = 0  # of filled slots before it
        self.lanes = 0
        self.packs = False  # whether observations are held as bytes

    @property
    def slots(self) -> int:
        """S."""
        return max(self.size // self.lanes, 1) + 1

    def add(self, step: VectorStep) -> Tensor:
        """Fills a slot, over the oldest one where all are filled; returns its rows, shape (N,)."""
        if self.lanes != len(step.valid):
            self._start(torch.from_numpy(step.observations), step.actions)
        observations, following = self._packed(step.observations, step.following)
        if self.count and self._still_needed(observations):
            self._advance()
        self.observations[self.position] = observations
        for name in COLUMNS[1:]:
            getattr(self, name)[self.position] = getattr(step, name)
        filled = self.position
        self._advance()
        self.observations[self.position] = following
        self.valid[self.position] = False
        return filled * self.lanes + torch.arange(self.lanes)

    @property
    def held(self) -> int:
        """Rows that can be drawn: env steps, and what time limits leave between two episodes."""
        return self.count * self.lanes

    def draw(self, rows: int, generator: torch.Generator) -> Tensor:
        """Rows at random, with replacement, shape (R,)."""
        drawn = torch.randint(
            self.count * self.lanes, (rows,), generator=generator, device=generator.device
        ).cpu()
        oldest = self.position - self.count
        return (drawn + oldest * self.lanes) % (self.slots * self.lanes)

    def rows(self, rows: Tensor) -> Transitions:
        """The transitions in these rows."""
        columns = {name: self._column(name).index_select(0, rows) for name in COLUMNS[1:]}
        return Transitions(rows, observations=self._observed(rows), **columns)

    def following(self, rows: Tensor) -> NDArray[Any]:
        """What the actions of these rows led to, shape (R, ...); of no meaning where terminated."""
        next_rows = (rows + self.lanes) % (self.slots * self.lanes)
        return self._observed(next_rows)

    def _observed(self, rows: Tensor) -> NDArray[Any]:
        """The observations in these rows, in the type of their space."""
        held = self._column("observations").index_select(0, rows)
        return (from_bytes(held, torch.float32) if self.packs else held).numpy()

    def _column(self, name: str) -> Tensor:
        """One of :data:`COLUMNS`, row by row."""
        values: Tensor = getattr(self, name)
        return values.flatten(0, 1)

    def _still_needed(self, observations: Tensor) -> bool:
        """Whether the newest step would bootstrap from an observation that is about to go."""
        newest = (self.position - 1) % self.slots
        bootstraps = self.valid[newest] & ~self.terminated[newest]
        if not bootstraps.any():
            return False
        differs = (self.observations[self.position] != observations).view(self.lanes, -1).any(1)
        return bool((differs & bootstraps).any())

    def _packed(self, *observations: NDArray[Any]) -> list[Tensor]:
        """These in the type that is held, which changes where bytes can't hold them."""
        shown = [torch.from_numpy(one) for one in observations]
        if not self.packs:
            return shown
        packed = [one for values in shown if (one := to_bytes(values)) is not None]
        if len(packed) == len(shown):
            return packed
        self.packs = False
        filled, held = min(self.count + 1, self.slots), self.observations
        self.observations = torch.empty(held.shape, dtype=torch.float32)
        self.observations[:filled] = from_bytes(held[:filled], torch.float32)
        return shown

    def _advance(self) -> None:
        self.position = (self.position + 1) % self.slots
        self.count = min(self.count + 1, self.slots - 1)

    def _start(self, observations: Tensor, actions: Tensor) -> None:
        """Starts anew, empty, with room for the like of these."""
        packed = to_bytes(observations) if observations.dtype == torch.float32 else None
        self.packs = packed is not None
        self._allocate(observations if packed is None else packed, actions)

    def _allocate(self, observations: Tensor, actions: Tensor) -> None:
        """Starts anew, empty. Memory is taken up as slots are filled."""
        self.lanes, self.position, self.count = len(actions), 0, 0
        shape = observations.shape
        self.observations = torch.empty((self.slots, *shape), dtype=observations.dtype)
        self.actions = torch.zeros((self.slots, *actions.shape), dtype=actions.dtype)
        self.rewards = torch.zeros((self.slots, self.lanes))
        self.terminated = torch.zeros((self.slots, self.lanes), dtype=torch.bool)
        self.valid = torch.zeros((self.slots, self.lanes), dtype=torch.bool)

    # Files -----------------------------------------------------------------------------------

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if not self.count:
            return
        filled = min(self.count + 1, self.slots)
        for name in COLUMNS:
            destination[prefix + name] = getattr(self, name)[:filled]
        destination[prefix + "place"] = torch.tensor(
            [self.position, self.count, self.slots, self.packs]
        )

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        self.lanes = self.position = self.count = 0
        if prefix + "place" not in state_dict:
            return
        try:
            self._fill({name: state_dict[prefix + name].cpu() for name in (*COLUMNS, "place")})
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            error_msgs.append(f"replay buffer: {error}")

    def _fill(self, saved: dict[str, Tensor]) -> None:
        """Takes over what was saved; a buffer of another size starts empty."""
        position, count, slots, *packs = saved.pop("place").tolist()
        if any(values.shape[:2] != saved["rewards"].shape for values in saved.values()):
            raise ValueError("parts of different shapes")
        self.packs = packs == [1]  # files of earlier versions say nothing, and pack nothing
        if self.packs and saved["observations"].dtype != torch.uint8:
            raise ValueError(f"observations {saved['observations'].dtype}, expected bytes")
        self._allocate(saved["observations"][0], saved["actions"][0])
        if slots != self.slots:
            return
        filled = min(count + 1, slots)
        if not 0 <= position < filled or any(len(values) != filled for values in saved.values()):
            raise ValueError(f"position {position} and {count} steps do not fit what is there")
        for name, values in saved.items():
            getattr(self, name)[:filled] = values
        self.position, self.count = position, count
