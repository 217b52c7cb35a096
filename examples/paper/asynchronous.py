"""W and B learned apart: MNIST with a forward and a feedback learner that lag behind each other.

    python examples/paper/asynchronous.py [--quick] [--out DIR] [--seeds …] [--jobs …]

784-50-20-10 sigmoid units, given the output gradient and from the scalar reward alone. "exact": in
one process, each learner sees the other's weights as they were exactly so many updates ago.
"apart": two processes that exchange weights as they go, at most so many updates apart; such a task
uses two cores. Beside them one model that learns both at once, and one whose feedback is random.
"""

from __future__ import annotations

import pathlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import gymnasium as gym
import matplotlib.pyplot as plt
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from study import PAIRED, Claim, Row, Study, Task, curve, main, median, save, select, spread
from torch import Tensor

from nodepert.agents import NodePerturbation
from nodepert.agents.asynchronous import copy_all, train_apart, weights_of
from nodepert.agents.evaluation import evaluate
from nodepert.agents.metrics import weight_alignment
from nodepert.agents.presets import preset_for

COLUMNS = {"given": "given output gradient", "paired": "scalar reward only"}
LAGS, MAX_LAGS = (0, 1, 8, 64, 256, 1_024), (0, 16)


@dataclass(frozen=True)
class Maker:
    """Makes the models of one run, in whichever process."""

    credit: str
    seed: int
    rule: str = "response"

    def __call__(self, **intervals: int) -> NodePerturbation:
        """The paper's network on MNIST."""
        env = gym.make("MNIST-v0", expose_gradient=self.credit == "given")
        paper = replace(preset_for("MNIST-v0", "paper").config, node_noise="gaussian")
        probes = PAIRED if self.credit == "paired" else {"credit": self.credit}
        config = replace(paper, **probes, rule=self.rule, **intervals)
        # Contexts of its own for each learner.
        seed = 2 * self.seed + (intervals.get("forward_interval") == 0)
        return NodePerturbation("MlpPolicy", env, config, seed=seed)


class Delayed(BaseCallback):
    """Lets a feedback learner make one update before each of this forward learner's.

    Args:
        learner: The feedback learner.
        lag: How many updates ago the weights were as both see them of each other.
    """

    def __init__(self, learner: NodePerturbation, lag: int) -> None:
        super().__init__()
        self.learner = learner
        self.past: deque[dict[str, list[Tensor]]] = deque(maxlen=lag + 1)

    def _on_rollout_start(self) -> None:
        ours, theirs = self.model.policy.network, self.learner.policy.network
        now = {"forward": weights_of(ours, "forward"), "feedback": weights_of(theirs, "feedback")}
        self.past.append({k: [one.detach().clone() for one in v] for k, v in now.items()})
        copy_all(self.past[0]["forward"], weights_of(theirs, "forward"))
        self.learner.learn(self.learner.n_envs, log_interval=0, reset_num_timesteps=False)
        copy_all(self.past[0]["feedback"], weights_of(ours, "feedback"))

    def _on_step(self) -> bool:
        return True


def point(model: NodePerturbation) -> Row:
    """How good model and B are; the test split."""
    alignment = weight_alignment(model.policy.network)
    return {
        "forward_env_steps": model.num_timesteps,
        "test_error": evaluate(model, "MNIST-v0").value,
        "weight_angle_2": alignment["weight_angle_2"],
        "weight_angle_3": alignment["weight_angle_3"],
    }


class HalfWay(BaseCallback):
    """Measures once, when half of the steps are done and W still moves.

    Args:
        steps: All of them.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.row: Row = {}

    def _on_step(self) -> bool:
        if not self.row and 2 * self.num_timesteps >= self.steps:
            self.row = point(self.model)
        return True


def run(task: Task) -> list[Row]:
    """Trains in one of the ways; a row at half way and one at the end, with what it took."""
    make = Maker(task["credit"], task["seed"], "fixed" if task["part"] == "fixed" else "response")
    steps = task["contexts"] * (2 if task["credit"] == "paired" else 1)
    half_way = HalfWay(steps)
    started = time.perf_counter()
    measured: Row = {}
    if task["part"] == "apart":
        apart = train_apart(make, steps, task["lag"], patience=300.0, callback=half_way)
        model, env_steps = apart.model, apart.env_steps
        measured = {"most_behind": max(apart.lags), "most_ahead": -min(apart.lags)}
    elif task["part"] == "exact":
        model, learner = make(feedback_interval=0), make(forward_interval=0)
        model.learn(steps, CallbackList([Delayed(learner, task["lag"]), half_way]))
        env_steps = model.num_timesteps + learner.num_timesteps
    else:
        model = make().learn(steps, half_way)
        env_steps = model.num_timesteps
    seconds = time.perf_counter() - started
    return [half_way.row, {**point(model), "env_steps": env_steps, "seconds": seconds, **measured}]


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """All ways to learn, in both columns."""
    parts = [("exact", lag) for lag in (LAGS[::3] if quick else LAGS)]
    parts += [("apart", lag) for lag in (MAX_LAGS[1:] if quick else MAX_LAGS)]
    parts += [("together", 0), ("fixed", 0)]
    return [
        {
            "part": part,
            "lag": lag,
            "credit": credit,
            "contexts": 8_000 if quick else 90_000,
            "seed": seed,
        }
        for seed in seeds
        for part, lag in parts
        for credit in COLUMNS
    ]


# The report ------------------------------------------------------------------------------------


def finals(rows: list[Row], **values: object) -> list[Row]:
    """The last row of each run."""
    return [row for row in select(rows, **values) if "env_steps" in row]


def underway(rows: list[Row], **values: object) -> list[Row]:
    """The rows at half way."""
    return [row for row in select(rows, **values) if "env_steps" not in row]


def claims(rows: list[Row]) -> list[Claim]:
    """Learning apart works, within the bound; what lag costs; what it takes."""
    found = []
    for credit, column in COLUMNS.items():
        own = select(rows, credit=credit)
        together, fixed = (finals(own, part=part) for part in ("together", "fixed"))
        apart = finals(own, part="apart")
        reference = median(together, "test_error")
        found.append(
            Claim(
                f"{column}: two processes learn MNIST as well as one model (within 1 point)",
                f"test error {spread(apart, 'test_error')}; one model "
                f"{spread(together, 'test_error')}; random feedback {spread(fixed, 'test_error')}",
                median(apart, "test_error") < reference + 0.01,
                f"apart {credit}",
            )
        )
        found.append(
            Claim(
                f"{column}: the feedback learner is never further behind than allowed",
                "; ".join(
                    f"at most {lag}: {max(row['most_behind'] for row in select(apart, lag=lag)):g}"
                    for lag in sorted({row["lag"] for row in apart})
                ),
                all(row["most_behind"] <= row["lag"] for row in apart),
                f"bound {credit}",
            )
        )
        lags, errors = curve(finals(own, part="exact"), "lag", "test_error")
        points = list(zip(lags, errors, strict=True))
        bearable = max((lag for lag, error in points if error < reference + 0.005), default=None)
        found.append(
            Claim(
                f"{column}: test error grows with the lag",
                ", ".join(f"{lag}: {error:.2%}" for lag, error in points)
                + f"; within half a point of one model up to a lag of {bearable} updates of "
                f"{updates(own)}; random feedback {median(fixed, 'test_error'):.2%}",
                errors[-1] > errors[0],
                f"lag {credit}",
            )
        )
        found.append(
            Claim(
                f"{column}: the price is a second stream of env steps",
                f"{median(apart, 'env_steps'):,.0f} for both learners, "
                f"{median(together, 'env_steps'):,.0f} for one model",
                median(apart, "env_steps") < 2.1 * median(together, "env_steps"),
                f"env steps {credit}",
            )
        )
    return found


def updates(rows: list[Row]) -> int:
    """Of the forward learner in a whole run; batches are of 32."""
    return max((row["contexts"] // 32 for row in rows), default=0)


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Test error and angle(W, B) against the lag, in both columns."""
    figure, grid = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for axes, (credit, column) in zip(grid, COLUMNS.items(), strict=False):
        own = select(rows, credit=credit)
        for part, label, style in (
            ("exact", "lag of exactly …", "o-"),
            ("apart", "two processes, at most …", "s"),
        ):
            runs = finals(own, part=part)
            axes.plot(*curve(runs, "lag", "test_error"), style, label=label)
            every = [(row["lag"], row["test_error"]) for row in runs]
            axes.plot(*zip(*every, strict=True), ".", color="grey", ms=3)
        for part, label, colour in (
            ("together", "one model", "black"),
            ("fixed", "random feedback", "C3"),
        ):
            value = median(finals(own, part=part), "test_error")
            axes.axhline(value, color=colour, ls="--", lw=1, label=label)
        axes.set(title=column, xlabel="lag, updates", ylabel="test error", yscale="log")
        for layer, style in ((2, ":"), (3, "-")):
            angles = curve(underway(own, part="exact"), "lag", f"weight_angle_{layer}")
            look = {"color": f"C{int(credit == 'paired')}", "label": f"{column}, layer {layer}"}
            grid[2].plot(*angles, "o" + style, **look)
    grid[2].set(title="half way", xlabel="lag, updates", ylabel="angle(W, B), degrees")
    for axes in grid:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=-0.3)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    save(figure, path)


STUDY = Study(
    name="asynchronous",
    tasks=tasks,
    run=run,
    minutes=lambda task: (
        task["contexts"]
        * {"exact": 2.2, "apart": 2.2, "together": 1.0, "fixed": 0.8}[task["part"]]
        / 1_000_000
        + 0.1
    ),
    draw=draw,
    claims=claims,
    seeds=(0, 1, 2),
    notes="""
B is learned by `response`. Medians (range) over seeds, test split. Env steps count every probe of
both learners; the feedback learner's own probes of the output teach `response` nothing, and are
counted all the same.
""",
)

if __name__ == "__main__":
    main(STUDY, __doc__)
