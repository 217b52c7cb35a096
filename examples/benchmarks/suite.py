"""The agent beside other learners on every loss task, over env steps and over wall-clock seconds.

    python examples/benchmarks/suite.py [--tasks xor mnist] [--agents np ppo] [--seeds 3] [--quick]

Every task is a comparison as `nodepert compare` makes it; this script says who takes part where,
and draws all tasks in one picture. A run ends at its env steps or after --minutes of learning; the
table then says at how many steps it was cut. A suite that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from nodepert.agents.compare import Folder, Plan, compare, plan_runs, write_report_of
from nodepert.agents.compare.run import Record, Run
from nodepert.agents.executors import Outcome, make_executor

SAC_STEPS = 100_000
"""Env steps at most of SAC, whose updates are dear: one for each 64 of them."""


@dataclass(frozen=True)
class Entry:
    """One who takes part in a task."""

    agent: str
    """As `nodepert compare --agents` names it."""
    name: str = ""
    """In the table, where it is not the agent's."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Hyperparameters in place of the packaged ones."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Besides the task's."""
    most_steps: int | None = None

    @property
    def label(self) -> str:
        """In tables and folders."""
        return self.name or self.agent


@dataclass(frozen=True)
class Task:
    """An environment and who learns it."""

    title: str
    env: str
    steps: int
    entries: tuple[Entry, ...]
    env_kwargs: dict[str, Any] = field(default_factory=dict)


def given(**changes: Any) -> Entry:
    """The limit: backpropagation from the true gradient, one env step a context."""
    oracle = {"credit": "given", "rule": "backprop", **changes}
    return Entry("np", "np:given", oracle, {"expose_gradient": True})


def replaying(**changes: Any) -> Entry:
    """Ours with stored probes."""
    return Entry("np", "np:replays", {"replays": 9, "learning_rate": 1e-3, **changes})


PLAIN = {"error_model": False, "residual": "unbiased"}
# Chosen on the validation split from a few, as rivals' settings were; the preset's are for 1.2 M.
SHORT = {"learning_rate": 1.5e-3, "weight_decay": 0.3}
RIVALS = tuple(map(Entry, ("ppo", "a2c", "ars", "es")))
CONTINUOUS = (*RIVALS, Entry("all_units"), Entry("sac", most_steps=SAC_STEPS))
DISCRETE = (*RIVALS, Entry("dqn"))
TASKS = {
    "xor": Task(
        "DelayedXOR-v0", "DelayedXOR-v0", 40_000,
        (Entry("np"), Entry("np:fixed"), replaying(learning_rate=0.01, batch_size=10), given(),
         *CONTINUOUS, Entry("recurrent_ppo")),
    ),
    "mnist-discrete": Task(
        "MNIST-v0, discrete", "MNIST-v0", 200_000,
        (Entry("np"), Entry("np:backprop"), *DISCRETE), {"discrete": True},
    ),
    "mnist": Task(
        "MNIST-v0", "MNIST-v0", 240_000,
        (Entry("np", changes=SHORT), Entry("np:fixed", changes=SHORT),
         replaying(weight_decay=0.3), given(**SHORT), *CONTINUOUS),
    ),
    "autoencoder": Task(
        "MNISTAutoencoder-v0", "MNISTAutoencoder-v0", 240_000,
        (Entry("np"), Entry("np:fixed"), given(**PLAIN, batch_size=64), *CONTINUOUS),
    ),
}  # fmt: skip
"""The cheapest first."""


class Here:
    """An executor without processes, which take longer to start than quick runs."""

    def run(
        self,
        work: Callable[[Run], Record],
        tasks: Iterable[Run],
        log_of: Callable[[Run], pathlib.Path],
    ) -> Iterator[Outcome[Run, Record]]:
        """Carries out one task after the other."""
        for task in tasks:
            yield Outcome(task, work(task))


def plan(task: Task, entry: Entry, arguments: argparse.Namespace) -> list[Run]:
    """The runs of one entry."""
    env_kwargs = {**task.env_kwargs, **entry.env_kwargs}
    steps = arguments.steps or task.steps
    made = Plan(
        agents=(entry.agent,),
        steps=min(steps, entry.most_steps or steps),
        seeds=arguments.seeds,
        minutes=arguments.minutes,
        split=arguments.split,
        quick=arguments.quick,
    )
    if arguments.split == "validation" and task.env.startswith("MNIST"):
        env_kwargs["holdout"] = True
    env = gym.make(task.env, **env_kwargs)
    overrides = {entry.agent: {task.env: entry.changes}} if entry.changes else None
    runs = plan_runs({task.env: env}, made, env_kwargs, overrides)
    env.close()
    return runs


def folder_of(out: pathlib.Path, task: str, entry: Entry) -> Folder:
    """Where the runs of one entry are kept."""
    return Folder(out / "runs" / task / entry.label.replace(":", "_"))


def chosen(arguments: argparse.Namespace) -> Iterator[tuple[str, Task, Entry]]:
    """All that was asked for."""
    for name in arguments.tasks:
        for entry in TASKS[name].entries:
            if arguments.agents is None or entry.label in arguments.agents:
                yield name, TASKS[name], entry


def gathered(out: pathlib.Path) -> list[Record]:
    """All finished runs, by the names that the picture shows."""
    return [
        {**record, "env": task.title, "agent": entry.label, "env_kwargs": task.env_kwargs}
        for name, task in TASKS.items()
        for entry in task.entries
        for record in folder_of(out, name, entry).records()
    ]


def parse_args() -> argparse.Namespace:
    labels = sorted({entry.label for task in TASKS.values() for entry in task.entries})
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--agents", nargs="+", choices=labels, help="default: all of each task")
    parser.add_argument("--steps", type=int, help="env steps; default: each task's own")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--minutes", type=float, default=30.0, help="of a run, at most")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--out", type=pathlib.Path, default=None, help="default: runs/suite")
    parser.add_argument("--quick", action="store_true", help="one seed, 1/50 of the env steps")
    arguments = parser.parse_args()
    if arguments.out is None:
        arguments.out = pathlib.Path("runs/suite_quick" if arguments.quick else "runs/suite")
    return arguments


def main() -> None:
    """Runs what is missing, then writes table and picture."""
    arguments = parse_args()
    failures: dict[str, str] = {}
    executor = Here() if arguments.quick else make_executor("local", arguments.jobs)
    for name, task, entry in chosen(arguments):
        print(f"{task.title}, {entry.label}", flush=True)
        runs = plan(task, entry, arguments)
        folder = folder_of(arguments.out, name, entry)
        failed = compare(runs, folder, executor)
        failures.update({f"{entry.label}: {run}": why for run, why in failed.items()})
    records = gathered(arguments.out)
    if records:
        write_report_of(records, Folder(arguments.out), failures)
        report = (arguments.out / "report.md").read_text("utf-8")
        print(report.partition("## Learning curves")[0])
    if failures:
        raise SystemExit(f"failed: {json.dumps(failures, indent=1)}")


if __name__ == "__main__":
    main()
