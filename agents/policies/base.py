"""What all policies have in common: from observations to actions, through a network."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
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
from nodepert.agents.networks import Network, Path
from nodepert.agents.policies.options import activation_name, check_init_gain, check_widths
from nodepert.agents.statistics import RunningStatistics

__all__ = ["FeedbackPolicy"]


class FeedbackPolicy(BasePolicy):
    """Maps observations to actions through a network whose errors travel by feedback weights.

    ``predict`` gives the action that training probes around, without noise, whatever
    ``deterministic`` says. A subclass says in :meth:`make_network` what network it is; keyword
    arguments of its own are options, kept as attributes of the same name (see :meth:`options`).

    Args:
        observation_space: Of one lane.
        action_space: Of one lane.
        action_scale: Of a loss environment, or None for any other.
        path: What carries errors down.
        critic: Also make a network that judges observations by one number.
        normalize_observation: Shift and scale observations by their running mean and deviation.
        net_arch: Widths of the hidden layers.
        activation: Name of σ, or one name for each hidden layer.
        activation_fn: The same as a torch module class, as Stable-Baselines3 writes it.
        init_gain: Weights start as N(0, gain² / n_in), √2 being He's. None: the network's own.
        generator: Random numbers for the initial weights.

    Raises:
        ConfigError: An argument that is not valid.
    """

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
        critic: bool = False,
        normalize_observation: bool = False,
        net_arch: Sequence[int] | None = None,
        activation: str | Sequence[str] | None = None,
        activation_fn: type[nn.Module] | None = None,
        init_gain: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.actions = ActionMap(action_space, action_scale)
        self.path = path
        self.net_arch = check_widths(
            "net_arch", self.default_net_arch if net_arch is None else net_arch, "[256, 128]"
        )
        if activation_fn is not None:
            activation = activation_name(activation_fn)
        chosen = self.default_activation if activation is None else activation
        self.activation = tuple(chosen) if isinstance(chosen, list) else chosen
        self.init_gain = check_init_gain(init_gain)
        n_in = get_flattened_obs_dim(observation_space)
        generator = generator or torch.Generator().manual_seed(0)
        self.network = self.make_network(n_in, self.actions.dim, generator)
        self.critic = self.make_network(n_in, 1, generator) if critic else None
        self.statistics = RunningStatistics(n_in) if normalize_observation else None

    @abstractmethod
    def make_network(self, n_in: int, n_out: int, generator: torch.Generator) -> Network:
        """The network.

        Args:
            n_in: Width of the observation, flat.
            n_out: Width of the prediction.
            generator: Random numbers for the initial weights.
        """

    @classmethod
    def option_names(cls) -> list[str]:
        """What ``policy_kwargs`` takes: the constructors' keyword arguments but for the agent's."""
        spaces = {"self", "observation_space", "action_space"}
        agents_own = {"action_scale", "path", "critic", "normalize_observation", "generator"}
        parents = [one for one in reversed(cls.__mro__) if issubclass(one, FeedbackPolicy)]
        names = [
            name
            for parent in parents
            for name, parameter in inspect.signature(parent.__init__).parameters.items()
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        return [name for name in dict.fromkeys(names) if name not in spaces | agents_own]

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Raises ConfigError where an option is not one of :meth:`option_names`."""
        names = cls.option_names()
        for name in options:
            if name not in names:
                raise ConfigError(
                    f"policy_kwargs: {cls.__name__} takes no {name!r}; expected {', '.join(names)}"
                )

    def options(self) -> dict[str, Any]:
        """The ``policy_kwargs`` that make a policy like this one."""
        names = self.option_names()
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "action_scale": self.actions.action_scale,
            "path": self.path,
            "critic": self.critic is not None,
            "normalize_observation": self.statistics is not None,
            **self.options(),
        }

    def to_input(self, observation: NDArray[Any]) -> Tensor:
        """Observations (N, ...) as the network's input: flat, float, one-hot if Discrete.

        Normalised by the statistics as they are, where the policy keeps any.
        """
        x = self._flat(observation)
        return x if self.statistics is None else self.statistics.normalized(x)

    def observe(self, observation: NDArray[Any]) -> Tensor:
        """As :meth:`to_input`, once the statistics have taken the observations in."""
        x = self._flat(observation)
        if self.statistics is None:
            return x
        self.statistics.update(x)
        return self.statistics.normalized(x)

    def _flat(self, observation: NDArray[Any]) -> Tensor:
        device = self.network.forward_weights[0].device  # not self.device, which lists them all
        tensor = torch.as_tensor(np.asarray(observation), device=device)
        return preprocess_obs(tensor, self.observation_space).flatten(1)  # type: ignore[union-attr]

    def forward(self, observation: Tensor, deterministic: bool = True) -> Tensor:
        """Predictions (N, d) for inputs (N, n_0), from a blank state."""
        return self.network.step(
            observation, self.network.initial_state(len(observation))
        ).prediction

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        x = preprocess_obs(observation, self.observation_space).flatten(1)  # type: ignore[union-attr]
        return self(x if self.statistics is None else self.statistics.normalized(x))

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
