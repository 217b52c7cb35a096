"""What every script of this folder shares: a study is a list of tasks, a picture and a report.

A script describes its :class:`Study` and calls :func:`main`, which plans the tasks, runs those
whose rows are not in the CSV yet, one row a point, and draws and reports from the rows. A study
that was cut off goes on where it stopped: the rows of a task are written when it is finished.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

matplotlib.use("Agg")

__all__ = [
    "PAIRED", "Claim", "Row", "Study", "Task", "best", "curve", "grouped", "main", "median", "save",
    "select", "spread",
]  # fmt: skip

PAIRED = {"credit": "paired", "probe_std": 0.1}
"""The output error in the column of the scalar reward alone."""

Task = dict[str, Any]
"""What identifies a run: text and numbers by column name. Budgets belong in it, too."""
Row = dict[str, Any]
"""One row of the CSV: the columns of its task, and those of one point of the run."""


@dataclass(frozen=True)
class Claim:
    """One line of the report."""

    paper: str
    """What the paper, or the target, says."""
    ours: str
    """What was measured."""
    holds: bool | None
    """None where these rows can't tell."""
    name: str = ""
    """A word for the tests to find it by."""


@dataclass(frozen=True)
class Study:
    """One script's work.

    Args:
        name: Of the files, such as ``"figure2"``.
        tasks: From (quick, seeds) to all tasks, the most important ones first.
        run: From a task to its points; called on one thread of torch, with several ``--jobs`` in a
            process of its own.
        minutes: About how many core-minutes a task takes, for the estimate.
        draw: Draws ``rows`` to the PNG at a path.
        claims: What the rows say about each claim.
        seeds: Of the full version; ``--quick`` takes the first.
        notes: Text below the report's table.
    """

    name: str
    tasks: Callable[[bool, Sequence[int]], list[Task]]
    run: Callable[[Task], list[Row]]
    minutes: Callable[[Task], float]
    draw: Callable[[list[Row], pathlib.Path], None]
    claims: Callable[[list[Row]], list[Claim]]
    seeds: tuple[int, ...]
    notes: str = ""


def main(study: Study, description: str | None) -> None:
    """The command line of a study."""
    arguments = parse(study, description)
    folder = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{study.name}.csv"
    tasks = study.tasks(arguments.quick, arguments.seeds)
    rows = read(path)
    missing = [task for task in tasks if not any(belongs(row, task) for row in rows)]
    finished = len(tasks) - len(missing)
    if arguments.report:
        missing = []
    hours = sum(map(study.minutes, missing)) / 60
    print(
        f"{study.name}: {finished} of {len(tasks)} tasks are in {path}; "
        f"about {hours:.2f} core-hours for the rest",
        flush=True,
    )
    started = time.perf_counter()
    for done, (task, points) in enumerate(carry_out(study, missing, arguments.jobs), start=1):
        rows += [joined(task, point) for point in points]
        write(path, rows)
        elapsed = (time.perf_counter() - started) / 60
        print(f"{done}/{len(missing)} after {elapsed:.1f} min: {task}", flush=True)
    rows = [row for row in read(path) if any(belongs(row, task) for task in tasks)]
    study.draw(rows, folder / f"{study.name}.png")
    report = table(study, rows)
    (folder / f"{study.name}.md").write_text(report)
    print(f"\n{report}\nwrote {study.name}.csv, .png and .md to {folder}")


def parse(study: Study, description: str | None) -> argparse.Namespace:
    """The arguments that every study takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small and short, under 3 minutes")
    parser.add_argument("--out", type=pathlib.Path, help=f"default: runs/paper/{study.name}")
    parser.add_argument("--seeds", type=int, nargs="+", help=f"default: {study.seeds}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--report", action="store_true", help="run nothing, report what is there")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs {arguments.jobs}: expected at least 1")
    if arguments.seeds is None:
        arguments.seeds = study.seeds[:1] if arguments.quick else study.seeds
    if arguments.out is None:
        suffix = "-quick" if arguments.quick else ""
        arguments.out = pathlib.Path("runs/paper") / f"{study.name}{suffix}"
    return arguments


class _Runner:
    """A study's ``run`` with its task, for a process of its own."""

    def __init__(self, run: Callable[[Task], list[Row]]) -> None:
        self.run = run

    def __call__(self, task: Task) -> tuple[Task, list[Row]]:
        torch.set_num_threads(1)
        return task, self.run(task)


def carry_out(study: Study, tasks: list[Task], jobs: int) -> Any:
    """Yields each task with its points as it is finished."""
    if jobs == 1 or not tasks:
        yield from map(_Runner(study.run), tasks)
        return
    # Not a multiprocessing.Pool, whose processes may have no children and whose death it waits out.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # numpy's threads, in the processes
        os.environ.setdefault(name, "1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=spawn) as pool:
        try:
            runs = [pool.submit(_Runner(study.run), task) for task in tasks]
            for finished in as_completed(runs):
                yield finished.result()
        finally:
            pool.shutdown(cancel_futures=True)


# Rows ------------------------------------------------------------------------------------------


def joined(task: Task, point: Row) -> Row:
    """A row; a point that overwrites a column of its task would make the task look unfinished."""
    if task.keys() & point.keys():
        raise ValueError(f"columns {sorted(task.keys() & point.keys())} are the task's own")
    return {**task, **point}


def belongs(row: Row, task: Task) -> bool:
    """Whether a row is of a task."""
    return all(key in row and row[key] == value for key, value in task.items())


def read(path: pathlib.Path) -> list[Row]:
    """The rows of a CSV; numbers as numbers, empty cells left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            {key: number(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)
        ]


def number(cell: str) -> Any:
    """A cell's number, or its text."""
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell


def write(path: pathlib.Path, rows: list[Row]) -> None:
    """Replaces the CSV in one go."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({key: short(value) for key, value in row.items()})
    temporary.replace(path)


def short(value: Any) -> Any:
    """Measured floats to six digits, which keeps the files small."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def select(rows: list[Row], **values: Any) -> list[Row]:
    """The rows that have these values in these columns."""
    return [row for row in rows if belongs(row, values)]


def grouped(rows: list[Row], column: str) -> dict[Any, list[Row]]:
    """Rows by the value of a column, in order of appearance."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        if column in row:
            groups.setdefault(row[column], []).append(row)
    return groups


def median(rows: list[Row], column: str) -> float:
    """The median of a column; NaN where no row has it."""
    values = [row[column] for row in rows if column in row]
    return statistics.median(values) if values else float("nan")


def curve(rows: list[Row], by: str, column: str) -> tuple[list[Any], list[float]]:
    """A curve: the values of ``by``, sorted, and the median of a column at each."""
    points = sorted(grouped(rows, by).items())
    return [x for x, _ in points], [median(own, column) for _, own in points]


def spread(rows: list[Row], column: str, digits: str = ".3g") -> str:
    """Median and range, as text."""
    values = [row[column] for row in rows if column in row]
    if not values:
        return "–"
    middle = statistics.median(values)
    return f"{middle:{digits}} ({min(values):{digits}}–{max(values):{digits}}, n={len(values)})"


def best(rows: list[Row], by: str, column: str) -> Any:
    """The value of ``by`` whose rows have the smallest median of ``column``."""
    return min(grouped(rows, by), key=lambda value: median(select(rows, **{by: value}), column))


def table(study: Study, rows: list[Row]) -> str:
    """The report, as Markdown."""
    words = {True: "holds", False: "**not reproduced**", None: "not measured"}
    lines = [f"# {study.name}", "", "| claim or target | measured | |", "|---|---|---|"]
    lines += [f"| {c.paper} | {c.ours} | {words[c.holds]} |" for c in study.claims(rows)]
    return "\n".join([*lines, "", study.notes.strip(), ""])


# Picture ---------------------------------------------------------------------------------------


def save(figure: Figure, path: pathlib.Path, dpi: int = 120) -> None:
    """Writes a picture, and frees its memory."""
    figure.savefig(path, dpi=dpi)
    plt.close(figure)
