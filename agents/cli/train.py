"""``nodepert train ENV``: trains the agent, and leaves model, log, curve and result in a folder."""

from __future__ import annotations

import shlex
import sys
import time
from typing import Any

import torch
import torch.distributed as dist

from nodepert.agents.cli.arguments import make_env, parse_env_kwargs, parse_pairs
from nodepert.agents.cli.evaluations import Evaluations
from nodepert.agents.cli.learning import follow, learn
from nodepert.agents.cli.processes import agent_class, as_the_first_sees_it, leads
from nodepert.agents.cli.progress import ProgressFile
from nodepert.agents.cli.run_folder import RunFolder
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
from nodepert.agents.plots import plot_curve, read_curves
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
    if not leads():  # the first of several processes evaluates, writes and reports
        follow(make_model(arguments), arguments, folder)
        return
    folder.check_new(arguments.overwrite)
    model = make_model(arguments)
    print(describe(model, arguments))
    print(f"Its curves, from another terminal: nodepert watch {shlex.quote(str(folder.path))}")
    folder.create(arguments_to_json(arguments))
    carry_out(model, arguments, folder, None)


def resume(words: ResumeArguments) -> None:
    """Runs ``nodepert train --resume DIR``.

    Raises:
        ConfigError: There is no run in the folder that can be gone on with.
    """
    folder = RunFolder(words.resume)
    with as_the_first_sees_it(folder) as read:
        arguments = arguments_from_json(read.read_settings(), words.resume)
        if words.env != arguments.env and (words.env is not None or ":" in arguments.env):
            # No code is imported because a file says so.
            raise ConfigError(
                f"--resume {folder.path}: the run is on {arguments.env}; go on with: "
                f"nodepert train {arguments.env} --resume {folder.path}"
            )
        torch.set_num_threads(arguments.threads)
        if read.has_checkpoints:
            model = load_newest(arguments, read)
            since: int | None = model.num_timesteps
        else:
            if leads():
                print("No checkpoint was written yet: starting from the beginning")
            model, since = make_model(arguments), None
    if not leads():
        follow(model, arguments, folder)
        return
    print(describe(model, arguments))
    carry_out(model, arguments, folder, since)


def make_model(arguments: TrainArguments) -> NodePerturbation:
    """The model before training; where torchrun has started several processes, a shared one."""
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    env = make_env(arguments.env, env_kwargs)
    model = agent_class()(
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
    for damaged in found.damaged if leads() else ():
        print(f"nodepert: {damaged}", file=sys.stderr)
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    env = make_env(arguments.env, env_kwargs)
    exact = is_exact(found.path)
    model = agent_class().load(found.path, env, device=arguments.device, force_reset=not exact)
    if env.spec is not None:
        model.trained_on = (env.spec.id, env_kwargs)
    if not leads():
        return model
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
    curve = read_curves(folder.progress)[f"eval/{score.metric}"]
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
        "n_steps": model.method.n_steps,
    }


def describe(model: NodePerturbation, arguments: TrainArguments) -> str:
    """One line that says what is about to be trained."""
    network = model.policy.network
    shapes = [(network.n_in,), *network.hidden_shapes, (model.policy.actions.dim,)]
    sizes = ["×".join(map(str, shape)) for shape in shapes]
    per_context = model.lanes_per_context
    processes = dist.get_world_size() if dist.is_initialized() else 1
    contexts = model.n_envs // per_context * processes
    return (
        f"Training {'-'.join(sizes)} on {arguments.env} for {arguments.steps:,} env steps"
        f" ({contexts} contexts at once, {per_context} env step{'s' * (per_context > 1)} each);"
        f" credit {model.config.credit}, rule {model.config.rule}, seed {arguments.seed}"
    )


def summary(
    score: Score, env_steps: int, seconds: float, folder: RunFolder, arguments: TrainArguments
) -> str:
    """What a user wants to know at the end."""
    is_fraction = score.metric in ("test_error", "go_accuracy")
    shown = f"{score.value:.2%}" if is_fraction else f"{score.value:.5g}"
    lines = [
        f"{score.metric.replace('_', ' ')}: {shown}",
        f"env steps: {env_steps:,} in {seconds:.1f} s",
        f"curve:  {folder.curve}",
        f"log:    {folder.progress}",
        f"model:  {folder.model}",
        f"result: {folder.result}",
        *next_steps(folder, arguments),
    ]
    return "\n".join(lines)


def next_steps(folder: RunFolder, arguments: TrainArguments) -> list[str]:
    """Commands to copy: what can be done with a run."""
    model, env = str(folder.model), arguments.env
    # A file names no module, since no code is imported because a file says so.
    own = ["--env", env] if ":" in env else []
    kwargs = [word for pair in arguments.env_kwarg for word in ("--env-kwarg", pair)]
    steps = ["--steps", str(arguments.steps)]
    agent = "np" if arguments.preset == "default" else f"np:{arguments.preset}"
    return [
        "next:",
        f"  {shlex.join(['nodepert', 'evaluate', model, *own])}",
        f"  {shlex.join(['nodepert', 'compare', env, '--agents', agent, 'ppo', *steps, *kwargs])}",
        "  python: from nodepert.agents import NodePerturbation; "
        f"model = NodePerturbation.load({model!r})",
    ]
