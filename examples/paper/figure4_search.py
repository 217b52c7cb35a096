"""The step sizes of figure 4: the same three for every method, on validation seeds and streams.

    python examples/paper/figure4_search.py [--quick] [--out DIR] [--seeds 100 101] [--jobs 2]

Judged by the updates until 99 % of the cues are answered. The choices are ``RATES`` of figure4.py.
"""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Sequence

from figure4 import BATCH, METHODS, RATES, settings, solved_at, train
from matplotlib import pyplot as plt
from study import Claim, Row, Study, Task, grouped, main, select

TRIED = (0.01, 0.04, 0.16)
UPDATES = 5_000


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """All methods, seed by seed."""
    return [
        {"column": column, "method": method, "rate": rate, "seed": seed,
         "updates": 100 if quick else UPDATES}
        for seed in seeds
        for column, methods in METHODS.items() if column != "authors' rates"
        for method in methods
        for rate in TRIED
    ]  # fmt: skip


def run(task: Task) -> list[Row]:
    """One run, on streams that the figure is not measured on."""
    column, method = task["column"], task["method"]
    chosen = settings(column, method, BATCH, task["rate"])
    points = train(column, method, chosen, task["updates"], task["seed"], streams=20_000)
    best = max(point.get("accuracy", 0.0) for point in points)
    solved = solved_at(points)
    return [{"best_accuracy": best, **({"solved_at": solved} if solved < UPDATES + 1 else {})}]


def quality(rows: list[Row]) -> tuple[float, float]:
    """Median updates to 99 % over seeds, the more the worse; then the best accuracy."""
    return (
        statistics.median(row.get("solved_at", 10 * UPDATES) for row in rows),
        -statistics.median(row["best_accuracy"] for row in rows),
    )


def chosen(rows: list[Row]) -> dict[tuple[str, str], float]:
    """The best step size of each method."""
    best = {}
    for column, of_column in grouped(rows, "column").items():
        for method, of_method in grouped(of_column, "method").items():
            trials = grouped(of_method, "rate")
            best[column, method] = min(trials, key=lambda rate: quality(trials[rate]))
    return best


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Updates to 99 % against the step size, one line a method."""
    columns = grouped(rows, "column")
    figure, panels = plt.subplots(
        1, len(columns), figsize=(4.5 * len(columns), 3.4), layout="constrained", squeeze=False
    )
    for axes, (column, of_column) in zip(panels[0], columns.items(), strict=True):
        for method, of_method in grouped(of_column, "method").items():
            trials = sorted(grouped(select(of_method), "rate").items())
            updates = [quality(trial)[0] for _, trial in trials]
            axes.plot([rate for rate, _ in trials], updates, "o-", label=method)
        axes.set(xscale="log", ylim=(0, UPDATES), title=column, xlabel="step size of W")
        axes.legend(fontsize=6)
    panels[0][0].set_ylabel("updates to 99 %")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def claims(rows: list[Row]) -> list[Claim]:
    """What was chosen, and whether it is what figure 4 uses."""
    found = []
    for (column, method), rate in chosen(rows).items():
        trials = grouped(select(rows, column=column, method=method), "rate")
        each = ", ".join(f"{tried}: {shown(quality(trials[tried]))}" for tried in trials)
        used = RATES[column, method]
        found.append(
            Claim(
                f"{column}, {method}: figure4.py uses {used}",
                f"best is {rate} ({each})",
                rate == used,
                method,
            )
        )
    return found


def shown(result: tuple[float, float]) -> str:
    """One trial's result, as text."""
    updates, accuracy = result
    return f"{updates:.0f} updates" if updates <= UPDATES else f"{-accuracy:.1%} at most"


STUDY = Study(
    name="figure4_search",
    tasks=tasks,
    run=run,
    minutes=lambda task: 0.01 + task["updates"] / UPDATES * 0.3,
    draw=draw,
    claims=claims,
    seeds=(100, 101),
    notes="Medians over the seeds; a run that diverged or stayed under 99 % counts as the worst.",
)

if __name__ == "__main__":
    main(STUDY, __doc__)
