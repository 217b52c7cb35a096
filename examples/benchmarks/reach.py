"""How well the agent learns each task from the scalar reward alone, beside other feedback rules.

    python examples/benchmarks/reach.py [--only mnist xor] [--seeds 0 1] [--jobs 2] [--quick]
    python examples/benchmarks/reach.py --search        # settings, on the validation split

Every probe counts as an env step. The rows marked "given gradient" are oracles that see the true
gradient at the output. Scores are of the test split (of new seeds for the XOR); with --search, of
the validation split, which training then leaves out. Rows that are in the CSV already are not run
again, so a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

import gymnasium as gym
import matplotlib
import torch
from pool import carry_out

from nodepert.agents import Config, NodePerturbation
from nodepert.agents.evaluation import evaluate
from nodepert.agents.presets import preset_for

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = pathlib.Path(__file__).parent / "results"


@dataclass(frozen=True)
class Setting:
    """What --search chooses."""

    learning_rate: float
    weight_decay: float = 0.0


# What --search tries: the same for every way to learn a task.
MNIST = (
    *map(Setting, (2.5e-4, 5e-4, 1e-3, 1.5e-3, 2.5e-3)),
    *(Setting(rate, 0.3) for rate in (5e-4, 1e-3, 1.5e-3)),
)
REPLAYED = tuple(one for one in MNIST if 5e-4 <= one.learning_rate <= 1.5e-3)
REPLAYED_MORE_OR_LESS = tuple(one for one in REPLAYED if one.weight_decay)
CNN = tuple(Setting(rate, decay) for decay in (0.0, 0.3) for rate in (1e-3, 2e-3))
PAPER = tuple(map(Setting, (2e-3, 4e-3, 8e-3)))
AUTOENCODER = tuple(map(Setting, (1.5e-3, 3e-3, 6e-3)))
XOR = tuple(map(Setting, (1e-3, 2e-3, 4e-3, 8e-3)))


@dataclass(frozen=True)
class Variant:
    """One way to learn a task."""

    task: str
    name: str
    env: str
    preset: str
    changes: dict[str, Any]
    budgets: tuple[int, ...]
    """Env steps."""
    settings: tuple[Setting, ...]
    """That --search tries."""
    target: str = ""
    """What the median should reach, for the table."""
    reported: bool = True
    """False for what --search tries and leaves."""


PAIRED = {"credit": "paired", "probe_std": 0.1}
ONE_POINT = {"credit": "one_point", "probe_std": 3.0}


def variants() -> Iterator[Variant]:
    """All rows of the table; pairs of probes where a row does not say otherwise."""
    given = {"credit": "given", "rule": "backprop"}
    for task, preset, settings, targets in (
        ("mnist", "default", MNIST, "≤ 2.3 % / ≤ 1.75 %"),
        ("mnist-paper", "paper", PAPER, "≤ 4.0 % / ≤ 3.1 %"),
    ):

        def row(
            name: str, changes: dict[str, Any], budgets: tuple[int, ...], target: str = "",
            task: str = task, preset: str = preset, settings: tuple[Setting, ...] = settings,
        ) -> Variant:  # fmt: skip
            changes = {**PAIRED, **changes}
            return Variant(task, name, "MNIST-v0", preset, changes, budgets, settings, target)

        both = (1_200_000, 2_400_000)
        yield row("one-point", ONE_POINT, both, targets)
        yield row("response", {}, both, targets)
        yield row("loss (K=10)", {"rule": "loss", "probes": 10}, both[:1])
        yield row("fixed", {"rule": "fixed"}, both[:1])
        yield row("backprop below", {"rule": "backprop"}, both[:1])
        # The same contexts as 1.2 M and 2.4 M env steps of probes.
        yield row("given gradient, backprop", given, (600_000, 1_200_000))

    cheaper = {**ONE_POINT, "feedback_interval": 4}  # in seconds: see training_speed.py
    yield Variant("mnist", "one-point, B every 4 updates", "MNIST-v0", "default", cheaper,
                  (1_200_000,), MNIST)  # fmt: skip

    def replayed(
        count: int, budgets: tuple[int, ...], target: str = "",
        settings: tuple[Setting, ...] = REPLAYED, reported: bool = True,
    ) -> Variant:  # fmt: skip
        changes = {**ONE_POINT, "buffer_size": 300_000, "replays": count}
        return Variant("mnist-replayed", f"one-point, {count} replays", "MNIST-v0", "default",
                       changes, budgets, settings, target, reported)  # fmt: skip

    yield replayed(9, (100_000, 200_000, 400_000), "≤ 3.2 / 2.3 / 2.0 %")
    yield replayed(2, (1_200_000,), "≤ 1.7 %")
    for count in (4, 19):  # on the validation split 4 do worse, 19 hardly better in twice the time
        yield replayed(count, (200_000,), settings=REPLAYED_MORE_OR_LESS, reported=False)

    yield Variant("mnist-cnn", "one-point", "MNIST-v0", "cnn", ONE_POINT, (1_200_000,), CNN,
                  "≤ 1.0 %")  # fmt: skip

    def autoencoder(name: str, changes: dict[str, Any], steps: int, target: str = "") -> Variant:
        return Variant("autoencoder", name, "MNISTAutoencoder-v0", "default",
                       {**PAIRED, **changes}, (steps,), AUTOENCODER, target)  # fmt: skip

    plain = {"error_model": False, "residual": "unbiased"}
    wide = {**ONE_POINT, "probe_std": 10.0}
    yield autoencoder("one-point", wide, 720_000, "≤ 1.02 × given gradient")
    yield autoencoder("response", {}, 720_000, "≤ 1.03 × given gradient")
    yield autoencoder("response, no error model", plain, 720_000)
    yield autoencoder("loss", {"rule": "loss"}, 720_000)
    yield autoencoder("fixed", {"rule": "fixed"}, 720_000)
    # With batches of 64 the oracle does better on the validation split than with 32.
    yield autoencoder("given gradient, backprop", {**plain, **given, "batch_size": 64}, 360_000)

    for rule, target in (("response", "≥ 99 %"), ("loss", ""), ("fixed", ""), ("backprop", "")):
        yield Variant("xor", rule, "DelayedXOR-v0", "default", {**PAIRED, "rule": rule},
                      (320_000,), XOR, target)  # fmt: skip
    yield Variant("xor", "one-point", "DelayedXOR-v0", "default", ONE_POINT, (320_000,), XOR,
                  "≥ 99 %")  # fmt: skip
    yield Variant("xor", "one-point, 9 replays", "DelayedXOR-v0", "replay", {}, (20_000,), (),
                  "≥ 99 %")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One row of the CSV before it is run."""

    task: str
    variant: str
    env_steps: int
    learning_rate: float
    weight_decay: float
    seed: int

    @property
    def setting(self) -> Setting:
        """What --search chooses."""
        return Setting(self.learning_rate, self.weight_decay)


Result = dict[str, Any]


def configure(variant: Variant, setting: Setting) -> tuple[str, Config]:
    """Policy and hyperparameters."""
    preset = preset_for(variant.env, variant.preset)
    return preset.policy, replace(preset.config, **variant.changes, **asdict(setting))


def setting_of(variant: Variant, env_steps: int) -> Setting:
    """What did best in the committed --search.

    Of the runs with this budget; where none was searched with it, of those with the other one;
    where there is no search, the preset's.
    """
    config = preset_for(variant.env, variant.preset).config
    preset = Setting(float(config.learning_rate), config.weight_decay)  # type: ignore[arg-type]
    found = {
        (row.env_steps, row.setting): result["value"]
        for row, result in read_results(RESULTS / "search.csv").items()
        if (row.task, row.variant) == (variant.task, variant.name)
    }
    budgets = {steps for steps, _ in found}
    if not budgets:
        return preset
    budget = env_steps if env_steps in budgets else variant.budgets[0]
    tried = {setting: value for (steps, setting), value in found.items() if steps == budget}
    best = max(tried.values()) if variant.task == "xor" else min(tried.values())
    ties = [setting for setting, value in tried.items() if value == best]
    return preset if preset in ties else min(ties, key=astuple)


def run(job: tuple[Run, bool, int]) -> Result:
    """Trains and scores one model."""
    torch.set_num_threads(1)
    row, search, shrink = job
    variant = next(v for v in variants() if (v.task, v.name) == (row.task, row.variant))
    policy, config = configure(variant, row.setting)
    kwargs: dict[str, Any] = {"expose_gradient": True} if config.credit == "given" else {}
    if search and variant.task != "xor":
        kwargs["holdout"] = True
    model = NodePerturbation(policy, gym.make(variant.env, **kwargs), config, seed=row.seed)
    started = time.perf_counter()
    model.learn(row.env_steps // shrink)
    seconds = time.perf_counter() - started
    # Other seeds for the XOR's search than for its report.
    split, seed = ("validation", 20_000) if search else ("test", 10_000)
    score = evaluate(model, variant.env, split=split, seed=seed)
    return {
        **asdict(row),
        "metric": score.metric,
        "value": score.value,
        "seconds": round(seconds, 1),
    }


def planned(arguments: argparse.Namespace) -> list[Run]:
    """All runs, of all tasks."""
    return [
        Run(variant.task, variant.name, steps, *astuple(setting), seed)
        for variant in variants()
        if arguments.search or variant.reported
        for steps in variant.budgets
        for setting in (variant.settings if arguments.search else (setting_of(variant, steps),))
        for seed in arguments.seeds
    ]


def read_results(path: pathlib.Path) -> dict[Run, Result]:
    """What is in the CSV already."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [
            {**row, "env_steps": int(row["env_steps"]), "seed": int(row["seed"]),
             "learning_rate": float(row["learning_rate"]),
             "weight_decay": float(row["weight_decay"]), "value": float(row["value"])}
            for row in csv.DictReader(file)
        ]  # fmt: skip
    return {Run(*(row[field] for field in Run.__dataclass_fields__)): row for row in rows}


def append_result(path: pathlib.Path, result: Result) -> None:
    """One more row, at once."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(result))
        if new:
            writer.writeheader()
        writer.writerow(result)


def table(results: dict[Run, Result]) -> str:
    """Medians over seeds, as Markdown."""
    lines = [
        "| task | feedback | env steps | step size | weight decay | median | range over seeds "
        "| target |",
        "|---|---|---|---|---|---|---|---|",
    ]
    targets = {(v.task, v.name): v.target for v in variants()}
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for row, result in results.items():
        key = (row.task, row.variant, row.env_steps, row.setting)
        groups.setdefault(key, []).append(result)
    for (task, name, steps, setting), found in groups.items():
        values = [one["value"] for one in found]
        show = shown(found[0]["metric"])
        spread = f"{show(min(values))} – {show(max(values))} ({len(values)})"
        lines.append(
            f"| {task} | {name} | {steps:,} | {setting.learning_rate:g} | {setting.weight_decay:g} "
            f"| {show(statistics.median(values))} | {spread} | {targets.get((task, name), '')} |"
        )
    return "\n".join(lines)


def shown(metric: str) -> Any:
    """How a metric's values are written."""
    return (lambda v: f"{v:.4f}") if metric.endswith("mse") else (lambda v: f"{v:.2%}")


def picture(results: dict[Run, Result], path: pathlib.Path) -> None:
    """One panel a task, one dot a seed."""
    tasks = list(dict.fromkeys(row.task for row in results))
    figure, panels = plt.subplots(
        1, len(tasks), figsize=(4.2 * len(tasks), 3.4), layout="constrained", squeeze=False
    )
    for axes, task in zip(panels[0], tasks, strict=True):
        rows = {row: result for row, result in results.items() if row.task == task}
        names = list(dict.fromkeys(f"{row.variant}\n{row.env_steps:,}" for row in rows))
        for row, result in rows.items():
            place = names.index(f"{row.variant}\n{row.env_steps:,}")
            axes.plot(result["value"], place, "o", color="C0", alpha=0.6)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.invert_yaxis()
        axes.set(title=task, xlabel=next(iter(rows.values()))["metric"].replace("_", " "))
        axes.grid(alpha=0.3, axis="x")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Runs what is missing, then writes table and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted({v.task for v in variants()}))
    parser.add_argument("--seeds", type=int, nargs="+", default=None, help="default: 0 1 2 3 4")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/reach"))
    parser.add_argument("--search", action="store_true", help="try settings; one seed, 100")
    parser.add_argument("--quick", action="store_true", help="1/400 of the env steps, one seed")
    arguments = parser.parse_args()
    if arguments.seeds is None:
        arguments.seeds = [100] if arguments.search else [0] if arguments.quick else [*range(5)]
    name = "search" if arguments.search else "reach"
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / (f"{name}_quick.csv" if arguments.quick else f"{name}.csv")
    done = read_results(path)
    known = planned(arguments)
    wanted = [row for row in known if not arguments.only or row.task in arguments.only]
    missing = [row for row in wanted if row not in done]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are in {path}", flush=True)
    jobs = [(row, arguments.search, 400 if arguments.quick else 1) for row in missing]
    for i, result in enumerate(carry_out(run, jobs, arguments.jobs), start=1):
        append_result(path, result)
        print(f"{i}/{len(jobs)} {result}", flush=True)
    done = read_results(path)
    order = {replace(row, seed=0): place for place, row in enumerate(known)}
    rows = [row for row in done if replace(row, seed=0) in order]  # all that is there, any seed
    rows.sort(key=lambda row: (order[replace(row, seed=0)], row.seed))
    results = {row: done[row] for row in rows}
    report = table(results)
    path.with_suffix(".md").write_text(report + "\n")
    picture(results, path.with_suffix(".png"))
    print(f"{report}\n\nwrote {path}, {path.stem}.md and {path.stem}.png")


if __name__ == "__main__":
    main()
