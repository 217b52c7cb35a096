"""The result tables of the root README, from the committed CSV files.

    python examples/benchmarks/readme_table.py           # writes them into README.md
    python examples/benchmarks/readme_table.py --check   # fails where README.md says otherwise

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. In "rivals" the best score of a
row is bold; of equal ones, the fewest env steps.
"""

from __future__ import annotations

import argparse
import csv
import math
import pathlib
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import Any

import numpy as np
from reach import read_results
from value_mode import chosen
from value_mode import grouped as by_setting
from value_mode import read_results as read_value_mode

from nodepert.agents.compare.summary import centre, finals, lower_is_better, reached_at

RESULTS = pathlib.Path(__file__).parent / "results"
README = pathlib.Path(__file__).parents[2] / "README.md"

Record = dict[str, Any]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines) + "\n"


def amount(env_steps: float) -> str:
    """``"520"``, ``"100 k"``, ``"1.2 M"``."""
    if env_steps < 1e3:
        return f"{env_steps:g}"
    return f"{env_steps / 1e6:g} M" if env_steps >= 1e6 else f"{round(env_steps / 1e3)} k"


def rounded(value: float, digits: int) -> str:
    """A half goes away from zero, as readers expect; with a true minus sign."""
    exact = Decimal(f"{value:.9g}").quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return str(exact).replace("-", "−")


def shown(metric: str, value: float, digits: int = 1) -> str:
    """How a README writes a value of a metric; ``digits`` are those of a percentage."""
    if metric.endswith("_mse"):
        return rounded(value, 4)
    if metric.endswith("_error"):
        return f"{rounded(100 * value, digits)} %"
    if metric == "go_accuracy":
        return f"{rounded(100 * value, 0)} %"
    return rounded(value, 1 if abs(value) < 200 else 0)


# What it reaches -------------------------------------------------------------------------------

REACHED = (
    ("MNIST-v0, 784-256-128-10 ReLU, test error", "mnist", 1_200_000),
    ("the same", "mnist", 2_400_000),
    ("the same, probes replayed nine times", "mnist-replayed", 100_000),
    ("the same", "mnist-replayed", 200_000),
    ("the same", "mnist-replayed", 400_000),
    ("the same, probes replayed twice", "mnist-replayed", 1_200_000),
    ("MNIST-v0 `--preset cnn`, two convolutions", "mnist-cnn", 1_200_000),
    ("MNIST-v0 `--preset paper`, 784-50-20-10 sigmoid", "mnist-paper", 1_200_000),
    ("the same", "mnist-paper", 2_400_000),
    ("MNISTAutoencoder-v0, 784-200-2-200-784, test MSE", "autoencoder", 720_000),
    ("DelayedXOR-v0, 50 tanh units, delay 4, go accuracy", "xor", 320_000),
    ("the same, windows replayed nine times", "xor", 20_000),
)
VARIANTS = (
    ("one-point", "one-point, 9 replays", "one-point, 2 replays"), ("response",),
    ("loss (K=10)", "loss"), ("fixed",), ("backprop below", "backprop"),
)  # fmt: skip
ORACLE = "given gradient, backprop"


def reach() -> str:
    """Medians over seeds of what ``reach.py`` measured."""
    found: dict[tuple[str, str, int], list[Record]] = {}
    for run, result in read_results(RESULTS / "reach.csv").items():
        found.setdefault((run.task, run.variant, run.env_steps), []).append(result)

    def cell(task: str, names: tuple[str, ...], steps: int) -> str:
        own = next((found[task, name, steps] for name in names if (task, name, steps) in found), [])
        if not own:
            return "–"
        return shown(own[0]["metric"], statistics.median(one["value"] for one in own), 2)

    rows = []
    for title, task, steps in REACHED:
        cells = [cell(task, names, steps) for names in VARIANTS]
        oracle = cell(task, (ORACLE,), steps // 2)  # without probes: the same contexts
        rows.append((title, amount(steps), f"**{cells[0]}**", *cells[1:], oracle))
    header = ("task", "env steps", "one-point probes", "pairs: `response`", "`loss`", "`fixed`",
              "backprop below", "true gradient, backprop")  # fmt: skip
    return markdown(header, rows)


# Beside other learners -------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One learner's score, and when it reached a target."""

    name: str
    metric: str
    value: float
    seeds: int
    steps: int
    reached: tuple[float, int] | None = None
    """Median env steps to the target, and how many seeds there were that reached it."""
    note: str = ""

    @property
    def score(self) -> str:
        """As it is written."""
        return shown(self.metric, self.value)

    def text(self, best: str, seeds: int, steps: int) -> str:
        """In a row of so many seeds and env steps, whose best is bold: ``score`` or ``steps``."""
        words = [self.name, f"**{self.score}**" if best == "score" else self.score]
        if self.reached is not None and math.isfinite(self.reached[0]):
            when, count = self.reached
            when_text = f"**{amount(when)}**" if best == "steps" else amount(when)
            some = "" if count == self.seeds else f", {count} of {self.seeds} seeds"
            words.append(f"({when_text}{self.note}{some})")
        if self.steps != steps:
            words.append(f"after {amount(self.steps)}")
        text = " ".join(word for word in words if word)
        return (
            text if self.seeds == seeds else f"{text}, {self.seeds} seed" + "s" * (self.seeds > 1)
        )


def compared(
    folder: str, agent: str, name: str = "", target: float | None = None, note: str = "",
    env: str | None = None,
) -> Cell:  # fmt: skip
    """A learner of a committed comparison: interquartile mean of its seeds, of few the median.

    ``env`` says on which task, where the comparison has several.
    """
    runs: dict[str, Record] = {}
    with (RESULTS / folder / "comparison.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["agent"] == agent and env in (None, row["env"]):
                point = {**row, "env_steps": int(row["env_steps"]), "value": float(row["value"])}
                runs.setdefault(row["seed"], {"points": []})["points"].append(point)
    records = list(runs.values())
    last = records[0]["points"][-1]
    reached = None
    if target is not None:
        steps = [reached_at(record, target) for record in records]
        some = [one for one in steps if one is not None]
        when = statistics.median_high([*some, *[math.inf] * (len(steps) - len(some))])
        reached = (when, len(some))
    return Cell(name, last["metric"], float(centre([finals(records)])), len(records),
                last["env_steps"], reached, note)  # fmt: skip


def valued(agent: str, name: str = "", budget: int = 200_000) -> Cell:
    """A learner of ``value_mode.py``, with the setting that its search chose."""
    groups = by_setting(read_value_mode(RESULTS / "value_mode.csv"))
    values = [one["value"] for one in groups[agent, budget, chosen(agent, budget)]]
    return Cell(name, "test_error", float(np.median(values)), len(values), budget)


Row = tuple[str, Cell, "Cell | None", tuple[Cell, ...]]


def contests() -> Iterable[Row]:
    """Task, ours, ours with random feedback, rivals."""

    def three(title: str, folder: str, rival: str = "ppo", target: float | None = None) -> Row:
        named = {"ppo": "PPO", "recurrent_ppo": "RecurrentPPO"}[rival]
        folder = f"comparisons/{folder}"
        fixed = "np:fixed" in (RESULTS / folder / "comparison.csv").read_text()
        return (
            title, compared(folder, "np", "", target),
            compared(folder, "np:fixed", "", target) if fixed else None,
            (compared(folder, rival, named, target),),
        )  # fmt: skip

    def critics(title: str, folder: str) -> Row:
        played = partial(compared, f"comparisons/{folder}")
        others = (
            played("sac", "SAC"), played("td3", "TD3"), played("np", "ours by score"),
            played("np:critic:backprop", "by backprop"),
        )  # fmt: skip
        return title, played("np:critic"), played("np:critic:fixed"), others

    yield three("CartPole-v1", "cartpole", target=475)
    yield three("Pendulum-v1", "pendulum")
    yield three("the same", "pendulum200k")
    yield critics('the same, `credit="critic"`', "pendulum20k")
    yield three("Acrobot-v1", "acrobot")
    yield three("MountainCarContinuous-v0", "mountaincar", target=90)
    yield three("LunarLander-v3", "lunar", target=200)
    yield three("HalfCheetah-v5", "halfcheetah")
    yield critics('the same, `credit="critic"`', "halfcheetah40k")
    yield three("Hopper-v5", "hopper")
    yield three("CartPoleNoVel-v1, recurrent", "novel", "recurrent_ppo", 475)
    xor = partial(compared, "suite", env="DelayedXOR-v0")
    yield (
        "DelayedXOR-v0, recurrent", xor("np", "", 0.99, " to 99 %"), xor("np:fixed", "", 0.99),
        (xor("recurrent_ppo", "RecurrentPPO", 0.99), xor("ppo", "PPO without memory")),
    )  # fmt: skip
    yield (
        "the same, both after as wide a search",
        compared("comparisons/xor_tuned", "np", "", 0.99),
        None,
        (compared("comparisons/xor_tuned", "recurrent_ppo", "RecurrentPPO", 0.99),),
    )
    for title, env, ours in (
        ("MNIST-v0, actions are ten numbers", "MNIST-v0", "np"),
        ("the same, probes replayed nine times", "MNIST-v0", "np:replays"),
        ("MNISTAutoencoder-v0, test MSE", "MNISTAutoencoder-v0", "np"),
    ):
        played = partial(compared, "suite", env=env)
        others = (played("ppo", "PPO"), played("a2c", "A2C"), played("sac", "SAC"))
        yield title, played(ours), played("np:fixed") if ours == "np" else None, others
    yield (
        "MNIST-v0, the action names the digit", valued("value, response"), valued("value, fixed"),
        (valued("DQN", "DQN"), valued("PPO", "PPO"), valued("PPO", "PPO", 1_200_000)),
    )  # fmt: skip


def line(row: Row) -> list[str]:
    """A row as text."""
    title, ours, fixed, rivals = row
    cells = [ours, *([fixed] if fixed else []), *rivals]
    bold = best_of([cell for cell in cells if cell.steps == ours.steps])
    texts = {id(cell): cell.text(bold.get(id(cell), ""), ours.seeds, ours.steps) for cell in cells}
    seeds = "" if ours.seeds == 5 else f", {ours.seeds} seeds"
    return [
        f"{title}{seeds}", amount(ours.steps), texts[id(ours)],
        texts[id(fixed)] if fixed else "–", "; ".join(texts[id(cell)] for cell in rivals),
    ]  # fmt: skip


def best_of(cells: list[Cell]) -> dict[int, str]:
    """Which cell is the best, by ``id``: in its score, or in the env steps of equal scores."""
    pick = min if lower_is_better(cells[0].metric) else max
    best = pick(cells, key=lambda cell: cell.value)
    equal = [cell for cell in cells if cell.score == best.score]
    if len(equal) == 1:
        return {id(best): "score"}
    whole = [cell for cell in equal if cell.reached and cell.reached[1] == cell.seeds]
    if len(whole) < len(equal):
        return {}
    return {id(min(whole, key=lambda cell: cell.reached or (math.inf, 0))): "steps"}


def rivals() -> str:
    """Last scores beside other learners."""
    header = ("task", "env steps", "ours", "`np:fixed`", "rival")
    return markdown(header, map(line, contests()))


TABLES = {"reach": reach, "rivals": rivals}


def updated(text: str) -> str:
    """A README with its tables made anew.

    Raises:
        SystemExit: A table's place is missing.
    """
    for name, made in TABLES.items():
        place = re.compile(rf"(<!-- table: {name} -->\n\n).*?(\n<!-- end -->)", re.DOTALL)
        if not place.search(text):
            raise SystemExit(f"README.md: no <!-- table: {name} --> … <!-- end -->")
        table = made()
        text = place.sub(lambda found, table=table: found[1] + table + found[2], text)
    return text


def main() -> None:
    """Writes the tables, or checks them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    arguments = parser.parse_args()
    before = README.read_text("utf-8")
    after = updated(before)
    if arguments.check and after != before:
        raise SystemExit(
            "README.md is out of date: python examples/benchmarks/readme_table.py writes its tables"
        )
    if not arguments.check:
        README.write_text(after, "utf-8")


if __name__ == "__main__":
    main()
