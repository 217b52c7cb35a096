"""Naming digits by action values, beside DQN and PPO: env steps against test error.

    python examples/benchmarks/value_mode.py [--seeds 0 1 2] [--jobs 2] [--quick]
    python examples/benchmarks/value_mode.py --search    # settings, on the validation split

The task is MNIST-v0 with discrete actions: the reward says whether the digit named was right, and
not which it was. All agents have a network of 256 and 128 ReLU units and anneal their step size
over the budget. Scores are of the test split; settings come from a search on the validation split,
which training then leaves out. Of each agent twelve were tried with one seed: of ours and DQN after
100,000 env steps, which settles budgets up to there, and of PPO after 400,000, which settles all of
its. At 200,000 the two of ours and the two of DQN that had done best there with the first seed were
compared once more, with two. "5 minibatches" is for those who count seconds: of the settings of
ours that were searched, those with the fewest minibatches. Rows that are in the CSV already are not
run again, so that seconds can be compared only where one run wrote them all. A run stops after 30
minutes; its row says after how many env steps.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import pathlib
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
import matplotlib
import torch
from matplotlib.figure import Figure
from pool import carry_out
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from nodepert.agents import NodePerturbation
from nodepert.agents.evaluation import evaluate
from nodepert.agents.lanes.vec_env import SB3VecEnv

matplotlib.use("Agg")

RESULTS = pathlib.Path(__file__).parent / "results"
NET = [256, 128]
MINUTES = 30
MAIN_BUDGET = 200_000
BUDGETS = (66_000, 100_000, MAIN_BUDGET)
PPO_BUDGETS = (MAIN_BUDGET, 400_000, 1_200_000)

Setting = dict[str, Any]


def varied(base: Setting, *changes: Setting) -> list[Setting]:
    """A setting with each of the changes made to it."""
    return [base | change for change in changes]


def grid(base: Setting, name: str, values: tuple[float, ...], decays: tuple[float, ...]
         ) -> list[Setting]:  # fmt: skip
    """A setting with all pairs of a value and a weight decay."""
    changes = [{name: value, "weight_decay": decay} for value in values for decay in decays]
    return varied(base, *changes)


def around(base: Setting, exploration: Setting) -> list[Setting]:
    """Twelve settings of a learner with a replay buffer, one of them with another exploration."""
    changes = ({"learning_rate": 5e-4}, {"learning_rate": 2e-3}, {"weight_decay": 0.0})
    return [
        *grid(base, "gradient_steps", (5, 10, 20, 40), (0.2, 0.5)),
        *varied(base, exploration, *changes),
    ]


OURS_BASE = {"learning_rate": 1e-3, "gradient_steps": 20, "temperature": 0.1, "weight_decay": 0.2}
DQN_BASE = {
    "learning_rate": 1e-3, "gradient_steps": 20, "exploration_final_eps": 0.05, "weight_decay": 0.2
}  # fmt: skip
OURS = around(OURS_BASE, {"temperature": 0.2})
DQNS = around(DQN_BASE, {"exploration_final_eps": 0.02})
OURS_FAST = grid(OURS_BASE, "gradient_steps", (5,), (0.2, 0.5))
OURS_LONG = varied(
    OURS_BASE,
    {"weight_decay": 0.5},
    {"gradient_steps": 10, "temperature": 0.2, "lr_schedule": "cosine"},
)
DQNS_LONG = varied(DQN_BASE, {}, {"weight_decay": 0.5})
OUR_SEARCHES = {100_000: OURS, MAIN_BUDGET: OURS_LONG}
DQN_SEARCHES = {100_000: DQNS, MAIN_BUDGET: DQNS_LONG}
PPO_BASE = {"learning_rate": 1e-3, "n_epochs": 10, "weight_decay": 0.2, "ent_coef": 0.0}
PPOS = [
    *grid(PPO_BASE, "n_epochs", (5, 10, 20), (0.0, 0.2)),
    *grid(PPO_BASE, "learning_rate", (5e-4, 2e-3), (0.0, 0.2)),
    *grid(PPO_BASE, "ent_coef", (0.01,), (0.0, 0.2)),
]


def lanes(count: int, search: bool) -> SB3VecEnv:
    """Native lanes of the task."""
    return SB3VecEnv(gym.make_vec("MNIST-v0", count, discrete=True, holdout=search))


def falling(rate: float) -> Callable[[float], float]:
    """A step size that falls linearly, as Stable-Baselines3 takes it."""
    return lambda remaining: rate * remaining


def as_arguments(setting: Setting, **policy: Any) -> dict[str, Any]:
    """A setting as arguments of Stable-Baselines3, which takes weight decay with the policy's."""
    decay = setting.get("weight_decay", 0.0)
    if decay:
        policy |= {"optimizer_class": torch.optim.AdamW,
                   "optimizer_kwargs": {"weight_decay": decay, "eps": 1e-5}}  # fmt: skip
    rest = {name: value for name, value in setting.items() if name != "weight_decay"}
    return {**rest, "learning_rate": falling(setting["learning_rate"]), "policy_kwargs": policy}


def ours(rule: str) -> Callable[[Setting, int, bool], BaseAlgorithm]:
    """Value mode with a feedback rule, and a buffer that holds all."""

    def make(setting: Setting, seed: int, search: bool) -> BaseAlgorithm:
        return NodePerturbation(
            "MlpPolicy", lanes(64, search), credit="value", rule=rule, seed=seed,
            buffer_size=MAIN_BUDGET, **{"lr_schedule": "linear", **setting},
        )  # fmt: skip

    return make


def dqn(setting: Setting, seed: int, search: bool) -> BaseAlgorithm:
    """As many minibatches of the same size as ours, and a buffer that holds all."""
    return DQN(
        "MlpPolicy", lanes(64, search), gamma=0.0, train_freq=1, batch_size=64,
        buffer_size=MAIN_BUDGET, seed=seed, device="cpu", **as_arguments(setting, net_arch=NET),
    )  # fmt: skip


def ppo(setting: Setting, seed: int, search: bool) -> BaseAlgorithm:
    """Rollouts of 8 steps in 256 lanes."""
    return PPO(
        "MlpPolicy", lanes(256, search), n_steps=8, batch_size=256, seed=seed, device="cpu",
        **as_arguments(setting, net_arch=NET, activation_fn=torch.nn.ReLU),
    )  # fmt: skip


@dataclass(frozen=True)
class Agent:
    """One line of the picture."""

    make: Callable[[Setting, int, bool], BaseAlgorithm]
    budgets: tuple[int, ...]
    searches: dict[int, list[Setting]]
    """What --search tries, by budget."""
    searched_as: str
    """Whose search settles the setting."""

    def search_budget(self, budget: int) -> int:
        """Where the setting of a budget is searched: the next one that is as long."""
        return min((one for one in self.searches if one >= budget), default=max(self.searches))

    def setting(self, text: str) -> Setting:
        """The setting that is written so."""
        tried = (setting for settings in self.searches.values() for setting in settings)
        return next(one for one in tried if as_text(one) == text)


def of_ours(rule: str, budgets: tuple[int, ...]) -> Agent:
    """Value mode by a rule, all with the setting that was searched with `response`."""
    return Agent(ours(rule), budgets, OUR_SEARCHES, "value, response")


AGENTS = {
    "value, response": of_ours("response", BUDGETS),
    "value, 5 minibatches": Agent(
        ours("response"), BUDGETS, {100_000: OURS_FAST}, "value, response"
    ),
    "value, backprop": of_ours("backprop", (MAIN_BUDGET,)),
    "value, fixed": of_ours("fixed", (MAIN_BUDGET,)),
    "PPO": Agent(ppo, PPO_BUDGETS, {400_000: PPOS}, "PPO"),
    "DQN": Agent(dqn, BUDGETS, DQN_SEARCHES, "DQN"),
}


@dataclass(frozen=True)
class Run:
    """One row of the CSV before it is run."""

    agent: str
    budget: int
    setting: str
    seed: int


Result = dict[str, Any]


def as_text(setting: Setting) -> str:
    """A setting as one cell."""
    shown = {name: f"{v:g}" if isinstance(v, float) else v for name, v in setting.items()}
    return " ".join(f"{name}={value}" for name, value in shown.items())


def chosen(name: str, budget: int) -> str:
    """The setting that did best in the committed search, or the first."""
    agent = AGENTS[name]
    searched = agent.search_budget(budget)
    texts = [as_text(setting) for setting in agent.searches[searched]]
    found = {
        setting: statistics.mean(result["value"] for result in results)
        for (who, tried, setting), results in grouped(
            read_results(RESULTS / "value_mode_search.csv")
        ).items()
        if who == agent.searched_as and tried == searched and setting in texts
    }
    return min(found, key=lambda setting: found[setting], default=texts[0])


class Limit(BaseCallback):
    """Stops a run after so many minutes."""

    def _on_training_start(self) -> None:
        self.end = time.perf_counter() + 60 * MINUTES

    def _on_step(self) -> bool:
        return time.perf_counter() < self.end


def run(job: tuple[Run, bool, int]) -> Result:
    """Trains and scores one model."""
    torch.set_num_threads(1)
    row, search, shrink = job
    agent = AGENTS[row.agent]
    model = agent.make(agent.setting(row.setting), row.seed, search)
    started = time.perf_counter()
    model.learn(row.budget // shrink, callback=Limit())
    seconds = time.perf_counter() - started
    split = "validation" if search else "test"
    score = evaluate(model, "MNIST-v0", {"discrete": True}, split=split)
    return {
        **asdict(row),
        "env_steps": model.num_timesteps,
        "metric": score.metric,
        "value": score.value,
        "seconds": round(seconds, 1),
    }


def planned(names: list[str], search: bool, seeds: list[int], quick: bool) -> list[Run]:
    """All runs of these agents, the most telling ones first; a few of them if quick."""
    agents = {name: AGENTS[name] for name in names}
    if search:
        searched = [(name, a) for name, a in agents.items() if name == a.searched_as]
        return [
            Run(name, budget, as_text(setting), seed)
            for name, agent in searched
            for budget, settings in agent.searches.items()
            for setting in settings
            for seed in (seeds if budget == MAIN_BUDGET else seeds[:1])
        ]
    rows = [
        (budget != MAIN_BUDGET, seed, budget, name)
        for name, agent in agents.items()
        for budget in agent.budgets
        for seed in seeds
        if budget == MAIN_BUDGET or not quick
    ]
    rows.sort(key=lambda row: row[:3])
    return [Run(name, budget, chosen(name, budget), seed) for _, seed, budget, name in rows]


def read_results(path: pathlib.Path) -> dict[Run, Result]:
    """What is in the CSV already."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        Run(row["agent"], int(row["budget"]), row["setting"], int(row["seed"])): {
            **row,
            "env_steps": int(row["env_steps"]),
            "value": float(row["value"]),
            "seconds": float(row["seconds"]),
        }
        for row in rows
    }


def append_result(path: pathlib.Path, result: Result) -> None:
    """One more row, at once."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(result))
        if new:
            writer.writeheader()
        writer.writerow(result)


def grouped(results: dict[Run, Result]) -> dict[tuple[str, int, str], list[Result]]:
    """Results of all seeds."""
    groups: dict[tuple[str, int, str], list[Result]] = {}
    for row, result in results.items():
        groups.setdefault((row.agent, row.budget, row.setting), []).append(result)
    return groups


def table(results: dict[Run, Result]) -> str:
    """Medians over seeds, as Markdown."""
    lines = [
        "| agent | env steps | setting | median error | range over seeds | median seconds |",
        "|---|---|---|---|---|---|",
    ]
    for (agent, budget, setting), found in grouped(results).items():
        values = [one["value"] for one in found]
        cut = min(one["env_steps"] for one in found)
        steps = f"{budget:,}" if cut >= budget else f"{budget:,}, cut at {cut:,} steps"
        lines.append(
            f"| {agent} | {steps} | {setting} | {median(found, 'value'):.2%} "
            f"| {min(values):.2%} – {max(values):.2%} ({len(values)}) "
            f"| {median(found, 'seconds'):.0f} |"
        )
    return "\n".join(lines)


def median(results: list[Result], column: str) -> float:
    """Over seeds."""
    return statistics.median(one[column] for one in results)


def picture(results: dict[Run, Result], path: pathlib.Path) -> None:
    """Error over env steps and over seconds: lines through medians, one dot a run."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("env_steps", "seconds"),
        ("env steps", "seconds of training"),
        strict=True,
    ):
        for colour, name in enumerate(AGENTS):
            groups = [found for (who, *_), found in grouped(results).items() if who == name]
            curve = sorted(
                (median(found, column), 100 * median(found, "value")) for found in groups
            )
            if curve:
                axes.plot(*zip(*curve, strict=True), color=f"C{colour}", label=name)
            for one in itertools.chain.from_iterable(groups):
                axes.plot(one[column], 100 * one["value"], ".", color=f"C{colour}")
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].set_ylabel("error, %")
    figure.axes[0].legend()
    figure.suptitle("MNIST, one digit named per image, reward: right or wrong", fontsize=10)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Runs what is missing, then writes table and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--agents", nargs="+", choices=list(AGENTS), default=list(AGENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=None, help="default: 0 1 2")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/value_mode"))
    parser.add_argument("--search", action="store_true", help="try settings; seeds 100, 101")
    parser.add_argument("--quick", action="store_true", help="1/400 of one budget, one seed")
    parser.add_argument("--report", action="store_true", help="run nothing, report what is there")
    arguments = parser.parse_args()
    if arguments.seeds is None:
        arguments.seeds = [100, 101] if arguments.search else [0] if arguments.quick else [0, 1, 2]
    name = "value_mode_search" if arguments.search else "value_mode"
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / (f"{name}_quick.csv" if arguments.quick else f"{name}.csv")
    done = read_results(path)
    wanted = planned(arguments.agents, arguments.search, arguments.seeds, arguments.quick)
    missing = [] if arguments.report else [row for row in wanted if row not in done]
    print(f"{sum(row in done for row in wanted)} of {len(wanted)} runs are in {path}", flush=True)
    jobs = [(row, arguments.search, 400 if arguments.quick else 1) for row in missing]
    for i, result in enumerate(carry_out(run, jobs, arguments.jobs), start=1):
        append_result(path, result)
        print(f"{i}/{len(jobs)} {result}", flush=True)
    done = read_results(path)
    everything = planned(list(AGENTS), arguments.search, arguments.seeds, arguments.quick)
    results = {row: done[row] for row in everything if row in done}
    report = table(results)
    path.with_suffix(".md").write_text(report + "\n")
    picture(results, path.with_suffix(".png"))
    print(f"{report}\n\nwrote {path}, {path.stem}.md and {path.stem}.png")


if __name__ == "__main__":
    main()
