"""The step size of figure 2: backprop on the validation split, which training leaves out.

    python examples/paper/figure2_search.py [--quick] [--out DIR] [--jobs 2]

All methods of figure 2's given-gradient column share one step size. It is the smallest whose error
is within 0.1 points of the best: methods whose feedback follows the weights need room to do so.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from matplotlib import pyplot as plt
from mnist_paper import BATCH, EPOCH, make_model, measure
from study import Claim, Row, Study, Task, grouped, main, median

RATES = (0.05, 0.1, 0.2, 0.3, 0.48)
"""Of the mean gradient. 0.48 is 1.5e-2 on gradients summed over the batch of 32."""


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """One run a step size."""
    epochs = 1 if quick else 40
    return [{"learning_rate": r, "seed": s, "epochs": epochs} for s in seeds for r in RATES]


def run(task: Task) -> list[Row]:
    """Backprop with the true gradient, without the validation split."""
    model = make_model(
        task["seed"], True, "given", rule="backprop", optimizer="sgd",
        learning_rate=task["learning_rate"], lr_schedule="constant",
    )  # fmt: skip
    model.learn(task["epochs"] * EPOCH // BATCH * model.n_envs, log_interval=0)
    return [{"validation_error": measure(model, "validation")["test_error"]}]


def chosen(rows: list[Row]) -> float:
    """The smallest step size within 0.1 points of the best."""
    errors = {r: median(p, "validation_error") for r, p in grouped(rows, "learning_rate").items()}
    return min(rate for rate, error in errors.items() if error <= min(errors.values()) + 1e-3)


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Validation error against step size."""
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    errors = {r: median(p, "validation_error") for r, p in grouped(rows, "learning_rate").items()}
    axes.plot(list(errors), list(errors.values()), "o-")
    axes.set(xscale="log", xlabel="step size", ylabel="validation error", title="backprop, SGD")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def claims(rows: list[Row]) -> list[Claim]:
    """What was found."""
    errors = {r: median(p, "validation_error") for r, p in grouped(rows, "learning_rate").items()}
    found = ", ".join(f"{rate:g}: {error:.2%}" for rate, error in errors.items())
    return [Claim(f"the step size of figure 2: {chosen(rows):g}", found, None, "chosen")]


STUDY = Study(
    "figure2_search", tasks, run, lambda task: 0.02 * task["epochs"], draw, claims, (100,)
)

if __name__ == "__main__":
    main(STUDY, __doc__)
