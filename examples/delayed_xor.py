"""Delayed XOR with a recurrent network: which feedback rules learn it, and how fast.

    python examples/delayed_xor.py [--delay 4] [--steps 320000] [--seeds 0 1 2] [--quick]
    python examples/delayed_xor.py --delay 50 --cell lstm --steps 1000000   # a long memory
    python examples/delayed_xor.py --delay 50 --cell lstm --steps 100000 --replays 9

Trains 50 recurrent units from the scalar reward alone, with feedback learned from node noise
(`response`, `loss`), random feedback (`fixed`) and backpropagation through time (`backprop`).
With --replays, stored windows are learned from again (not by `loss`, which learns from fresh ones).
Writes the learning curves as CSV and PNG.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps

from nodepert.agents import NodePerturbation
from nodepert.agents.evaluation import evaluate
from nodepert.agents.presets import preset_for

RULES: dict[str, dict[str, Any]] = {
    "response": {},
    "loss": {"rule": "loss"},
    "fixed": {"rule": "fixed"},
    "backprop": {"rule": "backprop"},
}

CELLS: dict[str, dict[str, Any]] = {
    "tanh": {"learning_rate": 2e-3},
    "lstm": {"learning_rate": 2e-3, "max_grad_norm": 0.1},
    "gru": {"learning_rate": 2e-3, "max_grad_norm": 0.1},
}
"""By cell, what differs from the preset, whose step size is for short delays."""


class Curve(BaseCallback):
    """Scores the model each time it is called."""

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.delay = delay
        self.points: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        score = evaluate(self.model, "DelayedXOR-v0", {"delay": self.delay})
        self.points.append((self.num_timesteps, score.value))
        return True


def learning_curve(rule: str, seed: int, arguments: argparse.Namespace) -> list[tuple[int, float]]:
    """Go accuracy on 1,000 new trials, at equal distances of env steps."""
    preset, delay = preset_for("DelayedXOR-v0"), arguments.delay
    changes = {**CELLS[arguments.cell], **RULES[rule], "replays": arguments.replays}
    config = replace(preset.config, n_steps=delay + 4, **changes)
    if arguments.credit == "paired":
        config = replace(config, credit="paired", probe_std=0.1)
    env = gym.make("DelayedXOR-v0", delay=delay)
    options = {"cell": arguments.cell}
    model = NodePerturbation(preset.policy, env, config, seed=seed, policy_kwargs=options)
    curve = Curve(delay)
    every = EveryNTimesteps(max(arguments.steps // arguments.points, 1), curve)
    model.learn(arguments.steps, callback=every)
    return curve.points


def main() -> None:
    """Trains, prints a table, writes CSV and PNG."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--delay", type=int, default=4, help="blank steps before the cue")
    parser.add_argument("--credit", choices=("one_point", "paired"), default="one_point")
    parser.add_argument("--cell", choices=CELLS, default="tanh")
    parser.add_argument("--replays", type=int, default=0, help="of windows, after each fresh one")
    parser.add_argument("--rules", nargs="+", choices=RULES, help="default: all that can do it")
    parser.add_argument("--steps", type=int, default=320_000, help="env steps, probes counted")
    parser.add_argument("--points", type=int, default=40, help="of the learning curve")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/delayed_xor"))
    parser.add_argument(
        "--quick", action="store_true", help="one seed, 20,000 env steps, ten points"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.seeds, arguments.points = 20_000, [0], 10
    if arguments.rules is None:
        arguments.rules = [rule for rule in RULES if rule != "loss" or not arguments.replays]
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for rule in arguments.rules:
        for seed in arguments.seeds:
            points = learning_curve(rule, seed, arguments)
            rows += [(rule, seed, steps, accuracy) for steps, accuracy in points]
            solved = next((steps for steps, accuracy in points if accuracy >= 0.99), None)
            reached = f"99 % after {solved:,} env steps" if solved else "99 % not reached"
            print(f"{rule:9} seed {seed}: {points[-1][1]:.1%} in the end, {reached}", flush=True)
    write(rows, arguments)


def write(rows: list[tuple[str, int, int, float]], arguments: argparse.Namespace) -> None:
    """The curves as CSV, and their medians as PNG."""
    with (arguments.out / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rule", "seed", "env_steps", "go_accuracy"])
        writer.writerows(rows)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for rule in arguments.rules:
        curves: dict[int, list[float]] = {}
        for name, _, steps, accuracy in rows:
            if name == rule:
                curves.setdefault(steps, []).append(accuracy)
        axes.plot(list(curves), [np.median(values) for values in curves.values()], label=rule)
    seeds = f"median of {len(arguments.seeds)} seeds"
    axes.set(
        xlabel="env steps (every probe counted)",
        ylabel="accuracy at the go cue",
        title=f"Delayed XOR, delay {arguments.delay}, {arguments.cell}, {seeds}",
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(arguments.out / "curves.png", dpi=120)
    print(f"wrote {arguments.out}/curves.csv and curves.png")


if __name__ == "__main__":
    main()
