"""Env steps a second on CartPole-v1: score mode beside Stable-Baselines3's PPO, settings equal.

    python examples/benchmarks/score_speed.py [--repeats 7] [--out DIR] [--quick]

Both have 8 lanes of 128 steps a rollout, 10 epochs of minibatches of 256, actor and critic of two
layers of 64 tanh units, and neither normalises anything; each makes its lanes as it does by itself.
PPO's gradients come from autograd; ours travel down through feedback weights (`response`, which
learn at the same time) or through the transposed weights (`backprop`). Each repeat times all sides,
one after the other, on one thread; the table has medians over repeats.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import statistics
import time

import matplotlib
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env

from nodepert.agents import NodePerturbation

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LANES, STEPS, BATCH, EPOCHS = 8, 128, 256, 10


def sides() -> dict[str, BaseAlgorithm]:
    """The algorithms; the others are divided by the first."""
    ppo = PPO(
        "MlpPolicy", make_vec_env("CartPole-v1", LANES), n_steps=STEPS, batch_size=BATCH,
        n_epochs=EPOCHS, seed=0, device="cpu",
    )  # fmt: skip
    ours = {
        f"score, {rule}": NodePerturbation(
            "MlpPolicy", "CartPole-v1", seed=0, credit="score", rule=rule, n_envs=LANES,
            n_steps=STEPS, batch_size=BATCH, n_epochs=EPOCHS, net_arch=(64, 64), activation="tanh",
            normalize_observation=False, normalize_reward=False,
        )
        for rule in ("response", "backprop")
    }  # fmt: skip
    return {"PPO": ppo, **ours}


def measure(models: dict[str, BaseAlgorithm], repeats: int, steps: int) -> dict[str, list[float]]:
    """Env steps a second, of each side in each repeat; one more repeat warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in models}
    for repeat in range(repeats + 1):
        for name, model in models.items():
            before, started = model.num_timesteps, time.perf_counter()
            model.learn(steps, reset_num_timesteps=False)
            if repeat:
                took = time.perf_counter() - started
                speeds[name].append((model.num_timesteps - before) / took)
    return speeds


def main() -> None:
    """Measures, prints a table, writes CSV and PNG."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/score_speed"))
    parser.add_argument("--quick", action="store_true", help="two short repeats")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    repeats, steps = (2, 2_048) if arguments.quick else (arguments.repeats, 20_480)
    speeds = measure(sides(), repeats, steps)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "score_speed.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("side", "repeat", "env_steps_per_second"))
        writer.writerows((name, i, round(v)) for name, own in speeds.items()
                         for i, v in enumerate(own))  # fmt: skip
    base = speeds["PPO"]
    print("| side | env steps/s, median | beside PPO, median of ratios (range) |\n|---|---|---|")
    for name, own in speeds.items():
        ratios = [one / other for one, other in zip(own, base, strict=True)]
        print(f"| {name} | {statistics.median(own):,.0f} | {statistics.median(ratios):.2f} × "
              f"({min(ratios):.2f} – {max(ratios):.2f}) |")  # fmt: skip
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.boxplot(list(speeds.values()), tick_labels=list(speeds))
    axes.set(ylabel="env steps/s", title="CartPole-v1, equal settings")
    axes.set_ylim(bottom=0)
    figure.savefig(arguments.out / "score_speed.png", dpi=120)
    plt.close(figure)
    print(f"\nwrote score_speed.csv and .png to {arguments.out}")


if __name__ == "__main__":
    main()
