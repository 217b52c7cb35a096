"""Policies: networks with feedback weights, as Stable-Baselines3 policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, preprocess_obs
from torch import Tensor, nn

from nodepert.agents.actions import ActionMap
from nodepert.agents.errors import ConfigError
from nodepert.agents.networks import ACTIVATIONS, MLP, RNN, Network, Path

__all__ = ["FeedbackPolicy", "MlpPolicy", "RnnPolicy"]


class FeedbackPolicy(BasePolicy):
    """Maps observations to actions through a network whose errors travel by feedback weights.

    ``predict`` gives the action that training probes around, without noise, whatever
    ``deterministic`` says.

    Args:
        observation_space: Of one lane.
        action_space: Of one lane.
        action_scale: Of a loss environment, or None for any other.
        path: What carries errors down.
        net_arch: Widths of the hidden layers.
        activation: Name of σ, or one name for each hidden layer.
        activation_fn: The same as a torch module class, as Stable-Baselines3 writes it.
        generator: Random numbers for the initial weights.
    """

    network_class: ClassVar[type[MLP] | type[RNN]]
    default_net_arch: ClassVar[tuple[int, ...]]
    default_activation: ClassVar[str]
    default_n_steps: ClassVar[int]
    network: Network

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        action_scale: float | None = None,
        path: Path = "feedback",
        net_arch: Sequence[int] | None = None,
        activation: str | Sequence[str] | None = None,
        activation_fn: type[nn.Module] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.actions = ActionMap(action_space, action_scale)
        self.path = path
        self.net_arch = check_net_arch(self.default_net_arch if net_arch is None else net_arch)
        if activation_fn is not None:
            activation = activation_name(activation_fn)
        self.activation = self.default_activation if activation is None else activation
        self.network = self.network_class(
            get_flattened_obs_dim(observation_space),
            self.net_arch,
            self.actions.dim,
            activation=self.activation,  # type: ignore[arg-type]
            path=path,
            generator=generator or torch.Generator().manual_seed(0),
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "action_scale": self.actions.action_scale,
            "path": self.path,
            "net_arch": self.net_arch,
            "activation": self.activation,
        }

    def to_input(self, observation: NDArray[Any]) -> Tensor:
        """Observations (N, ...) as the network's input: flat, float, one-hot if Discrete."""
        tensor = torch.as_tensor(np.asarray(observation), device=self.device)
        return preprocess_obs(tensor, self.observation_space).flatten(1)  # type: ignore[union-attr]

    def forward(self, observation: Tensor, deterministic: bool = True) -> Tensor:
        """Predictions (N, d) for inputs (N, n_0), from a blank state."""
        return self.network.step(
            observation, self.network.initial_state(len(observation))
        ).prediction

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        return self(preprocess_obs(observation, self.observation_space).flatten(1))  # type: ignore[union-attr]

    @torch.no_grad()
    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """The action for one observation, or for a batch of them.

        Args:
            observation: Of the observation space, or (N, ...) of them.
            state: What the last call returned, for recurrent policies; None at the start.
            episode_start: Where to begin with a blank state, bool (N,).
            deterministic: Ignored: actions carry no noise.

        Returns:
            Actions, and the state for the next call (None for feed-forward policies).

        Raises:
            ConfigError: The observation's shape is not the observation space's.
        """
        self.set_training_mode(False)
        observation, batched = self._as_batch(observation)
        x = self.to_input(observation)
        carried = self.network.initial_state(len(x))
        if carried is not None and state is not None:
            carried = torch.as_tensor(state[0], device=self.device)
            if episode_start is not None:
                fresh = torch.as_tensor(np.atleast_1d(episode_start), device=self.device).bool()
                carried = carried.masked_fill(fresh[:, None], 0.0)
        step = self.network.step(x, carried)
        actions = self.actions.action(step.prediction)
        next_state = None if step.state is None else (step.state.cpu().numpy(),)
        return (actions if batched else actions[0]), next_state

    def _as_batch(self, observation: Any) -> tuple[NDArray[Any], bool]:
        """The observation with a batch dimension, and whether it had one."""
        observation = np.asarray(observation)
        shape = self.observation_space.shape or ()
        if observation.shape == shape:
            return observation[None], False
        if observation.shape[1:] == shape and observation.ndim == len(shape) + 1:
            return observation, True
        raise ConfigError(
            f"observation has shape {observation.shape}, expected {shape} or (n, *{shape})"
        )


class MlpPolicy(FeedbackPolicy):
    """Feed-forward; 256 and 128 ReLU units unless told otherwise."""

    network_class = MLP
    default_net_arch = (256, 128)
    default_activation = "relu"
    default_n_steps = 1


class RnnPolicy(FeedbackPolicy):
    """Recurrent; 50 tanh units unless told otherwise."""

    network_class = RNN
    default_net_arch = (50,)
    default_activation = "tanh"
    default_n_steps = 8


def check_net_arch(net_arch: Any) -> tuple[int, ...]:
    """Widths as a tuple.

    Raises:
        ConfigError: Not a sequence of positive integers.
    """
    if (
        not isinstance(net_arch, Sequence)
        or isinstance(net_arch, str)
        or not all(isinstance(n, int) and n > 0 for n in net_arch)
    ):
        raise ConfigError(f"net_arch={net_arch!r}: expected positive integers, such as [256, 128]")
    return tuple(net_arch)


def activation_name(module: type[nn.Module]) -> str:
    """The name of an activation module.

    Raises:
        ConfigError: One that is not supported.
    """
    for name, known in ACTIVATIONS.items():
        if known is module:
            return name
    known_names = ", ".join(f"nn.{known.__name__}" for known in ACTIVATIONS.values())
    raise ConfigError(f"activation_fn={module!r}: expected one of {known_names}")
