"""Paired episodes beside Augmented Random Search and score mode, at equal env steps.

    python examples/benchmarks/paired_episodes.py [--agents episode ars score] [--seeds 10 11 12]
                                                  [--jobs 2] [--out DIR] [--quick]

``episode`` holds noise at the output nodes through whole episodes of one seed, in both signs, and
carries errors to the layers below by learned feedback. ``ars`` is sb3_contrib's, with the
hyperparameters that RL Baselines3 Zoo has for the task; ``score`` is our own other mode, for scale.
Every env step counts, also those of lanes that are ignored. Scores are mean returns of ten episodes
without noise, on seeds that training does not see, five times a run. Runs that are in the CSV
already are not run again, so a benchmark that was cut off goes on where it stopped.

Hyperparameters of ``episode`` were chosen on seeds 0 to 2, by a few runs; the zoo's come from its
own search, for 2,000,000 steps on Pendulum-v1.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import matplotlib
import torch
from pool import carry_out
from sb3_contrib import ARS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from nodepert.agents import NodePerturbation

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STEPS = {"CartPole-v1": 30_000, "Pendulum-v1": 60_000}
EPISODES, QUICK_EPISODES = 10, 2  # of a score
FIELDS = ("env", "agent", "seed", "env_steps", "mean_return", "seconds")
Row = dict[str, Any]
Key = tuple[str, str, int]


def episode(env: str, seed: int) -> BaseAlgorithm:
    """Ours: 4 pairs an update on CartPole-v1, 2 on Pendulum-v1, whose episodes are long."""
    changes: dict[str, Any] = {
        "CartPole-v1": {"learning_rate": 0.01, "n_envs": 8},
        "Pendulum-v1": {"learning_rate": 0.02, "n_envs": 4},
    }[env]
    return NodePerturbation("MlpPolicy", env, credit="episode", net_arch=(64, 64),
                            activation="tanh", seed=seed, **changes)  # fmt: skip


def ars(env: str, seed: int) -> BaseAlgorithm:
    """Sb3_contrib's, with the zoo's settings."""
    if env == "CartPole-v1":
        return ARS("LinearPolicy", make_vec_env(env, seed=seed), n_delta=2, seed=seed)
    lanes = VecNormalize(make_vec_env(env, seed=seed), norm_obs=True, norm_reward=False)
    return ARS("MlpPolicy", lanes, learning_rate=0.018, n_delta=4, n_top=1, delta_std=0.1,
               policy_kwargs={"net_arch": [16]}, zero_policy=False, seed=seed)  # fmt: skip


def score(env: str, seed: int) -> BaseAlgorithm:
    """Ours, from noise that is new at each step and a critic."""
    changes: dict[str, Any] = {
        "CartPole-v1": {"n_envs": 8, "n_steps": 128, "batch_size": 256, "gamma": 0.99},
        "Pendulum-v1": {"n_envs": 4, "n_steps": 1024, "batch_size": 64, "gamma": 0.9},
    }[env]
    return NodePerturbation("MlpPolicy", env, credit="score", net_arch=(64, 64),
                            activation="tanh", seed=seed, **changes)  # fmt: skip


AGENTS: dict[str, Callable[[str, int], BaseAlgorithm]] = {
    "episode": episode,
    "ars": ars,
    "score": score,
}


def mean_return(model: BaseAlgorithm, env: gym.Env[Any, Any], episodes: int) -> float:
    """Over episodes without noise, on seeds of their own."""
    statistics_of_lanes = model.get_vec_normalize_env()
    total = 0.0
    for seed in range(10_000, 10_000 + episodes):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            if statistics_of_lanes is not None:
                observation = statistics_of_lanes.normalize_obs(observation)
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            over = terminated or truncated
    return total / episodes


class Scores(BaseCallback):
    """Scores the model each time so many steps more are played.

    Args:
        env: To score it in.
        every: Env steps from one score to the next.
        episodes: Of a score.
    """

    def __init__(self, env: gym.Env[Any, Any], every: int, episodes: int) -> None:
        super().__init__()
        self.env, self.every, self.episodes = env, every, episodes
        self.found: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        if self.model.num_timesteps >= self.every * (len(self.found) + 1):
            found = mean_return(self.model, self.env, self.episodes)
            self.found.append((self.model.num_timesteps, found))
        return True


def run(job: tuple[Key, int, int]) -> list[Row]:
    """Trains one model; the last row is the trained one's."""
    torch.set_num_threads(1)
    (env, agent, seed), steps, episodes = job
    started = time.perf_counter()
    model = AGENTS[agent](env, seed)
    scores = Scores(gym.make(env), steps // 5, episodes)
    model.learn(steps, scores)
    last = (model.num_timesteps, mean_return(model, scores.env, episodes))
    seconds = round(time.perf_counter() - started, 1)
    points = [*scores.found[:4], last]
    return [
        dict(zip(FIELDS, (env, agent, seed, played, round(value, 2), seconds), strict=True))
        for played, value in points
    ]


def read_rows(path: pathlib.Path) -> list[Row]:
    """What is in the CSV already."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            {**row, "seed": int(row["seed"]), "env_steps": int(row["env_steps"]),
             "mean_return": float(row["mean_return"])}
            for row in csv.DictReader(file)
        ]  # fmt: skip


def append_rows(path: pathlib.Path, rows: list[Row]) -> None:
    """One more run, at once."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def runs_of(rows: list[Row]) -> dict[Key, list[Row]]:
    """The rows of each run, in order."""
    runs: dict[Key, list[Row]] = {}
    for row in rows:
        runs.setdefault((row["env"], row["agent"], row["seed"]), []).append(row)
    return runs


def table(runs: dict[Key, list[Row]]) -> str:
    """Medians of the last scores over seeds, as Markdown."""
    lines = ["| env | agent | env steps | median return | each seed |", "|---|---|---|---|---|"]
    for env, agent in dict.fromkeys((env, agent) for env, agent, _ in runs):
        last = [rows[-1] for (e, a, _), rows in runs.items() if (e, a) == (env, agent)]
        values = [row["mean_return"] for row in last]
        steps = max(row["env_steps"] for row in last)
        each = ", ".join(f"{value:.0f}" for value in values)
        lines.append(f"| {env} | {agent} | {steps:,} | {statistics.median(values):.0f} | {each} |")
    return "\n".join(lines)


def picture(runs: dict[Key, list[Row]], path: pathlib.Path) -> None:
    """One panel an environment, one thin line a seed."""
    envs = list(dict.fromkeys(env for env, _, _ in runs))
    figure, panels = plt.subplots(
        1, len(envs), figsize=(4.5 * len(envs), 3.4), layout="constrained", squeeze=False
    )
    for axes, env in zip(panels[0], envs, strict=True):
        for colour, agent in enumerate(AGENTS):
            curves = [rows for (e, a, _), rows in runs.items() if (e, a) == (env, agent)]
            for i, rows in enumerate(curves):
                axes.plot([row["env_steps"] for row in rows], [row["mean_return"] for row in rows],
                          "o-", color=f"C{colour}", alpha=0.6, label=agent if i == 0 else None,
                          markersize=3)  # fmt: skip
        axes.set(title=env, xlabel="env steps", ylabel="mean return")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Runs what is missing, then writes table and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--agents", nargs="+", choices=list(AGENTS), default=list(AGENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=None, help="default: 10 11 12")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/paired_episodes"))
    parser.add_argument(
        "--quick", action="store_true", help="1/60 of the env steps, one seed, two episodes a score"
    )
    arguments = parser.parse_args()
    seeds = arguments.seeds or ([10] if arguments.quick else [10, 11, 12])
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / ("paired_episodes_quick.csv" if arguments.quick else
                            "paired_episodes.csv")  # fmt: skip
    wanted = [(env, agent, seed) for agent in arguments.agents for env in STEPS for seed in seeds]
    done = runs_of(read_rows(path))
    missing = [key for key in wanted if key not in done]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are in {path}", flush=True)
    share, episodes = (60, QUICK_EPISODES) if arguments.quick else (1, EPISODES)
    jobs = [(key, STEPS[key[0]] // share, episodes) for key in missing]
    for i, rows in enumerate(carry_out(run, jobs, arguments.jobs), start=1):
        append_rows(path, rows)
        print(f"{i}/{len(jobs)} {rows[-1]}", flush=True)
    done = runs_of(read_rows(path))
    order = sorted(wanted, key=lambda key: list(STEPS).index(key[0]))
    found = {key: done[key] for key in order}
    report = table(found)
    path.with_suffix(".md").write_text(report + "\n")
    picture(found, path.with_suffix(".png"))
    print(f"{report}\n\nwrote {path}, {path.stem}.md and {path.stem}.png")


if __name__ == "__main__":
    main()
