"""The ways of learning of figure 3, and the step sizes that its search chose for them.

The network is 784-200-2-200-784 with tanh, identity and tanh; the paper has a ReLU at the output,
ours is linear there. Step sizes are on gradients averaged over the batch of 32: 32 times those of
the authors' code, which sums over it.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
from study import PAIRED, Task, grouped, median, read, select

from nodepert.agents import NodePerturbation
from nodepert.agents.presets import preset_for

ENV = "MNISTAutoencoder-v0"
BATCH = 32
PRESET = replace(preset_for(ENV).config, **PAIRED)
SEARCH = pathlib.Path(__file__).parent / "results" / "figure3_search.csv"

GIVEN, SCALAR = "given", "scalar"
"""Columns of the figure: the true gradient at the output, or the scalar reward only."""

SGD = (3e-4, 3e-2)
ADAM = (1e-4, 1e-2)
B_SGD = (1e-5, 1e-2)
B_ADAM = (3e-4, 3e-2)
NOISE = (1e-3, 1e-1)
DECAY = (1e-5, 1e-2)
"""Ranges of the search, log-uniform. Above the upper end of SGD's, every method diverges."""


@dataclass(frozen=True)
class Method:
    """One way of learning.

    Args:
        column: ``GIVEN`` or ``SCALAR``.
        changes: Fields of the config that make it what it is.
        ranges: Fields that the search chooses.
        usual: Values of theirs that work, in the order of ``ranges``.
        cost: Milliseconds of one core an update, on a busy machine.
    """

    column: str
    changes: dict[str, Any]
    ranges: dict[str, tuple[float, float]]
    usual: tuple[float, ...]
    cost: float


def sgd(rule: str, cost: float, **changes: Any) -> Method:
    """Plain gradient descent with the true gradient at the output."""
    return Method(GIVEN, {"rule": rule, "optimizer": "sgd", **changes},
                  {"learning_rate": SGD}, (3.2e-3,), cost)  # fmt: skip


def adam(
    rule: str, cost: float, usual: float = 2e-3, column: str = GIVEN, **changes: Any
) -> Method:
    """Adam."""
    return Method(column, {"rule": rule, **changes}, {"learning_rate": ADAM}, (usual,), cost)


def also(method: Method, usual: dict[str, float], **ranges: tuple[float, float]) -> Method:
    """The method with more to search for."""
    return replace(
        method,
        ranges={**method.ranges, **ranges},
        usual=(*method.usual, *(usual[name] for name in ranges)),
    )


# The authors' B rate of 8e-6 on sums over the batch, and their c.
PAPER = {"feedback_learning_rate": 32 * 8e-6, "node_std": 0.019}
B_BY_ADAM = {"feedback_learning_rate": 5e-3, "node_std": 0.019}
CLEAN = {"node_baseline": "clean"}

METHODS: dict[str, Method] = {
    "backprop, SGD": sgd("backprop", 1.8),
    "backprop, Adam": adam("backprop", 2.1),
    "feedback alignment, SGD": sgd("fixed", 2.0),
    "feedback alignment, Adam": adam("fixed", 2.3),
    "matched, SGD": also(sgd("matched", 2.1), {"weight_decay": 1e-3}, weight_decay=DECAY),
    "node perturbation, SGD": also(
        sgd("loss", 3.2, feedback_optimizer="sgd", **CLEAN),
        PAPER, feedback_learning_rate=B_SGD, node_std=NOISE,
    ),
    "node perturbation, SGD, B by Adam": also(
        sgd("loss", 3.4, **CLEAN), B_BY_ADAM, feedback_learning_rate=B_ADAM, node_std=NOISE,
    ),
    "node perturbation, Adam": also(
        adam("loss", 3.5, 5e-4, **CLEAN), B_BY_ADAM,
        feedback_learning_rate=B_ADAM, node_std=NOISE,
    ),
    "response, Adam": adam("response", 3.0, node_noise="gaussian"),
    "scalar: response": adam("response", 7.5, column=SCALAR, node_noise="gaussian"),
    "scalar: node perturbation": also(
        adam("loss", 9.5, column=SCALAR), B_BY_ADAM, feedback_learning_rate=B_ADAM
    ),
    "scalar: feedback alignment": adam("fixed", 7.0, column=SCALAR),
}  # fmt: skip


def usual(method: str) -> dict[str, float]:
    """Step sizes that work, where none were searched for."""
    described = METHODS[method]
    return dict(zip(described.ranges, described.usual, strict=True))


def chosen(method: str) -> dict[str, float]:
    """What the committed search found best on the validation split.

    Of the median over the search's seeds; the usual values where nothing was searched.
    """
    described = METHODS[method]
    rows = select(read(SEARCH), method=method)
    if not rows:
        return usual(method)
    trials = grouped(rows, "trial")
    found = trials[min(trials, key=lambda trial: median(trials[trial], "validation_mse"))][0]
    return {name: found[name] for name in described.ranges}


def make(task: Task, holdout: bool = False) -> NodePerturbation:
    """The model of a task that names method, seed and step sizes.

    Args:
        task: See above.
        holdout: Train without the validation examples.
    """
    method = METHODS[task["method"]]
    given = method.column == GIVEN
    base = (
        replace(PRESET, credit="given", error_model=False, lr_schedule="constant")
        if given
        else PRESET
    )
    config = replace(base, **method.changes, **{name: task[name] for name in method.ranges})
    env = gym.make(ENV, expose_gradient=given, holdout=holdout)
    return NodePerturbation("MlpPolicy", env, config, seed=task["seed"])


def env_steps(model: NodePerturbation, updates: int) -> int:
    """How many env steps so many updates take."""
    return updates * BATCH * model.lanes_per_context


def minutes(task: Task) -> float:
    """Core-minutes of a task, without evaluations."""
    return METHODS[task["method"]].cost * task["updates"] / 60_000
