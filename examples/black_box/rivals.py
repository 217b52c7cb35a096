"""The learners that are compared: this package's, and others at the same evaluations."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray
from sb3_contrib import ARS
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nodepert.agents import NodePerturbation, SB3VecEnv

Predict = Callable[[NDArray[Any]], NDArray[Any]]
"""From observations (N, …) to actions (N, d)."""

Train = Callable[..., None]
"""Called with the task, a function that makes lanes, steps, seed, curve, and a trial's items."""


@dataclass(frozen=True)
class Learner:
    """A way to learn, and the hyperparameters that are tried."""

    train: Train
    trials: tuple[dict[str, Any], ...]


class Watch(BaseCallback):
    """Tells a curve of the evaluations so far."""

    def __init__(self, lanes: Any, curve: Any) -> None:
        super().__init__()
        self.lanes, self.curve = lanes, curve

    def _on_training_start(self) -> None:
        self.curve(0, acting(self.model))

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.curve(self.lanes.evaluations, acting(self.model))

    def _on_training_end(self) -> None:
        self.curve(self.lanes.evaluations, acting(self.model))


def acting(model: BaseAlgorithm) -> Predict:
    """How a Stable-Baselines3 model acts where it does not explore."""
    return lambda observation: model.predict(observation, deterministic=True)[0]


def node_perturbation(
    task: Any, make: Any, steps: int, seed: int, curve: Any, *, lanes: int | None = None,
    batch_size: int = 64, init_gain: float = 0.5, credit: str = "paired", **hyperparameters: Any,
) -> None:  # fmt: skip
    """This package's agent: errors from paired probes, or otherwise, and learned feedback."""
    env = make(lanes or 2 * batch_size)
    model = NodePerturbation(
        "MlpPolicy", env, seed=seed, device="cpu", net_arch=task.hidden, batch_size=batch_size,
        credit=credit, policy_kwargs={"init_gain": init_gain}, **hyperparameters,
    )  # fmt: skip
    model.learn(steps, callback=Watch(env, curve))
    env.close()


def ppo(
    task: Any, make: Any, steps: int, seed: int, curve: Any, *, learning_rate: float,
    log_std_init: float, lanes: int = 256, n_steps: int = 8, batch_size: int = 256,
    n_epochs: int = 10,
) -> None:  # fmt: skip
    """Stable-Baselines3's PPO, its step size annealed to 0."""
    env = make(lanes)
    model = PPO(
        "MlpPolicy", SB3VecEnv(env), seed=seed, device="cpu", n_steps=n_steps,
        batch_size=batch_size, n_epochs=n_epochs,
        learning_rate=lambda remaining: learning_rate * remaining,
        policy_kwargs={"net_arch": list(task.hidden), "log_std_init": log_std_init,
                       "activation_fn": nn.ReLU},
    )  # fmt: skip
    model.learn(steps, callback=Watch(env, curve))
    env.close()


def ars(
    task: Any, make: Any, steps: int, seed: int, curve: Any, *, policy: str, learning_rate: float,
    delta_std: float, n_delta: int = 16, lanes: int = 32,
) -> None:  # fmt: skip
    """sb3_contrib's augmented random search; each candidate is tried once in each lane."""
    env = make(lanes)
    options = {} if policy == "LinearPolicy" else {"net_arch": list(task.hidden)}
    model = ARS(
        policy, SB3VecEnv(env), seed=seed, device="cpu", n_delta=n_delta, n_top=n_delta // 2,
        learning_rate=learning_rate, delta_std=delta_std, n_eval_episodes=lanes,
        zero_policy=policy == "LinearPolicy", policy_kwargs=options,
    )  # fmt: skip
    # It counts a step of all lanes once for each lane, that is lanes times too often.
    model.learn(steps * lanes, callback=Watch(env, curve))
    env.close()


def mlp(task: Any, env: Any) -> nn.Sequential:
    """The network that the learners of this file train, with torch's initial weights."""
    space = env.single_action_space
    outputs = (space.n,) if isinstance(space, Discrete) else space.shape
    widths = (*env.single_observation_space.shape, *task.hidden, *outputs)
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def module_acting(network: nn.Module, space: Space[Any]) -> Predict:
    """How a torch module acts."""

    @torch.no_grad()
    def predict(observation: NDArray[Any]) -> NDArray[Any]:
        return action(network(torch.as_tensor(observation, dtype=torch.float32)).numpy(), space)

    return predict


def action(outputs: NDArray[Any], space: Space[Any]) -> NDArray[Any]:
    """What a network's outputs (N, d) do: the largest one is chosen, or they are clipped."""
    if isinstance(space, Discrete):
        return outputs.argmax(axis=1)
    assert isinstance(space, Box)
    return np.clip(outputs, space.low, space.high)


@torch.no_grad()
def evolution(
    task: Any, make: Any, steps: int, seed: int, curve: Any, *, learning_rate: float, std: float,
    pairs: int = 8, contexts: int = 8,
) -> None:  # fmt: skip
    """Evolution strategy: antithetic pairs, centred ranks, Adam (Salimans et al. 2017).

    All candidates of a generation are tried on the same contexts with the same noise.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    lanes = make(2 * pairs * contexts)
    network = mlp(task, lanes)
    weights = nn.Parameter(parameters_to_vector(network.parameters()))
    optimizer = torch.optim.Adam([weights], learning_rate)
    shared = np.random.SeedSequence(seed).generate_state(contexts).tolist()
    observation, _ = lanes.reset(seed=shared * (2 * pairs))
    while True:
        vector_to_parameters(weights, network.parameters())
        curve(lanes.evaluations, module_acting(network, lanes.single_action_space))
        if lanes.evaluations >= steps:
            break
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - lanes.evaluations / steps)
        noise = torch.randn(pairs, len(weights), generator=generator)
        noise = torch.cat([noise, -noise])  # [2P, n]
        outputs = by_candidates(network, weights + std * noise, observation)
        observation, rewards, *_ = lanes.step(action(outputs, lanes.single_action_space))
        merit = torch.as_tensor(rewards).view(2 * pairs, contexts).mean(1)
        ranks = merit.argsort().argsort() / (2 * pairs - 1) - 0.5  # [2P]
        weights.grad = -(ranks.float() @ noise) / (2 * pairs * std)
        optimizer.step()
    lanes.close()


def by_candidates(network: nn.Module, weights: Tensor, observation: NDArray[Any]) -> NDArray[Any]:
    """Outputs of many candidates: weights (C, n), observations (C·m, …) → (C·m, d)."""
    x = torch.as_tensor(observation, dtype=torch.float32).view(len(weights), -1,
                                                               observation.shape[-1])  # fmt: skip
    candidate = copy.deepcopy(network)
    outputs = []
    for own, seen in zip(weights, x, strict=True):
        vector_to_parameters(own, candidate.parameters())
        outputs.append(candidate(seen))
    return torch.cat(outputs).numpy()


# Where evaluations are dear: two trials by paired probes, two by score, from as many lanes.
OWN_DEAR_TRIALS: tuple[dict[str, Any], ...] = (
    {"probe_std": 0.15, "learning_rate": 3e-3, "batch_size": 16},
    {"probe_std": 0.15, "learning_rate": 3e-3, "batch_size": 16, "replays": 4},
    *(
        {"credit": "score", "learning_rate": rate, "exploration_std": 0.4, "lanes": 32,
         "exploration_schedule": "learned", "n_steps": 8, "lr_schedule": "linear"}
        for rate in (3e-3, 1e-3)
    ),
)  # fmt: skip
# Around what worked on one of these tasks by hand; the first is what --quick takes.
PPO_TRIALS = tuple(
    {"learning_rate": rate, "log_std_init": std}
    for rate, std in ((1e-3, -1.0), (3e-4, -1.0), (3e-3, -1.0), (1e-3, -2.0))
)
ARS_TRIALS = tuple(
    {"policy": policy, "learning_rate": rate, "delta_std": std}
    for policy, rate, std in (
        ("MlpPolicy", 0.05, 0.1),
        ("MlpPolicy", 0.02, 0.05),
        ("MlpPolicy", 0.1, 0.1),
        ("LinearPolicy", 0.05, 0.1),
    )
)
EVOLUTION_TRIALS = tuple(
    {"learning_rate": rate, "std": std}
    for rate, std in ((0.01, 0.1), (0.03, 0.1), (0.01, 0.03), (0.003, 0.03))
)


def learners(own: tuple[dict[str, Any], ...], processes: int | None = None) -> dict[str, Learner]:
    """All that are compared.

    Args:
        own: The trials of this package's agent, as many as the others'.
        processes: How many lanes there may be at once, 32 say, where evaluations are dear: the
            rivals then learn from smaller batches. None for any number.
    """
    few_lanes: dict[str, Any] = {}
    few_tries: dict[str, Any] = {}
    few_pairs: dict[str, Any] = {}
    if processes is not None:
        few_lanes = {"lanes": processes, "n_steps": 256 // processes, "batch_size": 64}
        few_tries = {"lanes": processes // 2, "n_delta": 8}
        few_pairs = {"pairs": 4, "contexts": processes // 8}
    return {
        "node perturbation": Learner(node_perturbation, own),
        "PPO": Learner(partial(ppo, **few_lanes), PPO_TRIALS),
        "ARS": Learner(partial(ars, **few_tries), ARS_TRIALS),
        "evolution strategy": Learner(partial(evolution, **few_pairs), EVOLUTION_TRIALS),
    }
