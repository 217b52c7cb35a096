"""Spiking units learn from a scalar reward without injected noise: their threshold is the probe.

    python examples/spiking.py [--units 10] [--updates 1000] [--seeds 0 1 2] [--quick]

A unit that only just reached its threshold and one that only just missed it were driven alike; only
the spike differs. The jump of the loss at the threshold is therefore the spike's causal effect,
although the noise of the units is correlated (Lansdell & Kording 2018, "Spiking allows neurons to
estimate their causal effect"). Comparing all trials with a spike to all without is biased: a unit
is blamed for what the others do when it spikes. Writes effects.csv, curves.csv and spiking.png.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from nodepert.envs import Draws, LossEnv, LossVectorEnv
from nodepert.envs.base import Context

Array = NDArray[Any]

THRESHOLD, WINDOW = 1.0, 0.15
STEPS, DECAY = 20, 0.8  # of the membrane, in time steps of a trial
NOISE = 0.7  # standard deviation of the input current's noise in each time step
N_IN, N_OUT = 3, 2
COLOURS = {"discontinuity": "C0", "correlation": "C3", "true effect": "black"}


class Pulls(LossEnv):
    """Units that spike pull at a point in the plane; it should end where the context says.

    **Observation**: Box(−1, 1, (3,)). **Action**: Box(−1, 1, (units,)), 1 for a spike, −1 for none.
    **Reward**: −½‖Σ pulls of the units that spike − target‖², pulls and the linear map from context
    to target fixed and hidden. **End of episode**: after one action.

    Args:
        units: How many.
    """

    def __init__(self, units: int = 10) -> None:
        super().__init__()
        self.observation_space = Box(-1.0, 1.0, (N_IN,), np.float32)
        self.action_space = Box(-1.0, 1.0, (units,), np.float32)
        rng = np.random.default_rng(0)
        self.pulls = rng.normal(size=(units, N_OUT))
        self.map = rng.normal(size=(N_IN, N_OUT))

    def sample_contexts(self, draws: Draws) -> Context:
        """Uniform contexts."""
        return {"observation": (2 * draws.uniform(N_IN) - 1).astype(np.float32)}

    def loss(self, context: Context, actions: Array) -> Array:
        """Half the squared distance from the target, (N,)."""
        spikes, inputs = (1 + actions) / 2, context["observation"]
        # Sums, not matrix products, whose rounding depends on how many lanes there are.
        pulled = (spikes[:, :, None] * self.pulls).sum(axis=1)
        target = (inputs[:, :, None] * self.map).sum(axis=1)
        return 0.5 * np.square(pulled - target).sum(axis=1)


# The estimators --------------------------------------------------------------------------------


def discontinuity(drive: Array, outcome: Array, threshold: float, window: float) -> Array:
    """The jump of the expected outcome where the drive crosses the threshold.

    Regression discontinuity (Thistlethwaite & Campbell 1960; for spiking units Lansdell & Kording
    2018): least squares of the outcome on the drive, on each side of the threshold on its own,
    from the trials whose drive is within the window; the difference of both fits at the threshold.
    What else moves the outcome, such as correlated units, cancels if it is continuous there. The
    bias is O(window²); with means in place of lines it would be O(window).

    Args:
        drive: Z, the highest input drive of one unit in each trial, shape (N,).
        outcome: One or several numbers a trial, shape (N, k).
        threshold: θ; the unit spikes where Z ≥ θ.
        window: Half the width of the range of drives that counts.

    Returns:
        E[outcome | Z = θ⁺] − E[outcome | Z = θ⁻], shape (k,); 0 where a side has too few trials.
    """
    distance = drive - threshold
    fits = []
    for side in (distance >= 0, distance < 0):
        chosen = side & (np.abs(distance) < window)
        if chosen.sum() < 3:
            return np.zeros(outcome.shape[1])
        design = np.stack([np.ones(chosen.sum()), distance[chosen]], axis=1)
        fits.append(np.linalg.lstsq(design, outcome[chosen], rcond=None)[0][0])
    return fits[0] - fits[1]


def correlation(spikes: Array, outcome: Array) -> Array:
    """The naive estimate: E[outcome | spike] − E[outcome | no spike], shape (k,)."""
    if spikes.all() or not spikes.any():
        return np.zeros(outcome.shape[1])
    return outcome[spikes].mean(axis=0) - outcome[~spikes].mean(axis=0)


# The units -------------------------------------------------------------------------------------


@dataclass
class Trials:
    """What N trials left to learn from."""

    drive: Array  # Z of each unit, [N, n]
    spikes: Array  # bool [N, n]
    slope: Array  # ∂Z/∂(input current), [N, n]
    inputs: Array  # context and a constant 1, [N, n_in + 1]
    loss: Array  # [N]


def integrate(currents: Array, shared: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Leaky integration of constant currents and of noise, some of it common to all units.

    Args:
        currents: Shape (N, n).
        shared: The share of the noise's variance that all units have in common.
        rng: Random numbers for the noise.

    Returns:
        The highest drive of each trial, and ∂ of it by the current, both (N, n).
    """
    drive = np.zeros_like(currents)
    highest, slope = np.full_like(currents, -np.inf), np.zeros_like(currents)
    for t in range(1, STEPS + 1):
        common = rng.normal(size=(len(currents), 1))
        private = rng.normal(size=currents.shape)
        jitter = NOISE * (np.sqrt(shared) * common + np.sqrt(1 - shared) * private)
        drive = DECAY * drive + (1 - DECAY) * (currents + jitter)
        record = drive > highest
        highest = np.where(record, drive, highest)
        slope = np.where(record, 1 - DECAY**t, slope)
    return highest, slope


class Layer:
    """Spiking units that play :class:`Pulls`.

    Args:
        units: How many.
        shared: The share of the noise's variance that all units have in common.
        trials: How many at once.
        seed: Of weights, noise and contexts.
    """

    def __init__(self, units: int, shared: float, trials: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shared = shared
        self.lanes: LossVectorEnv = Pulls.vector(trials, units=units)
        self.context, _ = self.lanes.reset(seed=1_000_000 * seed)
        self.weight = 0.3 * self.rng.normal(size=(units, N_IN + 1))
        self.weight[:, -1] += 0.8  # about half of the trials reach the threshold

    def play(self) -> Trials:
        """One trial in each lane; the loss is all that comes back."""
        inputs = np.pad(self.context, ((0, 0), (0, 1)), constant_values=1.0)
        drive, slope = integrate(inputs @ self.weight.T, self.shared, self.rng)
        spikes = drive >= THRESHOLD
        self.before = self.lanes.get_state()
        self.context, rewards, *_ = self.lanes.step(np.where(spikes, 1.0, -1.0))
        return Trials(drive, spikes, slope, inputs, -rewards)

    def effects(self, trials: Trials) -> Array:
        """The truth: L with the spike minus L without, all else equal, for each unit, (N, n).

        Plays each trial again with one spike put in or left out, which no unit could do.
        """
        after, effects = self.lanes.get_state(), []
        for unit in range(trials.spikes.shape[1]):
            losses = []
            for spike in (1.0, -1.0):
                action = np.where(trials.spikes, 1.0, -1.0)
                action[:, unit] = spike
                self.lanes.set_state(self.before)
                losses.append(-self.lanes.step(action)[1])
            effects.append(losses[0] - losses[1])
        self.lanes.set_state(after)
        return np.stack(effects, axis=1)


def estimates(estimator: str, layer: Layer, trials: Trials, outcome: Array) -> Array:
    """∂E[outcome] by each unit's spike near its threshold, shape (n, k).

    Args:
        estimator: A key of ``COLOURS``.
        layer: For the true effects.
        trials: What happened.
        outcome: Factors of the loss, shape (N, n, k): 1 for the effect itself.
    """
    near = np.abs(trials.drive - THRESHOLD) < WINDOW
    if estimator == "true effect":
        effects = layer.effects(trials)[:, :, None] * outcome * near[:, :, None]
        return effects.sum(axis=0) / np.maximum(near.sum(axis=0), 1)[:, None]
    # A baseline that only knows the context leaves the estimates' mean and lowers their variance.
    features = np.concatenate([trials.inputs, trials.inputs[:, :-1] ** 2], axis=1)
    baseline = features @ np.linalg.lstsq(features, trials.loss, rcond=None)[0]
    outcome = (trials.loss - baseline)[:, None, None] * outcome
    if estimator == "correlation":
        pairs = zip(trials.spikes.T, outcome.transpose(1, 0, 2), strict=True)
        return np.stack([correlation(spikes, one) for spikes, one in pairs])
    pairs = zip(trials.drive.T, outcome.transpose(1, 0, 2), strict=True)
    return np.stack([discontinuity(drive, one, THRESHOLD, WINDOW) for drive, one in pairs])


def gradient(estimator: str, layer: Layer, trials: Trials) -> Array:
    """∂E[L]/∂W = f(θ) E[(L₁ − L₀) ∂Z/∂W | Z = θ], f the density of the drive, shape (n, n_in+1)."""
    density = (np.abs(trials.drive - THRESHOLD) < WINDOW).mean(axis=0) / (2 * WINDOW)  # [n]
    drive_by_weight = trials.slope[:, :, None] * trials.inputs[:, None, :]
    return density[:, None] * estimates(estimator, layer, trials, drive_by_weight)


# What is measured ------------------------------------------------------------------------------


def compare_effects(
    shares: list[float], units: int, trials: int, seed: int
) -> list[dict[str, Any]]:
    """The effect of each unit's spike on the loss, by each estimator and share of common noise."""
    rows = []
    for shared in shares:
        layer = Layer(units, shared, trials, seed)
        played = layer.play()
        found = {e: estimates(e, layer, played, np.ones((trials, units, 1)))[:, 0] for e in COLOURS}
        rows += [
            {"seed": seed, "shared": shared, "unit": unit, **{e: found[e][unit] for e in COLOURS}}
            for unit in range(units)
        ]
    return rows


def learning_curve(
    estimator: str, units: int, updates: int, seed: int, shared: float = 0.8, trials: int = 1_000
) -> list[dict[str, Any]]:
    """Gradient descent on the input weights; the mean loss of each twentieth of the updates."""
    layer, losses, rows = Layer(units, shared, trials, seed), [], []
    for update in range(1, updates + 1):
        played = layer.play()
        layer.weight -= 0.15 * gradient(estimator, layer, played)
        losses.append(played.loss.mean())
        if update % max(updates // 20, 1) == 0:
            row = {"estimator": estimator, "seed": seed, "trials": update * trials}
            rows.append({**row, "loss": float(np.mean(losses))})
            losses.clear()
    return rows


def main() -> None:
    """Measures, prints a summary, writes two CSVs and a PNG."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--units", type=int, default=10)
    parser.add_argument("--updates", type=int, default=1_000, help="of 1,000 trials each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/spiking"))
    parser.add_argument("--quick", action="store_true", help="one seed, 120 updates, two shares")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.updates, arguments.seeds = 120, arguments.seeds[:1]
    arguments.out.mkdir(parents=True, exist_ok=True)
    shares = [0.0, 0.95] if arguments.quick else [0.0, 0.2, 0.4, 0.6, 0.8, 0.95]
    trials = 20_000
    effects, curves = [], []
    for seed in arguments.seeds:
        effects += compare_effects(shares, arguments.units, trials, seed)
        for estimator in COLOURS:
            curves += learning_curve(estimator, arguments.units, arguments.updates, seed)
    for name, rows in (("effects", effects), ("curves", curves)):
        with (arguments.out / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    for shared in (shares[0], shares[-1]):
        for estimator in ("discontinuity", "correlation"):
            error = root_mean_square_error(effects, estimator, shared)
            print(f"{shared:.0%} of the noise shared, {estimator}: effects are off by {error:.2f}")
    for estimator, (_, losses) in medians(curves).items():
        print(f"{estimator:13} loss {losses[0]:.3f} at first, {losses[-1]:.3f} in the end")
    draw(effects, curves, arguments.out / "spiking.png")
    print(f"wrote effects.csv, curves.csv and spiking.png to {arguments.out}")


def root_mean_square_error(rows: list[dict[str, Any]], estimator: str, shared: float) -> float:
    """Of the effects, over units and seeds."""
    errors = [row[estimator] - row["true effect"] for row in rows if row["shared"] == shared]
    return float(np.sqrt(np.mean(np.square(errors))))


def medians(rows: list[dict[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Trials and the median over seeds of the loss, by estimator."""
    found = {}
    for estimator in COLOURS:
        curves: dict[int, list[float]] = {}
        for row in rows:
            if row["estimator"] == estimator:
                curves.setdefault(row["trials"], []).append(row["loss"])
        found[estimator] = (list(curves), [float(np.median(one)) for one in curves.values()])
    return found


def draw(effects: list[dict[str, Any]], curves: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Estimates beside the truth, their error against shared noise, and learning curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (scatter, error, curve) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    shares = sorted({row["shared"] for row in effects})
    most = [row for row in effects if row["shared"] == shares[-1]]
    truth = [row["true effect"] for row in most]
    scatter.plot([min(truth), max(truth)], [min(truth), max(truth)], color="black", lw=0.8)
    for estimator in ("correlation", "discontinuity"):
        colour = COLOURS[estimator]
        scatter.plot(truth, [row[estimator] for row in most], ".", color=colour, label=estimator)
        errors = [root_mean_square_error(effects, estimator, shared) for shared in shares]
        error.plot(shares, errors, "o-", color=colour, label=estimator)
    for estimator, (trials, losses) in medians(curves).items():
        style = "--" if estimator == "true effect" else "-"
        curve.plot(trials, losses, style, color=COLOURS[estimator], label=estimator)
    scatter.set(xlabel="true effect of a spike on the loss", ylabel="estimate",
                title=f"Units with {shares[-1]:.0%} of their noise in common")  # fmt: skip
    error.set(xlabel="share of the noise that units have in common",
              ylabel="root mean square error", title="20,000 trials", ylim=(0, None))  # fmt: skip
    curve.set(
        xlabel="trials", ylabel="loss", yscale="log", title="Learning by each, 80 % in common"
    )
    for axes in (scatter, error, curve):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
