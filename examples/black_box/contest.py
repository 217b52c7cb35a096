"""Learners on one black box with equal evaluations: search, seeds, table, curves.

Each learner gets the same number of evaluations of the box, counted by the lanes themselves, and
the same number of trials of hyperparameters. Trials are scored on validation contexts with seeds
of their own; the seeds that are reported are scored on test contexts.
"""

from __future__ import annotations

import pathlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium.vector import VectorEnv, VectorWrapper
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rivals import Learner, Predict

from nodepert.agents.files.formats import as_csv, as_png
from nodepert.agents.files.saving import write_atomically
from nodepert.envs import ConfigError, Draws, LossEnv
from nodepert.envs.base import Context

Array = NDArray[Any]
SEARCH_SEEDS = (100, 101, 102)
POINTS = 8  # of a learning curve, after the first one


@dataclass(frozen=True)
class Task:
    """A black box to be minimised."""

    name: str
    """Of its files."""
    title: str
    unit: str
    """What a score is; less is better."""
    lanes: Callable[[int], VectorEnv[Any, Any, Any]]
    """Makes so many lanes to learn from, in the SAME_STEP mode; an episode is one step."""
    score: Callable[[Predict, str], float]
    """From observations → actions and ``"validation"`` or ``"test"`` to a score."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers, the same for all learners."""
    lines: dict[str, float] = field(default_factory=dict)
    """Scores on the test contexts to draw beside the learners'."""
    search_seeds: int = 1
    """How many of SEARCH_SEEDS each trial is run with."""


class Counted(VectorWrapper):
    """Lanes that count how often the black box was asked."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.evaluations = 0

    def step(self, actions: Any) -> Any:
        """One more evaluation in each lane."""
        self.evaluations += self.num_envs
        return super().step(actions)


@dataclass
class Curve:
    """Scores a learner on its way; of a trial, only at its end."""

    task: Task
    split: str
    steps: int
    points: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, evaluations: int, predict: Predict) -> None:
        """Scores where the next point is due; learners call it at least once an update."""
        due = self.steps * len(self.points) / POINTS if self.split == "test" else self.steps
        if evaluations >= due:
            self.points.append((evaluations, self.task.score(predict, self.split)))


@dataclass(frozen=True)
class Arguments:
    """What the scripts of this folder take."""

    steps: int | None = None
    """Evaluations of the black box for each run; None for the script's own number."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the runs that are reported."""
    out: pathlib.Path = pathlib.Path("runs/black_box")
    """Folder of CSV, PNG and Markdown."""
    quick: bool = False
    """One seed, few evaluations, and the first trial of each learner without a search."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"--steps {self.steps}: expected a positive number of evaluations")
        if not self.seeds or min(self.seeds) < 0 or set(SEARCH_SEEDS) & set(self.seeds):
            raise ConfigError(
                f"--seeds {' '.join(map(str, self.seeds))}: expected at least one number from 0 "
                f"up, and none of {SEARCH_SEEDS}, with which hyperparameters are searched"
            )


def parse(doc: str | None) -> Arguments:
    """The command line; tyro ends the program with a message where it is not valid."""
    torch.set_num_threads(1)
    return tyro.cli(Arguments, description=doc)


Result = dict[str, Any]


def run_one(
    task: Task, learner: Learner, trial: dict[str, Any], steps: int, seed: int, split: str
) -> tuple[list[tuple[int, float]], float]:
    """One run: its curve, and the seconds it took, those of scoring included."""
    curve = Curve(task, split, steps)
    started = time.perf_counter()
    learner.train(task, lambda n: Counted(task.lanes(n)), steps, seed, curve, **trial)
    return curve.points, time.perf_counter() - started


def hold(task: Task, learners: dict[str, Learner], arguments: Arguments, steps: int, quick: int
         ) -> dict[str, list[float]]:  # fmt: skip
    """Searches, runs all seeds, writes the files, prints the table.

    Args:
        task: What is to be minimised.
        learners: By name; all with the same number of trials.
        arguments: The command line.
        steps: Evaluations a run where the command line says nothing.
        quick: The same with ``--quick``.

    Returns:
        For each learner the final test scores of its seeds.
    """
    steps = arguments.steps or (quick if arguments.quick else steps)
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    searched: list[Result] = []
    rows: list[Result] = []
    for name, learner in learners.items():
        trials = learner.trials[:1] if arguments.quick else learner.trials
        for trial in trials if len(trials) > 1 else ():
            runs = [run_one(task, learner, trial, steps, seed, "validation")
                    for seed in SEARCH_SEEDS[: task.search_seeds]]  # fmt: skip
            score = statistics.mean(points[-1][1] for points, _ in runs)
            took = statistics.mean(seconds for _, seconds in runs)
            searched.append({"learner": name, "trial": shown(trial), "validation": score,
                             "seconds": round(took, 1)})  # fmt: skip
            print(f"{task.name}: {name} with {shown(trial)}: {score:.4f}", flush=True)
        scores = [one["validation"] for one in searched if one["learner"] == name]
        best = trials[int(np.argmin(scores))] if scores else trials[0]
        for seed in seeds:
            points, took = run_one(task, learner, best, steps, seed, "test")
            rows += [
                {"learner": name, "seed": seed, "evaluations": evaluations, "score": score,
                 "trial": shown(best), "seconds": round(took, 1)}
                for evaluations, score in points
            ]  # fmt: skip
            print(f"{task.name}: {name} seed {seed}: {points[-1][1]:.4f}", flush=True)
    trials_each = 0 if arguments.quick else max(len(one.trials) for one in learners.values())
    write(task, rows, searched, report(task, rows, steps, trials_each), arguments.out)
    return {name: finals(rows, name) for name in learners}


def shown(trial: dict[str, Any]) -> str:
    """Hyperparameters in one line."""
    return ", ".join(f"{name}={value}" for name, value in trial.items())


def finals(rows: list[Result], name: str) -> list[float]:
    """The last score of each seed."""
    last = {row["seed"]: row["score"] for row in rows if row["learner"] == name}
    return list(last.values())


def report(task: Task, rows: list[Result], steps: int, trials: int) -> str:
    """The table as Markdown."""
    seeds = len({row["seed"] for row in rows})
    search = (
        f"chosen from {trials} trials each, on validation contexts with "
        f"{task.search_seeds} seed(s) of their own"
        if trials
        else "the first of each learner's list, without a search"
    )
    lines = [
        f"{task.title}: {task.unit} on test contexts, median of {seeds} seed(s) after {steps:,} "
        f"evaluations, every probe counted; hyperparameters {search}. Less is better. One thread "
        "of a shared CPU; seconds include the scoring.",
        "",
        "| learner | median | range | untrained | evaluations | seconds | hyperparameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["learner"] for row in rows):
        own = [row for row in rows if row["learner"] == name]
        values = finals(rows, name)
        lines.append(
            f"| {name} | {statistics.median(values):.4f} | {min(values):.4f} – {max(values):.4f} "
            f"| {own[0]['score']:.4f} | {max(row['evaluations'] for row in own):,} "
            f"| {statistics.median(row['seconds'] for row in own):.0f} | {own[0]['trial']} |"
        )
    lines += [f"| {name} | {value:.4f} | | | | | |" for name, value in task.lines.items()]
    return "\n".join(lines) + "\n"


def write(
    task: Task, rows: list[Result], searched: list[Result], text: str, out: pathlib.Path
) -> None:
    """The runs and the search as CSV, the curves as PNG, the table as Markdown."""
    files = {f"{task.name}.csv": as_csv(list(rows[0]), rows), f"{task.name}.md": text.encode()}
    if searched:
        files[f"{task.name}_search.csv"] = as_csv(list(searched[0]), searched)
    picture = as_png(draw(task, rows), 120)
    files[f"{task.name}.png"] = picture
    for name, content in files.items():
        write_atomically(out / name, content)
    print(f"\n{text}\nwrote {', '.join(files)} in {out}", flush=True)


def draw(task: Task, rows: list[Result]) -> Figure:
    """Medians over seeds against evaluations, with the range."""
    figure = Figure(figsize=(6, 4), layout="constrained")  # without pyplot: no global state
    axes = figure.add_subplot()
    for name in dict.fromkeys(row["learner"] for row in rows):
        own = [row for row in rows if row["learner"] == name]
        seeds = dict.fromkeys(row["seed"] for row in own)
        curves = [[row["score"] for row in own if row["seed"] == seed] for seed in seeds]
        length = min(map(len, curves))
        values = np.array([curve[:length] for curve in curves])
        x = [row["evaluations"] for row in own[:length]]
        (line,) = axes.plot(x, np.median(values, axis=0), label=name)
        axes.fill_between(x, values.min(0), values.max(0), alpha=0.15, color=line.get_color())
    for i, (name, value) in enumerate(task.lines.items()):
        axes.axhline(value, color="black", linestyle=(":", "--", "-.")[i % 3], lw=1, label=name)
    axes.set(xlabel="evaluations (every probe counted)", ylabel=task.unit, title=task.title)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def contexts(env: LossEnv, count: int, split: str) -> Context:
    """Contexts of a loss environment that no lane is trained on, always the same."""
    first = {"validation": 0, "test": 1_000_000}[split]
    keys = np.arange(first, first + count, dtype=np.uint64)
    return env.sample_contexts(Draws(keys, np.zeros(count, np.uint64)))


def mean_loss(env: LossEnv, count: int) -> Callable[[Predict, str], float]:
    """Scores of a loss environment: its mean loss on ``count`` contexts."""
    chosen = {split: contexts(env, count, split) for split in ("validation", "test")}

    def score(predict: Predict, split: str) -> float:
        context = chosen[split]
        actions = np.asarray(predict(env.observe(context)), np.float64)
        return float(env.loss(context, actions).mean())

    return score
