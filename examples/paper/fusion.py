"""Weight mirror and node perturbation fused: is B better for hearing of the loss, too?

    python examples/paper/fusion.py [--quick] [--out DIR] [--seeds …] [--jobs …]

The paper's discussion suggests to combine both. Here the fused B solves both regressions at once,
weighted by the inverse variance of their residuals,

    B = argmin ‖Δz − ξ Bᵀ‖² / σ_r² + ‖ẽ B − λ̂‖² / σ_l²,

and `response` and `loss` are the same with only one of the terms, so that each is at its best:
exact least squares with a forgetting factor. 784-50-20-10 sigmoid units learn MNIST, given the
output gradient. Noise is added to the measured Δz and to the reward. Validation split.
"""

from __future__ import annotations

import itertools
import math
import pathlib
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from study import Claim, Row, Study, Task, best, main, median, save, select
from torch import Tensor

from nodepert.agents.maths import angle_degrees, node_perturbation, relative_error
from nodepert.envs.mnist_data import load_examples

SIZES = (784, 50, 20, 10)
BATCH, RATE, NODE_STD = 32, 0.2, 0.1
RESPONSE_NOISES = (0.0, 3.0, 10.0)  # standard deviation, in units of the node noise c
REWARD_NOISES = (0.0, 0.1)
FORGETTING = (0.99, 0.9, 0.999)
COLOURS = {"response": "C0", "loss": "C3", "fused": "C2"}
MEASURES = {"angle": "angle(W, B), degrees", "relative_error": "‖W−B‖ / ‖W‖"}


def solve(
    response: Sequence[Tensor], loss: Sequence[Tensor], weights: tuple[float, float]
) -> Tensor:
    """B of the weighted sum of both regressions.

    Where it is least, a B P + b V B = a Q + b S; elementwise in the eigenvectors of P and V.

    Args:
        response: P = Σ ξᵀξ, shape (n_in, n_in), and Q = Σ Δzᵀξ, shape (n_out, n_in).
        loss: V = Σ ẽᵀẽ, shape (n_out, n_out), and S = Σ ẽᵀλ̂, shape (n_out, n_in).
        weights: a and b.
    """
    a, b = weights
    p, right = torch.linalg.eigh(response[0])
    v, left = torch.linalg.eigh(loss[0])
    target = left.t() @ (a * response[1] + b * loss[1]) @ right
    ridge = 0.1 * b + 1e-9 * a  # the paper's 0.1 for V
    return left @ (target / (a * p + b * v[:, None] + ridge)) @ right.t()


class Feedback:
    """The feedback weights of one layer and the sums that they are solved from.

    Args:
        weight: W, for its shape.
        method: ``"response"``, ``"loss"`` or ``"fused"``.
        forgetting: What the sums are multiplied by before each update.
        generator: Random numbers for the first B.
    """

    def __init__(
        self, weight: Tensor, method: str, forgetting: float, generator: torch.Generator
    ) -> None:
        n_out, n_in = weight.shape
        self.method, self.forgetting = method, forgetting
        self.matrix = torch.randn(n_out, n_in, generator=generator) / math.sqrt(n_in)
        self.response = [torch.zeros(n_in, n_in), torch.zeros(n_out, n_in)]
        self.loss = [torch.zeros(n_out, n_out), torch.zeros(n_out, n_in)]
        self.variances = [0.0, 0.0]  # of the residuals, Δz − ξBᵀ and λ̂ − ẽB

    def add(self, noise: Tensor, change: Tensor, error: Tensor, estimate: Tensor) -> None:
        """Takes ξ and Δz of one experiment, ẽ and λ̂ of the other."""
        for sums, x, y in ((self.response, noise, change), (self.loss, error, estimate)):
            for total in sums:
                total *= self.forgetting
            sums[0] += x.t() @ x
            sums[1] += y.t() @ x if sums is self.response else x.t() @ y
        residuals = (change - noise @ self.matrix.t(), estimate - error @ self.matrix)
        for i, residual in enumerate(residuals):
            seen = float(residual.square().mean())
            self.variances[i] += (1 - self.forgetting) * (seen - self.variances[i])

    def update(self) -> None:
        """Solves for B."""
        weights = {"response": (1.0, 0.0), "loss": (0.0, 1.0)}.get(self.method)
        if weights is None:  # both times the variance of the loss's residual
            weights = (min(self.variances[1] / max(self.variances[0], 1e-30), 1e9), 1.0)
        response, loss = ([total.double() for total in sums] for sums in (self.response, self.loss))
        self.matrix = solve(response, loss, weights).float()


def forward(weights: list[Tensor], x: Tensor, noise: list[Tensor] | None = None) -> list[Tensor]:
    """Activities of all layers, from the input to the linear output."""
    layers = [x]
    for i, weight in enumerate(weights):
        z = layers[-1] @ weight[:, :-1].t() + weight[:, -1]
        if i == len(weights) - 1:
            return [*layers, z]
        layers.append(torch.sigmoid(z) + (0 if noise is None else noise[i]))
    raise AssertionError


def run(task: Task) -> list[Row]:
    """Trains W and B together; errors of B and on the validation split at ten points."""
    generator = torch.Generator().manual_seed(task["seed"])

    def gaussian(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    train, held_out = load_examples(holdout=True), load_examples(split="validation")
    images, labels = torch.tensor(train.images), torch.tensor(train.labels)
    weights = [gaussian(n, m + 1) / math.sqrt(m) for m, n in itertools.pairwise(SIZES)]
    for weight in weights:
        weight[:, -1] = 0  # biases
    feedback = [
        Feedback(w[:, :-1], task["method"], task["forgetting"], generator) for w in weights[1:]
    ]
    rows: list[Row] = []
    for update in range(1, task["updates"] + 1):
        chosen = torch.randint(len(labels), (BATCH,), generator=generator)
        x, target = images[chosen] / 255, torch.eye(10)[labels[chosen]]
        layers = forward(weights, x)
        errors = [layers[-1] - target]
        for b, h in zip(feedback[::-1], layers[-2:0:-1], strict=True):
            errors.insert(0, (errors[0] @ b.matrix) * h * (1 - h))

        noise = [NODE_STD * gaussian(BATCH, n) for n in SIZES[1:-1]]
        losses = [
            0.5 * (forward(weights, x, [sign * xi for xi in noise])[-1] - target).square().sum(1)
            + task["reward_noise"] * gaussian(BATCH)
            for sign in (1, -1)
        ]
        change = (losses[0] - losses[1]) / 2
        for i, b in enumerate(feedback):
            estimate = node_perturbation(change, noise[i], NODE_STD**2)
            own = NODE_STD * gaussian(BATCH, SIZES[i + 1])  # noise in this layer alone
            answer = own @ weights[i + 1][:, :-1].t()
            answer += task["response_noise"] * NODE_STD * gaussian(*answer.shape)
            b.add(own, answer, errors[i + 1], estimate)
            if update % 10 == 0:
                b.update()
        for weight, error, h in zip(weights, errors, layers, strict=False):
            weight -= RATE / BATCH * error.t() @ torch.cat([h, torch.ones(BATCH, 1)], dim=1)
        if update % (task["updates"] // 10) == 0:
            pixels = torch.from_numpy(held_out.pixels(slice(None)))  # type: ignore[arg-type]
            wrong = forward(weights, pixels)[-1].argmax(1) != torch.tensor(held_out.labels)
            rows.append(
                {"contexts": update * BATCH, "validation_error": float(wrong.float().mean())}
            )
            for i, b in enumerate(feedback):
                w = weights[i + 1][:, :-1]
                rows[-1][f"angle_{i + 2}"] = angle_degrees(w, b.matrix)
                rows[-1][f"relative_error_{i + 2}"] = relative_error(w, b.matrix)
    return rows


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """Each method with the noises that it can hear."""
    return [
        {
            "method": method,
            "response_noise": response_noise,
            "reward_noise": reward_noise,
            "forgetting": forgetting,
            "updates": 500 if quick else 2_000,
            "seed": seed,
        }
        for seed in seeds
        for response_noise in (RESPONSE_NOISES[::2] if quick else RESPONSE_NOISES)
        for reward_noise in REWARD_NOISES
        for method in COLOURS
        for forgetting in (FORGETTING[:1] if quick else FORGETTING)
        if not (method == "response" and reward_noise) and not (method == "loss" and response_noise)
    ]


# The report ------------------------------------------------------------------------------------


def settled(rows: list[Row], measure: str, **condition: object) -> list[Row]:
    """The second half of the runs under a condition, with the forgetting that is best for it."""
    chosen = [
        row for row in select(rows, **condition) if 2 * row["contexts"] > row["updates"] * BATCH
    ]
    return select(chosen, forgetting=best(chosen, "forgetting", measure)) if chosen else []


def compare(rows: list[Row], measure: str, noise: float, reward: float) -> tuple[float, str]:
    """How many times response's measure the fused one's is, and both as text."""
    fused = settled(rows, measure, method="fused", response_noise=noise, reward_noise=reward)
    alone = settled(rows, measure, method="response", response_noise=noise)
    ours, theirs = median(fused, measure), median(alone, measure)
    return ours / theirs, f"{measure} {ours:.3g} (alone {theirs:.3g})"


def claims(rows: list[Row]) -> list[Claim]:
    """Where fusing beats the response alone."""
    found = []
    measures = [f"{kind}_{layer}" for kind in MEASURES for layer in (3, 2)] + ["validation_error"]
    for noise in sorted({row["response_noise"] for row in rows}):
        for reward in REWARD_NOISES:
            results = [compare(rows, measure, noise, reward) for measure in measures]
            of_b = [ratio for ratio, _ in results[:-1]]
            where = f"noise {noise:g} c on the response, {reward:g} on the reward"
            found.append(
                Claim(
                    f"B is nearer to W than by the response alone: {where}",
                    "; ".join(text for _, text in results),
                    min(of_b) < 0.97 and max(of_b) < 1.03,
                    f"{noise:g}/{reward:g}",
                )
            )
    return found


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Angles and relative errors of both layers against the noise on the response."""
    figure, grid = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    noises = sorted({row["response_noise"] for row in rows})
    panels = [(f"{kind}_{layer}", kind, layer) for kind in MEASURES for layer in (2, 3)]
    for axes, (measure, kind, layer) in zip(grid, panels, strict=True):
        for method, colour in COLOURS.items():
            for reward, style in zip(REWARD_NOISES, ("o-", "s:"), strict=True):
                if method == "response" and reward:
                    continue
                values = [
                    median(
                        settled(
                            rows,
                            measure,
                            method=method,
                            reward_noise=reward,
                            response_noise=0.0 if method == "loss" else noise,
                        ),
                        measure,
                    )
                    for noise in noises
                ]
                label = method + (f", reward noise {reward}" if reward else "")
                axes.plot(range(len(noises)), values, style, color=colour, label=label)
        axes.set(title=f"B of layer {layer}", ylabel=MEASURES[kind], yscale="log")
        axes.set_xticks(range(len(noises)), [f"{noise:g} c" for noise in noises])
        axes.set_xlabel("noise on the measured response")
        axes.grid(alpha=0.3)
    grid[0].legend(fontsize=7)
    save(figure, path)


STUDY = Study(
    name="fusion",
    tasks=tasks,
    run=run,
    minutes=lambda task: task["updates"] / 26_000,
    draw=draw,
    claims=claims,
    seeds=(0, 1),
    notes="""
Medians over seeds and the second half of the runs, each method with its best forgetting
factor. `response` costs one env step a context here, `loss` and `fused` three. "Holds": the fused
B is at least 3 % better by one measure of B and no more than 3 % worse by any.

In this library the response to node noise is computed, so it carries no noise of measurement, and
a regression without noise leaves nothing for the loss to add: there is no rule `fused`. Where the
response is noisy, fusing helps; so would more noise on the nodes, which costs `response` no env
step.
""",
)

if __name__ == "__main__":
    main(STUDY, __doc__)
