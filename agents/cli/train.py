"""``nodepert train ENV``: trains the agent, and leaves model, log, curve and result in a folder."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import shlex
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
import tyro
from stable_baselines3.common.logger import configure

from nodepert.agents.cli.arguments import Pairs, make_env, parse_env_kwargs, parse_pairs
from nodepert.agents.cli.callbacks import Evaluations, Progress
from nodepert.agents.cli.results import RunFolder
from nodepert.agents.config import Config
from nodepert.agents.distributed import DistributedNodePerturbation
from nodepert.agents.errors import ConfigError, LaneError
from nodepert.agents.evaluation import Score
from nodepert.agents.files.model_file import config_to_json, options_to_json
from nodepert.agents.node_perturbation import NodePerturbation
from nodepert.agents.plots import plot_curve, read_curves
from nodepert.agents.presets import preset_for
from nodepert.agents.versions import versions

__all__ = ["TrainArguments", "train"]


@dataclass(frozen=True)
class TrainArguments:
    """Train on an environment from its scalar rewards alone."""

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]
    """Environment id, such as MNIST-v0, or module:Id."""
    steps: int
    """Env steps to train for, every probe counted."""
    out: pathlib.Path
    """Folder for model.zip, progress.csv, curve.png and result.json."""
    policy: str
    """MlpPolicy, RnnPolicy or CnnPolicy."""
    config: Annotated[Config, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="")]
    preset: str = "default"
    """Start from the hyperparameters of this preset; flags win over it."""
    seed: int = 0
    """Of everything random."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the files of an earlier run in --out."""
    env_kwarg: Pairs = ()
    """An argument of the environment, such as loss=mse."""
    policy_kwarg: Pairs = ()
    """An option of the policy, such as cell=lstm (RnnPolicy), channels=[16,32] (CnnPolicy) or
    init_gain=1.4 (all)."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where the network is."""
    threads: int = 1
    """Of torch on the CPU; more help only wide networks."""
    evaluations: int = 20
    """How often to score and save the model, at equal distances; the last score is the result."""
    tensorboard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Log for TensorBoard, too: `tensorboard --logdir runs` then shows the runs in that folder."""


def default_arguments(env: str, preset: str) -> TrainArguments:
    """The arguments of ``nodepert train`` where no flag is given."""
    chosen = preset_for(env, preset)
    out = pathlib.Path("runs") / env.replace(":", "_").replace("/", "_")
    return TrainArguments(
        env,
        chosen.steps,
        out,
        policy=chosen.policy,
        config=chosen.config,
        preset=preset,
        env_kwarg=tuple(f"{key}={json.dumps(value)}" for key, value in chosen.env_kwargs.items()),
    )


def train(arguments: TrainArguments) -> None:
    """Runs ``nodepert train``.

    Raises:
        ConfigError: An argument that is not valid.
    """
    check(arguments)
    torch.set_num_threads(arguments.threads)
    env_kwargs = parse_env_kwargs(arguments.env_kwarg)
    if not leads():  # the first of several processes evaluates, writes and reports
        make_model(arguments, env_kwargs).learn(arguments.steps, log_interval=None)
        return
    folder = RunFolder(arguments.out, arguments.overwrite)
    model = make_model(arguments, env_kwargs)
    print(describe(model, arguments))
    print(f"Its curves, from another terminal: nodepert watch {shlex.quote(str(folder.path))}")
    folder.create()
    evaluations = Evaluations(arguments, env_kwargs, folder)
    started = time.perf_counter()
    learn(model, arguments, evaluations, folder)
    seconds = time.perf_counter() - started
    score = evaluations.score
    assert score is not None
    folder.write_result(
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
    curve = read_curves(folder.progress)[f"eval/{score.metric}"]
    plot_curve(folder.curve, *curve, score.metric, f"{arguments.env}, {model.config.rule}")
    print(summary(score, model.num_timesteps, seconds, folder, arguments))


def make_model(arguments: TrainArguments, env_kwargs: dict[str, Any]) -> NodePerturbation:
    """The model before training; where torchrun has started several processes, a shared one."""
    env = make_env(arguments.env, env_kwargs)
    agent = DistributedNodePerturbation if dist.is_torchelastic_launched() else NodePerturbation
    model = agent(
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


def leads() -> bool:
    """Whether this is the only process, or the first that torchrun has started."""
    return not dist.is_torchelastic_launched() or int(os.environ["RANK"]) == 0


def check(arguments: TrainArguments) -> None:
    """Raises ConfigError where a value is out of range, or asks for a device that isn't there."""
    for name in ("steps", "evaluations", "threads"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name} {getattr(arguments, name)}: expected a positive integer")
    if not 0 <= arguments.seed < 2**32:
        raise ConfigError(f"--seed {arguments.seed}: expected an integer from 0 to {2**32 - 1}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no such device here; expected cpu or auto")
    if arguments.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard: there is no TensorBoard; pip install tensorboard")


def learn(
    model: NodePerturbation, arguments: TrainArguments, evaluations: Evaluations, folder: RunFolder
) -> None:
    """Trains. Where that fails, what was written stays, unless nothing was learned yet.

    Raises:
        LaneError: The environment failed; the model was saved as it was before that.
    """
    formats = ["csv", "tensorboard"] if arguments.tensorboard else ["csv"]
    model.set_logger(configure(str(folder.path), formats))
    bar = Progress()
    try:
        model.learn(arguments.steps, callback=[evaluations, bar], log_interval=0)
    except BaseException as error:
        if model._n_updates == 0:
            folder.discard()
        elif isinstance(error, LaneError):
            model.save(folder.model)
            raise LaneError(f"{error}\n{how_to_go_on(folder)}", error.lane, error.step) from error
        raise
    finally:
        model.logger.close()
        if hasattr(bar, "pbar"):  # it is made when training starts
            bar.pbar.close()


def how_to_go_on(folder: RunFolder) -> str:
    """What a user can do after the environment has failed."""
    return (
        f"The model as it was before that is in {folder.model}. To go on with it in Python:\n"
        f"  model = NodePerturbation.load({str(folder.model)!r}, env)\n"
        "  model.learn(steps, reset_num_timesteps=False)\n"
        "Lanes that fail now and then can be restarted: env = ProcessVectorEnv([make] * lanes, "
        "timeout=60, max_restarts=10)"
    )


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
    processes = dist.get_world_size() if dist.is_initialized() else 1
    contexts = model.n_envs // per_context * processes
    return (
        f"Training {'-'.join(sizes)} on {arguments.env} for {arguments.steps:,} env steps"
        f" ({contexts} contexts at once, {per_context} env steps each);"
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
    return [
        "next:",
        f"  {shlex.join(['nodepert', 'evaluate', model, *own])}",
        f"  {shlex.join(['nodepert', 'compare', env, '--agents', 'np', 'ppo', *steps, *kwargs])}",
        "  python: from nodepert.agents import NodePerturbation; "
        f"model = NodePerturbation.load({model!r})",
    ]
