"""What of an agent goes into a model file, and how an agent comes out of one."""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nodepert.agents.config import Config, with_changes
from nodepert.agents.errors import ConfigError, FileFormatError, NodepertError
from nodepert.agents.files.saving import FilePath, read_archive, space_to_json
from nodepert.agents.files.shapes import check_situation
from nodepert.agents.files.tensors import (
    optimizer_from_tensors,
    optimizer_to_tensors,
    with_prefix,
    without_prefix,
)
from nodepert.agents.lanes.observations import as_bytes, from_bytes
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.lanes.states import get_state, set_state
from nodepert.agents.policies import FeedbackPolicy
from nodepert.agents.policies.features import extractor_name
from nodepert.agents.statistics import RunningStatistics

if TYPE_CHECKING:
    from nodepert.agents.node_perturbation import NodePerturbation

__all__ = [
    "PLACE",
    "Moment",
    "capture",
    "check_document",
    "config_from_json",
    "config_to_json",
    "is_exact",
    "options_to_json",
    "own_place",
    "restore",
    "running_statistics",
    "to_parts",
]

ENTRIES: dict[str, Any] = {
    "policy": str,
    "policy_kwargs": dict,
    "config": dict,
    "observation_space": dict,
    "action_space": dict,
    "action_scale": int | float | None,
    "trained_on": list | None,
    "seed": int | None,
    "context_seeds": list | None,
    "counters": dict,
}
PLACE = ("situation.", "env.")
"""Where the lanes stand: how the names of such tensors start."""
OPTIONAL = ("state", "critic_state", "discounted")
"""Fields of a situation that only some models have."""
COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_total_timesteps")


@dataclass(frozen=True)
class Moment:
    """Where a run stands: all of a model file that playing changes and learning does not.

    A model that is saved while a window is being played is saved as of the window's start: a run
    that goes on from the file plays the window again, and learns from all of it.
    """

    counters: dict[str, int]
    episodes: list[dict[str, float]]  # that ended last, for the log
    tensors: dict[str, Tensor]


def capture(model: NodePerturbation) -> Moment:
    """The present moment."""
    return Moment(
        {name: getattr(model, name) for name in COUNTERS},
        list(model.ep_info_buffer or ()),
        {
            "generator": model.generator.get_state(),
            **_situation_tensors(model),
            **_statistics(model),
        },
    )


def to_parts(model: NodePerturbation) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """JSON and tensors that hold all that the model's future depends on."""
    moment = model._moment or capture(model)
    cls = model.policy_class
    aliases = [name for name, known in model.policy_aliases.items() if known is cls]
    document: dict[str, Any] = {
        "version": importlib.metadata.version("nodepert"),
        "policy": aliases[0] if aliases else f"{cls.__module__}:{cls.__qualname__}",
        "policy_kwargs": options_to_json(model.policy),
        "config": config_to_json(model.config),
        "observation_space": space_to_json(model.observation_space),
        "action_space": space_to_json(model.action_space),
        "action_scale": model.action_scale,
        "trained_on": jsonable(model.trained_on),
        "seed": model.seed,
        "context_seeds": model._context_seeds,
        "counters": moment.counters,
        "logs": {
            **model.logs.to_json(getattr(model, "_logger", None)),
            "episodes": moment.episodes,
        },
    }
    tensors = with_prefix("policy", model.policy.state_dict())
    for name, optimizer in model.optimizers.items():
        tensors.update(with_prefix(name, optimizer_to_tensors(optimizer)))
    tensors.update(with_prefix("memory", model.memory.state_dict()))
    return document, {**tensors, **moment.tensors}


def options_to_json(policy: FeedbackPolicy) -> dict[str, Any]:
    """The policy's options that JSON can hold; its extractor's class by name."""
    extractor = extractor_name(policy.features_extractor_class)
    options = {**policy.options(), "features_extractor_class": extractor}
    return {name: value for name, value in options.items() if jsonable(value) is value}


def running_statistics(**parts: nn.Module) -> dict[str, RunningStatistics]:
    """Those in a model's parts, by the names that a file has for them."""
    return {
        f"{part}.{path}": module
        for part, whole in parts.items()
        for path, module in whole.named_modules()
        if isinstance(module, RunningStatistics)
    }


def _statistics(model: NodePerturbation) -> dict[str, Tensor]:
    """The running statistics, which change as the model plays."""
    return {
        f"{path}.{name}": tensor
        for path, module in model.running_statistics.items()
        for name, tensor in module.state_dict().items()
    }


def _situation_tensors(model: NodePerturbation) -> dict[str, Tensor]:
    """Where the run stands; the environment's own state too, where it tells it."""
    situation = model._situation
    if situation is None or model._lanes is None:
        return {}
    tensors = {
        "situation.observation": torch.as_tensor(as_bytes(situation.observation)),
        "situation.started": situation.started,
        "situation.resetting": torch.from_numpy(model._lanes.resetting.copy()),
        "situation.returns": torch.from_numpy(model._episodes.returns.copy()),
        "situation.lengths": torch.from_numpy(model._episodes.lengths.copy()),
    }
    for name in OPTIONAL:
        if getattr(situation, name) is not None:
            tensors[f"situation.{name}"] = getattr(situation, name)
    assert model._vector_env is not None
    for name, values in (get_state(model._vector_env) or {}).items():
        tensors[f"env.{name}"] = torch.from_numpy(values)
    return tensors


def is_exact(path: FilePath) -> bool:
    """Whether a file holds the state of its environment, so that force_reset=False works."""
    return any(name.startswith("env.") for name in read_archive(path, "cpu")[1])


def own_place(
    document: dict[str, Any], tensors: dict[str, Tensor], rank: int, processes: int
) -> dict[str, Tensor]:
    """The tensors, with the place of one of the processes that share a run.

    Args:
        document: Of the file.
        tensors: Likewise; the first process's place stands as that of a single one does.
        rank: Which process goes on.
        processes: How many there are.

    Raises:
        ConfigError: The file is of another number of processes.
    """
    saved = document.get("processes", 1)
    if saved != processes:
        raise ConfigError(
            f"force_reset=False: the file has the lanes of {saved} processes, not of {processes}; "
            "expected as many, started by torchrun, or force_reset=True to start new episodes"
        )
    if rank == 0:
        return tensors
    common = {name: values for name, values in tensors.items() if not name.startswith(PLACE)}
    return {**common, **without_prefix(f"process{rank}", tensors)}


def check_document(document: dict[str, Any], path: object) -> None:
    """Raises FileFormatError where an entry is missing or of the wrong type."""
    for name, types in ENTRIES.items():
        if name not in document or not isinstance(document[name], types):
            raise FileFormatError(f"{path}: {name} is missing or not valid")
    if not {"net_arch", "activation"} <= set(document["policy_kwargs"]):
        raise FileFormatError(f"{path}: policy_kwargs are not valid")
    scale = document["action_scale"]
    if scale is not None and not 0 < scale < math.inf:
        raise FileFormatError(f"{path}: action_scale={scale}, expected a positive number")
    if document["config"].get("credit", "auto") == "auto":  # it is settled when a model is made
        raise FileFormatError(f"{path}: config has credit='auto', expected what it stands for")


def restore(
    model: NodePerturbation,
    document: dict[str, Any],
    tensors: dict[str, Tensor],
    force_reset: bool,
) -> None:
    """Puts the parts of :func:`to_parts` into a model of the same shape.

    Raises:
        FileFormatError: They do not fit.
    """
    try:
        model.policy.load_state_dict(without_prefix("policy", tensors))
        model.memory.load_state_dict(without_prefix("memory", tensors))
        for name, optimizer in model.optimizers.items():
            optimizer_from_tensors(optimizer, without_prefix(name, tensors))
        state = tensors["generator"].cpu()
        if len(state) == len(model.generator.get_state()):  # else it is another device's
            model.generator.set_state(state)
        for name in COUNTERS:
            setattr(model, name, int(document["counters"][name]))
        model._context_seeds = document["context_seeds"]
        _restore_logs(model, document.get("logs"))
        if force_reset or model._lanes is None or "situation.observation" not in tensors:
            model._context_seeds = None
        else:
            _restore_situation(model, tensors)
    except NodepertError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise FileFormatError(f"the file's parts do not fit together: {error}") from error


def _restore_logs(model: NodePerturbation, document: dict[str, Any] | None) -> None:
    """What the next line of the log is made of; files of earlier versions have none."""
    if document is None:
        return
    model.logs.from_json(document)
    episodes = [{key: float(one[key]) for key in "rlt"} for one in document["episodes"]]
    model.ep_info_buffer = deque(episodes, maxlen=model._stats_window_size)


def _restore_situation(model: NodePerturbation, tensors: dict[str, Tensor]) -> None:
    """Goes on where the saved run stood.

    Raises:
        ConfigError: The environment has another number of lanes, or can't be put back.
    """
    state = without_prefix("env", tensors)
    contexts = len(tensors["situation.started"])
    assert model._lanes is not None
    assert model._vector_env is not None
    if not state or contexts != model._lanes.contexts:
        raise ConfigError(
            f"force_reset=False: the file has {contexts} contexts and "
            f"{'the' if state else 'no'} state of their environment; expected env to have as many, "
            f"it has {model._lanes.contexts}, and a state that nodepert can read (get_state). Use "
            "force_reset=True to start new episodes"
        )
    check_situation(model, tensors, contexts)
    arrays = {name: values.cpu().numpy() for name, values in state.items()}
    try:
        set_state(model._vector_env, arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"force_reset=False: env can't be put back where it was ({error}); expected one of the "
            "same kind. Use force_reset=True to start new episodes"
        ) from error
    model._situation = Situation(
        observation=from_bytes(
            tensors["situation.observation"].cpu().numpy(), model.observation_space
        ),
        started=tensors["situation.started"],
        **{name: tensors.get(f"situation.{name}") for name in OPTIONAL},
    )
    model._lanes.resetting[:] = tensors["situation.resetting"].cpu().numpy()
    model._episodes.returns = tensors["situation.returns"].cpu().numpy()
    model._episodes.lengths = tensors["situation.lengths"].cpu().numpy()


def jsonable(value: Any) -> Any:
    """The value, or None where JSON can't hold it, such as an environment's custom argument."""
    try:
        json.dumps(value)
    except TypeError:
        return None
    return value


def config_to_json(config: Config) -> dict[str, Any]:
    """The config's fields; a step size that is a function can't be written and becomes null."""
    document = asdict(config)
    if callable(document["learning_rate"]):
        document["learning_rate"] = None
    return document


def config_from_json(document: dict[str, Any], changes: dict[str, Any]) -> Config:
    """The config that :func:`config_to_json` wrote, with some fields changed.

    Raises:
        FileFormatError: Not a config.
        ConfigError: ``learning_rate`` was a function and is not given again.
    """
    learning_rate = changes.get("learning_rate", document.get("learning_rate"))
    if learning_rate is None:
        raise ConfigError(
            "learning_rate was a function when the model was saved, and functions are not saved: "
            "pass it again, load(..., learning_rate=...)"
        )
    document = {**document, "learning_rate": learning_rate}
    for name, value in document.items():
        if isinstance(value, list):
            document[name] = tuple(value)
    try:
        saved = Config(**document)
    except TypeError as error:
        raise FileFormatError(f"config can't be read: {error}") from error
    return with_changes(saved, changes)
