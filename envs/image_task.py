"""What MNIST-v0 and MNISTAutoencoder-v0 share: an image is shown, one action ends the episode."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs.base import Context, LossEnv
from nodepert.envs.draws import Draws
from nodepert.envs.errors import ConfigError
from nodepert.envs.mnist_data import load_examples
from nodepert.envs.rendering.drawing import Frame, picture

__all__ = ["ImageTask"]

ORDERS = ("random", "sequential")


class ImageTask(LossEnv, ABC):
    """Base of tasks that show one image an episode.

    A context holds the number of the example only; :meth:`observe` gathers the pixels.

    Args:
        split: See :func:`~nodepert.envs.mnist_data.load_examples`, as for ``root``, ``holdout``.
        root: A folder of IDX files; None for the packaged MNIST.
        holdout: Leave the validation examples out of ``split="train"``.
        order: ``"random"``: each episode draws its example, with replacement. ``"sequential"``:
            lane i of N shows example i, then i + N, … and wraps around at the end, so that
            ``num_examples`` consecutive lane-steps show each example once. Seeds play no part then.
        expose_gradient: Put ∂loss/∂action into ``info["action_gradient"]``.
        render_mode: ``"rgb_array"`` or ``"human"``.

    Raises:
        ConfigError: An argument that is not valid.
        DatasetError: A data file is missing or damaged.
    """

    def __init__(
        self,
        split: str,
        root: str | PathLike[str] | None,
        holdout: bool,
        order: str,
        expose_gradient: bool,
        render_mode: str | None,
    ) -> None:
        super().__init__(expose_gradient, render_mode)
        if order not in ORDERS:
            raise ConfigError(f"order={order!r}: expected one of {', '.join(map(repr, ORDERS))}")
        self.order = order
        self.examples = load_examples(root, split, holdout)
        self.gather: Callable[[NDArray[np.int64]], Any] = self.examples.pixels
        """From the numbers of examples to what is shown; others may show them as other arrays."""
        num_pixels = self.examples.images.shape[1]
        self.observation_space = spaces.Box(0.0, 1.0, (num_pixels,), np.float32)

    @property
    def num_examples(self) -> int:
        """How many examples the split has: a sequential walk shows each once in so many."""
        return len(self.examples)

    def sample_contexts(self, draws: Draws) -> Context:
        """The number of an example, (N,)."""
        if self.order == "random":
            return {"example": draws.integers(self.num_examples)}
        position = draws.counters.astype(np.int64) * draws.num_lanes + draws.lanes
        return {"example": position % self.num_examples}

    def picture(self, pixels: NDArray[Any]) -> Frame:
        """An image of the data's shape, for frames."""
        return picture(np.reshape(pixels, self.examples.shape))

    def pixels(self, context: Context) -> NDArray[np.float32]:
        """Pixels from 0 to 1, shape (N, pixels), always as an array."""
        return self.examples.pixels(context["example"])

    def observe(self, context: Context) -> Any:
        """Pixels from 0 to 1, shape (N, pixels)."""
        return self.gather(context["example"])
