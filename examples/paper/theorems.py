"""The paper's two theorems as executable statements, and what breaks without their assumptions.

    python examples/paper/theorems.py [--quick] [--out DIR] [--seeds …] [--jobs …]

In our words (arXiv 1906.00889, supplement): lim c→0, plim T→∞ of the least-squares B is W.

Theorem 1: for the last layer of a shallow network with a nonlinearity. Theorem 2: for all layers of
a deep linear network. Both under four assumptions, which we read as

A1  the noise has independent components of mean 0, equal variance and light tails;
A2  the loss is analytic in what is perturbed, so that δ = λ·ξ + O(ξ²);
A3  the second moment of the errors that reach a layer has full rank, which in a linear network
    needs widths of at most n_out from the second hidden layer on;
A4  the forward weights are fixed while the samples are drawn.

Consistent least squares has the error T^(−1/2). Of the next orders of δ, the second leaves a bias
proportional to c where E[ξ³] ≠ 0, and the third one to c²: the floor.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from least_squares import (
    CORRELATION,
    Moments,
    Net,
    make_net,
    projections,
    sample,
    sample_bias,
    solve,
)
from study import Claim, Row, Study, Task, curve, main, median, save, select
from torch import Tensor

from nodepert.agents.maths import relative_error

SHALLOW = (12, 10, 5)
DEEP = (12, 10, 3, 4, 6)  # widths of at most 6 = n_out from the second hidden layer on
WIDE = (12, 10, 20, 20, 5)
CHUNK = 5_000
STDS = (0.05, 0.1, 0.2, 0.4)  # c of the floors
DRIFT = 0.5  # ‖change of W‖ / ‖W‖ over the run without A4
TOLERANCE = 0.12  # of slopes of −½, medians of three seeds
MEMORY = 20_000  # samples that forgetting keeps, on average

CURVES: dict[str, Task] = {
    "theorem 1": {"net": "shallow", "loss": "sigmoid", "noise": "gaussian", "std": 0.01},
    "theorem 1, c = 1": {"net": "shallow", "loss": "sigmoid", "noise": "gaussian", "std": 1.0},
    "theorem 1, skewed, c = 1": {
        "net": "shallow", "loss": "sigmoid", "noise": "skewed", "std": 1.0
    },
    "theorem 2": {"net": "deep", "loss": "mse", "noise": "gaussian", "std": 0.01},
    "A1 infinite kurtosis": {"net": "shallow", "loss": "mse", "noise": "student", "std": 0.001},
    "A1 infinite variance": {"net": "shallow", "loss": "mse", "noise": "cauchy", "std": 0.001},
    "A1 correlated": {"net": "shallow", "loss": "mse", "noise": "correlated", "std": 0.01},
    "A2 jump": {"net": "shallow", "loss": "jump", "noise": "gaussian", "std": 0.1},
    "A3 softmax": {"net": "shallow", "loss": "softmax", "noise": "gaussian", "std": 0.01},
    "A3 wide": {"net": "wide", "loss": "mse", "noise": "gaussian", "std": 0.01},
    "A4 drift": {"net": "shallow", "loss": "mse", "noise": "gaussian", "std": 0.01},
    "A4 drift, forgetting": {"net": "shallow", "loss": "mse", "noise": "gaussian", "std": 0.01},
}  # fmt: skip
FLOORS = {
    "symmetric": ("sigmoid", "gaussian"),
    "skewed": ("sigmoid", "skewed"),
    "kink": ("absolute", "gaussian"),
    "jump": ("jump", "gaussian"),
}


def identity(z: Tensor) -> Tensor:
    """The activation of a linear network."""
    return z


NETS: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "shallow": (SHALLOW, torch.tanh),
    "deep": (DEEP, identity),
    "wide": (WIDE, identity),
}


# Error against samples -------------------------------------------------------------------------


def measure_curve(task: Task) -> list[Row]:
    """Relative errors of each B at numbers of samples on a log scale."""
    generator = torch.Generator().manual_seed(task["seed"])
    setting = CURVES[task["curve"]]
    widths, hidden = NETS[setting["net"]]
    net = make_net(widths, hidden, setting["loss"], generator)
    path = Path.of(net, task, generator)
    checkpoints = np.unique(np.geomspace(100, task["budget"], 4 * task["decades"] + 1).astype(int))
    moments, rows, done = None, [], 0
    for checkpoint in checkpoints:
        while done < checkpoint:
            count = min(CHUNK, checkpoint - done)
            present = path.at((done + count / 2) / task["budget"])
            new = sample(present, setting["noise"], setting["std"], count, generator)
            if moments is None:
                moments = new
            else:
                moments = moments.scaled(math.exp(-count * path.forgetting)) + new
            done += count
        assert moments is not None
        rows.append({"samples": done, **errors(path, done / task["budget"], moments)})
    return rows


class Path:
    """Forward weights over a run: fixed, or (without A4) with a top layer that drifts.

    Args:
        net: At the start.
        drift: What is added to W[N+1] over the run.
        forgetting: Of V and S, per sample.
    """

    def __init__(self, net: Net, drift: Tensor, forgetting: float) -> None:
        self.net, self.drift, self.forgetting = net, drift, forgetting

    @classmethod
    def of(cls, net: Net, task: Task, generator: torch.Generator) -> Path:
        """The one of a task."""
        drift = torch.zeros_like(net.weights[-1])
        if task["curve"].startswith("A4"):
            drift = torch.randn(drift.shape, generator=generator, dtype=drift.dtype)
            drift *= DRIFT * net.weights[-1].norm() / drift.norm()
        return cls(net, drift, 1 / MEMORY if task["curve"].endswith("forgetting") else 0.0)

    def at(self, progress: float) -> Net:
        """The network after a fraction of the run."""
        weights = (*self.net.weights[:-1], self.net.weights[-1] + progress * self.drift)
        return replace(self.net, weights=weights)


def errors(path: Path, progress: float, moments: Moments) -> Row:
    """‖W−B‖/‖W‖ per layer, and more where theory says what B is in place of W.

    ``carried_i``: the same for what carries e down to hidden layer i, on the span of e. ``limit``:
    for the B that theory expects where an assumption fails.
    """
    net, feedbacks = path.at(progress), solve(moments)
    found: Row = {}
    for i, (weight, feedback) in enumerate(zip(net.weights[1:], feedbacks, strict=True), start=2):
        found[f"relative_error_{i}"] = relative_error(weight, feedback)
    span = moments.second @ torch.linalg.pinv(moments.second, rtol=1e-9)  # projector on e's span
    true, ours = projections(net.weights), projections([net.weights[0], *feedbacks])
    for i, (a, b) in enumerate(zip(true, ours, strict=True), start=1):
        found[f"carried_{i}"] = relative_error(span @ a, span @ b)
    limits = {
        # E[ξᵀξ] = c² C takes the place of c² I.
        "correlated": net.weights[-1] @ correlation(net.weights[-1].shape[1]),
        # The average of W over the run.
        "drift": path.at(progress / 2).weights[-1],
        "full": span @ net.weights[-1],
    }
    for name, limit in limits.items():
        found[f"limit_{name}"] = relative_error(limit, feedbacks[-1])
    found["expected_correlated"] = relative_error(net.weights[-1], limits["correlated"])
    found["expected_full"] = relative_error(net.weights[-1], limits["full"])
    return found


def correlation(width: int) -> Tensor:
    """C of the noise "correlated", (n, n)."""
    identity_ = torch.eye(width, dtype=torch.float64)
    return (1 - CORRELATION) * identity_ + CORRELATION


# Bias against c --------------------------------------------------------------------------------


def measure_floor(task: Task) -> list[Row]:
    """‖plim B − W‖ / ‖W‖: least squares on λ̂ − λ, whose sampling error is far smaller."""
    generator = torch.Generator().manual_seed(task["seed"])
    loss, noise = FLOORS[task["floor"]]
    net = make_net(SHALLOW, torch.tanh, loss, generator)
    parts = [
        sample_bias(net, noise, task["std"], CHUNK, generator)
        for _ in range(task["budget"] // CHUNK)
    ]
    halves = [sum(half[1:], half[0]) for half in (parts[::2], parts[1::2])]
    first, second = (solve(half)[0] for half in halves)
    weight = net.weights[-1]
    # Of two halves, the inner product has no sampling error in its mean.
    bias = float((first * second).sum().clamp(min=0).sqrt() / weight.norm())
    return [{"bias": bias, "noise": float((first - second).norm() / 2 / weight.norm())}]


# The study -------------------------------------------------------------------------------------


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """Curves and floors, of three seeds at least: slopes of one seed scatter."""
    if quick:
        seeds = range(seeds[0], seeds[0] + 3)
    decades = 3 if quick else 4
    curves = [
        {"part": "curve", "curve": curve, "seed": seed, "decades": decades,
         "budget": 100 * 10**decades}
        for curve in CURVES for seed in seeds
    ]  # fmt: skip
    floors = [
        {"part": "floor", "floor": floor, "seed": seed, "std": std,
         "budget": 50_000 if quick else 500_000}
        for floor in FLOORS for std in STDS for seed in seeds
    ]  # fmt: skip
    return curves + floors


def run(task: Task) -> list[Row]:
    """One curve, or one point of a floor."""
    return measure_curve(task) if task["part"] == "curve" else measure_floor(task)


def minutes(task: Task) -> float:
    """Of one core."""
    return task["budget"] / 60_000_000


def fitted_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of log y against log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def curve_slope(rows: list[Row], name: str, column: str) -> float:
    """From a thousand samples on."""
    points = curve(select(rows, curve=name), "samples", column)
    pairs = [pair for pair in zip(*points, strict=True) if pair[0] >= 1_000]
    return fitted_slope(*zip(*pairs, strict=True))


def last(rows: list[Row], name: str, column: str) -> float:
    """At the end, the median over seeds."""
    return curve(select(rows, curve=name), "samples", column)[1][-1]


def floor(rows: list[Row], name: str) -> list[float]:
    """The bias at each c, the median over seeds."""
    return [median(select(rows, floor=name, std=std), "bias") for std in STDS]


def claims(rows: list[Row]) -> list[Claim]:
    """The theorems, then each assumption."""
    return [*theorem_claims(rows), *floor_claims(rows), *assumption_claims(rows)]


def theorem_claims(rows: list[Row]) -> list[Claim]:
    """Consistency, at the rate of least squares."""
    found = []
    for name, layers in (("theorem 1", (2,)), ("theorem 2", (2, 3, 4))):
        slopes = [curve_slope(rows, name, f"relative_error_{i}") for i in layers]
        ends = [last(rows, name, f"relative_error_{i}") for i in layers]
        found.append(
            Claim(
                f"{name}: every B converges to W as T^(−1/2)",
                "slopes " + ", ".join(f"{s:.3f}" for s in slopes)
                + "; last errors " + ", ".join(f"{e:.2g}" for e in ends),
                all(abs(s + 0.5) < TOLERANCE for s in slopes),
                name,
            )
        )  # fmt: skip
    slopes = [curve_slope(rows, "A3 wide", f"carried_{i}") for i in (1, 2, 3)]
    stuck = [last(rows, "A3 wide", f"relative_error_{i}") for i in (2, 3)]
    expected = math.sqrt(1 - WIDE[-1] / WIDE[2])
    found.append(
        Claim(
            "wider than n_out (A3): B is found on the row space of ẽ alone, ‖W−B‖/‖W‖ stays near "
            f"√(1 − n_out/n) = {expected:.2f}, and yet ẽB converges as T^(−1/2)",
            "‖W−B‖/‖W‖ " + ", ".join(f"{e:.2f}" for e in stuck)
            + "; slopes of ẽB " + ", ".join(f"{s:.3f}" for s in slopes),
            all(abs(e - expected) < 0.15 for e in stuck)
            and all(abs(s + 0.5) < TOLERANCE for s in slopes),
            "A3 wide",
        )
    )  # fmt: skip
    return found


def floor_claims(rows: list[Row]) -> list[Claim]:
    """Powers of c."""
    expected = {
        "symmetric": ("analytic loss, symmetric noise: bias ∝ c²", 2, 0.25),
        "skewed": ("analytic loss, skewed noise: bias ∝ c", 1, 0.25),
        "kink": ("a kink (A2), symmetric noise: bias ∝ c only", 1, 0.25),
        "jump": ("a jump (A2): a bias that no c takes away", 0, 0.25),
    }
    found = []
    for name, (text, power, tolerance) in expected.items():
        biases = floor(rows, name)
        slope = fitted_slope(STDS, biases) if min(biases) > 0 else float("nan")
        found.append(
            Claim(
                text,
                f"power {slope:.2f}; " + ", ".join(
                    f"{b:.2g} at {c:g}" for c, b in zip(STDS, biases, strict=True)
                ),
                abs(slope - power) < tolerance,
                f"floor {name}",
            )
        )  # fmt: skip
    return found


def assumption_claims(rows: list[Row]) -> list[Claim]:
    """What breaks without A1, A3 and A4; A2 is among the floors."""
    column = "relative_error_2"
    kurtosis, variance = (
        curve_slope(rows, f"A1 infinite {what}", column) for what in ("kurtosis", "variance")
    )
    correlated, expected = (
        last(rows, "A1 correlated", name) for name in (column, "expected_correlated")
    )
    to_limit = curve_slope(rows, "A1 correlated", "limit_correlated")
    softmax = last(rows, "A3 softmax", column)
    missing = last(rows, "A3 softmax", "expected_full")
    carried = curve_slope(rows, "A3 softmax", "carried_1")
    drift, mean = (last(rows, "A4 drift", name) for name in (column, "limit_drift"))
    remembered = last(rows, "A4 drift, forgetting", column)
    half = DRIFT / 2
    return [
        Claim(
            "noise of infinite kurtosis (A1, Student's t, 3 degrees of freedom): slower, "
            "T^(−1/3) in theory",
            f"slope {kurtosis:.3f}",
            -0.45 < kurtosis < -0.2,
            "A1 kurtosis",
        ),
        Claim(
            "noise of infinite variance (A1, Cauchy): no convergence",
            f"slope {variance:.2f}, last error {last(rows, 'A1 infinite variance', column):.3g}",
            variance > -0.1,
            "A1 variance",
        ),
        Claim(
            f"correlated noise (A1, ρ = {CORRELATION}): B → W C",
            f"‖W−B‖/‖W‖ {correlated:.3f}, of WC {expected:.3f}; to WC with slope {to_limit:.3f}",
            abs(correlated / expected - 1) < 0.1 and abs(to_limit + 0.5) < TOLERANCE,
            "A1 correlated",
        ),
        Claim(
            "errors of a softmax sum to 0 (A3): B misses W's mean over outputs, and that only",
            f"‖W−B‖/‖W‖ {softmax:.3f}, that part of W {missing:.3f}; slope of ẽB {carried:.3f}",
            abs(softmax / missing - 1) < 0.1 and abs(carried + 0.5) < TOLERANCE,
            "A3 softmax",
        ),
        Claim(
            f"W that moves by {DRIFT:g} ‖W‖ (A4): B → its average over the run; forgetting helps",
            f"‖W−B‖/‖W‖ {drift:.3f} (half the way: {half:g}), to the average {mean:.3f}; "
            f"with a memory of {MEMORY:,} samples {remembered:.3f}",
            0.7 * half < drift < 1.3 * half and mean < 0.5 * drift and remembered < drift,
            "A4",
        ),
    ]


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Theorem 1, theorem 2, floors; then A1, A3 and A4."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
    first, second, floors, a1, a3, a4 = axes.flat
    error = "relative_error_2"
    panels = [
        (first, "Theorem 1: shallow, nonlinear", [
            ("theorem 1", error, "c = 0.01"), ("theorem 1, c = 1", error, "c = 1"),
            ("theorem 1, skewed, c = 1", error, "c = 1, skewed")]),
        (second, "Theorem 2: deep, linear (dashed: too wide)", [
            *(("theorem 2", f"relative_error_{i}", f"B[{i}]") for i in (2, 3, 4)),
            *(("A3 wide", f"relative_error_{i}", f"wide, B[{i}]") for i in (2, 3, 4)),
            ("A3 wide", "carried_1", "wide, ẽB of layer 1")]),
        (a1, "Without A1", [(name, error, name[3:]) for name in CURVES if name[:2] == "A1"]
            + [("A1 correlated", "limit_correlated", "correlated, to WC")]),
        (a3, "Without A2 (a jump) or A3 (softmax)", [
            ("A2 jump", error, "jump"), ("A3 softmax", error, "softmax"),
            ("A3 softmax", "carried_1", "softmax, ẽB")]),
        (a4, "Without A4: W drifts", [
            ("A4 drift", error, "to the present W"), ("A4 drift", "limit_drift", "to its average"),
            ("A4 drift, forgetting", error, "with forgetting")]),
    ]  # fmt: skip
    for panel, title, lines in panels:
        for name, column, label in lines:
            x, y = curve(select(rows, curve=name), "samples", column)
            panel.plot(x, y, "--" if label.startswith("wide") else "-", label=label)
        ends = np.array([1_000, max(x)])
        panel.plot(ends, 3 * ends**-0.5, "k:", lw=1, label="T^(−1/2)")
        panel.set(title=title, xlabel="samples T", ylabel="relative error")
    for name in FLOORS:
        floors.plot(STDS, floor(rows, name), "o-", ms=3, label=name)
    stds = np.array(STDS)
    floors.plot(stds, 0.1 * stds**2, "k:", lw=1, label="c², c")
    floors.plot(stds, 0.1 * stds, "k:", lw=1)
    floors.set(title="Bias that stays as T → ∞", xlabel="c", ylabel="‖plim B − W‖ / ‖W‖")
    for panel in axes.flat:
        panel.set(xscale="log", yscale="log")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    save(figure, path)


STUDY = Study(
    name="theorems",
    tasks=tasks,
    run=run,
    minutes=minutes,
    draw=draw,
    claims=claims,
    seeds=(0, 1, 2, 3, 4),
    notes=f"""
Medians over seeds; slopes on log-log axes from 1,000 samples on. Networks {SHALLOW} (tanh), {DEEP}
and {WIDE} (linear), float64, γ = 0.1. The bias against c is measured as least squares on λ̂ − λ,
whose sampling error falls with c too, from the inner product of two halves of the samples. The
assumptions are in our words.
""",
)

if __name__ == "__main__":
    main(STUDY, __doc__)
