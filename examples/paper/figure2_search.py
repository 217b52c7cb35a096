"""The step size of figure 2: backprop on the validation split, which training leaves out.

    python examples/paper/figure2_search.py [--quick] [--out DIR] [--jobs 2]

All methods of figure 2's given-gradient column share one step size: of those at which every one of
them gets through its first three epochs, the one that is best for backprop after forty.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from figure2 import GIVEN, LEARNING_RATE
from matplotlib import pyplot as plt
from mnist_paper import BATCH, EPOCH, make_model, measure
from study import Claim, Row, Study, Task, grouped, main, median, save, select

from nodepert.agents.errors import NonFiniteError

RATES = (0.05, 0.1, 0.2, 0.3, 0.48)
"""Of the mean gradient. 0.48 is 1.5e-2 on gradients summed over the batch of 32."""


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """Backprop at length with one seed, the others for three epochs with each."""
    lengths = {method: 1 if quick else 3 for method in GIVEN if not quick or method == "matched"}
    lengths["backprop"] = 1 if quick else 40
    return [
        {"method": method, "learning_rate": rate, "seed": seed, "epochs": epochs}
        for seed in seeds for method, epochs in lengths.items() for rate in RATES
        if method != "backprop" or seed == seeds[0]
    ]  # fmt: skip


def run(task: Task) -> list[Row]:
    """With the true gradient at the output, without the validation split."""
    changes = GIVEN[task["method"]]
    warmup = EPOCH // BATCH if "node_std" in changes else 0
    model = make_model(
        task["seed"], True, "given", optimizer="sgd", learning_rate=task["learning_rate"],
        lr_schedule="constant", warmup=warmup, **changes,
    )  # fmt: skip
    updates = task["epochs"] * EPOCH // BATCH + warmup
    try:
        model.learn(updates * model.n_envs, log_interval=0)
    except NonFiniteError:
        return [{"diverged": 1}]
    return [{"validation_error": measure(model, "validation")["test_error"]}]


def stable(rows: list[Row]) -> list[float]:
    """Step sizes at which no method diverged."""
    return [
        rate for rate, points in grouped(rows, "learning_rate").items()
        if not any("diverged" in point for point in points)
    ]  # fmt: skip


def errors(rows: list[Row]) -> dict[float, float]:
    """Of backprop, by step size."""
    by_rate = grouped(select(rows, method="backprop"), "learning_rate")
    return {rate: median(by_rate[rate], "validation_error") for rate in sorted(by_rate)}


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Backprop's error against step size; hollow where some other method diverged."""
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    found, safe = errors(rows), stable(rows)
    axes.plot(list(found), list(found.values()), "-")
    for rate, error in found.items():
        axes.plot(rate, error, "o", color="C0", fillstyle="full" if rate in safe else "none")
    axes.set(xscale="log", xlabel="step size", ylabel="validation error", title="backprop, SGD")
    axes.grid(alpha=0.3)
    save(figure, path, dpi=90)


def claims(rows: list[Row]) -> list[Claim]:
    """What was found."""
    found, safe = errors(rows), stable(rows)
    text = ", ".join(f"{rate:g}: {error:.2%}" for rate, error in found.items())
    lost = {
        rate: list(dict.fromkeys(p["method"] for p in points if "diverged" in p))
        for rate, points in sorted(grouped(rows, "learning_rate").items())
    }
    said = "; ".join(f"{rate:g}: {', '.join(names) or 'none'}" for rate, names in lost.items())
    chosen = min(safe, key=found.__getitem__) if safe else float("nan")
    return [
        Claim("backprop's validation error", text, None, "errors"),
        Claim("what diverges within three epochs", said, None, "diverged"),
        Claim(f"the step size of figure 2 ({LEARNING_RATE:g})", f"{chosen:g}",
              chosen == LEARNING_RATE, "chosen"),
    ]  # fmt: skip


STUDY = Study(
    "figure2_search", tasks, run, lambda task: 0.02 * task["epochs"], draw, claims, (100, 101)
)

if __name__ == "__main__":
    main(STUDY, __doc__)
