"""Environments with one or several faults, for ``nodepert check``."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

__all__ = ["FAULTS", "Broken", "Plan", "plan"]


class OwnError(Exception):
    """One that can't even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: RuntimeError("arm lost"),
    lambda: KeyError("arm"),
    lambda: MemoryError(),
    lambda: RecursionError("deep"),
    lambda: StopIteration(),
    lambda: GeneratorExit(),
    lambda: SystemExit(3),
    lambda: AssertionError(),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    lambda: OSError(2, "No such file", "arm.cfg"),
    OwnError,
)

WRONG: dict[str, tuple[Any, ...]] = {
    "observation": (None, "x", np.zeros(2, np.float32), np.zeros((3, 1), np.float32), [0.0, "x",
                    0.0], np.full(3, 7, np.float32), np.full(3, np.nan, np.float32), np.zeros(3,
                    np.int64), np.zeros(3, object), {"a": 1}, 1j),
    "reward": (None, "1", np.nan, np.inf, -np.inf, np.zeros(2), [1.0], 1j, {}, np.zeros(0)),
    "terminated": (None, "no", np.zeros(2, bool), {}, np.nan),
    "truncated": (None, "no", np.zeros(2, bool), []),
    "info": (None, [], "x", 3),
}  # fmt: skip
SPACES: tuple[Any, ...] = (
    None, (3,), spaces.Text(3), spaces.Tuple(()), spaces.Dict({}),
    spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Discrete(2), None), spaces.Box(-np.inf,
    np.inf, (3,)), spaces.Box(0, 0, (3,)), spaces.Box(-1, 1, (0,)),
    spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})}), spaces.Box(-1, 1, (2**21,)),
    spaces.MultiDiscrete([[2, 2], [2, 2]]), spaces.Box,
)  # fmt: skip
FAULTS = (
    "raises when made", "raises in reset", "raises in step", "raises in close",
    "raises in an attribute", "wrong observation", "wrong reward", "wrong terminated",
    "wrong truncated", "wrong info", "wrong reset", "wrong step", "wrong observation space",
    "wrong action space", "ignores its seed", "writes into actions", "shows one array",
    "no super reset", "warns", "hangs", "swallows and hangs",
)  # fmt: skip
QUIRKS = (
    "never ends",
    "ends at once",
    "odd metadata",
    "odd render mode",
    "prints",
    "starts a thread",
)
"""Nothing that must be said."""
RARE = ("hangs", "swallows and hangs")
"""Each costs the whole time limit."""


@dataclass(frozen=True)
class Plan:
    """What is wrong, and from which step on."""

    faults: tuple[str, ...]
    at: int
    choice: int
    """Which of several wrong values."""


def plan(random: Random) -> Plan:
    """One fault or two, and now and then a quirk."""
    pool = [fault for fault in FAULTS if fault not in RARE or random.random() < 0.1]
    faults = [
        *random.sample(pool, random.choice((1, 1, 2))),
        *random.sample(QUIRKS, random.randrange(2)),
    ]
    return Plan(tuple(faults), random.choice((0, 1, 2, 7, 40, 150)), random.randrange(10**6))


class Broken(gym.Env[Any, Any]):
    """Shows three numbers, and asks for half of them; all else is as the plan has it."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.played, self.steps = plan, 0, 0
        self.observation_space: Any = spaces.Box(-1, 1, (3,), np.float32)
        self.action_space: Any = spaces.Box(-1, 1, (3,), np.float32)
        self.buffer = np.zeros(3, np.float32)
        if self.has("wrong observation space"):
            self.observation_space = self.one_of(SPACES)
        if self.has("wrong action space"):
            self.action_space = self.one_of(SPACES)
        if self.has("odd metadata"):
            self.metadata = self.one_of((None, {}, {"render_modes": None}, "x"))
        if self.has("odd render mode"):
            self.render_mode = self.one_of(("human", "nope", 3))
        if self.has("raises when made"):
            raise self.one_of(ERRORS)()

    def has(self, fault: str) -> bool:
        return fault in self.plan.faults

    def one_of(self, several: Any) -> Any:
        return several[self.plan.choice % len(several)]

    def __getattribute__(self, name: str) -> Any:
        if name in ("spec", "np_random", "render_mode"):
            plan = object.__getattribute__(self, "__dict__").get("plan")
            if plan is not None and "raises in an attribute" in plan.faults:
                raise RuntimeError(f"no {name}")
        return super().__getattribute__(name)

    def look(self) -> Any:
        if self.has("ignores its seed"):
            fresh = np.random.default_rng().uniform(-1, 1, 3).astype(np.float32)
        else:
            fresh = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        self.buffer[:] = fresh
        return self.buffer if self.has("shows one array") else fresh

    def part(self, name: str, value: Any) -> Any:
        """A part of what is returned, from some step on a wrong one."""
        late = self.played >= self.plan.at
        return self.one_of(WRONG[name]) if self.has(f"wrong {name}") and late else value

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if self.has("raises in reset"):
            raise self.one_of(ERRORS)()
        if not self.has("no super reset"):
            super().reset(seed=seed)
        self.steps = 0
        found = (self.part("observation", self.look()), self.part("info", {}))
        if self.has("wrong reset"):
            return self.one_of((found[0], (), (*found, 1), None, [found]))
        return found

    def step(self, action: Any) -> Any:
        self.played += 1
        self.steps += 1
        if self.played >= self.plan.at:
            self.misbehave(action)
        reward = -float(np.square(np.asarray(action, np.float64).sum() - self.buffer).sum())
        ended = self.has("ends at once") or (self.steps >= 5 and not self.has("never ends"))
        names = ("observation", "reward", "terminated", "truncated", "info")
        values = (self.look(), reward, ended, False, {})
        found = tuple(self.part(name, value) for name, value in zip(names, values, strict=True))
        if self.has("wrong step"):
            return self.one_of(
                (found[:4], (*found, 1), None, found[0], iter(found), dict.fromkeys(names))
            )
        return found

    def misbehave(self, action: Any) -> None:
        if self.has("raises in step"):
            raise self.one_of(ERRORS)()
        if self.has("writes into actions") and isinstance(action, np.ndarray):
            action *= 0
        if self.has("warns"):
            gym.logger.warn("odd")
        if self.has("prints"):
            print("Traceback? No, only words")
        if self.has("hangs"):
            time.sleep(1000)
        if self.has("swallows and hangs"):
            with contextlib.suppress(BaseException):
                time.sleep(1000)
            time.sleep(1000)
        if self.has("starts a thread"):
            threading.Thread(target=time.sleep, args=(0.01,)).start()

    def close(self) -> None:
        if self.has("raises in close"):
            raise self.one_of(ERRORS)()
