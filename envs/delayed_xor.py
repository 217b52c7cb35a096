"""DelayedXOR-v0: remember two bits, and answer their XOR when the go cue comes."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs.base import Context, LossEnv
from nodepert.envs.draws import Draws
from nodepert.envs.errors import ConfigError
from nodepert.envs.losses import mse, mse_gradient
from nodepert.envs.rendering.drawing import Frame, beside, raster
from nodepert.envs.xor_schedules import Schedule, SlotStream, Stream, Trials

__all__ = ["DelayedXOR"]

LOSSES = ("mse", "zero_one")
COLUMNS = 24  # steps in a frame


class DelayedXOR(LossEnv):
    """Delayed exclusive or, the recurrent task of arXiv 1906.00889 (§4.3).

    **Goal**: output the XOR of the two bits (±1) at the response step, and 0 at all others.

    **Observation**: Box(−1, 1, (2,)): (go, bit). go is 1 at the cue, else 0; bit is ±1, or 0 when
    none is shown.

    **Action**: Box(−1, 1, (1,)), times ``action_scale`` = 2 the prediction; or Discrete(2), the
    XOR itself (0 or 1). Finite actions outside the Box are accepted, not clipped.

    **Reward**: −½(prediction − target)² at each step; with ``zero_one``, −1 at a response step
    whose sign is wrong, else 0.

    **End of episode**: after the cue step, the (3 + delay)-th. A stream never ends.

    **Info**: ``correct`` at response steps: whether the sign of the prediction is the target's.

    Args:
        delay: Blank steps between the second bit and the cue: a number, or the fewest and the most
            of a range from which each trial draws. Default 4; on a stream, 0.
        stream: The paper's own version, a continuing stream with go cues at random times, the
            target one step after the cue.
        overwrite: On a stream without delay, make the authors' generator's wrong targets (2.4 %).
        loss: ``"mse"`` or ``"zero_one"``.
        discrete: The action is the class index; the loss is then zero-one.
        expose_gradient: Put ∂loss/∂action into ``info["action_gradient"]`` (``mse`` only).
        render_mode: ``"rgb_array"`` or ``"human"``: cues, bits, predictions and targets of the last
            24 steps; 1 is blue, −1 red.

    Raises:
        ConfigError: An argument that is not valid, or two that don't go together.
    """

    def __init__(
        self,
        delay: int | tuple[int, int] | None = None,
        stream: bool = False,
        overwrite: bool = False,
        loss: str | None = None,
        discrete: bool = False,
        expose_gradient: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(expose_gradient, render_mode)
        self.loss_name = loss or ("zero_one" if discrete else "mse")
        if self.loss_name not in LOSSES or (discrete and self.loss_name != "zero_one"):
            valid = "'zero_one' where discrete=True" if discrete else f"one of {LOSSES}"
            raise ConfigError(f"loss={loss!r}: expected {valid}")
        if expose_gradient and self.loss_name != "mse":
            raise ConfigError(f"expose_gradient=True: {self.loss_name} has no gradient, use mse")
        self.schedule = make_schedule(delay, stream, overwrite)
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2) if discrete else spaces.Box(-1, 1, (1,), np.float32)
        self.action_scale = 1.0 if discrete else 2.0

    def sample_contexts(self, draws: Draws) -> Context:
        """The bits and the delay of a trial, or the key of a stream."""
        return self.schedule.sample(draws)

    def observe(self, context: Context) -> NDArray[np.float32]:
        """(go, bit), shape (N, 2)."""
        shown = np.empty((len(context["step"]), 2), np.float32)
        shown[:, 0], shown[:, 1] = self.schedule.show(context)
        return shown

    def episode_length(self, context: Context) -> NDArray[np.int64] | float:
        """3 + delay steps; a stream never ends."""
        return self.schedule.length(context)

    def _prediction(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        """Predictions (N, 1); a class index is −1 or 1."""
        if isinstance(self.action_space, spaces.Discrete):
            return 2.0 * actions[:, None] - 1.0
        return self.action_scale * actions

    def loss(self, context: Context, actions: NDArray[Any]) -> NDArray[np.float64]:
        """½(prediction − target)², or whether the response is wrong."""
        target, respond = self.schedule.answer(context)
        if self.loss_name == "mse":
            return mse(self._prediction(actions), target[:, None])
        wrong = self._prediction(actions)[:, 0] * target <= 0
        return (respond & wrong).astype(np.float64)

    def loss_gradient(self, context: Context, actions: NDArray[Any]) -> NDArray[np.float64]:
        """∂loss/∂action."""
        target, _ = self.schedule.answer(context)
        return self.action_scale * mse_gradient(self._prediction(actions), target[:, None])

    def info(self, context: Context, actions: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """``correct`` at response steps."""
        target, respond = self.schedule.answer(context)
        return {"correct": self._prediction(actions)[:, 0] * target > 0, "_correct": respond}

    def render_frame(self, context: Context, actions: NDArray[Any]) -> Frame:
        """What was shown, said and asked for; a target is only shown after the action."""
        step = int(context["step"][0])
        columns = np.arange(COLUMNS) + max(0, step + 1 - COLUMNS)
        moments = {name: values.repeat(COLUMNS, axis=0) for name, values in context.items()}
        moments["step"] = columns
        shown = (columns <= step) & (columns < self.episode_length(moments))
        known = self._prediction(actions)[1 - COLUMNS :, 0]
        now = step - columns[0]
        output = np.full(COLUMNS, np.nan)
        output[now - len(known) : now] = known
        go, bit = self.schedule.show(moments)
        target, _ = self.schedule.answer(moments)
        rows = {
            "GO": np.where(shown, go, np.nan),
            "BIT": np.where(shown, bit, np.nan),
            "OUTPUT": output,
            "TARGET": np.where(columns < step, target, np.nan),
        }
        return beside(raster(rows))


def make_schedule(delay: int | tuple[int, int] | None, stream: bool, overwrite: bool) -> Schedule:
    """The schedule that the arguments of :class:`DelayedXOR` ask for."""
    if delay is None:
        delay = 0 if stream else 4
    limits = tuple(delay) if isinstance(delay, tuple | list) else (delay, delay)
    if len(limits) != 2 or not all(type(n) is int or isinstance(n, np.integer) for n in limits):
        raise ConfigError(f"delay={delay!r}: expected an int or a pair (fewest, most)")
    if not 0 <= limits[0] <= limits[1]:
        raise ConfigError(f"delay={delay!r}: expected 0 <= fewest <= most")
    if overwrite and (not stream or limits != (0, 0)):
        raise ConfigError("overwrite=True: only for stream=True without delay")
    if not stream:
        return Trials(limits)
    return SlotStream(limits) if limits[1] else Stream(overwrite)
