"""``nodepert train ENV``: trains the agent, and leaves model, log, curve and result in a folder."""

from __future__ import annotations

import pathlib
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import tyro
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from nodepert.agents.cli.arguments import make_env, parse_env_kwargs
from nodepert.agents.cli.results import RunFolder, versions
from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError
from nodepert.agents.evaluation import Score, evaluate
from nodepert.agents.model_file import config_to_json
from nodepert.agents.node_perturbation import NodePerturbation
from nodepert.agents.plots import plot_curve, read_columns
from nodepert.agents.presets import preset_for

__all__ = ["TrainArguments", "train"]


@dataclass(frozen=True)
class TrainArguments:
    """Train on an environment from its scalar rewards alone."""

    env: tyro.conf.Positional[str]
    """Environment id, such as MNIST-v0, or module:Id."""
    steps: int
    """Env steps to train for, every probe counted."""
    out: pathlib.Path
    """Folder for model.zip, progress.csv, curve.png and result.json."""
    policy: str
    """MlpPolicy or RnnPolicy."""
    config: Annotated[Config, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="")]
    preset: str = "default"
    """Start from the hyperparameters of this preset; flags win over it."""
    seed: int = 0
    """Of everything random."""
    overwrite: bool = False
    """Replace the files of an earlier run in --out."""
    env_kwarg: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """KEY=VALUE for the environment; may be given again."""
    device: str = "cpu"
    """Where the network is: cpu, cuda or auto."""
    threads: int = 1
    """Of torch on the CPU; more help only wide networks."""
    evaluations: int = 20
    """How often to score the model on the way; the last score is the result."""


def default_arguments(env: str, preset: str) -> TrainArguments:
    """The arguments of ``nodepert train`` where no flag is given."""
    chosen = preset_for(env, preset)
    out = pathlib.Path("runs") / env.replace(":", "_").replace("/", "_")
    return TrainArguments(
        env, chosen.steps, out, policy=chosen.policy, config=chosen.config, preset=preset
    )


class Evaluations(BaseCallback):
    """Scores the model at equal distances, logs the score, and saves the model.

    Args:
        arguments: Of the run.
        env_kwargs: Of the environment.
        folder: Where the model goes, replaced at once so that a good one is always there.
    """

    def __init__(self, arguments: TrainArguments, env_kwargs: dict[str, Any], folder: RunFolder):
        super().__init__()
        self.arguments, self.env_kwargs, self.folder = arguments, env_kwargs, folder
        self.every = max(arguments.steps // max(arguments.evaluations, 1), 1)
        self.next = self.every
        self.score: Score | None = None

    def _on_training_start(self) -> None:
        self.evaluate()

    def _on_rollout_start(self) -> None:
        # Between updates: weights and counters belong together there.
        if self.num_timesteps >= self.next and self.num_timesteps < self.arguments.steps:
            self.next += self.every
            self.evaluate()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.evaluate()

    def evaluate(self) -> None:
        """One score."""
        self.score = evaluate(self.model, self.arguments.env, self.env_kwargs)
        self.logger.record(f"eval/{self.score.metric}", self.score.value)
        assert isinstance(self.model, NodePerturbation)
        self.model.dump_logs()
        self.model.save(self.folder.model)


def train(arguments: TrainArguments) -> None:
    """Runs ``nodepert train``.

    Raises:
        ConfigError: An argument that is not valid.
    """
    for name in ("steps", "evaluations", "threads"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name} {getattr(arguments, name)}: expected a positive integer")
    torch.set_num_threads(arguments.threads)
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    env = make_env(arguments.env, env_kwargs)
    model = NodePerturbation(
        arguments.policy, env, arguments.config, seed=arguments.seed, device=arguments.device
    )
    folder = RunFolder(arguments.out, arguments.overwrite)
    model.set_logger(configure(str(folder.path), ["csv"]))
    print(describe(model, arguments))
    evaluations = Evaluations(arguments, env_kwargs, folder)
    started = time.perf_counter()
    model.learn(arguments.steps, callback=evaluations, log_interval=0, progress_bar=True)
    seconds = time.perf_counter() - started
    score = evaluations.score
    assert score is not None
    folder.write_result(
        {
            "env": arguments.env,
            "env_kwargs": env_kwargs,
            "agent": type(model).__name__,
            "seed": arguments.seed,
            "env_steps": model.num_timesteps,
            "seconds": round(seconds, 2),
            "metric": score.metric,
            "value": score.value,
            "policy": arguments.policy,
            "config": config_to_json(model.config),
            "versions": versions(),
        }
    )
    curve = read_columns(folder.progress, "time/total_timesteps", f"eval/{score.metric}")
    plot_curve(folder.curve, *curve, score.metric, f"{arguments.env}, {model.config.rule}")
    print(summary(score, model.num_timesteps, seconds, folder))


def describe(model: NodePerturbation, arguments: TrainArguments) -> str:
    """One line that says what is about to be trained."""
    layers = model.policy.network.layers
    sizes = [layers[0].weight.shape[1], *model.policy.net_arch, layers[-1].weight.shape[0]]
    per_context = model.lanes_per_context
    return (
        f"Training {'-'.join(map(str, sizes))} on {arguments.env} for {arguments.steps:,} env steps"
        f" ({model.n_envs // per_context} contexts at once, {per_context} env steps each);"
        f" credit {model.config.credit}, rule {model.config.rule}, seed {arguments.seed}"
    )


def summary(score: Score, env_steps: int, seconds: float, folder: RunFolder) -> str:
    """What a user wants to know at the end."""
    shown = f"{score.value:.2%}" if score.metric in ("test_error", "go_accuracy") else score.value
    lines = [
        f"{score.metric.replace('_', ' ')}: {shown}",
        f"env steps: {env_steps:,} in {seconds:.1f} s",
        f"curve:  {folder.curve}",
        f"log:    {folder.progress}",
        f"model:  {folder.model}",
        f"result: {folder.result}",
        f"score it again with: nodepert evaluate {folder.model}",
    ]
    return "\n".join(lines)
