"""The step sizes of figure 3: random search on the validation split, the same for each method.

    python examples/paper/figure3_search.py [--quick] [--out DIR] [--seeds …] [--jobs …]

Trains without the validation examples. Values are log-uniform in the ranges of autoencoders.py, one
trial in each of as many equal parts of a range as there are trials (a Latin hypercube). Where the
result is examples/paper/results/figure3_search.csv, figure3.py takes its choice from it.
"""

from __future__ import annotations

import pathlib
import zlib
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from autoencoders import ENV, GIVEN, METHODS, env_steps, make, minutes
from study import Claim, Row, Study, Task, grouped, main, median, save, select, short

from nodepert.agents.errors import NonFiniteError
from nodepert.agents.evaluation import evaluate

TRIALS = {GIVEN: (12, 6_000), "scalar": (6, 4_000)}
"""Trials a method, and updates a trial. Scalar-only updates cost four times as much."""
QUICK = (2, 40)


def drawn(method: str, trials: int) -> list[dict[str, float]]:
    """The values of each trial, to three digits."""
    ranges = METHODS[method].ranges
    generator = np.random.default_rng(zlib.crc32(method.encode()))
    columns = []
    for low, high in ranges.values():
        place = (generator.permutation(trials) + generator.random(trials)) / trials
        columns.append(low * (high / low) ** place)
    return [
        {name: float(f"{value:.3g}") for name, value in zip(ranges, values, strict=True)}
        for values in zip(*columns, strict=True)
    ]


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """All trials of one method after those of another."""
    found = []
    for method, described in METHODS.items():
        trials, updates = QUICK if quick else TRIALS[described.column]
        found += [
            {"method": method, "trial": trial, "updates": updates, "seed": seed, **values}
            for seed in seeds
            for trial, values in enumerate(drawn(method, trials))
        ]
    return found


def run(task: Task) -> list[Row]:
    """The mean squared error at the end; infinite where training diverged."""
    model = make(task, holdout=True)
    try:
        model.learn(env_steps(model, task["updates"]))
        value = evaluate(model, ENV, split="validation").value
    except NonFiniteError:
        value = float("inf")
    return [{"validation_mse": value}]


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Validation error by step size, one panel a method; the best trial in red."""
    methods = grouped(rows, "method")
    figure, axes = plt.subplots(
        3, 4, figsize=(12, 8), layout="constrained", sharey=True, squeeze=False
    )
    for panel in axes.flat[len(methods) :]:
        panel.set_axis_off()
    for panel, (method, found) in zip(axes.flat, methods.items(), strict=False):
        top = min(found, key=lambda row: row["validation_mse"])
        for row in found:
            error = min(row["validation_mse"], 0.1)
            style = {"color": "C3" if row is top else "C0", "marker": "o" if error < 0.1 else "x"}
            panel.plot(row["learning_rate"], error, linestyle="", **style)
        panel.set(title=method, xscale="log", xlabel="step size of W", ylim=(0.035, 0.102))
        panel.grid(alpha=0.3)
    for panel in axes[:, 0]:
        panel.set_ylabel("validation MSE (× over 0.1)")
    save(figure, path, dpi=90)


def claims(rows: list[Row]) -> list[Claim]:
    """What was chosen for each method."""
    found = []
    for method, described in METHODS.items():
        trials = grouped(select(rows, method=method), "trial")
        if not trials:
            continue
        top = trials[min(trials, key=lambda trial: median(trials[trial], "validation_mse"))]
        ranges = [f"{name} {low:g} to {high:g}" for name, (low, high) in described.ranges.items()]
        values = ", ".join(f"{name}={top[0][name]:g}" for name in described.ranges)
        diverged = sum(median(trial, "validation_mse") > 0.1 for trial in trials.values())
        found.append(
            Claim(
                f"{method}: {', '.join(ranges)}",
                f"{values}: {short(median(top, 'validation_mse'))} "
                f"({diverged} of {len(trials)} trials diverged)",
                None,
                method,
            )
        )
    return found


STUDY = Study(
    name="figure3_search",
    tasks=tasks,
    run=run,
    minutes=minutes,
    draw=draw,
    claims=claims,
    seeds=(100,),
    notes="Validation MSE a pixel, after the search's few updates. Seeds: not those of figure 3.",
)

if __name__ == "__main__":
    main(STUDY, __doc__)
