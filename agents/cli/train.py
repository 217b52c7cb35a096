"""``nodepert train ENV``: trains the agent, and leaves model, log, curve and result in a folder."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch

from nodepert.agents.cli.arguments import make_env, parse_env_kwargs, parse_pairs
from nodepert.agents.cli.evaluations import Evaluations
from nodepert.agents.cli.learning import learn
from nodepert.agents.cli.progress import ProgressFile
from nodepert.agents.cli.results import RunFolder
from nodepert.agents.cli.train_arguments import (
    ResumeArguments,
    TrainArguments,
    arguments_from_json,
    arguments_to_json,
    check,
)
from nodepert.agents.errors import ConfigError
from nodepert.agents.evaluation import Score
from nodepert.agents.files.checkpoints import newest_checkpoint
from nodepert.agents.files.model_file import config_to_json, is_exact, options_to_json
from nodepert.agents.node_perturbation import NodePerturbation
from nodepert.agents.plots import plot_curve, read_columns
from nodepert.agents.versions import versions

__all__ = ["resume", "train"]


def train(arguments: TrainArguments) -> None:
    """Runs ``nodepert train ENV``.

    Raises:
        ConfigError: An argument that is not valid.
    """
    check(arguments)
    torch.set_num_threads(arguments.threads)
    folder = RunFolder(arguments.out)
    folder.check_new(arguments.overwrite)
    model = make_model(arguments)
    print(describe(model, arguments))
    folder.create(arguments_to_json(arguments))
    carry_out(model, arguments, folder, None)


def resume(words: ResumeArguments) -> None:
    """Runs ``nodepert train --resume DIR``.

    Raises:
        ConfigError: There is no run in the folder that can be gone on with.
    """
    folder = RunFolder(words.resume)
    arguments = arguments_from_json(folder.read_settings(), words.resume)
    if words.env != arguments.env and (words.env is not None or ":" in arguments.env):
        # No code is imported because a file says so.
        raise ConfigError(
            f"--resume {folder.path}: the run is on {arguments.env}; go on with: "
            f"nodepert train {arguments.env} --resume {folder.path}"
        )
    torch.set_num_threads(arguments.threads)
    if not any(folder.checkpoints.glob("*.zip")):
        print("No checkpoint was written yet: starting from the beginning")
        model, since = make_model(arguments), None
    else:
        model = load_newest(arguments, folder)
        since = model.num_timesteps
    print(describe(model, arguments))
    carry_out(model, arguments, folder, since)


def make_model(arguments: TrainArguments) -> NodePerturbation:
    """A model that has learned nothing yet."""
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    env = make_env(arguments.env, env_kwargs)
    model = NodePerturbation(
        arguments.policy,
        env,
        arguments.config,
        policy_kwargs=parse_pairs(arguments.policy_kwarg, "--policy-kwarg", "cell=lstm"),
        seed=arguments.seed,
        device=arguments.device,
    )
    if env.spec is not None:  # always: so that the file has what only gymnasium.make takes, too
        model.trained_on = (env.spec.id, env_kwargs)
    return model


def load_newest(arguments: TrainArguments, folder: RunFolder) -> NodePerturbation:
    """The model of the newest good checkpoint, and where the run stood; says how exactly.

    Raises:
        CheckpointError: None can be read.
    """
    found = newest_checkpoint(folder.checkpoints)
    for damaged in found.damaged:
        print(f"nodepert: {damaged}", file=sys.stderr)
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    env = make_env(arguments.env, env_kwargs)
    exact = is_exact(found.path)
    model = NodePerturbation.load(found.path, env, device=arguments.device, force_reset=not exact)
    if env.spec is not None:
        model.trained_on = (env.spec.id, env_kwargs)
    print(f"Going on from {found.path}")
    if not exact and not arguments.checkpoint_resets and model.config.credit != "episode":
        print(
            "This is not exactly the run that was not interrupted: the environment has no "
            "get_state, so new episodes start here. With --checkpoint-resets it would be."
        )
    return model


def carry_out(
    model: NodePerturbation, arguments: TrainArguments, folder: RunFolder, since: int | None
) -> None:
    """Trains to the end, and writes what a run leaves; ``since`` is where it goes on."""
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    evaluations = Evaluations(
        arguments.env,
        env_kwargs,
        steps=arguments.steps,
        count=arguments.evaluations,
        path=folder.model,
        at_start=since is None,
    )
    progress = ProgressFile(folder.progress, since)
    started = time.perf_counter()
    learn(model, arguments, folder, evaluations, progress)
    seconds = progress.seconds + time.perf_counter() - started
    score = evaluations.score
    assert score is not None
    curve = read_columns(folder.progress, "time/total_timesteps", f"eval/{score.metric}")
    plot_curve(folder.curve, *curve, score.metric, f"{arguments.env}, {model.config.rule}")
    folder.finish(
        {
            "env": arguments.env,
            "agent": type(model).__name__,
            "seed": arguments.seed,
            "env_steps": model.num_timesteps,
            "seconds": round(seconds, 2),
            "metric": score.metric,
            "value": score.value,
            "config": full_config(model, arguments, env_kwargs),
            "versions": versions(),
        }
    )
    print(summary(score, model.num_timesteps, seconds, folder, arguments))


def full_config(
    model: NodePerturbation, arguments: TrainArguments, env_kwargs: dict[str, Any]
) -> dict[str, Any]:
    """All that the run depends on, with the policy's own values where no others were given."""
    return {
        "env_kwargs": env_kwargs,
        "preset": arguments.preset,
        "policy": arguments.policy,
        **config_to_json(model.config),
        **options_to_json(model.policy),
        "n_steps": model.config.n_steps or model.policy.default_n_steps,
    }


def describe(model: NodePerturbation, arguments: TrainArguments) -> str:
    """One line that says what is about to be trained."""
    network = model.policy.network
    shapes = [(network.n_in,), *network.hidden_shapes, (model.policy.actions.dim,)]
    sizes = ["×".join(map(str, shape)) for shape in shapes]
    per_context = model.lanes_per_context
    done = f" ({model.num_timesteps:,} are done)" if model.num_timesteps else ""
    return (
        f"Training {'-'.join(sizes)} on {arguments.env} for {arguments.steps:,} env steps{done}"
        f" ({model.n_envs // per_context} contexts at once, {per_context} env steps each);"
        f" credit {model.config.credit}, rule {model.config.rule}, seed {arguments.seed}"
    )


def summary(
    score: Score, env_steps: int, seconds: float, folder: RunFolder, arguments: TrainArguments
) -> str:
    """What a user wants to know at the end."""
    is_fraction = score.metric in ("test_error", "go_accuracy")
    shown = f"{score.value:.2%}" if is_fraction else f"{score.value:.5g}"
    # A file names no module, since no code is imported because a file says so.
    env = f" --env {arguments.env}" if ":" in arguments.env else ""
    lines = [
        f"{score.metric.replace('_', ' ')}: {shown}",
        f"env steps: {env_steps:,} in {seconds:.1f} s",
        f"curve:  {folder.curve}",
        f"log:    {folder.progress}",
        f"model:  {folder.model}",
        f"result: {folder.result}",
        f"score it again with: nodepert evaluate {folder.model}{env}",
    ]
    return "\n".join(lines)
