"""Figure 4: a recurrent network learns a delayed XOR, with feedback weights through time.

    python examples/paper/figure4.py [--quick] [--out DIR] [--seeds 0 1 ...] [--jobs 2]

50 tanh units read a stream of bits and go cues and answer each cue with the XOR of the two bits
before it; truncated backpropagation through 7 steps, the error carried back in time by feedback
weights. Column "given": the true gradient at the output, and the output layer's own transposed
weights below it, as in the authors' code; only the recurrent layer has feedback weights. Column
"scalar": the scalar reward alone, feedback weights in both layers, no weight transport anywhere.
A run ends early once it has answered 99 % of the cues in five evaluations in a row.
"""

from __future__ import annotations

import math
import pathlib
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from matplotlib import pyplot as plt
from study import Claim, Row, Study, Task, grouped, main, median, select, spread
from torch import Tensor

from nodepert.agents import NodePerturbation
from nodepert.agents.errors import NonFiniteError
from nodepert.agents.networks import RNN
from nodepert.envs import DelayedXOR, LossVectorEnv

SPAN = 7  # steps of truncated backpropagation
EPOCH = 50_000  # steps of all streams together
BATCH, AUTHORS_BATCH = 20, 200
UPDATES = 20_000
SOLVED, HELD = 0.99, 5  # a run ends after so many evaluations in a row of at least this accuracy

# Of the paper: sparse noise, B alone for 4 epochs, a limit to the gradient of B.
PERTURBED: dict[str, Any] = {
    "rule": "loss",
    "node_noise": "sparse",
    "node_std": 0.5,
    "node_probability": 0.1,
    "node_baseline": "clean",
    "max_feedback_grad_norm": 10.0,
}
METHODS: dict[str, dict[str, dict[str, Any]]] = {
    "given": {
        "BPTT": {"rule": "backprop"},
        "node perturbation": PERTURBED,
        "node perturbation, authors' scaling": {**PERTURBED, "authors_scaling": True},
        "node perturbation, no warm-up": PERTURBED,
        "feedback alignment": {"rule": "fixed"},
        "feedback alignment, B ~ N(0, 1)": {"rule": "fixed"},
        "sign-symmetric": {"rule": "sign_symmetric"},
    },
    "authors' rates": {
        "BPTT": {"rule": "backprop"},
        "node perturbation": {**PERTURBED, "authors_scaling": True},
        "feedback alignment": {"rule": "fixed"},
    },
    "scalar": {
        "BPTT": {"rule": "backprop"},
        "response": {"rule": "response"},
        "loss": {**PERTURBED, "node_baseline": "antithetic"},
        "feedback alignment": {"rule": "fixed"},
    },
}
WIDE = {"feedback alignment, B ~ N(0, 1)"}  # of the column "given"; the authors' B are all so


def settings(column: str, method: str, batch: int, rate: float) -> dict[str, Any]:
    """Hyperparameters of a run; the step size is that of plain gradient descent on means."""
    rows = batch * SPAN
    chosen = {
        **METHODS[column][method],
        "credit": "paired" if column == "scalar" else "given",
        "batch_size": batch,
        "n_steps": SPAN,
        "optimizer": "sgd",
        "learning_rate": rate,
        "lr_schedule": "constant",
    }
    if chosen["rule"] == "loss" and "no warm-up" not in method:
        chosen["warmup"] = 4 * EPOCH // rows
    if column == "authors' rates" and chosen["rule"] == "loss":
        chosen |= {"feedback_optimizer": "sgd", "feedback_learning_rate": 5e-5 * rows}
    return chosen


def train(
    column: str, method: str, hyperparameters: dict[str, Any], updates: int, seed: int, streams: int
) -> list[Row]:
    """The points of one run.

    Args:
        column: Where the error at the output comes from, and what carries it below.
        method: A name in :data:`METHODS`.
        hyperparameters: Of the agent.
        updates: At most so many.
        seed: Of the agent.
        streams: Seed of the streams that it is evaluated on.
    """
    scalar = column == "scalar"
    model = NodePerturbation(
        "RnnPolicy",
        gym.make("DelayedXOR-v0", stream=True, expose_gradient=not scalar),
        policy_kwargs={"transposed_readout": not scalar},
        seed=seed,
        **hyperparameters,
    )
    network = model.policy.network
    assert isinstance(network, RNN)
    if (column == "authors' rates" or method in WIDE) and network.recurrent.feedback is not None:
        network.recurrent.feedback.data.normal_(generator=torch.Generator().manual_seed(seed))
    per_update = hyperparameters["batch_size"] * SPAN * model.lanes_per_context
    shown = new_streams(streams)
    points: list[Row] = []
    for update in checkpoints(updates):
        steps = update * per_update
        try:
            if update:
                model.learn(steps - model.num_timesteps, reset_num_timesteps=False)
        except NonFiniteError:
            points.append({"update": update, "env_steps": steps, "diverged": 1})
            break
        points.append({"update": update, "env_steps": steps, **measure(network, *shown)})
        if len(points) > HELD and all(p["accuracy"] >= SOLVED for p in points[-HELD:]):
            break
    return points


def checkpoints(updates: int) -> Iterator[int]:
    """After which updates a run is measured: the later, the less often."""
    update = 0
    while update <= updates:
        yield update
        update += 100 if update < 2_000 else 250 if update < 5_000 else 1_000


# Measures --------------------------------------------------------------------------------------


def new_streams(seed: int, streams: int = 200, steps: int = 100) -> tuple[Tensor, Tensor, Tensor]:
    """New streams, which are the same whatever is answered.

    Returns:
        Observations (T, N, 2), targets (T, N), and where there is something to answer (T, N).
    """
    lanes = LossVectorEnv(DelayedXOR(stream=True, expose_gradient=True), streams)
    observation, _ = lanes.reset(seed=seed)
    seen, targets, asked = [], [], []
    for _ in range(steps):
        seen.append(observation.copy())
        observation, _, _, _, info = lanes.step(np.zeros((streams, 1), np.float32))
        # The gradient at the prediction 0 is minus the target, in units of the action.
        targets.append(-info["action_gradient"][:, 0] / lanes.env.action_scale)
        asked.append(info.get("_correct", np.zeros(streams, np.bool_)).copy())
    return (torch.as_tensor(np.array(seen)), torch.as_tensor(np.array(targets)),
            torch.as_tensor(np.array(asked)))  # fmt: skip


def measure(network: RNN, seen: Tensor, targets: Tensor, asked: Tensor) -> Row:
    """Loss a step, accuracy at response steps, and the angle at each unrolled step."""
    with torch.no_grad():
        state, states, predictions = network.initial_state(seen.shape[1]), [], []
        for x in seen:
            states.append(state)
            step = network.step(x, state)
            state = step.state
            predictions.append(step.prediction[:, 0])
    prediction = torch.stack(predictions)  # [T, N]
    correct = (prediction * targets)[asked] > 0
    angles = angles_by_step(network, seen[-SPAN:], states[-SPAN])
    return {
        "loss": float(0.5 * (prediction - targets).square().mean()),
        "accuracy": float(correct.double().mean()),
        **{f"angle_{back}": round(angle, 1) for back, angle in enumerate(angles)},
    }


def angles_by_step(network: RNN, seen: Tensor, state: Tensor) -> list[float]:
    """Angle between synthetic and true gradient at the units, in degrees, by steps back in time.

    Of the loss at the last step, as the authors measure it: of each stream, then averaged.

    Args:
        network: With feedback weights.
        seen: Observations, shape (T, N, 2).
        state: Before the first, shape (N, n).
    """
    paths = [layer.path for layer in network.layers]
    if paths[-2] == "autograd":
        return []
    synthetic = carried(network, seen, state)
    network.set_path("transpose")
    true = carried(network, seen, state)
    for layer, path in zip(network.layers, paths, strict=True):
        layer.path = path
    cosines = torch.cosine_similarity(synthetic.double(), true.double(), dim=-1)  # [T, N]
    angles = torch.rad2deg(torch.arccos(cosines.clamp(-1, 1))).mean(dim=1)
    return [float(angle) for angle in angles.flip(0)]


def carried(network: RNN, seen: Tensor, state: Tensor) -> Tensor:
    """ẽ of the recurrent layer at each step, for an error of 1 at the last, shape (T, N, n)."""
    network.forget_calls()
    for x in seen:
        step = network.step(x, state)
        state = step.state
    torch.autograd.grad(step.prediction.sum(), network.forward_weights, allow_unused=True)
    errors = torch.stack([call.error for call in network.recurrent.calls])
    network.forget_calls()
    return errors


# The study -------------------------------------------------------------------------------------

# Step sizes of W, chosen by: python examples/paper/figure4_search.py
RATES = {(column, method): 0.04 for column in METHODS for method in METHODS[column]}
AUTHORS_RATE = 5e-6 * AUTHORS_BATCH * SPAN  # theirs is of summed gradients, ours of means
SCALAR_SEEDS, AUTHORS_SEEDS = 5, 1
QUICK = [
    ("given", "BPTT"),
    ("given", "node perturbation, no warm-up"),
    ("given", "feedback alignment"),
    ("scalar", "response"),
]


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """Seed by seed, so that what was cut off is a smaller study."""
    listed = []
    for place, seed in enumerate(seeds):
        for column, methods in METHODS.items():
            if place >= {"scalar": SCALAR_SEEDS, "authors' rates": AUTHORS_SEEDS}.get(column, 99):
                continue
            for method in methods:
                if quick and (column, method) not in QUICK:
                    continue
                authors = column == "authors' rates"
                listed.append({
                    "column": column,
                    "method": method,
                    "batch": AUTHORS_BATCH if authors else BATCH,
                    "rate": AUTHORS_RATE if authors else RATES[column, method],
                    "updates": 1_000 if quick else UPDATES,
                    "seed": seed,
                })  # fmt: skip
    return listed


def run(task: Task) -> list[Row]:
    """One run."""
    column, method = task["column"], task["method"]
    chosen = settings(column, method, task["batch"], task["rate"])
    return train(column, method, chosen, task["updates"], task["seed"], streams=10_000)


def solved_at(points: list[Row], column: str = "update") -> float:
    """Where a run answered 99 % of the cues for the first time; infinite where it never did."""
    return min((p[column] for p in points if p.get("accuracy", 0) >= SOLVED), default=math.inf)


# Picture ---------------------------------------------------------------------------------------


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Loss, accuracy and angles; one row of panels a column of the study, medians over seeds."""
    columns = grouped(rows, "column")
    figure, panels = plt.subplots(
        len(columns), 3, figsize=(13, 3.4 * len(columns)), layout="constrained", squeeze=False
    )
    for (loss, accuracy, angle), (column, of_column) in zip(panels, columns.items(), strict=True):
        for place, (method, of_method) in enumerate(grouped(of_column, "method").items()):
            look: dict[str, Any] = {"label": method, "color": f"C{place}"}
            curve(loss, of_method, "loss", look)
            curve(accuracy, of_method, "accuracy", look)
            steps_back(angle, of_method, look)
        loss.set(yscale="log", xlabel="updates", ylabel="loss a step", title=f"{column}: test loss")
        accuracy.set(xlabel="updates", ylabel="accuracy at response steps", ylim=(0.4, 1.02))
        angle.axhline(90, color="grey", linewidth=0.8, linestyle=":")
        angle.set(xlabel="steps back in time", ylabel="angle to the true gradient (°)")
        for axes in (loss, accuracy, angle):
            axes.grid(alpha=0.3)
        loss.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curve(axes: Any, rows: list[Row], column: str, look: dict[str, Any]) -> None:
    """Each seed thinly, and the median for as long as most seeds run."""
    runs = grouped(rows, "seed")
    for points in runs.values():
        shown = [p for p in points if column in p]
        axes.plot([p["update"] for p in shown], [p[column] for p in shown], alpha=0.2,
                  linewidth=0.7, color=look["color"])  # fmt: skip
    most = {
        update: median(points, column)
        for update, points in grouped(rows, "update").items()
        if 2 * sum(column in p for p in points) > len(runs)
    }
    axes.plot(list(most), list(most.values()), **look)


def steps_back(axes: Any, rows: list[Row], look: dict[str, Any]) -> None:
    """Angles at the end of each run, and their medians over seeds."""
    ends = final(rows)
    middle = [median(ends, f"angle_{back}") for back in range(SPAN)]
    if not math.isnan(middle[0]):
        axes.plot(range(SPAN), middle, "o-", **look)


# Report ----------------------------------------------------------------------------------------


def final(rows: list[Row]) -> list[Row]:
    """The last point of each seed that was measured."""
    ends = (
        [point for point in points if "loss" in point][-1:]
        for points in grouped(rows, "seed").values()
    )
    return [point for end in ends for point in end]


def to_solve(rows: list[Row], column: str = "update") -> list[float]:
    """Of each seed, the updates or env steps until 99 % of the cues are answered."""
    return [solved_at(points, column) for points in grouped(rows, "seed").values()]


def in_words(found: list[float]) -> str:
    """Median and how many seeds got there."""
    reached = [one for one in found if one < math.inf]
    middle = statistics.median(found)
    shown = f"{middle:,.0f}" if middle < math.inf else "not reached"
    return f"{shown} ({len(reached)} of {len(found)} seeds)"


def claims(rows: list[Row]) -> list[Claim]:
    """The paper's claims and our targets."""
    found = [
        pace(rows, "given", method, "within 1.5 × BPTT's updates to 99 % at response steps")
        for method in METHODS["given"] if method.startswith("node")
    ]  # fmt: skip
    found += [pace(rows, "given", "sign-symmetric", "converges, within 1.5 × BPTT's updates")]
    found += [
        fails(rows, "given", method) for method in METHODS["given"] if method.startswith("feedback")
    ]
    found += [near_90(rows, column, method) for column, method in (
        ("given", "node perturbation"), ("given", "feedback alignment"), ("scalar", "loss"),
        ("scalar", "response"),
    )]  # fmt: skip
    found += [
        pace(rows, "scalar", method, "scalar reward alone: within 1.5 × BPTT's updates")
        for method in ("response", "loss")
    ]
    found += [fails(rows, "scalar", "feedback alignment")]
    found += [pace(rows, "authors' rates", "node perturbation", "about as fast as BPTT (1.5 ×)")]
    found += [fails(rows, "authors' rates", "feedback alignment")]
    return found


def pace(rows: list[Row], column: str, method: str, what: str) -> Claim:
    """How many updates a method takes to 99 %, beside BPTT of its column."""
    name = f"{column}, {method}"
    ours, bptt = (select(rows, column=column, method=m) for m in (method, "BPTT"))
    if not ours or not bptt:
        return Claim(f"{name}: {what}", "-", None, f"pace: {name}")
    updates, reference = to_solve(ours), to_solve(bptt)
    ratio = statistics.median(updates) / statistics.median(reference)
    steps = in_words(to_solve(ours, "env_steps"))
    measured = (
        f"{ratio:.2f} ×: {in_words(updates)} updates, BPTT {in_words(reference)}; "
        f"{steps} env steps; best accuracy {best_accuracy(ours)}"
    )
    if warmup := settings(column, method, ours[0]["batch"], 0.0).get("warmup"):
        counted = (statistics.median(updates) - warmup) / statistics.median(reference)
        measured += f"; {counted:.2f} × without the {warmup:,} updates of B alone"
    return Claim(f"{name}: {what}", measured, ratio <= 1.5, f"pace: {name}")


def best_accuracy(rows: list[Row]) -> str:
    """Of each seed at its best: median and range."""
    return spread([{"best": best} for best in at_best(rows)], "best", ".1%")


def at_best(rows: list[Row]) -> list[float]:
    """The best accuracy of each seed."""
    runs = grouped(rows, "seed").values()
    return [max(point.get("accuracy", 0.0) for point in points) for points in runs]


def fails(rows: list[Row], column: str, method: str) -> Claim:
    """That random feedback does not converge."""
    name = f"{column}, {method}"
    what = f"{name}: does not converge (at its best under 75 % at response steps)"
    chosen = select(rows, column=column, method=method)
    if not chosen:
        return Claim(what, "-", None, f"fails: {name}")
    measured = f"best accuracy {best_accuracy(chosen)}; 99 % after {in_words(to_solve(chosen))}"
    diverged = sum("diverged" in row for row in chosen)
    if diverged:
        measured += f"; diverged in {diverged}"
    return Claim(what, measured, statistics.median(at_best(chosen)) < 0.75, f"fails: {name}")


def near_90(rows: list[Row], column: str, method: str) -> Claim:
    """That synthetic and true gradient are nearly orthogonal further back in time."""
    name = f"{column}, {method}"
    what = f"{name}: angles near 90° (within 20° at three and more steps back)"
    ends = final(select(rows, column=column, method=method))
    if not ends:
        return Claim(what, "-", None, f"angles: {name}")
    middle = [median(ends, f"angle_{back}") for back in range(SPAN)]
    measured = "at the end, 0 to 6 steps back: " + ", ".join(f"{angle:.0f}°" for angle in middle)
    holds = all(abs(angle - 90) <= 20 for angle in middle[3:])
    return Claim(what, measured, holds, f"angles: {name}")


STUDY = Study(
    name="figure4",
    tasks=tasks,
    run=run,
    minutes=lambda task: 0.4,
    draw=draw,
    claims=claims,
    seeds=tuple(range(10)),
    notes="",
)

if __name__ == "__main__":
    main(STUDY, __doc__)
