"""What a network is: a stack of feedback layers that predicts one step at a time.

    z[i] = h[i−1] W[i]ᵀ + b[i],   h[i] = σ(z[i])
    ẽ[i] = (ẽ[i+1] B[i+1]) ∘ σ'(z[i])

The last layer is linear; its output is the prediction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from nodepert.agents.networks.layer import Call, FeedbackLayer, Path

__all__ = ["Network", "Step", "predictions", "restarted"]


@dataclass
class Step:
    """What a network does with one observation a context."""

    prediction: Tensor  # [N, d]
    state: Tensor | None  # [N, n], recurrent state for the next step
    hidden: list[Tensor]  # h[i] of each hidden layer, [N, *shape_i]
    started: Tensor | None = None  # where an episode starts, [N]; record fills it in
    calls: dict[FeedbackLayer, Call] = field(default_factory=dict)  # of each layer; so does record
    carried: list[Tensor] = field(default_factory=list)  # λ̃[i] at each h[i]; carry_down fills it in


class Network(nn.Module, ABC):
    """A stack of feedback layers that maps observations to predictions, one step at a time."""

    n_in: int
    """Width of the observation, flat."""
    hidden_shapes: tuple[tuple[int, ...], ...]
    """Of the nodes of each hidden layer, without the batch."""

    @abstractmethod
    def step(self, x: Tensor, state: Tensor | None, noise: Sequence[Tensor] | None = None) -> Step:
        """One step.

        Args:
            x: Observations, flat, shape (N, n_0).
            state: What the previous step returned, or :meth:`initial_state`.
            noise: ξ[i] to add after σ in each hidden layer: h̃[i] = σ(z̃[i]) + ξ[i].
        """

    def record(self, x: Tensor, state: Tensor | None, started: Tensor) -> Step:
        """One step that :meth:`carry_down` can start from.

        Args:
            x: Observations, flat, shape (N, n_0).
            state: What the previous step returned, or :meth:`initial_state`.
            started: Where an episode starts, shape (N,): the state is blank there.
        """
        step = self.step(x, restarted(state, started))
        step.started = started
        step.calls = {layer: layer.calls[-1] for layer in self.layers if layer.calls}
        return step

    def record_all(
        self, inputs: Iterable[Tensor], state: Tensor | None, started: Iterable[Tensor]
    ) -> list[Step]:
        """Steps one after another; see :meth:`record`.

        Args:
            inputs: Of each step, shape (N, n_0).
            state: Before the first.
            started: Of each step, shape (N,).
        """
        steps = []
        for x, start in zip(inputs, started, strict=True):
            steps.append(self.record(x, state, start))
            state = steps[-1].state
        return steps

    def carry_down(
        self, steps: Sequence[Step], error: Tensor, keep_graph: bool = False
    ) -> list[Tensor]:
        """The backward pass: ẽ into the steps' calls, λ̃ into the steps; here by autograd.

        Args:
            steps: What :meth:`record` gave, T in a row.
            error: ê at the prediction, shape (T, N, d).
            keep_graph: Whether the same steps will be asked for once more.

        Returns:
            The gradients of :attr:`forward_weights`, summed over contexts and steps.
        """
        # Features that nothing learns are not in the graph.
        nodes = [h for step in steps for h in step.hidden if h.requires_grad]
        found = torch.autograd.grad(
            [step.prediction for step in steps],
            [*self.forward_weights, *nodes],
            list(error),
            retain_graph=keep_graph,
            materialize_grads=True,
        )
        weights = len(self.forward_weights)
        errors = iter(found[weights:])
        for step in steps:
            step.carried = [
                next(errors) if h.requires_grad else torch.zeros_like(h) for h in step.hidden
            ]
        return list(found[:weights])

    @abstractmethod
    def initial_state(self, contexts: int) -> Tensor | None:
        """The state at an episode's start, or None for a network that has none."""

    @abstractmethod
    def readers(self, hidden: int) -> list[tuple[FeedbackLayer, int]]:
        """Which layers read a hidden layer's nodes, and how many steps later."""

    @cached_property
    def layers(self) -> list[FeedbackLayer]:
        """All layers, from the input to the output."""
        return [module for module in self.modules() if isinstance(module, FeedbackLayer)]

    @cached_property
    def forward_weights(self) -> list[nn.Parameter]:
        """W and b of all layers: what errors train. B is trained by a rule, not by errors."""
        return [weight for layer in self.layers for weight in (layer.weight, layer.bias)]

    def forget_calls(self) -> None:
        """Clears what the layers remember of past forward passes."""
        for layer in self.layers:
            layer.calls.clear()

    def set_path(self, path: Path) -> None:
        """Chooses what carries errors from now on, for measurements."""
        for layer in self.layers:
            layer.path = path


def restarted(state: Tensor | None, started: Tensor) -> Tensor | None:
    """The state, blank where an episode starts."""
    return None if state is None else state.masked_fill(started[:, None], 0.0)


def predictions(steps: Sequence[Step]) -> Tensor:
    """What a network said at each of T steps, shape (T, N, d), apart from how it came to it."""
    return torch.stack([step.prediction.detach() for step in steps])
