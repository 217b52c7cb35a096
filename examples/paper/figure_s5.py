"""Supplementary figure 5: B of a 784-N-50-10 network whose forward weights are fixed.

    python examples/paper/figure_s5.py [--quick] [--out DIR] [--seeds …] [--jobs …]

Online ridge regression (γ = 0.1) from node noise of c = 0.01 in both hidden layers, on MNIST with
MSE: relative error, angle and sign congruence of B[2] (50 × N) and B[3] (10 × 50) against samples.
Columns: the output's error given, or from paired probes of a scalar reward (K = 10 and K = 1). Our
own curve learns from what B does not predict yet, over stretches of which each is twice as long as
the one before. Beside it the paper's remark: what changes when W learns, too.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator, Sequence

import gymnasium as gym
import matplotlib.pyplot as plt
import torch
from fixed_weights import (
    Feedback,
    FixedNet,
    add_residual,
    describe,
    learn_online,
    predicted_error,
)
from stable_baselines3.common.callbacks import BaseCallback
from study import Claim, Row, Study, Task, curve, grouped, main, median, save, select, spread

from nodepert.agents import NodePerturbation
from nodepert.agents.metrics import weight_alignment

STD = 0.01  # c
RIDGE = 0.1  # γ
TOP = 50
IMAGES = 60_000
BATCH = 2_000  # samples between updates of B
TARGET = 0.008
NAMES = {"relative_error": "relative_error", "angle": "weight_angle", "sign": "sign_congruence"}
WIDTHS = (20, 50, 100, 200, 500)
MILLION = 1_000_000


# W fixed ---------------------------------------------------------------------------------------


def measure_fixed(task: Task) -> list[Row]:
    """B at numbers of samples on a log scale, or at the end of each stretch."""
    generator = torch.Generator().manual_seed(task["seed"])
    net = FixedNet.make((task["width"], TOP), generator)
    play = play_online if task["method"] == "clean" else play_residual
    limit = predicted_error(net)
    lanes = lanes_per_sample(task)
    return [
        {
            "samples": samples,
            "env_steps": lanes * samples,
            "predicted_3": limit / math.sqrt(samples),
            **describe(feedback, net),
        }
        for samples, feedback in play(task, net, generator)
    ]


def lanes_per_sample(task: Task) -> int:
    """A clean pass (for the loss, or the given error), noise once or with both signs, probes."""
    noisy = 1 if task["method"] == "clean" else 2
    clean = 1 if task["method"] == "clean" or not task["probes"] else 0
    return clean + noisy + 2 * task["probes"]


def batches(net: FixedNet, budget: int) -> Iterator[tuple[int, FixedNet]]:
    """Samples after each batch, and its images; epochs in order, since only noise differs."""
    for start in range(0, budget, BATCH):
        first = start % IMAGES
        yield start + BATCH, net.rows(slice(first, first + BATCH))


def play_online(
    task: Task, net: FixedNet, generator: torch.Generator
) -> Iterator[tuple[int, Feedback]]:
    """The paper's estimator, at eight points a decade."""
    feedback = Feedback(net, RIDGE)
    due = 5.0 * BATCH
    for samples, images in batches(net, task["budget"]):
        learn_online(feedback, images, task["probes"], STD, generator)
        if samples >= due or samples == task["budget"]:
            yield samples, feedback
            due *= 10 ** (1 / 8)


def play_residual(
    task: Task, net: FixedNet, generator: torch.Generator
) -> Iterator[tuple[int, Feedback]]:
    """Our estimator, at the end of each stretch."""
    feedback = Feedback(net, RIDGE)
    due = IMAGES
    for samples, images in batches(net, task["budget"]):
        add_residual(feedback, images, task["probes"], STD, generator)
        if samples == due:
            feedback.solve()
            yield samples, feedback
            feedback.forget()
            due = 2 * due + IMAGES


def stretch_end(number: int) -> int:
    """Samples at the end of a stretch: the first is one epoch, each later one twice as long."""
    return IMAGES * (2**number - 1)


# W fixed or learning, by the agent -------------------------------------------------------------


def measure_agent(task: Task) -> list[Row]:
    """Both matrices of the agent's network, from the paper's rule given the output's error."""
    model = NodePerturbation(
        "MlpPolicy",
        gym.make("MNIST-v0", expose_gradient=True),
        policy_kwargs={"init_gain": math.sqrt(2)},
        net_arch=(TOP, TOP),
        activation="sigmoid",
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.1,
        lr_schedule="constant",
        credit="given",
        rule="loss_ridge",
        ridge=RIDGE,
        node_std=STD,
        node_baseline="clean",
        warmup=task["warmup"],
        forward_interval=1 if task["weights"] == "learning" else 0,
        seed=task["seed"],
    )
    lanes = 2  # the clean pass, whose gradient is given, and one with node noise
    watch = Watch(lanes, 32 * 200)
    model.learn(lanes * task["budget"], callback=watch)
    return watch.rows


class Watch(BaseCallback):
    """Measures both matrices at four points a decade.

    Args:
        lanes: Env steps a sample.
        first: Samples at the first point.
    """

    def __init__(self, lanes: int, first: int) -> None:
        super().__init__()
        self.lanes, self.due = lanes, float(first)
        self.rows: list[Row] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        samples = self.num_timesteps // self.lanes
        if samples >= self.due:
            self.due *= 10 ** (1 / 4)
            self.measure(samples)

    def _on_training_end(self) -> None:
        self.measure(self.num_timesteps // self.lanes)

    def measure(self, samples: int) -> None:
        """Adds a row."""
        measured = weight_alignment(self.model.policy.network)  # type: ignore[arg-type]
        kept = {f"{new}_{i}": measured[f"{old}_{i}"] for new, old in NAMES.items() for i in (2, 3)}
        self.rows.append({"samples": samples, "env_steps": self.num_timesteps, **kept})


# The study -------------------------------------------------------------------------------------


def tasks(quick: bool, seeds: Sequence[int]) -> list[Task]:
    """The main width first; then our estimator, other widths, scalar rewards, and the agent."""
    others = (20, 200) if quick else [width for width in WIDTHS if width != TOP]
    long, short = (600_000, 200_000) if quick else (200 * MILLION, 20 * MILLION)
    stretches = 5 if quick else 8
    fixed = [("clean", TOP, 0, long), ("residual", TOP, 0, stretch_end(stretches))]
    fixed += [("clean", width, 0, short) for width in others]
    fixed += [("clean", TOP, probes, short) for probes in (10, 1)]
    fixed += [("residual", TOP, 10, stretch_end(stretches - 2))]
    of_fixed = [
        {"part": "fixed", "method": method, "width": width, "probes": probes, "seed": seed,
         "budget": budget}
        for method, width, probes, budget in fixed for seed in seeds
    ]  # fmt: skip
    of_agent = [
        {"part": "agent", "weights": weights, "warmup": warmup, "seed": seed,
         "budget": IMAGES // 2 if quick else 40 * IMAGES}
        for weights, warmup in (("fixed", 0), ("learning", 200 if quick else 1_875))
        for seed in seeds[:3]
    ]  # fmt: skip
    return of_fixed + of_agent


def run(task: Task) -> list[Row]:
    """One network."""
    return measure_fixed(task) if task["part"] == "fixed" else measure_agent(task)


def minutes(task: Task) -> float:
    """Of one core."""
    if task["part"] == "agent":
        return task["budget"] / 750_000
    cost = 0.4 + 0.007 * task["width"] + 0.25 * task["probes"]  # µs a sample
    return task["budget"] * cost * 1e-6 / 60


def ends(rows: list[Row]) -> list[Row]:
    """The last row of each seed."""
    by_seed = grouped(rows, "seed").values()
    return [max(own, key=lambda row: row["samples"]) for own in by_seed]


def reached(rows: list[Row], column: str = "samples") -> str:
    """When each seed's B[3] was within the target, as text."""
    firsts = []
    for own in grouped(rows, "seed").values():
        within = [row[column] for row in own if row["relative_error_3"] <= TARGET]
        firsts.append(f"{min(within) / MILLION:.3g} M" if within else "not")
    return ", ".join(firsts)


def claims(rows: list[Row]) -> list[Claim]:
    """The paper's figure, then ours."""
    fixed = select(rows, part="fixed")
    main_ = select(fixed, method="clean", width=TOP, probes=0)
    ours = select(fixed, method="residual", probes=0)
    return [
        *paper_claims(fixed, main_, ours),
        *scalar_claims(fixed),
        *agent_claims(select(rows, part="agent")),
    ]


def paper_claims(fixed: list[Row], main_: list[Row], ours: list[Row]) -> list[Claim]:
    """The output's error given."""
    last, best = ends(main_), ends(ours)
    budget = last[0]["samples"]
    error = median(last, "relative_error_3")
    theory = [row["relative_error_3"] / row["predicted_3"] for row in last]
    by_width = {w: ends(select(fixed, method="clean", width=w, probes=0)) for w in WIDTHS}
    widths = {w: spread(own, "relative_error_3", ".2g") for w, own in by_width.items() if own}
    return [
        Claim(
            "the top matrix's relative error falls to 0.8 % within 200 M samples",
            f"{spread(last, 'relative_error_3', '.2%')} after {budget / MILLION:g} M; "
            f"within 0.8 % at: {reached(main_)}",
            error <= TARGET if budget >= 200 * MILLION else None,
            "target",
        ),
        Claim(
            "as least squares says: √(T E‖B−W‖²) / ‖W‖ from V, λ and nothing else",
            f"measured / predicted {min(theory):.2f}–{max(theory):.2f}",
            min(theory) > 0.7 and max(theory) < 1.4,
            "theory",
        ),
        Claim(
            "its angle and sign congruence do so, too",
            f"angle {spread(last, 'angle_3', '.2f')}°, signs {spread(last, 'sign_3', '.3f')}",
            median(last, "angle_3") < 40 and median(last, "sign_3") > 0.8,
            "top",
        ),
        Claim(
            "of all widths N",
            "; ".join(f"{w}: {text}" for w, text in widths.items()),
            all(median(own, "relative_error_3") < 1 for own in by_width.values() if own),
            "widths",
        ),
        Claim(
            "with W fixed only the top matrix matches",
            f"‖W−B‖/‖W‖ of B[2] {spread(last, 'relative_error_2')}, angle "
            f"{spread(last, 'angle_2', '.1f')}°; yet of ẽ[2] B[2] "
            f"{spread(last, 'error_angle_1', '.2g')}°",
            median(last, "angle_2") > 45 > median(last, "angle_3"),
            "only top",
        ),
        Claim(
            "ours, learning from the residual: the top matrix within 0.8 %, far earlier",
            f"{spread(best, 'relative_error_3', '.2%')} after {best[0]['samples'] / MILLION:g} M; "
            f"within 0.8 % at: {reached(ours)}",
            median(best, "relative_error_3") <= TARGET,
            "residual",
        ),
        Claim(
            "ours: what keeps B[2] from matching is variance, with W fixed it matches, too",
            f"‖W−B‖/‖W‖ {spread(best, 'relative_error_2')}, angle "
            f"{spread(best, 'angle_2', '.1f')}°",
            median(best, "angle_2") < 30,
            "residual below",
        ),
    ]


def scalar_claims(fixed: list[Row]) -> list[Claim]:
    """The output's error from probes."""
    many, one = (select(fixed, method="clean", width=TOP, probes=k) for k in (10, 1))
    residual = select(fixed, method="residual", probes=10)
    given = select(fixed, method="clean", width=TOP, probes=0)
    last = {k: median(ends(own), "relative_error_3") for k, own in ((10, many), (1, one))}
    ratio = [row["relative_error_3"] / row["predicted_3"] for row in ends(many)]
    angle = median(ends(one), "angle_3")
    lanes = ends(many)[0]["env_steps"] // ends(many)[0]["samples"]
    more = lanes / (ends(given)[0]["env_steps"] // ends(given)[0]["samples"])
    return [
        Claim(
            "scalar reward only, K = 10 probes: as with the error given, for more env steps",
            f"measured / predicted {min(ratio):.2f}–{max(ratio):.2f}; {lanes} env steps a sample, "
            f"{more:g} times as many",
            min(ratio) > 0.7 and max(ratio) < 1.4,
            "scalar",
        ),
        Claim(
            "scalar reward only, K = 1: a noisy regressor, B does not converge to W",
            f"‖W−B‖/‖W‖ {last[1]:.2f}, angle {angle:.0f}° (K = 10: {last[10]:.2f})",
            last[1] > 0.7,
            "scalar K = 1",
        ),
        Claim(
            "ours, scalar reward only: within 0.8 %",
            f"{spread(ends(residual), 'relative_error_3', '.2%')}; env steps to 0.8 %: "
            f"{reached(residual, 'env_steps')}",
            median(ends(residual), "relative_error_3") <= TARGET
            if ends(residual)[0]["samples"] >= 2 * MILLION
            else None,
            "scalar residual",
        ),
    ]


def agent_claims(agent: list[Row]) -> list[Claim]:
    """W fixed against W learning."""
    last = {w: ends(select(agent, weights=w)) for w in ("fixed", "learning")}
    angles = {w: [median(own, f"angle_{i}") for i in (2, 3)] for w, own in last.items()}
    errors = {
        w: ", ".join(spread(own, f"relative_error_{i}", ".2f") for i in (2, 3))
        for w, own in last.items()
    }
    return [
        Claim(
            "when W and B co-adapt, both matrices match",
            "; ".join(
                f"W {w}: angles {a[0]:.1f}°, {a[1]:.1f}°, ‖W−B‖/‖W‖ {errors[w]}"
                for w, a in angles.items()
            ),
            angles["learning"][0] < 45 and angles["learning"][0] < angles["fixed"][0] - 20
            if last["learning"] and last["learning"][0]["samples"] >= MILLION
            else None,
            "co-adapt",
        )
    ]


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Relative error, angle and signs of B[3] by width; of B[2]; scalar rewards; co-adaptation."""
    figure, axes = plt.subplots(2, 4, figsize=(17, 7.5), layout="constrained")
    fixed = select(rows, part="fixed")
    given = select(fixed, probes=0)
    for row, layer in enumerate((3, 2)):
        for panel, column in zip(axes[row], ("relative_error", "angle", "sign"), strict=False):
            for n, width in enumerate(WIDTHS):
                own = select(given, method="clean", width=width)
                x, y = curve(own, "samples", f"{column}_{layer}")
                panel.plot(x, y, color=f"C{n}", label=f"N = {width}")
            x, y = curve(select(given, method="residual"), "samples", f"{column}_{layer}")
            panel.plot(x, y, "k.-", label=f"ours, N = {TOP}")
            panel.set(title=f"B[{layer}], {column.replace('_', ' ')}", xlabel="samples")
        axes[row][0].axhline(TARGET, color="gray", ls=":", lw=1)
    x, y = curve(select(given, method="clean", width=TOP), "samples", "predicted_3")
    axes[0][0].plot(x, y, "C1:", label="theory, N = 50")
    labels = {("clean", 0): "given", ("clean", 10): "scalar, K = 10", ("clean", 1): "scalar, K = 1",
              ("residual", 0): "ours, given", ("residual", 10): "ours, scalar, K = 10"}  # fmt: skip
    for n, ((method, probes), label) in enumerate(labels.items()):
        own = select(fixed, method=method, width=TOP, probes=probes)
        x, y = curve(own, "samples", "relative_error_3")
        lanes = own[0]["env_steps"] // own[0]["samples"]
        axes[0][3].plot([lanes * samples for samples in x], y, color=f"C{n}", label=label)
    axes[0][3].set(title="B[3], relative error: two columns", xlabel="env steps")
    for weights, style in (("fixed", "--"), ("learning", "-")):
        for layer in (2, 3):
            own = select(rows, part="agent", weights=weights)
            x, y = curve(own, "samples", f"angle_{layer}")
            axes[1][3].plot(x, y, style, color=f"C{layer}", label=f"W {weights}, B[{layer}]")
    axes[1][3].set(title="784-50-50-10, W fixed or learning: angle", xlabel="samples")
    for panel in axes.flat:
        panel.set_xscale("log")
        panel.grid(alpha=0.3)
    for panel in (axes[0][0], axes[1][0], axes[0][3]):
        panel.set_yscale("log")
    for panel in (axes[0][0], axes[0][3], axes[1][3]):
        panel.legend(fontsize=7)
    save(figure, path)


STUDY = Study(
    name="figure_s5",
    tasks=tasks,
    run=run,
    minutes=minutes,
    draw=draw,
    claims=claims,
    seeds=(0, 1, 2, 3, 4),
    notes="""
Medians (range) over seeds. He-scaled normal W, sigmoid hidden layers, linear output, MSE ½Σ; all
60,000 training images. How many samples the top matrix takes depends on the draw of W: the smallest
eigenvalue of V (the sum of all outputs hardly varies over images) differs by a factor of twenty
between seeds. Env steps a sample: 2 with the error given (ours 3), and 2K more for K probes.
""",
)

if __name__ == "__main__":
    main(STUDY, __doc__)
