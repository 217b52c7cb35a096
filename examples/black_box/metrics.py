"""Maximise the metric that is reported, not a loss that stands in for it: accuracy, and F1.

    python examples/black_box/metrics.py [--quick] [--seeds 0 1 2] [--out FOLDER]

Neither has a gradient. Accuracy is `MNIST-v0(discrete=True)`: the action names a digit and is right
or wrong. Here the agent learns what each answer is worth (`credit="value"`), and learns from its
answers again. F1 does not even split into a sum over examples: it is a property of a whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import contest
import numpy as np
import rivals
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs import MNIST, Draws, LossEnv
from nodepert.envs.base import Context
from nodepert.envs.testing import check_loss_env

Array = NDArray[Any]
ITEMS, TAGS, SEEN = 32, 4, 8
REACH = 4.0  # scores and thresholds are from −4 to 4, mostly


class Thresholds(LossEnv):
    """Set the thresholds of a drifting classifier so that its tags are right on the whole batch.

    A batch has 32 items, each with a score for each of 4 tags. How many items deserve a tag, and
    by how much all its scores are off, differ from batch to batch and are not told.

    **Observation**: Box(−1, 1, (32,)): for each tag 8 quantiles of its scores in the batch, / 4.
    **Action**: Box(−1, 1, (4,)): a threshold for each tag, / 4; items that score above it get the
    tag. **Reward**: the mean over tags of F1 − 1, where F1 = 2 · hits / (tagged + deserving), or 1
    where there are neither. **End of episode**: after one action.
    """

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-1.0, 1.0, (TAGS * SEEN,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (TAGS,), np.float32)

    def sample_contexts(self, draws: Draws) -> Context:
        """Scores in falling order, and which items deserve the tags, both (N, tags, items)."""
        share = 0.05 + 0.45 * draws.uniform(TAGS, 1)
        drift = draws.normal(TAGS, 1)
        deserving = draws.uniform(TAGS, ITEMS) < share
        scores = np.where(deserving, 1.0, -1.0) + drift + 0.8 * draws.normal(TAGS, ITEMS)
        order = np.argsort(-scores, axis=2)
        scores = np.take_along_axis(scores, order, axis=2)
        quantiles = scores[:, :, :: ITEMS // SEEN].reshape(len(draws), -1)
        return {
            "observation": np.clip(quantiles / REACH, -1, 1).astype(np.float32),
            "scores": scores,
            "deserving": np.take_along_axis(deserving, order, axis=2),
        }

    def loss(self, context: Context, actions: Array) -> Array:
        """1 − F1, averaged over tags, one number a lane."""
        tagged = context["scores"] > REACH * actions[..., None]
        return 1 - f1(tagged, context["deserving"]).mean(axis=1)


def f1(tagged: Array, deserving: Array) -> Array:
    """F1 of sets of items, (…, items) → (…)."""
    both = tagged.sum(axis=-1) + deserving.sum(axis=-1)
    return np.where(both, 2 * (tagged & deserving).sum(axis=-1) / np.maximum(both, 1), 1.0)


def hindsight(context: Context) -> float:
    """The loss of the best thresholds for each batch, by one who is shown who deserves what."""
    deserving = context["deserving"]
    first = np.tri(ITEMS + 1, ITEMS, -1, dtype=bool)  # the first 0 … 32 items tagged
    scores = [f1(tagged, deserving) for tagged in first]
    return float(1 - np.max(scores, axis=0).mean())


def test_error(images: int | None) -> Callable[[rivals.Predict, str], float]:
    """Scores of MNIST: the fraction of wrong answers, of the first ``images`` of a split."""
    splits = {name: MNIST(split=name).examples for name in ("validation", "test")}

    def score(predict: rivals.Predict, split: str) -> float:
        chosen = np.arange(len(splits[split]))[:images]
        answers = predict(splits[split].pixels(chosen))
        return float((answers != splits[split].labels[chosen]).mean())

    return score


OWN_ACCURACY_TRIALS = tuple(
    {"credit": "value", "lanes": 64, "gradient_steps": steps, "learning_rate": rate}
    for steps, rate in ((10, 1e-3), (5, 1e-3), (10, 2e-3), (5, 2e-3))
)
OWN_F1_TRIALS = tuple(
    {"probe_std": std, "learning_rate": rate}
    for std, rate in ((0.1, 2e-3), (0.05, 2e-3), (0.2, 2e-3), (0.1, 5e-3))
)


def main() -> None:
    """Both metrics, one after the other."""
    arguments = contest.parse(__doc__)
    check_loss_env(Thresholds)
    env = Thresholds()
    score = contest.mean_loss(env, 500 if arguments.quick else 2_000)
    constants = np.linspace(-1, 1, 41)
    alike = [score(lambda x, c=c: np.full((len(x), TAGS), c), "validation") for c in constants]
    best = constants[int(np.argmin(alike))]
    tags = contest.Task(
        name="f1",
        title="Thresholds for F1",
        unit="1 − F1",
        lanes=Thresholds.vector,
        score=score,
        lines={
            "the best constant": score(lambda x: np.full((len(x), TAGS), best), "test"),
            "the best in hindsight": hindsight(contest.contexts(env, 2_000, "test")),
        },
    )
    contest.hold(tags, rivals.learners(OWN_F1_TRIALS), arguments, steps=12_288, quick=6_144)
    accuracy = contest.Task(
        name="accuracy",
        title="MNIST, right or wrong",
        unit="error",
        lanes=lambda n: MNIST.vector(n, discrete=True, holdout=True),
        score=test_error(1_000 if arguments.quick else None),
        hidden=(128,),
    )
    contest.hold(accuracy, rivals.learners(OWN_ACCURACY_TRIALS), arguments,
                 steps=20_480, quick=8_192)  # fmt: skip


if __name__ == "__main__":
    main()
