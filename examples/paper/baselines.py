"""Baselines of the loss under node noise: the same expected λ̂, different variance.

    python examples/paper/baselines.py [--quick] [--out DIR] [--seeds …] [--jobs …]

λ̂ = (L̃ − baseline) ξ / c² estimates ∂L/∂h for any baseline that does not know ξ. On a partly trained
784-50-20-10 sigmoid network, given the output gradient: mean and variance of λ̂ beside the true
gradient, layer by layer, and how far the B of `loss_ridge` is from W after equal numbers of env
steps (2 or 3 a context), W held fixed.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import gymnasium as gym
import matplotlib.pyplot as plt
import torch
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from study import Claim, Row, Study, Task, curve, grouped, main, median, save, select, spread
from torch import Tensor

from nodepert.agents import NodePerturbation
from nodepert.agents.algorithm.baselines import BASELINES
from nodepert.agents.algorithm.node_noise import Gaussian
from nodepert.agents.algorithm.node_probe import NodeProbe, node_lanes
from nodepert.agents.algorithm.window import Window, collect
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.maths import node_perturbation
from nodepert.agents.metrics import weight_alignment
from nodepert.agents.output_error import GivenGradient
from nodepert.agents.presets import preset_for

NODE_STDS = (0.1, 0.01)
CONTEXTS = 256  # at once
BURN_IN = 40  # windows in which the moving average and the critic settle
COLOURS = {"clean": "C0", "antithetic": "C2", "ema": "C1", "critic": "C4", "none": "C3"}


def make(seed: int, rule: str, **changes: object) -> NodePerturbation:
    """The paper's network on MNIST, given the output gradient."""
    env = gym.make("MNIST-v0", expose_gradient=True, holdout=True)
    config = replace(preset_for("MNIST-v0", "paper").config, credit="given", rule=rule, **changes)
    return NodePerturbation("MlpPolicy", env, config, seed=seed)


def partly_trained(seed: int) -> NodePerturbation:
    """After half an epoch; errors go down by the transposed weights, so that gradients are true."""
    return make(seed, "symmetric").learn(30_000)


# Mean and variance of λ̂ ------------------------------------------------------------------------


def windows(
    model: NodePerturbation, baseline: str, node_std: float, count: int, seed: int
) -> Iterator[tuple[Window, Tensor]]:
    """New contexts, one step each, λ carried down, and what node noise did to their loss."""
    generator = torch.Generator().manual_seed(seed)
    network, estimator = model.policy.network, GivenGradient()
    probe = NodeProbe(
        network, Gaussian((node_std,) * 2), BASELINES[baseline](784), estimator, generator
    )
    per_context = 1 + node_lanes(BASELINES[baseline], estimator)
    env = gym.make_vec("MNIST-v0", CONTEXTS * per_context, expose_gradient=True, holdout=True)
    lanes = PairedLanes(env, per_context)
    seeds = [1_000_000 * (seed + 1) + context for context in range(CONTEXTS)]
    started = torch.ones(CONTEXTS, dtype=torch.bool)
    situation = Situation(lanes.reset(seeds), None, started)
    for _ in range(count):
        window = collect(
            network,
            lanes,
            situation,
            n_steps=1,
            to_input=model.policy.to_input,
            actions=model.policy.actions,
            estimator=estimator,
            node_probe=probe,
            generator=generator,
            on_step=lambda played: True,
        )
        assert window is not None
        network.carry_down(window.steps, window.gradients[0][None])
        network.forget_calls()
        yield window, probe.change(window.node_losses[0], window.inputs[0]).float()


def measure_estimate(task: Task) -> list[Row]:
    """Of each hidden layer: λ̂ projected on λ, the distance of the means, and the variance."""
    model, std = partly_trained(task["seed"]), task["node_std"]
    estimates: list[list[Tensor]] = [[], []]
    gradients: list[list[Tensor]] = [[], []]
    played = windows(model, task["baseline"], std, BURN_IN + task["windows"], task["seed"])
    for number, (window, change) in enumerate(played):
        if number < BURN_IN:
            continue
        for i, gradient in enumerate(window.steps[0].carried):
            noise = window.node_noise[0][i]
            estimate = node_perturbation(change, noise, std**2)
            estimates[i].append(estimate)
            gradients[i].append(gradient)
    return [
        {"layer": i + 1, **describe(torch.cat(estimates[i]), torch.cat(gradients[i]))}
        for i in range(2)
    ]


def describe(estimate: Tensor, gradient: Tensor) -> Row:
    """What λ̂ (R, n) says of λ (R, n).

    Slope: E[λ̂·λ] / E[λ·λ], 1 where λ̂ is unbiased. Deviation: the squared difference of the means
    of λ̂ and λ in units of its standard error, averaged over nodes: 1 where there is only noise.
    """
    count = len(estimate)
    projected = (estimate * gradient).sum(1) / gradient.square().sum(1).mean()
    surplus = estimate - gradient
    standard_errors = surplus.std(0) / math.sqrt(count)
    deviation = (surplus.mean(0) / standard_errors).square().mean()
    own = gradient.square().sum(1) / gradient.square().sum(1).mean()
    return {
        "slope": float(projected.mean()),
        "slope_error": float((projected - own).std() / math.sqrt(count)),
        "deviation": float(deviation),
        "variance": float(surplus.var(0).sum() / gradient.square().sum(1).mean()),
    }


# B from λ̂ --------------------------------------------------------------------------------------


class Errors(BaseCallback):
    """Measures B each time it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []

    def _on_step(self) -> bool:
        measured = weight_alignment(self.model.policy.network)
        kept = {
            k: v for k, v in measured.items() if k.startswith(("relative_error", "weight_angle"))
        }
        self.rows.append({"env_steps": self.num_timesteps, **kept})
        return True


def measure_feedback(task: Task) -> list[Row]:
    """Errors of B at ten points, W held fixed."""
    source = partly_trained(task["seed"])
    model = make(
        task["seed"] + 1_000,
        "loss_ridge",
        node_baseline=task["baseline"],
        node_std=task["node_std"],
        forward_interval=0,
        batch_size=CONTEXTS,
    )
    network, trained = model.policy.network, source.policy.network
    with torch.no_grad():
        for weight, fixed in zip(network.forward_weights, trained.forward_weights, strict=True):
            weight.copy_(fixed)
    errors = Errors()
    model.learn(task["budget"], callback=EveryNTimesteps(task["budget"] // 10, errors))
    return errors.rows


# The study -------------------------------------------------------------------------------------


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """Both measurements of each baseline."""
    common = [
        {"baseline": baseline, "node_std": std, "seed": seed}
        for seed in seeds
        for std in NODE_STDS[: 1 if quick else None]
        for baseline in COLOURS
    ]
    estimates = [{"part": "estimate", **one, "windows": 100 if quick else 400} for one in common]
    feedbacks = [
        {"part": "feedback", **one, "budget": 40_000 if quick else 600_000} for one in common
    ]
    return estimates + feedbacks


def run(task: Task) -> list[Row]:
    """One measurement."""
    return {"estimate": measure_estimate, "feedback": measure_feedback}[task["part"]](task)


def minutes(task: Task) -> float:
    """Of one core; the critic's step size takes a singular value."""
    critic = task["baseline"] == "critic"
    if task["part"] == "estimate":
        return task["windows"] / (1_800 if critic else 10_000)
    return task["budget"] / (1_000_000 if critic else 5_000_000)


def claims(rows: list[Row]) -> list[Claim]:
    """Equal means, different variances, and what that is worth."""
    estimates, feedbacks = select(rows, part="estimate"), select(rows, part="feedback")
    found = []
    if estimates:
        off = [abs(row["slope"] - 1) / row["slope_error"] for row in estimates]
        worst = max(row["deviation"] for row in estimates)
        found.append(
            Claim(
                "the same expected value, ∂L/∂h, with every baseline",
                f"λ̂·λ / λ·λ differs from 1 by at most {max(off):.1f} standard errors in "
                f"{len(off)} measurements; means over contexts by at most {worst**0.5:.2f}",
                max(off) < 3.5 and worst < 2.5,
                "mean",
            )
        )
    for std in sorted({row["node_std"] for row in rows}, reverse=True):
        for layer in (1, 2):
            chosen = select(estimates, node_std=std, layer=layer)
            variance = {b: median(select(chosen, baseline=b), "variance") for b in COLOURS}
            found.append(
                Claim(
                    f"different variance (c = {std:g}, hidden layer {layer}): antithetic at most "
                    "that of clean, clean below ema, ema below none",
                    "variance / ‖λ‖²: " + ", ".join(f"{b} {v:.3g}" for b, v in variance.items()),
                    variance["antithetic"] < 1.1 * variance["clean"]
                    and variance["clean"] < variance["ema"] < variance["none"],
                    f"variance {std:g} {layer}",
                )
            )
            found.append(
                Claim(
                    f"a linear critic leaves less variance than a moving average (c = {std:g}, "
                    f"hidden layer {layer})",
                    f"{variance['critic'] / variance['ema']:.2f} ×",
                    variance["critic"] < 0.95 * variance["ema"],
                    f"critic {std:g} {layer}",
                )
            )
        last = [
            max(own, key=lambda row: row["env_steps"])
            for of_seed in grouped(select(feedbacks, node_std=std), "seed").values()
            for own in grouped(of_seed, "baseline").values()
        ]
        errors = {b: median(select(last, baseline=b), "relative_error_3") for b in COLOURS}
        lower = {b: spread(select(last, baseline=b), "relative_error_2") for b in COLOURS}
        found.append(
            Claim(
                f"of equal env steps, B (top layer, c = {std:g}) is best with a clean pass",
                "‖W−B‖/‖W‖: "
                + ", ".join(f"{b} {e:.3g} (below {lower[b]})" for b, e in errors.items()),
                min(errors["clean"], errors["antithetic"]) < min(errors["ema"], errors["none"]),
                f"feedback {std:g}",
            )
        )
    return found


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Slopes with standard errors, variances, and B against env steps."""
    figure, (mean, variance, feedback) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    estimates = select(rows, part="estimate", node_std=NODE_STDS[0])
    names = list(COLOURS)
    for layer, marker in ((1, "o"), (2, "s")):
        for place, baseline in enumerate(names):
            own = select(estimates, baseline=baseline, layer=layer)
            for n, row in enumerate(own):
                at = place + 0.2 * (layer - 1.5) + 0.04 * n
                mean.errorbar(
                    at,
                    row["slope"],
                    2 * row["slope_error"],
                    fmt=marker,
                    ms=3,
                    color=COLOURS[baseline],
                )
        values = [median(select(estimates, baseline=b, layer=layer), "variance") for b in names]
        variance.plot(range(len(names)), values, marker + "-", label=f"hidden layer {layer}")
    mean.axhline(1, color="black", lw=0.8)
    mean.set(title="Mean: E[λ̂·λ] / E[λ·λ], ± 2 standard errors", ylim=(0.5, 1.5))
    variance.set(title="Variance of λ̂ / mean ‖λ‖²", yscale="log")
    for axes in (mean, variance):
        axes.set_xticks(range(len(names)), names)
    for baseline, colour in COLOURS.items():
        chosen = select(rows, part="feedback", baseline=baseline, node_std=NODE_STDS[0])
        for layer, style in ((3, "-"), (2, ":")):
            x, y = curve(chosen, "env_steps", f"relative_error_{layer}")
            feedback.plot(x, y, style, color=colour, label=baseline if layer == 3 else None)
    feedback.set(
        title="‖W−B‖/‖W‖, top layer (dotted: below)", xlabel="env steps", xscale="log", yscale="log"
    )
    feedback.legend()
    variance.legend()
    for axes in (mean, variance, feedback):
        axes.grid(alpha=0.3)
    figure.suptitle(f"c = {NODE_STDS[0]:g}", fontsize=9)
    save(figure, path)


STUDY = Study(
    name="baselines",
    tasks=tasks,
    run=run,
    minutes=minutes,
    draw=draw,
    claims=claims,
    seeds=(0, 1, 2),
    notes="""
`clean` and `antithetic` pay for their second pass with a lane a context more than the others:
`antithetic` has three here, since the output gradient is given at a clean lane of its own; `clean`
shares that lane and has two, as all others.
""",
)

if __name__ == "__main__":
    main(STUDY, __doc__)
