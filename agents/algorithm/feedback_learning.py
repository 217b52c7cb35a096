"""From what was measured to gradients for the feedback weights: one function a kind of rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from nodepert.agents.algorithm.node_noise import NodeNoise
from nodepert.agents.algorithm.window import Window
from nodepert.agents.feedback import LossRule, ResponseRule, UpdateRule
from nodepert.agents.maths import gaussian_spread, to_come
from nodepert.agents.networks import FeedbackLayer, Network, Step

__all__ = ["learn_from_loss", "learn_from_response", "learn_from_update"]


@torch.no_grad()
def learn_from_response(
    network: Network,
    rules: Sequence[ResponseRule],
    noise: NodeNoise,
    generator: torch.Generator,
    steps: Sequence[Step],
) -> None:
    """B[i+1] from Δz[i+1] ≈ ξ[i] B[i+1]ᵀ, at every layer on its own."""
    for i, rule in enumerate(rules):
        for layer, _ in network.readers(i):
            if layer.feedback is None:
                continue
            shape, answer = network.hidden_shapes[i], steps[0].calls[layer].output  # [N, n_out, …]
            samples, patches = len(answer) * len(steps), math.prod(answer.shape[2:])
            if patches == 1:
                xi = noise.sample((noise.trials(samples, shape), *shape), i, generator)
                largest = noise.largest(xi, i)
            else:  # a few samples determine B where each has many patches
                few = min(samples, math.ceil(2 * layer.weight[0].numel() / patches))
                xi = noise.sample((few, *shape), i, generator)
                largest = gaussian_spread(layer.patches(xi))
            response, feedback = layer.respond(xi), layer.feedback.flatten(1)
            gradient = rule.gradient(feedback, layer.patches(xi), layer.rows(response), largest)
            layer.feedback.grad = gradient.view_as(layer.feedback)


def learn_from_update(network: Network, rules: Sequence[UpdateRule]) -> None:
    """B from the gradient of W."""
    for i, rule in enumerate(rules):
        for layer, _ in network.readers(i):
            if layer.feedback is not None:
                layer.feedback.grad = rule.gradient(cast(Tensor, layer.weight.grad))


def learn_from_loss(
    network: Network,
    rules: Sequence[LossRule],
    noise: NodeNoise,
    window: Window,
    change: Tensor,
) -> None:
    """B of the layers above each set of nodes, from λ̂ = Δ(future loss) ξ / E[ξ²].

    The errors in the window's steps must have been carried down. ``change`` is what node noise did
    to the loss in each step, shape (T, N).
    """
    hidden = range(len(rules))
    readers = [network.readers(i) for i in hidden]
    sources = [[sources_of(layer, lag, window) for layer, lag in readers[i]] for i in hidden]
    carried = [
        torch.cat([step.carried[i] for step in window.steps]) for i in hidden
    ]  # λ̃[i], [TN, *shape_i]
    noises = [torch.cat([step[i] for step in window.node_noise]) for i in hidden]  # ξ[i], alike
    if rules[0].subtracts_prediction:
        change = change - predicted_change(noises, carried).view_as(change)
    future = to_come(change * window.mask, torch.stack(window.started)).flatten()
    for i, rule in enumerate(rules):
        nodes = carried[i].flatten(1), future, noises[i].flatten(1)
        mismatch = rule.mismatch(*nodes, noise.variance(i)).view_as(carried[i])
        learning = [
            (layer, source)
            for (layer, _), source in zip(readers[i], sources[i], strict=True)
            if layer.feedback is not None
        ]
        gradients = rule.gradients(
            [cast(Tensor, layer.feedback).flatten(1) for layer, _ in learning],
            [layer.rows(source) for layer, source in learning],
            [layer.patches(mismatch) for layer, _ in learning],
        )
        for (layer, _), gradient in zip(learning, gradients, strict=True):
            cast(Tensor, layer.feedback).grad = gradient.view_as(cast(Tensor, layer.feedback))


def predicted_change(noises: Sequence[Tensor], carried: Sequence[Tensor]) -> Tensor:
    """Σ ξ[i]·λ̃[i]: what the present B says that node noise does to the loss, shape (TN,)."""
    return torch.stack(
        [(xi * error).flatten(1).sum(1) for xi, error in zip(noises, carried, strict=True)]
    ).sum(0)


def sources_of(layer: FeedbackLayer, lag: int, window: Window) -> Tensor:
    """What the carrier of a layer multiplies that reads nodes ``lag`` steps later; 0 past the end.

    Returns:
        One row for each step and context, shape (T·N, …).
    """
    rows = []
    for t in range(len(window.steps)):
        if t + lag < len(window.steps):
            source = window.steps[t + lag].calls[layer].source
            if lag:
                ended = window.started[t + lag]
                source = source.masked_fill(ended.view(-1, *[1] * (source.dim() - 1)), 0.0)
        else:
            source = torch.zeros_like(window.steps[0].calls[layer].source)
        rows.append(source)
    return torch.cat(rows)
