"""Figure 6, beyond the paper: what width, depth and number of outputs cost, with fitted exponents.

    python examples/paper/figure6.py [--quick] [--out DIR] [--seeds 0 1 2] [--jobs 2]

One factor at a time from width 128, depth 4 (weight matrices), 10 outputs; the task is to match a
random network. Measured are the accuracy of the gradient estimated from one batch in a network
with random weights, and the env steps, every probe counted, of training to a quarter of the
targets' variance. Methods: plain node perturbation of all units, weight perturbation (evolution
strategies), and feedback weights that are learned (`response`, `loss`, `loss_residual`), random
(`fixed`) or true (`backprop`); with the output gradient given, or from the scalar alone.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import pyplot as plt
from scaling import FEEDBACK, RIVALS, Limit, Size, accuracy, per_weight, steps_to_target
from study import Claim, Row, Study, Task, main, median, save, select

CENTRE = {"width": 128, "depth": 4, "outputs": 10}
VALUES = {
    "width": (8, 32, 128, 512, 2048, 4096),
    "depth": (2, 4, 8, 16),
    "outputs": (1, 10, 100, 784),
}
QUICK = {"width": (8, 32, 128), "depth": (2, 8), "outputs": (1, 100, 400)}
TRAINED = {"width": 512, "depth": 8, "outputs": 784}
"""The largest values with which networks are trained too."""
TARGET = 0.25
"""Unexplained part of the targets' variance; the best linear map leaves 0.52."""
LIMIT = Limit(env_steps=4_000_000, seconds=45.0)
RATES = {"node perturbation": (1e-3, 3e-4), "weight perturbation": (1e-3,)}
"""Adam's, at width 128, for the rivals' noisy gradients; the better one counts. At 3e-3 neither
converges, and weight perturbation at 3e-4 gets less far in as many env steps."""
FEEDBACK_RATES = (3e-3, 1e-3)
"""The same for the other methods."""

LEARNED = ("response", "loss", "loss_residual")
Pair = tuple[str, str]
PAIRS: list[Pair] = [(method, "scalar") for method in RIVALS] + [
    (method, credit) for method, credits in FEEDBACK.items() for credit in credits
]


# Tasks -----------------------------------------------------------------------------------------


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """The centre and small networks first."""
    planned = []
    for size in sorted(sizes(QUICK if quick else VALUES), key=lambda size: size.weights):
        plan = (quick_tasks if quick else full_tasks)(size, seeds)
        planned += [{"part": part, **vars(size), **rest} for part, rest in plan]
    return planned


def sizes(values: dict[str, tuple[int, ...]]) -> set[Size]:
    """The centre, and all that differ from it in one factor."""
    return {
        Size(**{**CENTRE, factor: value}) for factor, some in values.items() for value in some
    } | {Size(**CENTRE)}


def full_tasks(size: Size, seeds: Sequence[int]) -> Iterator[tuple[str, Task]]:
    """Both parts; of the largest networks one seed."""
    wide = size.width > TRAINED["width"]
    trained = all(getattr(size, factor) <= most for factor, most in TRAINED.items())
    for method, credit in PAIRS:
        run = {"method": method, "credit": credit}
        slow = method == "weight perturbation" or credit == "scalar, model"
        slow |= size.width > 128 or (size.outputs > 100 and credit != "given")
        for seed in seeds[:1] if wide else seeds:
            steps = 0 if method in RIVALS or method == "fixed" else 8_192 if wide else 32_768
            if method != "backprop" and not (wide and credit == "scalar, model"):
                yield "accuracy", {**run, "seed": seed, "most_steps": steps}
        for seed in (seeds[:1] if slow else seeds) if trained else ():
            yield "training", {**run, "seed": seed, "most_steps": LIMIT.env_steps}


def quick_tasks(size: Size, seeds: Sequence[int]) -> Iterator[tuple[str, Task]]:
    """Accuracy of four methods; training at the centre only."""
    for method, credit in (*PAIRS[:2], ("response", "given"), ("response", "scalar")):
        for seed in seeds:
            steps = 0 if method in RIVALS else 4_096
            run = {"method": method, "credit": credit, "seed": seed}
            yield "accuracy", {**run, "most_steps": steps}
            if size == Size(**CENTRE) and method != "weight perturbation":
                yield "training", {**run, "most_steps": 300_000}


def run(task: Task) -> list[Row]:
    """One row for each state of B, or for each step size."""
    size = Size(task["width"], task["depth"], task["outputs"])
    what = size, task["method"], task["credit"], task["seed"]
    most = task["most_steps"]
    if task["part"] == "accuracy":
        moments = [steps for steps in (2_048, 8_192, 32_768) if steps < most] + [most]
        repeats = 4 if size.weights > 10**6 else 32
        return accuracy(*what, feedback_steps=moments, repeats=repeats)
    return rates_tried(*what, most)


def rates_tried(size: Size, method: str, credit: str, seed: int, most: int) -> list[Row]:
    """Training with each step size; one that takes longer than another is given up."""
    rows: list[Row] = []
    for rate in RATES.get(method, FEEDBACK_RATES):
        rate *= per_weight(size)
        limit = Limit(most, LIMIT.seconds)
        row = steps_to_target(size, method, credit, seed, rate, TARGET, limit)
        rows.append({"rate": rate, "chosen": 0, **row})
        if not row["censored"]:
            most = int(row["env_steps"])
    # Reached soonest; where none was, the one with the smaller error.
    best = min(rows, key=lambda r: (r["censored"], r["env_steps"] if not r["censored"] else 0,
                                    r["test_error"]))  # fmt: skip
    best["chosen"] = 1
    return rows


def minutes(task: Task) -> float:
    """About how long a task takes on one core."""
    size = Size(task["width"], task["depth"], task["outputs"])
    if task["part"] == "accuracy":
        return 0.015 + 4.5e-12 * task["most_steps"] * size.weights
    if task["method"] == "weight perturbation":
        return 0.9
    wide = 1 + size.weights / 1e5
    slow = 7 if task["credit"] == "scalar, model" else 5 if task["method"] in RIVALS else 1
    return min(0.02 * slow * wide, 2.0)


# Exponents -------------------------------------------------------------------------------------


def along(rows: list[Row], factor: str) -> list[Row]:
    """Rows whose other two factors are at the centre."""
    rest = {name: value for name, value in CENTRE.items() if name != factor}
    return sorted(select(rows, **rest), key=lambda row: row[factor])


def accuracies(rows: list[Row], factor: str, pair: Pair) -> list[Row]:
    """Of one method, after as much learning of B as all sizes had."""
    found = select(along(rows, factor), part="accuracy", method=pair[0], credit=pair[1])
    most = min((row["most_steps"] for row in found), default=0)
    return select(found, feedback_steps=most)


def trainings(rows: list[Row], factor: str, pair: Pair) -> list[Row]:
    """Of one method, with its better step size."""
    return select(along(rows, factor), part="training", method=pair[0], credit=pair[1], chosen=1)


def exponent(rows: list[Row], factor: str, column: str) -> tuple[float, float]:
    """Slope of log column on log factor by least squares, and its standard error.

    NaN where fewer than three runs, or only one size, are left without censored runs, without
    estimates that are exact (noise below 1/1,000), and without those whose feedback points nowhere
    yet (cosine below 0.02).
    """
    usable = [
        row
        for row in rows
        if not row.get("censored")
        and row[column] > 1e-3
        and (row["method"] in RIVALS or row.get("cosine", 1.0) > 0.02)
    ]
    if len(usable) < 3 or len({row[factor] for row in usable}) < 2:
        return math.nan, math.nan
    x = np.log([row[factor] for row in usable])
    y = np.log([row[column] for row in usable])
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    return slope, float(np.sqrt(rest @ rest / (len(x) - 2) / (x @ x)))


def exponents(rows: list[Row], factor: str, column: str) -> dict[Pair, tuple[float, float]]:
    """Of all methods that have one."""
    points = accuracies if column == "noise" else trainings
    found = {pair: exponent(points(rows, factor, pair), factor, column) for pair in PAIRS}
    return {pair: fit for pair, fit in found.items() if not math.isnan(fit[0])}


# Report ----------------------------------------------------------------------------------------


def claims(rows: list[Row]) -> list[Claim]:
    """What the rows say of each factor, and of the centre."""
    return [
        *(noise_claim(rows, factor) for factor in CENTRE),
        given_claim(rows),
        *(steps_claim(rows, factor) for factor in CENTRE),
        centre_claim(rows),
        widest_claim(rows),
        limit_claim(rows),
    ]


def listed(fits: dict[Pair, tuple[float, float]]) -> str:
    """Exponents as text."""
    return "; ".join(
        f"{method} ({credit}) {slope:.2f} ± {error:.2f}"
        for (method, credit), (slope, error) in fits.items()
    )


NOISE_CLAIMS = {
    "width": "noise of the gradient ∝ width^p: p near 1 for node perturbation, 2 for weight "
    "perturbation, near 0 for `response`",
    "depth": "noise ∝ depth^p: node and weight perturbation grow, `response` less",
    "outputs": "noise ∝ outputs^p: from the scalar alone `response` pays for outputs, p up to 1; "
    "node perturbation, most of whose units are hidden, hardly",
}


def noise_claim(rows: list[Row], factor: str) -> Claim:
    """How the noise of the estimates grows."""
    fits = exponents(rows, factor, "noise")
    nodes, weights, response = (
        fits.get((method, "scalar"), (math.nan,))[0]
        for method in ("node perturbation", "weight perturbation", "response")
    )
    holds = {
        "width": 0.7 < nodes < 1.3 and 1.5 < weights < 2.5 and abs(response) < 0.3,
        "depth": nodes > 0.3 and weights > 0.3 and response < min(nodes, weights),
        "outputs": nodes < 0.3 and 0.5 < response < 1.3,
    }
    return Claim(NOISE_CLAIMS[factor], listed(fits), holds[factor], f"noise {factor}")


def given_claim(rows: list[Row]) -> Claim:
    """Learned feedback with the output gradient given."""
    worst = {
        factor: max(row["noise"] for row in accuracies(rows, factor, ("response", "given")))
        for factor in CENTRE
    }
    text = ", ".join(f"{value:.2g} along {factor}" for factor, value in worst.items())
    return Claim(
        "with the output gradient given, the noise of `response` stays below 0.3 at every size",
        f"at most {text}",
        max(worst.values()) < 0.3,
        "given",
    )


def steps_claim(rows: list[Row], factor: str) -> Claim:
    """How the env steps of training grow."""
    fits = exponents(rows, factor, "env_steps")
    pairs = ("node perturbation", "scalar"), ("response", "scalar")
    nodes, response = (fits.get(pair, (math.nan,))[0] for pair in pairs)
    censored = [
        f"{method} ({credit}) at {row[factor]}, seed {row['seed']}"
        for method, credit in PAIRS
        for row in trainings(rows, factor, (method, credit))
        if row["censored"]
    ]
    return Claim(
        f"env steps to the target ∝ {factor}^p: p larger for node perturbation than for "
        "`response` from the scalar",
        (listed(fits) or "–") + (f". Censored: {', '.join(censored)}" if censored else ""),
        None if math.isnan(nodes - response) else nodes > response,
        f"steps {factor}",
    )


def centre_claim(rows: list[Row]) -> Claim:
    """Env steps at the centre."""
    texts, steps = [], {}
    for method, credit in PAIRS:
        found = select(trainings(rows, "width", (method, credit)), **CENTRE)
        if found:
            steps[method, credit] = median(found, "env_steps")
            over = "over " if median(found, "censored") else ""
            texts.append(f"{method} ({credit}) {over}{steps[method, credit]:,.0f}")
    return Claim(
        "at width 128, depth 4, 10 outputs: learned feedback needs fewer env steps than plain "
        "node perturbation, from the scalar too",
        "; ".join(texts),
        steps["response", "scalar"] < steps["node perturbation", "scalar"],
        "centre",
    )


def widest_claim(rows: list[Row]) -> Claim:
    """Where the argument of the paper bites hardest."""
    widest = max(row["width"] for row in accuracies(rows, "width", ("response", "scalar")))
    noise = {
        method: median(select(accuracies(rows, "width", (method, "scalar")), width=widest), "noise")
        for method in (*RIVALS, "response")
    }
    return Claim(
        "in the widest network learned feedback (scalar only) is ten times less noisy than node "
        "perturbation, and that ten times less than weight perturbation",
        f"width {widest}: " + "; ".join(f"{name} {value:,.3g}" for name, value in noise.items()),
        10 * noise["response"] < noise["node perturbation"]
        and 10 * noise["node perturbation"] < noise["weight perturbation"],
        "widest",
    )


def limit_claim(rows: list[Row]) -> Claim:
    """Where one pair of probes for all outputs is no better than noise in all units."""
    most = max(row["outputs"] for row in accuracies(rows, "outputs", ("response", "scalar")))
    pairs = (("node perturbation", "scalar"), ("response", "scalar"))
    nodes, response = (
        median(select(accuracies(rows, "outputs", pair), outputs=most), "noise") for pair in pairs
    )
    return Claim(
        "with the most outputs, learned feedback from one pair of probes is still twice as "
        "accurate as plain node perturbation",
        f"{most} outputs: node perturbation {nodes:.3g}, response {response:.3g}",
        2 * response < nodes,
        "outputs limit",
    )


# Picture ---------------------------------------------------------------------------------------


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """One column a factor: noise of the gradient above, env steps of training below."""
    figure, panels = plt.subplots(2, 3, figsize=(14, 8), layout="constrained")
    for factor, (above, below) in zip(CENTRE, panels.T, strict=True):
        for pair in PAIRS:
            line(above, accuracies(rows, factor, pair), factor, "noise", pair)
            line(below, trainings(rows, factor, pair), factor, "env_steps", pair)
        for axes in (above, below):
            axes.set(xscale="log", yscale="log", xlabel=factor)
            sizes = sorted({x for drawn in axes.get_lines() for x in drawn.get_xdata()})
            axes.set_xticks(sizes, [f"{size}" for size in sizes], fontsize=8)
            axes.set_xticks([], minor=True)
            axes.grid(alpha=0.3)
        above.set(ylabel="noise of the gradient, 1/cos² − 1")
        below.set(ylabel=f"env steps to {TARGET:.0%} unexplained")
    shown = [axes.get_legend_handles_labels() for axes in panels.flat]
    named = {
        name: drawn for handles, names in shown for drawn, name in zip(handles, names, strict=True)
    }
    figure.legend(named.values(), named.keys(), fontsize=8, loc="outside right upper")
    figure.suptitle(
        "Medians over seeds; dashed: scalar reward only; crosses: given up before; "
        "noise below 0.001 drawn at 0.001"
    )
    save(figure, path, dpi=100)


def line(axes: plt.Axes, rows: list[Row], factor: str, column: str, pair: Pair) -> None:
    """One method's medians, those of runs that were given up as crosses."""
    if not rows or (column == "noise" and pair[0] == "fixed"):
        return
    values = sorted({row[factor] for row in rows})
    medians = [max(median(select(rows, **{factor: value}), column), 1e-3) for value in values]
    if column == "noise":
        medians = [value if value < 1e9 else math.nan for value in medians]
    method, credit = pair
    colour = f"C{list(dict.fromkeys(name for name, _ in PAIRS)).index(method)}"
    style = "-" if credit == "given" else "--"
    axes.plot(values, medians, style, marker=".", color=colour, label=f"{method} ({credit})")
    for value, y in zip(values, medians, strict=True):
        if median(select(rows, **{factor: value}), "censored") > 0:
            axes.plot(value, y, "x", color=colour)


NOTES = f"""
Noise is 1/cosine² − 1 of the angle between estimate and true gradient of the hidden layers' weights
for one batch of 64 contexts (128 env steps; 64 with the gradient given): the relative variance of
an unbiased estimate. It is measured after 32,768 env steps (8,192 above width 512, and along width
as a whole) of learning B in a network with fixed random weights; the rivals have no B to learn.
"scalar, model" has the linear model of the output error as control variate, which the rules that
learn from the loss need as a regressor. Weight perturbation tries each direction on 8 contexts.

Env steps count every probe. Runs are given up after {LIMIT.env_steps:,} env steps or
{LIMIT.seconds:.0f} s of a core with each step size. They are left out of the fits, as are estimates
whose cosine is below 0.02, and exact ones (noise below 1/1,000). Exponents are log-log least
squares over all seeds, ± a standard error. One seed, for their length: training by weight
perturbation, with the error model, with more than 128 units, and with 784 outputs from the scalar;
accuracy above width 512.
"""

STUDY = Study("figure6", tasks, run, minutes, draw, claims, seeds=(0, 1, 2), notes=NOTES)

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that main starts: numpy's threads
    main(STUDY, __doc__)
