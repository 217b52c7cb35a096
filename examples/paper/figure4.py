"""Figure 4: a recurrent network learns a delayed XOR, with feedback weights through time.

    python examples/paper/figure4.py [--quick] [--out DIR] [--seeds 0 1 ...] [--jobs 2]

50 tanh units read a stream of bits and go cues and answer each cue with the XOR of the two bits
before it; truncated backpropagation through 7 steps, the error carried back in time by feedback
weights. Column "given": the true gradient at the output, and the output layer's own transposed
weights below it, as in the authors' code; only the recurrent layer has feedback weights. Column
"scalar": the scalar reward alone, feedback weights in both layers, no weight transport anywhere.
A run of 20,000 updates ends early, though not before 3,000, once it has answered 99 % of the cues
in five evaluations in a row.
"""

from __future__ import annotations

import math
import pathlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from matplotlib import pyplot as plt
from study import Claim, Row, Study, Task, grouped, main, median, save, select, spread
from torch import Tensor

from nodepert.agents import NodePerturbation
from nodepert.agents.errors import NonFiniteError
from nodepert.agents.networks import RNN
from nodepert.envs import DelayedXOR, LossVectorEnv

SPAN = 7  # steps of truncated backpropagation
EPOCH = 50_000  # steps of all streams together
BATCH, AUTHORS_BATCH = 20, 200
UPDATES, LEAST = 20_000, 3_000  # at most, and at least where a run may end early
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
        "no feedback in time": {"rule": "fixed"},
        "sign-symmetric": {"rule": "sign_symmetric"},
    },
    "authors' rates": {
        "BPTT": {"rule": "backprop"},
        "node perturbation": {**PERTURBED, "authors_scaling": True},
        "feedback alignment": {"rule": "fixed"},
        "feedback alignment, B as W": {"rule": "fixed"},
    },
    "scalar": {
        "BPTT": {"rule": "backprop"},
        "response": {"rule": "response", "node_noise": "gaussian"},
        "loss": {**PERTURBED, "node_baseline": "antithetic"},
        "feedback alignment": {"rule": "fixed"},
    },
}


def settings(
    column: str, method: str, batch: int, rate: float, feedback_rate: float
) -> dict[str, Any]:
    """Hyperparameters of a run; the step sizes are of gradients averaged over batch and steps."""
    chosen = {
        **METHODS[column][method],
        "credit": "paired" if column == "scalar" else "given",
        "batch_size": batch,
        "n_steps": SPAN,
        "optimizer": "sgd",
        "learning_rate": rate,
        "lr_schedule": "constant",
    }
    if chosen["rule"] == "loss":
        chosen["feedback_learning_rate"] = feedback_rate
        chosen["feedback_optimizer"] = "sgd" if column == "authors' rates" else "adam"
        if "no warm-up" not in method:
            chosen["warmup"] = 4 * EPOCH // (batch * SPAN)
    return chosen


def start_feedback(network: RNN, column: str, method: str, seed: int) -> None:
    """Other initial feedback weights than the library's, which are as wide as the forward ones."""
    feedback = network.recurrent.feedback
    if feedback is None:
        return
    if method == "no feedback in time":
        feedback.data.zero_()
    elif column == "authors' rates" and "B as W" not in method:  # theirs are N(0, 1)
        feedback.data.normal_(generator=torch.Generator().manual_seed(seed))


def train(
    column: str,
    method: str,
    hyperparameters: dict[str, Any],
    seed: int,
    *,
    updates: int,
    least: int,
    streams: int,
) -> list[Row]:
    """The points of one run.

    Args:
        column: Where the error at the output comes from, and what carries it below.
        method: A name in :data:`METHODS`.
        hyperparameters: Of the agent.
        seed: Of the agent.
        updates: At most so many.
        least: At least so many, unless it diverges.
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
    start_feedback(network, column, method, seed)
    per_update = hyperparameters["batch_size"] * SPAN * model.lanes_per_context
    shown = new_streams(streams)
    points: list[Row] = []
    for update in checkpoints(updates, hyperparameters.get("warmup", 0)):
        steps = update * per_update
        try:
            if update:
                model.learn(steps - model.num_timesteps, reset_num_timesteps=False)
        except NonFiniteError:
            points.append({"update": update, "env_steps": steps, "diverged": 1})
            break
        angles = angles_by_step(network, *shown) if update % 500 == 0 else {}
        points.append({"update": update, "env_steps": steps, **score(network, *shown), **angles})
        solved = len(points) > HELD and all(p["accuracy"] >= SOLVED for p in points[-HELD:])
        if solved and update >= least:
            break
    return points


def checkpoints(updates: int, warmup: int) -> Iterator[int]:
    """After which updates a run is measured: every ten, later every 5 % more; and every 500.

    Counted anew from the end of the warm-up, when W begins to learn.
    """
    update = 0
    while update <= updates:
        yield update
        began = warmup if update >= warmup else 0
        stops = [update + 10 * max(1, (update - began) // 200), (update // 500 + 1) * 500]
        update = min(stops if update >= warmup else [*stops, warmup])


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


@torch.no_grad()
def score(network: RNN, seen: Tensor, targets: Tensor, asked: Tensor) -> Row:
    """Loss a step, and accuracy at response steps."""
    state, predictions = network.initial_state(seen.shape[1]), []
    for x in seen:
        step = network.step(x, state)
        state = step.state
        predictions.append(step.prediction[:, 0])
    prediction = torch.stack(predictions)  # [T, N]
    correct = (prediction * targets)[asked] > 0
    return {
        "loss": float(0.5 * (prediction - targets).square().mean()),
        "accuracy": float(correct.double().mean()),
    }


def angles_by_step(network: RNN, seen: Tensor, *_: Tensor) -> Row:
    """Angle between synthetic and true gradient at the units, in degrees, by steps back in time.

    Of the loss at the last step, as the authors measure it: of each stream, then averaged. Nothing
    where there is no synthetic gradient.

    Args:
        network: With feedback weights.
        seen: Observations, shape (T, N, 2); the errors go back through the last of them.
    """
    paths = [layer.path for layer in network.layers]
    if paths[1] == "autograd":
        return {}
    state = network.initial_state(seen.shape[1])
    with torch.no_grad():
        for x in seen[:-SPAN]:
            state = network.step(x, state).state
    synthetic = carried(network, seen[-SPAN:], state)
    network.set_path("transpose")
    true = carried(network, seen[-SPAN:], state)
    for layer, path in zip(network.layers, paths, strict=True):
        layer.path = path
    cosines = torch.cosine_similarity(synthetic.double(), true.double(), dim=-1)  # [T, N]
    angles = torch.rad2deg(torch.arccos(cosines.clamp(-1, 1))).mean(dim=1)
    return {f"angle_{back}": round(float(angle), 1) for back, angle in enumerate(angles.flip(0))}


def carried(network: RNN, seen: Tensor, state: Tensor) -> Tensor:
    """ẽ of the recurrent layer at each step, for an error of 1 at the last, shape (T, N, n)."""
    going_on, steps = torch.zeros(seen.shape[1], dtype=torch.bool), []
    for x in seen:
        steps.append(network.record(x, steps[-1].state if steps else state, going_on))
    error = torch.zeros(len(seen), *steps[-1].prediction.shape)
    error[-1] = 1.0
    network.carry_down(steps, error)
    network.forget_calls()
    return torch.stack([step.calls[network.recurrent].error for step in steps])


# The study -------------------------------------------------------------------------------------

# Step sizes of W and of B, chosen by: python examples/paper/figure4_search.py
RATES = {
    ("given", "BPTT"): (0.4, 0.0),
    ("given", "node perturbation"): (0.5, 3e-3),
    ("given", "node perturbation, authors' scaling"): (0.5, 1e-3),
    ("given", "node perturbation, no warm-up"): (0.5, 1e-2),
    ("given", "feedback alignment"): (0.5, 0.0),
    ("given", "no feedback in time"): (0.6, 0.0),
    ("given", "sign-symmetric"): (0.5, 0.0),
    ("scalar", "BPTT"): (0.4, 0.0),
    ("scalar", "response"): (0.5, 0.0),
    ("scalar", "loss"): (0.2, 1e-3),
    ("scalar", "feedback alignment"): (0.3, 0.0),
}
# The authors' 5e-6 and 5e-5 are of gradients summed over batch and steps, ours of means.
AUTHORS_RATES = (5e-6 * AUTHORS_BATCH * SPAN, 5e-5 * AUTHORS_BATCH * SPAN)
SCALAR_SEEDS, AUTHORS_SEEDS = 5, 1
QUICK = [
    ("given", "BPTT"),
    ("given", "node perturbation, no warm-up"),
    ("given", "feedback alignment"),
    ("given", "no feedback in time"),
    ("scalar", "BPTT"),
    ("scalar", "response"),
]


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """Seed by seed, so that what was cut off is a smaller study; the long authors' runs last."""
    listed: list[Task] = []
    for place, seed in enumerate(seeds):
        for column, methods in METHODS.items():
            if place >= {"scalar": SCALAR_SEEDS, "authors' rates": AUTHORS_SEEDS}.get(column, 99):
                continue
            for method in methods:
                if quick and (column, method) not in QUICK:
                    continue
                authors = column == "authors' rates"
                rate, feedback_rate = AUTHORS_RATES if authors else RATES[column, method]
                listed.append({
                    "column": column,
                    "method": method,
                    "batch": AUTHORS_BATCH if authors else BATCH,
                    "rate": rate,
                    "feedback_rate": feedback_rate,
                    "updates": 500 if quick else UPDATES,
                    "seed": seed,
                })  # fmt: skip
    return sorted(listed, key=lambda task: task["column"] == "authors' rates")


def run(task: Task) -> list[Row]:
    """One run."""
    column, method = task["column"], task["method"]
    chosen = settings(column, method, task["batch"], task["rate"], task["feedback_rate"])
    least = min(LEAST, task["updates"])
    return train(
        column, method, chosen, task["seed"], updates=task["updates"], least=least, streams=10_000
    )


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
    save(figure, path, dpi=110)


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
    middle = end_angles(rows)
    if not math.isnan(middle[0]):
        axes.plot(range(SPAN), middle, "o-", **look)


# Report ----------------------------------------------------------------------------------------


def end_angles(rows: list[Row]) -> list[float]:
    """Medians over seeds of each run's last angles, by steps back; NaN where there are none."""
    runs = grouped([row for row in rows if "angle_0" in row], "seed").values()
    ends = [points[-1] for points in runs]
    return [median(ends, f"angle_{back}") for back in range(SPAN)]


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
        fails(rows, "given", method) for method in ("feedback alignment", "no feedback in time")
    ]
    found += [
        angles(rows, column, method, "near 90° (within 20°) at three and more steps back", near_90)
        for column, method in (
            ("given", "node perturbation"),
            ("given", "feedback alignment"),
            ("scalar", "loss"),
        )
    ]
    found += [angles(rows, "scalar", "response", "under 10° at all steps", lambda a: max(a) < 10)]
    found += [
        pace(rows, "scalar", method, "scalar reward alone: within 1.5 × BPTT's updates")
        for method in ("response", "loss")
    ]
    found += [fails(rows, "scalar", "feedback alignment")]
    found += [pace(rows, "authors' rates", "node perturbation", "about as fast as BPTT (1.5 ×)")]
    found += [
        fails(rows, "authors' rates", method)
        for method in ("feedback alignment", "feedback alignment, B as W")
    ]
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
        f"{steps} env steps; best accuracy {best_accuracy(ours)}; {losses(ours)}, "
        f"BPTT {losses(bptt)}"
    )
    if warmup := settings(column, method, ours[0]["batch"], 0.0, 0.0).get("warmup"):
        counted = (statistics.median(updates) - warmup) / statistics.median(reference)
        measured += f"; {counted:.2f} × without the {warmup:,} updates of B alone"
    if diverged := sum("diverged" in row for row in ours):
        measured += f"; diverged in {diverged}"
    return Claim(f"{name}: {what}", measured, ratio <= 1.5, f"pace: {name}")


def losses(rows: list[Row]) -> str:
    """Test losses at the first update after which a run may end."""
    update = min(LEAST, max(row["update"] for row in rows))
    return f"loss {spread(select(rows, update=update), 'loss')} after {update:,} updates"


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
    measured += f"; {losses(chosen)}"
    diverged = sum("diverged" in row for row in chosen)
    if diverged:
        measured += f"; diverged in {diverged}"
    return Claim(what, measured, statistics.median(at_best(chosen)) < 0.75, f"fails: {name}")


def near_90(by_step: list[float]) -> bool:
    """Whether angles are nearly right, but for the first steps back."""
    return all(abs(angle - 90) <= 20 for angle in by_step[3:])


def angles(
    rows: list[Row], column: str, method: str, what: str, holds: Callable[[list[float]], bool]
) -> Claim:
    """What the angles between synthetic and true gradient are."""
    name = f"{column}, {method}"
    by_step = end_angles(select(rows, column=column, method=method))
    if math.isnan(by_step[0]):
        return Claim(f"{name}: angles {what}", "-", None, f"angles: {name}")
    measured = "at the end, 0 to 6 steps back: " + ", ".join(f"{angle:.0f}°" for angle in by_step)
    return Claim(f"{name}: angles {what}", measured, holds(by_step), f"angles: {name}")


def minutes(task: Task) -> float:
    """About how many core-minutes a run takes, most of which end early."""
    if task["column"] == "authors' rates":
        return 3.0
    return min(task["updates"], LEAST) / LEAST * (0.5 if task["feedback_rate"] else 0.3)


NOTES = """
Updates count from the first, those of B alone included; env steps count every lane. All streams are
evaluated on new seeds, about 940 cues. A run ends early once it has answered 99 % of the cues in
five evaluations in a row, but not before 3,000 updates.

- **given**: the true gradient at the output. Errors leave the output layer by its own transposed
  weights, in every method, as in the authors' code; B is of the recurrent layer only. Node
  perturbation is the rule `loss` with sparse noise (c = 0.5, p = 0.1), a clean pass as baseline,
  4 epochs of 50,000 steps in which B alone learns, and gradients of B of norm 10 at most.
  "Authors' scaling" divides the estimate by c² in place of p c². "No feedback in time" is B = 0:
  what the output layer's own weights do alone.
- **authors' rates**: the same with batches of 200 and plain steps of 5e-6 (W) and 5e-5 (B) on
  gradients summed over batch and steps, authors' scaling, and B ~ N(0, 1), seven times as wide as
  W, as in their script; "B as W" starts B at the width of W. In their script the output weights
  take steps a seventh as long (the mean over the steps, not the sum), and an epoch is a million
  steps. It also regresses the estimate at step j on the error at step j, where eq. 8 has the error
  of what reads the node, at step j + 1; here it is the latter.
- **scalar**: the reward alone, by two probes a context; B in both layers, no weight transport
  anywhere. `response` is our default rule; `loss` is the paper's, without a given gradient.
  "BPTT" is backpropagation below the estimated error.

The task asks for little: with B = 0, no error going back in time at all, the same network answers
99 % of the cues, since its random recurrent weights keep the two bits for the three steps needed.
"""

STUDY = Study(
    name="figure4",
    tasks=tasks,
    run=run,
    minutes=minutes,
    draw=draw,
    claims=claims,
    seeds=tuple(range(10)),
    notes=NOTES,
)

if __name__ == "__main__":
    main(STUDY, __doc__)
