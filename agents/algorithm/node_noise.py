"""Noise on hidden nodes: the experiments from which feedback weights are learned."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from nodepert.agents.maths import gaussian_probes, gaussian_spread, orthogonal_rows

__all__ = ["NOISES", "Gaussian", "NodeNoise", "Orthogonal", "Rademacher", "Sparse", "Sphere"]


FEW = 64
"""Nodes of a layer that are cheaper to try all than to fall behind on."""


@dataclass(frozen=True)
class NodeNoise(ABC):
    """ξ of each hidden layer, with independent signs and E[ξ ξᵀ] = variance · I.

    Args:
        stds: c of each hidden layer, a standard deviation.
    """

    stds: tuple[float, ...]

    @abstractmethod
    def sample(self, shape: tuple[int, ...], layer: int, generator: torch.Generator) -> Tensor:
        """ξ for the nodes of one hidden layer, first dimension the batch."""

    def variance(self, layer: int) -> float:
        """What λ̂ = ΔL ξ / variance is divided by: E[ξ²] of one node."""
        return self.stds[layer] ** 2

    def trials(self, samples: int, shape: tuple[int, ...]) -> int:
        """How many ξ tell the next layer's response, where so many samples are at hand: all.

        B that follows W less closely feeds oscillations of W.
        """
        return samples

    def largest(self, noise: Tensor, layer: int) -> Tensor | float:
        """The largest eigenvalue of ξᵀξ, or what bounds it, for ξ of shape (R, …)."""
        return gaussian_spread(noise.flatten(1))


class Gaussian(NodeNoise):
    """ξ ~ N(0, c²), as in the paper."""

    def sample(self, shape: tuple[int, ...], layer: int, generator: torch.Generator) -> Tensor:
        """Independent in every node."""
        return gaussian_probes(shape, self.stds[layer], generator)


class Rademacher(NodeNoise):
    """ξ = ±c with equal odds: the least variance of λ̂ for independent noise (Spall 1992)."""

    def sample(self, shape: tuple[int, ...], layer: int, generator: torch.Generator) -> Tensor:
        """Independent in every node."""
        signs = torch.randint(0, 2, shape, generator=generator, device=generator.device)
        return self.stds[layer] * (2.0 * signs - 1.0)


class Orthogonal(NodeNoise):
    """ξ of length c √n, orthogonal within a batch of up to n: no two tell the same."""

    def sample(self, shape: tuple[int, ...], layer: int, generator: torch.Generator) -> Tensor:
        """See :func:`nodepert.agents.maths.orthogonal_rows`."""
        width = math.prod(shape[1:])
        return orthogonal_rows(shape[0], width, self.stds[layer], generator).view(shape)

    def trials(self, samples: int, shape: tuple[int, ...]) -> int:
        """A quarter of the nodes, but of few all: B follows W there at once."""
        nodes = math.prod(shape)
        return max(math.ceil(nodes / 4), min(nodes, FEW))

    def largest(self, noise: Tensor, layer: int) -> float:
        """Their common squared length, for up to n of them."""
        return noise[0].numel() * self.stds[layer] ** 2


class Sphere(NodeNoise):
    """ξ uniform on the sphere of radius c √n of a layer's n nodes."""

    def sample(self, shape: tuple[int, ...], layer: int, generator: torch.Generator) -> Tensor:
        """Of one length for each row of the batch."""
        direction = gaussian_probes(shape, 1.0, generator).flatten(1)
        radius = self.stds[layer] * math.sqrt(direction.shape[1])
        return (radius * direction / direction.norm(dim=1, keepdim=True)).view(shape)


@dataclass(frozen=True)
class Sparse(NodeNoise):
    """ξ ~ N(0, c²) with probability p, else 0: few nodes at a time.

    Args:
        stds: c of each hidden layer.
        probability: p.
        authors_scaling: Divide by c² in place of E[ξ²] = p c², as the authors' recurrent
            experiments do; B is then driven to p · W.
    """

    probability: float
    authors_scaling: bool

    def sample(self, shape: tuple[int, ...], layer: int, generator: torch.Generator) -> Tensor:
        """Independent in every node."""
        chosen = torch.rand(shape, generator=generator, device=generator.device) < self.probability
        return gaussian_probes(shape, self.stds[layer], generator) * chosen

    def variance(self, layer: int) -> float:
        """``p c²``, or c² with the authors' scaling."""
        return self.stds[layer] ** 2 * (1.0 if self.authors_scaling else self.probability)


NOISES: dict[str, type[NodeNoise]] = {
    "gaussian": Gaussian,
    "sparse": Sparse,
    "rademacher": Rademacher,
    "sphere": Sphere,
    "orthogonal": Orthogonal,
}
