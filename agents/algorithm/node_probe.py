"""Tries what noise on the hidden nodes does to the loss, on lanes of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from nodepert.agents.algorithm.baselines import Baseline
from nodepert.agents.algorithm.node_noise import NodeNoise
from nodepert.agents.networks import Network, restarted
from nodepert.agents.output_error import OutputError

__all__ = ["NodeProbe", "node_lanes"]


class NodeProbe:
    """Noise on the hidden nodes, in one copy of the network's state a noisy lane.

    Args:
        network: Whose nodes are perturbed.
        noise: ξ.
        baseline: Which signs of ξ to try, and what their losses say.
        estimator: Of the output error; its clean lane, where it has one, serves the baseline too.
        generator: Random numbers for ξ.
    """

    def __init__(
        self,
        network: Network,
        noise: NodeNoise,
        baseline: Baseline,
        estimator: OutputError,
        generator: torch.Generator,
    ) -> None:
        self.network, self.noise, self.baseline = network, noise, baseline
        self.generator = generator
        self.signs = own_signs(type(baseline), estimator)
        self.shares_clean = len(self.signs) < len(baseline.signs)
        self._states: list[Tensor | None] = []

    def restart(self, state: Tensor | None) -> None:
        """All copies go back to the clean state."""
        self._states = [state] * len(self.signs)

    @torch.no_grad()
    def step(self, x: Tensor, started: Tensor, centre: Tensor) -> tuple[Tensor, list[Tensor]]:
        """One step of all copies.

        Args:
            x: Observations, flat, shape (N, n_0).
            started: Where an episode starts, shape (N,).
            centre: The prediction without noise, shape (N, d).

        Returns:
            Predictions of the lanes, shape (N, len(signs), d), and the noise ξ[i] of each layer.
        """
        noise = [
            self.noise.sample((len(x), *shape), i, self.generator)
            for i, shape in enumerate(self.network.hidden_shapes)
        ]
        predictions = []
        for copy, sign in enumerate(self.signs):
            if sign == 0:
                predictions.append(centre)
                continue
            state = restarted(self._states[copy], started)
            step = self.network.step(x, state, [sign * xi for xi in noise])
            self._states[copy] = step.state
            predictions.append(step.prediction)
        return torch.stack(predictions, dim=1), noise

    def change(self, losses: Tensor, context: Tensor) -> Tensor:
        """What ξ did to the loss, shape (N,), from the losses of all lanes, shape (N, M)."""
        own = losses[:, -len(self.signs) :]
        if self.shares_clean:
            own = torch.cat([own, losses[:, :1]], dim=1)
        return self.baseline.change(own, context)


def own_signs(baseline: type[Baseline], estimator: OutputError) -> list[int]:
    """The signs of the lanes that the estimator of the output error does not play anyway."""
    return [sign for sign in baseline.signs if sign or not estimator.has_clean_lane]


def node_lanes(baseline: type[Baseline], estimator: OutputError) -> int:
    """How many lanes a context's node noise takes."""
    return len(own_signs(baseline, estimator))
