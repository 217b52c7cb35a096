"""How well feedback weights and the errors they carry agree with the true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from nodepert.agents.algorithm.window import Window
from nodepert.agents.maths import angle_degrees, relative_error, sign_congruence
from nodepert.agents.networks import Network, Path

__all__ = ["alignment", "error_angles", "weight_alignment", "weight_norms"]


def alignment(network: Network, window: Window, error: Tensor) -> dict[str, float]:
    """All metrics of one moment, by name; layers are counted from 1, the input's, upwards.

    Args:
        network: With feedback weights.
        window: Whose inputs to use.
        error: ê at the output, shape (T, N, d).
    """
    return {**weight_alignment(network), **error_angles(network, window, error)}


def weight_alignment(network: Network) -> dict[str, float]:
    """angle(W, B) in degrees, ‖W−B‖/‖W‖, share of equal signs, ‖B‖/‖W‖, where B is of W's shape."""
    metrics: dict[str, float] = {}
    for i, layer in enumerate(network.layers, start=1):
        if layer.feedback is None or layer.feedback.shape != layer.weight.shape:
            continue
        weight, feedback = layer.weight.detach(), layer.feedback.detach()
        metrics[f"weight_angle_{i}"] = angle_degrees(weight, feedback)
        metrics[f"relative_error_{i}"] = relative_error(weight, feedback)
        metrics[f"sign_congruence_{i}"] = sign_congruence(weight, feedback)
        metrics[f"norm_ratio_{i}"] = float(feedback.norm() / weight.norm())
    return metrics


def weight_norms(network: Network) -> dict[str, float]:
    """‖W‖ of each layer."""
    return {
        f"norm_{i}": float(layer.weight.detach().norm())
        for i, layer in enumerate(network.layers, start=1)
    }


def error_angles(network: Network, window: Window, error: Tensor) -> dict[str, float]:
    """Angle between ẽ[i] and what the transposed weights carry of the same ê, in degrees."""
    paths = [layer.path for layer in network.layers]
    if set(paths) <= {"transpose", "autograd"}:
        return {}
    carried = _errors(network, window, error, paths)
    true = _errors(network, window, error, ["transpose"] * len(paths))
    return {
        f"error_angle_{i}": angle_degrees(ours, theirs)
        for i, (ours, theirs) in enumerate(zip(carried, true, strict=True), start=1)
    }


def _errors(network: Network, window: Window, error: Tensor, paths: list[Path]) -> list[Tensor]:
    """ẽ[i] of every layer at every step, the window played again with each layer's way down."""
    kept = [(layer.path, list(layer.calls)) for layer in network.layers]
    try:
        for layer, path in zip(network.layers, paths, strict=True):
            layer.path = path
            layer.calls.clear()
        steps = network.record_all(window.inputs, window.start, window.started)
        network.carry_down(steps, error)
        return [torch.cat([step.calls[layer].error for step in steps]) for layer in network.layers]
    finally:
        for layer, (old_path, calls) in zip(network.layers, kept, strict=True):
            layer.path, layer.calls[:] = old_path, calls
