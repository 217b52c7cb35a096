"""MNIST-v0: say which digit an image shows."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs.base import Context
from nodepert.envs.errors import ConfigError
from nodepert.envs.image_task import ImageTask
from nodepert.envs.losses import (
    cross_entropy,
    cross_entropy_gradient,
    mse,
    mse_gradient,
    one_hot,
)
from nodepert.envs.mnist_data import NUM_CLASSES
from nodepert.envs.rendering.drawing import DARK, GREEN, RED, Frame, bars, beside

__all__ = ["MNIST"]

# Factors by which an action in [-1, 1] becomes a prediction, so that good ones are interior
# points. The zero-one loss is the same for any factor.
ACTION_SCALES = {"mse": 2.0, "cross_entropy": 10.0, "zero_one": 1.0}


class MNIST(ImageTask):
    """Classify handwritten digits (LeCun, Cortes & Burges).

    **Goal**: give the digit of the image the largest output.

    **Observation**: Box(0, 1, (784,)): the pixels / 255, row by row. With ``root``, the size
    follows the data.

    **Action**: Box(−1, 1, (10,)), times ``action_scale`` (``mse`` 2, ``cross_entropy`` 10,
    ``zero_one`` 1) the prediction, one number a digit; or Discrete(10), the digit itself. Finite
    actions outside the Box are accepted, not clipped.

    **Reward**: minus the loss: ``mse`` ½ Σ_k (prediction_k − one_hot_k)², ``cross_entropy``
    −log softmax(prediction)[label], ``zero_one`` 1 where the largest prediction is not the label's.

    **End of episode**: after one action.

    **Info**: ``correct``: whether the largest prediction is the label's.

    Args:
        loss: ``"mse"`` (default), ``"cross_entropy"`` or ``"zero_one"`` (default and only choice
            where ``discrete=True``).
        split: ``"train"``, ``"test"``, or ``"validation"``: the last 5,000 examples of the
            training set (of a smaller set, its last twelfth).
        holdout: Leave the validation examples out of ``split="train"``.
        root: A folder of IDX files, gzip or raw; None for the packaged MNIST.
        order: ``"random"`` (with replacement) or ``"sequential"``: lane i of N shows example i,
            then i + N, … and wraps around; seeds play no part then.
        discrete: The action is the digit; the loss is then zero-one.
        expose_gradient: Put ∂loss/∂action into ``info["action_gradient"]``.
        render_mode: ``"rgb_array"`` or ``"human"``: the image, and the action as a bar for each
            digit; the bar of the right digit is green, that of a wrong answer red.

    Raises:
        ConfigError: An argument that is not valid, or two that don't go together.
        DatasetError: A data file is missing or damaged.
    """

    def __init__(
        self,
        loss: str | None = None,
        split: str = "train",
        holdout: bool = False,
        root: str | PathLike[str] | None = None,
        order: str = "random",
        discrete: bool = False,
        expose_gradient: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split, root, holdout, order, expose_gradient, render_mode)
        self.loss_name = loss or ("zero_one" if discrete else "mse")
        if self.loss_name not in ACTION_SCALES or (discrete and self.loss_name != "zero_one"):
            valid = "'zero_one' where discrete=True" if discrete else f"one of {[*ACTION_SCALES]}"
            raise ConfigError(f"loss={loss!r}: expected {valid}")
        if expose_gradient and self.loss_name == "zero_one":
            raise ConfigError("expose_gradient=True: zero_one has no gradient")
        self.action_scale = ACTION_SCALES[self.loss_name]
        self.action_space: spaces.Space[Any] = (
            spaces.Discrete(NUM_CLASSES)
            if discrete
            else spaces.Box(-1.0, 1.0, (NUM_CLASSES,), np.float32)
        )

    def _labels(self, context: Context) -> NDArray[np.int64]:
        return self.examples.labels[context["example"]]

    def _digits(self, actions: NDArray[Any]) -> NDArray[np.int64]:
        """The digit that each action names, (N,)."""
        return actions if actions.ndim == 1 else actions.argmax(axis=1)

    def loss(self, context: Context, actions: NDArray[Any]) -> NDArray[np.float64]:
        """The loss that the constructor chose."""
        labels = self._labels(context)
        if self.loss_name == "mse":
            return mse(self.action_scale * actions, one_hot(labels, NUM_CLASSES))
        if self.loss_name == "cross_entropy":
            return cross_entropy(self.action_scale * actions, labels)
        return (self._digits(actions) != labels).astype(np.float64)

    def loss_gradient(self, context: Context, actions: NDArray[Any]) -> NDArray[np.float64]:
        """∂loss/∂action, (N, 10)."""
        labels, prediction = self._labels(context), self.action_scale * actions
        if self.loss_name == "mse":
            return self.action_scale * mse_gradient(prediction, one_hot(labels, NUM_CLASSES))
        return self.action_scale * cross_entropy_gradient(prediction, labels)

    def render_frame(self, context: Context, actions: NDArray[Any]) -> Frame:
        """The image and a bar for each digit; which is right is only shown after the answer."""
        colours: list[Sequence[int]] = [DARK] * NUM_CLASSES
        scores: NDArray[Any] = np.zeros(NUM_CLASSES)
        if len(actions):
            answer = self._digits(actions)[-1]
            scores = one_hot(answer, NUM_CLASSES) if actions.ndim == 1 else actions[-1]
            colours[answer], colours[self._labels(context)[0]] = RED, GREEN
        return beside(self.picture(self.pixels(context)), bars(scores, colours))

    def info(self, context: Context, actions: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """``correct``."""
        return {"correct": self._digits(actions) == self._labels(context)}
