"""What figure 6 measures on networks of any size: gradient accuracy, and env steps to a target."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rivals import Losses, perturbed_nodes, perturbed_weights
from stable_baselines3.common.callbacks import BaseCallback
from teacher import Teacher, contexts, unexplained
from torch import Tensor

from nodepert.agents import NodePerturbation
from nodepert.agents.networks import Network
from nodepert.agents.output_error import ProbeError
from nodepert.envs.base import Context

__all__ = ["FEEDBACK", "RIVALS", "Limit", "Size", "accuracy", "per_weight", "steps_to_target"]

BATCH = 64
NODE_STD = 1e-2
TRAINING, VALIDATION, TEST, MEASURED = 1, 2, 3, 4  # streams of contexts

RIVALS: dict[str, Callable[..., list[Tensor]]] = {
    "node perturbation": perturbed_nodes,
    "weight perturbation": perturbed_weights,
}
"""Methods without feedback weights. They learn from the scalar alone."""

CREDITS: dict[str, dict[str, Any]] = {
    "given": {"credit": "given"},
    "scalar": {},
    "scalar, model": {"error_model": True},
}
"""Where the error at the output comes from: the true one; one pair of probes; the same with the
linear model of the error as control variate."""

FEEDBACK: dict[str, tuple[str, ...]] = {
    "backprop": ("given",),
    "fixed": ("given", "scalar"),
    "response": ("given", "scalar"),
    # These regress on the output error, and with a noisy one B shrinks and turns.
    "loss": ("given", "scalar, model"),
    "loss_residual": ("given", "scalar, model"),
}
"""Rules of the library, and the credits with which they are measured."""


@dataclass(frozen=True)
class Size:
    """Of a network: ``depth`` weight matrices, with ``width`` units between them."""

    width: int
    depth: int
    outputs: int

    @property
    def weights(self) -> int:
        """How many, roughly: for estimates of time."""
        return self.width**2 * (self.depth - 2) + self.width * self.outputs


@dataclass(frozen=True)
class Limit:
    """When a training run is given up."""

    env_steps: int
    seconds: float
    """Of one core's time, so that it doesn't depend on what else the machine does."""


def agent(
    size: Size, rule: str, credit: str, seed: int, rate: float | None = None
) -> NodePerturbation:
    """The library's agent on the teacher of this seed; without a rate, only B learns."""
    with warnings.catch_warnings():
        # Fewer probes than outputs: the error model is there for that.
        warnings.simplefilter("ignore", UserWarning)
        return NodePerturbation(
            "MlpPolicy",
            Teacher(size.outputs, seed, expose_gradient=credit == "given"),
            rule=rule,
            **CREDITS[credit],
            net_arch=(size.width,) * (size.depth - 1),
            activation="tanh",
            node_noise="gaussian",
            node_std=NODE_STD,
            # Adam's, for the rules that learn from the loss: B's entries are of size 1/√width.
            feedback_learning_rate=3e-3 * per_weight(size) if rule.startswith("loss") else None,
            batch_size=BATCH,
            learning_rate=rate or 0.0,
            forward_interval=0 if rate is None else 1,
            lr_schedule="constant",
            seed=seed,
            device="cpu",
        )


def per_weight(size: Size) -> float:
    """What steps of Adam are multiplied by: the size of a weight, 1 at width 128."""
    return math.sqrt(128 / size.width)


def losses_of(task: Teacher, context: Context) -> Losses:
    """From predictions to the losses of these contexts."""

    def losses(predictions: Tensor) -> Tensor:
        actions = predictions.double().numpy() / task.action_scale
        return torch.as_tensor(task.loss(context, actions))

    return losses


# Accuracy of the gradient ----------------------------------------------------------------------


def accuracy(
    size: Size, method: str, credit: str, seed: int, feedback_steps: list[int], repeats: int
) -> list[dict[str, float]]:
    """How an estimate of the gradient from one batch compares with the true one of that batch.

    Of the weights of the hidden layers, in a fixed network with random weights. A network of the
    same seed has the same weights for each method.

    Args:
        size: Of the network.
        method: A name in :data:`RIVALS` or :data:`FEEDBACK`.
        credit: A name in :data:`CREDITS`.
        seed: Of network, teacher and noise.
        feedback_steps: After how many env steps of learning B, rising; 0 for a method without B.
        repeats: How many estimates are averaged over.

    Returns:
        For each of ``feedback_steps``: ``cosine`` between estimate and gradient, ``noise`` =
        1/cosine² − 1 (the squared error across the true gradient, once the estimate has its best
        scale; the relative variance of an unbiased one), ``relative_error`` ‖ĝ − g‖/‖g‖, and
        ``batch_steps``, the env steps of one estimate.
    """
    model = agent(size, "fixed" if method in RIVALS else method, credit, seed)
    network = model.policy.network
    task = Teacher(size.outputs, seed)
    batch = contexts(task, BATCH, MEASURED)
    x, target = (torch.as_tensor(batch[key]).float() for key in ("observation", "target"))
    losses = losses_of(task, batch)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        prediction = network.step(x, None).prediction
    network.set_path("transpose")
    gradient = hidden(carried(network, x, prediction - target))
    network.set_path("feedback")

    def estimate() -> list[Tensor]:
        if method in RIVALS:
            return RIVALS[method](network, x, losses, NODE_STD, generator)
        if credit == "given":
            return carried(network, x, prediction - target)
        return carried(network, x, probed_error(model, x, prediction, losses, generator))

    rows = []
    for steps in feedback_steps:
        if steps:
            model.learn(steps - model.num_timesteps, reset_num_timesteps=not model.num_timesteps)
        cosines, errors = [], []
        for _ in range(repeats):
            found = hidden(estimate())
            cosines.append(float(found @ gradient / (found.norm() * gradient.norm())))
            errors.append(float((found - gradient).square().sum() / gradient.square().sum()))
        cosine = sum(cosines) / repeats
        rows.append(
            {
                "feedback_steps": steps,
                "batch_steps": BATCH if credit == "given" else 2 * BATCH,
                "cosine": cosine,
                "noise": 1 / max(cosine, 1e-6) ** 2 - 1,
                "relative_error": math.sqrt(sum(errors) / repeats),
            }
        )
    return rows


def hidden(gradients: list[Tensor]) -> Tensor:
    """The gradients of all layers but the last, as one vector."""
    return torch.cat([gradient.flatten() for gradient in gradients[:-2]])


def carried(network: Network, x: Tensor, error: Tensor) -> list[Tensor]:
    """Gradient of each forward weight that follows from the output error ê (N, d) of a batch."""
    step = network.record(x, None, torch.zeros(len(x), dtype=torch.bool))
    gradients = network.carry_down([step], error[None] / len(x))
    network.forget_calls()
    return gradients


def probed_error(
    model: NodePerturbation,
    x: Tensor,
    prediction: Tensor,
    losses: Losses,
    generator: torch.Generator,
) -> Tensor:
    """ê from one pair of probes a context, with the error model's help where there is one."""
    estimator = model.method.learner.estimator
    assert isinstance(estimator, ProbeError)
    offsets = estimator.offsets(*prediction.shape, generator)  # [N, 2, d]
    tried = prediction[:, None] + offsets
    found = torch.stack([losses(lane) for lane in tried.unbind(1)], dim=1)  # [N, 2]
    changes, probes = estimator.changes(found).float(), estimator.probes(offsets)
    if model.method.learner.error_model is None:
        return estimator.estimate(changes, probes)
    guess = model.method.learner.error_model(x, prediction)  # g, [N, d]
    residual = changes - torch.einsum("nkd,nd->nk", probes, guess)
    return guess + estimator.estimate(residual, probes)


# Env steps to a target -------------------------------------------------------------------------


class Progress:
    """Watches a training run: has it reached the target, or must it be given up?

    Args:
        task: Of the network that learns.
        predict: From observations to predictions.
        target: Unexplained part of the variance of the validation contexts.
        limit: When to give up.
    """

    def __init__(
        self,
        task: Teacher,
        predict: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]],
        target: float,
        limit: Limit,
    ) -> None:
        self.predict, self.target, self.limit = predict, target, limit
        self.validation, self.test = (contexts(task, 1_000, s) for s in (VALIDATION, TEST))
        self.next, self.reached, self.env_steps = 1_024.0, False, 0
        self.started = time.process_time()

    def goes_on(self, env_steps: int) -> bool:
        """Looks at the error each time the env steps have grown by a twentieth."""
        self.env_steps = env_steps
        if env_steps >= self.next:
            self.next = 1.05 * env_steps
            self.reached = self.error(self.validation) <= self.target
        spent = time.process_time() - self.started
        return not (
            self.reached or env_steps >= self.limit.env_steps or spent >= self.limit.seconds
        )

    def error(self, context: Context) -> float:
        """Unexplained part of the variance."""
        return unexplained(self.predict(context["observation"]), context)


class Stop(BaseCallback):
    """Ends the agent's training when the progress says so."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def _on_step(self) -> bool:
        return self.progress.goes_on(self.num_timesteps)


def steps_to_target(
    size: Size, method: str, credit: str, seed: int, rate: float, target: float, limit: Limit
) -> dict[str, float]:
    """Env steps, every probe counted, until the error on validation contexts is at the target.

    Returns:
        ``env_steps`` played, whether the run is ``censored`` (given up before the target), and
        the ``test_error`` at its end.
    """
    train = train_rival if method in RIVALS else train_agent
    progress = train(size, method, credit, seed, rate, target, limit)
    return {
        "env_steps": progress.env_steps,
        "censored": int(not progress.reached),
        "test_error": progress.error(progress.test),
    }


def train_agent(
    size: Size, method: str, credit: str, seed: int, rate: float, target: float, limit: Limit
) -> Progress:
    """With the library's agent."""
    model = agent(size, method, credit, seed, rate)
    task = Teacher(size.outputs, seed)

    def predict(observations: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return model.predict(observations)[0] * task.action_scale

    progress = Progress(task, predict, target, limit)
    model.learn(2 * limit.env_steps, callback=Stop(progress), log_interval=0)
    return progress


def train_rival(
    size: Size, method: str, credit: str, seed: int, rate: float, target: float, limit: Limit
) -> Progress:
    """By a rival's estimates, from the same weights and with the same optimiser as the agent."""
    network = agent(size, "fixed", credit, seed).policy.network
    task = Teacher(size.outputs, seed)

    @torch.no_grad()
    def predict(observations: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return network.step(torch.as_tensor(observations), None).prediction.numpy()

    progress = Progress(task, predict, target, limit)
    optimizer = torch.optim.Adam(network.forward_weights, lr=rate, fused=True)
    generator = torch.Generator().manual_seed(seed)
    updates = 0
    while progress.goes_on(2 * BATCH * updates):
        batch = contexts(task, BATCH, TRAINING, updates)
        x = torch.as_tensor(batch["observation"])
        found = RIVALS[method](network, x, losses_of(task, batch), NODE_STD, generator)
        for weight, gradient in zip(network.forward_weights, found, strict=True):
            weight.grad = gradient
        optimizer.step()
        updates += 1
    return progress
