"""MNISTAutoencoder-v0: give back the image that was shown."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs.base import Context
from nodepert.envs.image_task import ImageTask
from nodepert.envs.losses import mse, mse_gradient
from nodepert.envs.rendering.drawing import Frame, beside

__all__ = ["MNISTAutoencoder"]


class MNISTAutoencoder(ImageTask):
    """Reconstruct handwritten digits, the autoencoder task of arXiv 1906.00889 (§4.2).

    **Goal**: predict each pixel of the image. The task is only hard for a network with a
    bottleneck.

    **Observation**: Box(0, 1, (784,)): the pixels / 255, row by row. With ``root``, the size
    follows the data.

    **Action**: Box(−1, 1, (784,)), times ``action_scale`` = 2 the prediction, one number a pixel.
    Finite actions outside the Box are accepted, not clipped.

    **Reward**: −½ Σ_k (prediction_k − pixel_k)².

    **End of episode**: after one action.

    Args:
        split: ``"train"``, ``"test"``, or ``"validation"``: the last 5,000 examples of the
            training set (of a smaller set, its last twelfth).
        holdout: Leave the validation examples out of ``split="train"``.
        root: A folder of IDX files, gzip or raw; None for the packaged MNIST.
        order: ``"random"`` (with replacement) or ``"sequential"``: lane i of N shows example i,
            then i + N, … and wraps around; seeds play no part then.
        expose_gradient: Put ∂loss/∂action into ``info["action_gradient"]``.
        render_mode: ``"rgb_array"`` or ``"human"``: the image, and beside it the prediction.

    Raises:
        ConfigError: An argument that is not valid.
        DatasetError: A data file is missing or damaged.
    """

    action_scale = 2.0

    def __init__(
        self,
        split: str = "train",
        holdout: bool = False,
        root: str | PathLike[str] | None = None,
        order: str = "random",
        expose_gradient: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split, root, holdout, order, expose_gradient, render_mode)
        self.action_space = spaces.Box(-1.0, 1.0, self.observation_space.shape, np.float32)

    def loss(self, context: Context, actions: NDArray[Any]) -> NDArray[np.float64]:
        """½ Σ_k (prediction_k − pixel_k)²."""
        return mse(self.action_scale * actions, self.pixels(context))

    def loss_gradient(self, context: Context, actions: NDArray[Any]) -> NDArray[np.float64]:
        """∂loss/∂action, (N, pixels)."""
        prediction = self.action_scale * actions
        return self.action_scale * mse_gradient(prediction, self.pixels(context))

    def render_frame(self, context: Context, actions: NDArray[Any]) -> Frame:
        """The image, and beside it the prediction, black before there is one."""
        shown = self.pixels(context)
        prediction = self.action_scale * actions[-1] if len(actions) else np.zeros_like(shown)
        return beside(self.picture(shown), self.picture(prediction))
