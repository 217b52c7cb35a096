"""Pumps that dose in whole strokes: where a differentiable surrogate of the actuator misleads.

    python examples/black_box/quantised_actuator.py [--quick] [--seeds 0 1 2] [--out FOLDER]

Three learners of the first kind see only the loss of the true pumps. Two more are given what those
lack, the gradient, through a model of the pumps that can be differentiated: one without strokes,
and one with strokes whose slope is taken to be 1 (straight-through, Bengio et al. 2013,
arXiv 1308.3432).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import contest
import numpy as np
import rivals
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from nodepert.envs import Draws, LossEnv
from nodepert.envs.base import Context
from nodepert.envs.testing import check_loss_env

Array = NDArray[Any]
STROKES = 4
MIXING = np.array([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
TOLERANCE = 0.02  # the excess above which the mixture is spoiled
SPOILED = 0.3  # what that costs


class Pumps(LossEnv):
    """Dose three substances whose effects mix, with pumps that make whole strokes.

    **Observation**: Box(0, 1, (3,)): the effects that are wanted. **Action**: Box(−1, 1, (3,)):
    −1 is no stroke of that pump and 1 all four; what lies between is rounded down. **Reward**:
    minus the squares of the deviations, and 0.3 less where an effect is in excess by more than
    0.02, which spoils the mixture. **End of episode**: after one action.
    """

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def sample_contexts(self, draws: Draws) -> Context:
        """Effects that pumps without strokes could reach."""
        return {"observation": effects(draws.uniform(3)).astype(np.float32)}

    def loss(self, context: Context, actions: Array) -> Array:
        """Deviations and spoiled mixtures, one number a lane."""
        doses = np.clip(np.floor(STROKES * (actions + 1) / 2), 0, STROKES) / STROKES
        return harm(effects(doses) - context["observation"])


def effects(doses: Array) -> Array:
    """What doses (N, 3) do together. No matrix product: its last bit depends on N."""
    return np.einsum("ij,nj->ni", MIXING, doses)


def harm(excess: Any) -> Any:
    """The loss of deviations (…, 3), arrays or tensors."""
    spoiled = excess.max(-1) if isinstance(excess, np.ndarray) else excess.amax(-1)
    return (excess**2).sum(-1) + SPOILED * (spoiled > TOLERANCE)


def without_strokes(actions: Tensor) -> Tensor:
    """A model of the pumps: any dose."""
    return ((actions + 1) / 2).clamp(0, 1)


def straight_through(actions: Tensor) -> Tensor:
    """True doses, with the slope of the model without strokes."""
    smooth = without_strokes(actions)
    return smooth + (torch.floor(STROKES * smooth) / STROKES - smooth).detach()


def through(pumps: Callable[[Tensor], Tensor]) -> rivals.Train:
    """Backpropagation through a model of the pumps, one context counted as one evaluation."""

    def train(
        task: Any, make: Any, steps: int, seed: int, curve: Any, *, learning_rate: float
    ) -> None:
        torch.manual_seed(seed)
        lanes = make(64)
        network = rivals.mlp(task, lanes)
        optimizer = torch.optim.Adam(network.parameters(), learning_rate)
        mixing = torch.as_tensor(MIXING, dtype=torch.float32)
        observation, _ = lanes.reset(seed=seed)
        while True:
            curve(lanes.evaluations, rivals.module_acting(network, lanes.single_action_space))
            if lanes.evaluations >= steps:
                break
            wanted = torch.as_tensor(observation)
            actions = network(wanted)
            excess = pumps(actions) @ mixing.T - wanted
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - lanes.evaluations / steps)
            optimizer.zero_grad()
            harm(excess).mean().backward()
            optimizer.step()
            observation, *_ = lanes.step(actions.detach().numpy())

    return train


def best_strokes(observation: Array) -> Array:
    """Tries all 125 settings for each context: the best there is."""
    settings = np.array(list(itertools.product(range(STROKES + 1), repeat=3))) / STROKES
    excess = effects(settings) - observation[:, None]  # [N, 125, 3]
    losses = harm(excess)
    middle = settings + 0.5 / STROKES  # the middle of what is rounded down to it
    return 2 * middle[losses.argmin(1)] - 1


OWN_TRIALS = tuple(
    {"probe_std": std, "learning_rate": rate}
    for std, rate in ((0.1, 3e-3), (0.07, 3e-3), (0.15, 3e-3), (0.1, 1e-2))
)
RATES = tuple({"learning_rate": rate} for rate in (1e-3, 3e-4, 3e-3, 1e-2))
SURROGATES = {
    "backprop, straight-through": rivals.Learner(through(straight_through), RATES),
    "backprop, no strokes": rivals.Learner(through(without_strokes), RATES),
}


def main() -> None:
    """Checks the task, lets all learn it, and writes the results."""
    arguments = contest.parse(__doc__)
    check_loss_env(Pumps)
    score = contest.mean_loss(Pumps(), 500 if arguments.quick else 2_000)
    task = contest.Task(
        name="quantised_actuator",
        title="Pumps with whole strokes",
        unit="mean loss",
        lanes=Pumps.vector,
        score=score,
        lines={"best there is": score(best_strokes, "test")},
    )
    learners = rivals.learners(OWN_TRIALS) | SURROGATES
    contest.hold(task, learners, arguments, steps=100_352, quick=12_288)


if __name__ == "__main__":
    main()
