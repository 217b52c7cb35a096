"""Images that lie where the network is, so that no pixel travels while it learns."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodepert.envs.image_task import ImageTask

__all__ = ["on_device"]


class Gallery:
    """Images on a device, copied there once.

    Args:
        images: uint8 (n, pixels).
        device: Where to.
    """

    def __init__(self, images: NDArray[np.uint8], device: torch.device) -> None:
        self.images = torch.tensor(images, device=device)
        # A tensor: GPUs divide by a plain number as if multiplying by its rounded inverse.
        self.white = torch.tensor(255.0, device=device)

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """The images of these rows as numbers from 0 to 1, shape (len(rows), pixels), fresh."""
        return self.images[torch.from_numpy(rows).to(self.images.device)] / self.white


def on_device(task: ImageTask, device: torch.device) -> ImageTask:
    """A copy of the task whose observations are tensors on a device, bit for bit the same numbers.

    Which images are shown, and what actions cost, is still found on the CPU: a few bytes a lane.
    """
    shown = copy.copy(task)
    shown.gather = Gallery(task.examples.images, device)
    return shown
