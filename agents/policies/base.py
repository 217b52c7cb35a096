"""What all policies have in common: from observations to actions, through a network."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from nodepert.agents.errors import ConfigError
from nodepert.agents.lanes.actions import ActionMap
from nodepert.agents.lanes.observations import as_batch
from nodepert.agents.networks import Network, Path
from nodepert.agents.policies.features import (
    Preprocessing,
    find_extractor,
    make_extractor,
    widths_of_numbers,
)
from nodepert.agents.policies.options import (
    activation_name,
    check_arguments,
    check_init_gain,
    check_widths,
)
from nodepert.agents.statistics import PartStatistics

__all__ = ["FeedbackPolicy"]

Self = TypeVar("Self", bound="FeedbackPolicy")


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
        normalize_observation: Shift and scale numbers, but not images nor discrete parts of
            observations, by their running mean and deviation.
        net_arch: Widths of the hidden layers.
        activation: Name of σ, or one name for each hidden layer.
        activation_fn: The same as a torch module class, as Stable-Baselines3 writes it.
        init_gain: Weights start as N(0, gain² / n_in), √2 being He's. None: the network's own.
        features_extractor_class: What makes an observation the network's input; it is frozen. A
            subclass of Stable-Baselines3's ``BaseFeaturesExtractor``, or the name of one of its
            own. None: CombinedExtractor for ``Dict`` observations, else FlattenExtractor.
        features_extractor_kwargs: Keyword arguments of its constructor.
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
        features_extractor_class: str | type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: Mapping[str, Any] | None = None,
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
        generator = generator or torch.Generator().manual_seed(0)
        self.preprocessing = Preprocessing(observation_space)
        self.features_extractor_class = find_extractor(features_extractor_class, observation_space)
        self.features_extractor_kwargs = check_arguments(
            "features_extractor_kwargs", features_extractor_kwargs or {}
        )
        self.features_extractor = make_extractor(
            self.features_extractor_class,
            self.features_extractor_kwargs,
            self.preprocessing,
            seed_beside(generator),
        )
        n_in = self.features_extractor.features_dim
        self.network = self.make_network(n_in, self.actions.dim, generator)
        self.critic = self.make_network(n_in, 1, generator) if critic else None
        numbers = widths_of_numbers(observation_space) if normalize_observation else {}
        self.statistics = PartStatistics(numbers) if numbers else None

    @abstractmethod
    def make_network(self, n_in: int, n_out: int, generator: torch.Generator) -> Network:
        """The network.

        Args:
            n_in: Width of the features of an observation.
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

    def train(self: Self, mode: bool = True) -> Self:
        """As torch's, but that a frozen extractor stays in evaluation mode."""
        super().train(mode)
        self.features_extractor.eval()
        return self

    def to_input(self, observation: Any) -> Tensor:
        """The features of N observations, (N, n_in): the network's input.

        Numbers are normalised by the statistics as they are, where the policy keeps any.

        Args:
            observation: (N, ...), or by name in a dict or a packed array.
        """
        return self._features(self.preprocessing(observation, self._device))

    def observe(self, observation: Any) -> Tensor:
        """As :meth:`to_input`, once the statistics have taken the observations in."""
        found = self.preprocessing(observation, self._device)
        if self.statistics is not None:
            self.statistics.update_parts(found)
        return self._features(found)

    def _features(self, found: dict[str, Tensor]) -> Tensor:
        if self.statistics is not None:
            found = self.statistics.normalized_parts(found)
        return self.features_extractor(self.preprocessing.whole(found))

    @property
    def _device(self) -> torch.device:
        return self.network.forward_weights[0].device  # self.device lists all parameters

    def forward(self, observation: Tensor, deterministic: bool = True) -> Tensor:
        """Predictions (N, d) for features (N, n_in), from a blank state."""
        return self.network.step(
            observation, self.network.initial_state(len(observation))
        ).prediction

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        return self(self.to_input(observation))

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
            observation: Of the observation space, or (N, ...) of them; a dict in ``Dict`` spaces.
            state: What the last call returned, for recurrent policies; None at the start.
            episode_start: Where to begin with a blank state, bool (N,).
            deterministic: Ignored: actions carry no noise.

        Returns:
            Actions, and the state for the next call (None for feed-forward policies).

        Raises:
            ConfigError: The observation is not of the observation space's shape.
        """
        self.set_training_mode(False)
        observation, batched = as_batch(observation, self.observation_space)
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


def seed_beside(generator: torch.Generator) -> int:
    """A seed that follows from a generator's own, and draws nothing from it."""
    own = generator.initial_seed() % 2**64
    return int(np.random.SeedSequence(own, spawn_key=(1,)).generate_state(1, np.uint64)[0])
