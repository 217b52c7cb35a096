"""Gradients from the loss alone, without feedback weights: what learned feedback competes with.

Both perturb everything at once and credit each perturbation with the change of the loss, so the
variance of their estimates grows with the number of things perturbed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nodepert.agents.maths import gaussian_probes, node_perturbation
from nodepert.agents.networks import Network

__all__ = ["Losses", "perturbed_nodes", "perturbed_weights"]

Losses = Callable[[Tensor], Tensor]
"""From predictions (N, d) to the loss of each context (N,): N env steps."""
SHARED = 8
"""Contexts on which one direction in weight space is tried, of which batches are multiples. With
one for each context the estimate is a little better, and takes eight times as long."""


@torch.no_grad()
def perturbed_nodes(
    network: Network, x: Tensor, losses: Losses, std: float, generator: torch.Generator
) -> list[Tensor]:
    """Plain node perturbation of all units of a tanh network: two env steps a context.

    λ̂[i] = (L⁺ − L⁻)/2 · ξ[i]/c² after σ in each hidden layer and at the output, all at once;
    ẽ[i] = λ̂[i] ∘ σ'(z[i]) (arXiv 1906.00889, eq. 5; Werfel, Xie & Seung 2005).

    Returns:
        The estimate for each of ``network.forward_weights``, averaged over contexts.
    """
    clean = network.step(x, None)
    hidden = clean.hidden
    noise = [gaussian_probes(tuple(h.shape), std, generator) for h in hidden]  # [N, n_i]
    end = gaussian_probes(tuple(clean.prediction.shape), std, generator)  # [N, d]
    plus = network.step(x, None, noise).prediction + end
    minus = network.step(x, None, [-xi for xi in noise]).prediction - end
    changes = ((losses(plus) - losses(minus)) / 2).to(x.dtype)  # [N]
    slopes = [1 - h.square() for h in hidden]  # tanh'
    errors = [
        node_perturbation(changes, xi, std**2) * slope
        for xi, slope in zip([*noise, end], [*slopes, torch.ones(())], strict=True)
    ]
    return [
        gradient
        for error, below in zip(errors, [x, *hidden], strict=True)
        for gradient in (error.t() @ below / len(x), error.mean(0))
    ]


@torch.no_grad()
def perturbed_weights(
    network: Network, x: Tensor, losses: Losses, std: float, generator: torch.Generator
) -> list[Tensor]:
    """Weight perturbation, antithetic evolution strategies: two env steps a context.

    ĝ = (L(W + c ε) − L(W − c ε)) / 2c · ε, averaged over directions ε, each of which is tried on
    :data:`SHARED` contexts (Salimans et al. 2017). ε is ±1, which has the variance of a Gaussian
    and is quicker to draw (Spall 1992).

    Returns:
        The estimate for each of ``network.forward_weights``, averaged over contexts.
    """
    directions = len(x) // SHARED
    signs = [random_signs((directions, *w.shape), generator) for w in network.forward_weights]
    plus = losses(with_own_weights(network, x, signs, std))
    minus = losses(with_own_weights(network, x, signs, -std))
    credit = ((plus - minus) / (2 * std)).view(directions, -1).mean(1).to(x.dtype)  # [directions]
    return [torch.tensordot(credit / directions, sign, dims=1) for sign in signs]


def with_own_weights(network: Network, x: Tensor, signs: list[Tensor], step: float) -> Tensor:
    """Predictions of a tanh network with weights W + step·ε, a direction for each run of contexts.

    Returns:
        Shape (N, d).
    """
    h = x
    for i, layer in enumerate(network.layers):
        weight, bias = signs[2 * i : 2 * i + 2]
        grouped = h.view(len(weight), -1, h.shape[1])  # [directions, SHARED, n_in]
        change = torch.baddbmm(bias[:, None], grouped, weight.transpose(1, 2))
        z = layer(h) + step * change.flatten(0, 1)
        h = z.tanh()
    return z


def random_signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """−1 or 1 with equal probability."""
    bits = torch.randint(0, 2, shape, generator=generator, dtype=torch.int8)
    return bits.to(torch.get_default_dtype()).mul_(2).sub_(1)
