"""Whether the tensors of a file are those of the model that its JSON describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from gymnasium import spaces
from torch import Tensor

from nodepert.agents.errors import FileFormatError
from nodepert.agents.files.tensors import without_prefix
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.policies.features import EXTRACTORS

if TYPE_CHECKING:
    from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["check_policy", "check_situation"]


def check_policy(model: NodePerturbation, tensors: dict[str, Tensor]) -> None:
    """Compares a policy that is not made yet with the tensors for it.

    A small file may describe a network that fills any memory, so it is made without any first.

    Args:
        model: Has spaces and config, but no policy.
        tensors: All of the file.

    Raises:
        FileFormatError: A tensor is missing, has another shape, or is not finite.
        ConfigError: There is no such policy.
    """
    extractor = model.policy_kwargs.get("features_extractor_class")
    if isinstance(extractor, type) and extractor not in EXTRACTORS.values():
        return  # a class of the caller's own may need more than shapes
    try:
        with torch.device("meta"):
            expected = model._make_policy().state_dict()
    except (MemoryError, OverflowError, RuntimeError, TypeError) as error:
        raise FileFormatError(f"policy_kwargs can't be read: {error}") from error
    found = without_prefix("policy", tensors)
    for name, like in expected.items():
        shape = tuple(found[name].shape) if name in found else None
        if shape != tuple(like.shape):
            raise FileFormatError(
                f"tensor policy.{name} has shape {shape}, but the policy that the file describes "
                f"has {tuple(like.shape)}"
            )
        if not torch.isfinite(found[name]).all():
            raise FileFormatError(f"tensor policy.{name} has NaN or infinite values")


def check_situation(model: NodePerturbation, tensors: dict[str, Tensor], contexts: int) -> None:
    """Compares where a run stood with where a new one would start.

    Args:
        model: Ready to learn.
        tensors: All of the file.
        contexts: How many the model shows at once.

    Raises:
        FileFormatError: A tensor is missing, or has another shape or type.
    """
    space, observation = model.observation_space, tensors["situation.observation"]
    shape = observation.shape[1:] if isinstance(space, spaces.Dict) else space.shape
    if tuple(observation.shape) != (contexts, *(shape or ())):
        raise FileFormatError(
            f"tensor situation.observation has shape {tuple(observation.shape)}, expected "
            f"{contexts} observations of {space}"
        )
    blank = Situation(
        observation=observation.cpu().numpy(),
        state=model.policy.network.initial_state(contexts),
        started=torch.ones(contexts, dtype=torch.bool),
    )
    model.method.begin(blank)
    numbers = torch.zeros(contexts, dtype=torch.float64)
    expected = {
        "started": blank.started,
        "resetting": blank.started,
        "returns": numbers,
        "lengths": numbers,
        "state": blank.state,
        "critic_state": blank.critic_state,
        "discounted": blank.discounted,
    }
    for name, like in expected.items():
        found = tensors.get(f"situation.{name}")
        if like is not None and (
            found is None or found.shape != like.shape or found.dtype != like.dtype
        ):
            had = "missing" if found is None else f"{found.dtype} of shape {tuple(found.shape)}"
            raise FileFormatError(
                f"tensor situation.{name} is {had}, expected {like.dtype} of shape "
                f"{tuple(like.shape)}"
            )
