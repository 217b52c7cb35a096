"""Every hyperparameter of the agent, in one frozen dataclass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, get_args

import tyro

from nodepert.agents.algorithm.baselines import BASELINES
from nodepert.agents.algorithm.node_noise import NOISES
from nodepert.agents.config.checks import check_choice, check_flag, check_number, is_finite
from nodepert.agents.config.critic import CriticFields
from nodepert.agents.config.replay import ReplayFields
from nodepert.agents.config.returns import ReturnFields, ScoreFields
from nodepert.agents.config.schedules import Schedule
from nodepert.agents.config.value import ValueFields
from nodepert.agents.errors import ConfigError
from nodepert.agents.feedback import RULES, LossRule

__all__ = ["Config", "Credit", "Residual", "with_changes"]

Credit = Literal[
    "auto",
    "paired",
    "one_sided",
    "one_point",
    "given",
    "score",
    "value",
    "critic",
    "episode",
]
MOST_REPLAYED = 2**20
"""Contexts of a minibatch."""
UNPROBED = ("score", "value", "critic", "episode")
"""Credits that need no lanes of one seed that stay in step."""
Optimizer = Literal["adam", "sgd"]
Residual = Literal["unbiased", "minimum_norm"]

# On the command line a step size is a number.
_FLOAT_FLAG = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="FLOAT",
    instance_from_str=lambda words: float(words[0]),
    is_instance=lambda value: isinstance(value, float | int),
    str_from_instance=lambda value: [str(value)],
)


@dataclass(frozen=True)
class Config(ReplayFields, CriticFields, ValueFields, ScoreFields, ReturnFields):
    """Hyperparameters of :class:`nodepert.agents.NodePerturbation`.

    Raises:
        ConfigError: A value that is not valid; the message names the field, the value and what is.
    """

    credit: Credit = "auto"
    """Where the error at the output comes from: paired probes at a ± ξ, one_sided probes beside a
    clean lane, one_point probes, which show each context once and compare it with the others (half
    the env steps, for losses that are nearly quadratic over a probe_std that is large against what
    contexts differ by), the gradient given by an environment made with expose_gradient=True, the
    score of noisy actions by their advantage, in any environment, the value that the network
    predicts for the action taken, where actions are Discrete, what two critics say of how an action
    would be worth more, where actions are a Box, or whole episodes played twice from
    one seed, with noise held in both signs. auto: paired on loss environments and wherever lanes of
    one seed stay in step, else score."""
    probes: int = 1
    """K, probe directions a context: 2K lanes if paired, K + 1 if one-sided, K if one-point."""
    probe_std: float = 0.1
    """c of the probes, a standard deviation in prediction units."""
    error_model: bool = False
    """Fit a linear model of the output error and leave only the residual to the probes."""
    residual: Residual = "unbiased"
    """What the probes add to the error model: an unbiased estimate of the residual, which scatters
    the more the wider the action, or its minimum-norm one, smaller by min(K, d)/d and biased
    towards the model. For wide actions."""
    rule: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(RULES) + "}")] = "response"
    """Where the feedback weights come from: a name in nodepert.agents.feedback.RULES."""
    ridge: float = 0.1
    """γ of the rule loss_ridge: B = (V + γI)⁻¹ S."""
    forgetting: float = 1.0
    """What loss_ridge multiplies V and S by before each update; 1 keeps all that was seen."""
    node_noise: Annotated[
        str | None, tyro.conf.arg(metavar="{" + ",".join(("None", *NOISES)) + "}")
    ] = None
    """Kind of the noise on hidden nodes: a name in nodepert.agents.algorithm.node_noise.NOISES.
    Default: the rule's own, orthogonal for those that learn from the next layer's response, else
    gaussian."""
    node_std: float | tuple[float, ...] = 0.1
    """c of the noise on hidden nodes from which feedback weights are learned: one for all hidden
    layers, or one for each."""
    node_probability: float = 0.1
    """p, with which sparse noise perturbs each node."""
    authors_scaling: bool = False
    """Divide the estimate of sparse noise by c² in place of p c², as the authors' code does."""
    node_baseline: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(BASELINES) + "}")] = (
        "antithetic"
    )
    """What is taken off the loss under node noise, for rules that learn from it: a name in
    nodepert.agents.algorithm.baselines.BASELINES."""
    warmup: int = 0
    """So many updates at the start are of the feedback weights alone."""
    forward_interval: int = 1
    """Updates from one step of the forward weights to the next; 0 is never."""
    feedback_interval: int = 1
    """The same of the feedback weights."""
    batch_size: int = 64
    """N, contexts shown at once (each on several lanes); in score, value and critic mode the steps
    of a minibatch."""
    n_steps: int | None = None
    """T, steps between updates; with probes the span of truncated backpropagation through time.
    Default: 1 for feed-forward policies, 8 for recurrent ones, 128 in score mode. In episode mode
    the most steps of an episode, 1,000 by default."""
    optimizer: Optimizer = "adam"
    """Optimiser of the forward weights."""
    learning_rate: Annotated[float | Callable[[float], float], _FLOAT_FLAG] = 1e-3
    """Step size of the forward weights at the start, or (from Python) a function of the progress
    remaining, from 1 to 0."""
    lr_schedule: Schedule = "cosine"
    """How the step size falls over the run."""
    momentum: float = 0.0
    """Momentum of sgd."""
    weight_decay: float = 0.0
    """Of the forward weights, decoupled from the gradient; of B too where it learns as W does
    (matched)."""
    max_grad_norm: float | None = None
    """Clip the gradient of the forward weights at this norm. Default: not, or 0.5 in score mode."""
    feedback_optimizer: Optimizer | None = None
    """Optimiser of the feedback weights. Default: the rule's own."""
    feedback_learning_rate: float | None = None
    """Step size of the feedback weights. Default: the rule's own."""
    max_feedback_grad_norm: float | None = None
    """Clip the gradient of the feedback weights at this norm."""
    net_arch: tuple[int, ...] | None = None
    """Widths of the hidden layers. Default: the policy's own."""
    activation: str | tuple[str, ...] | None = None
    """Activation of the hidden layers: one name, or one for each. Default: the policy's own."""
    alignment_interval: int = 0
    """Log alignment metrics every so many updates; 0 is never."""

    def __post_init__(self) -> None:
        check_choice(self, "credit", get_args(Credit))
        check_choice(self, "residual", get_args(Residual))
        check_choice(self, "rule", RULES)
        check_choice(self, "node_noise", (*NOISES, None))
        check_choice(self, "node_baseline", BASELINES)
        check_choice(self, "optimizer", get_args(Optimizer))
        check_choice(self, "lr_schedule", get_args(Schedule))
        check_choice(self, "feedback_optimizer", (*get_args(Optimizer), None))
        for name in ("probes", "batch_size", "n_steps"):
            check_number(self, name, int, 1)
        for name in ("alignment_interval", "warmup", "forward_interval", "feedback_interval"):
            check_number(self, name, int, 0)
        for name in ("probe_std", "momentum", "max_grad_norm", "weight_decay",
                     "feedback_learning_rate", "max_feedback_grad_norm", "ridge", "forgetting",
                     "node_probability"):  # fmt: skip
            check_number(self, name, float, 0.0)
        if not callable(self.learning_rate):
            check_number(self, "learning_rate", float, 0.0)
        for name in ("forgetting", "node_probability"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ConfigError(f"{name}={value!r}: expected a number above 0, at most 1")
        for name in ("error_model", "authors_scaling"):
            check_flag(self, name)
        self._check_node_std()
        self.check_returns()
        self.check_score()
        self.check_value()
        self.check_critic()
        self.check_replays()
        if self.probe_std == 0 and self.credit != "given":
            raise ConfigError("probe_std=0: expected a positive number, or credit='given'")
        if self.credit in UNPROBED and issubclass(RULES[self.rule], LossRule):
            raise ConfigError(
                f"rule={self.rule!r}: learns from the loss under node noise, which takes lanes of "
                f"one seed that stay in step; expected another rule with credit={self.credit!r}"
            )
        if self.error_model and self.credit in ("given", *UNPROBED):
            raise ConfigError(
                f"error_model=True: needs probes, expected credit other than {self.credit!r}"
            )
        if self.credit == "one_point" and self.batch_size < 2:
            raise ConfigError(
                f"batch_size={self.batch_size}: expected at least 2 with credit='one_point', which "
                "compares the loss of each context with those of the others"
            )
        self._check_episode()
        self._check_critic()
        self._check_replays_fit()

    def _check_replays_fit(self) -> None:
        if self.replays == 0:
            return
        if self.batch_size > MOST_REPLAYED:
            raise ConfigError(
                f"batch_size={self.batch_size}: expected at most {MOST_REPLAYED} with replays"
            )
        if self.credit in ("given", *UNPROBED):
            raise ConfigError(
                f"replays={self.replays}: probes are learned from again, and there are none with "
                f"credit={self.credit!r}; expected 0, or credit='paired'"
            )
        if self.error_model or issubclass(RULES[self.rule], LossRule):
            raise ConfigError(
                f"replays={self.replays}: expected 0 together with error_model=True or a rule that "
                f"learns from the loss, here rule={self.rule!r}, error_model={self.error_model}"
            )

    def _check_episode(self) -> None:
        if self.credit != "episode":
            return
        if self.n_envs % 2:
            raise ConfigError(
                f"n_envs={self.n_envs}: expected an even number, since credit='episode' plays each "
                "seed on two lanes"
            )
        if self.exploration_schedule == "learned":
            raise ConfigError(
                "exploration_schedule='learned': expected 'constant' or 'linear' with "
                "credit='episode'"
            )

    def _check_critic(self) -> None:
        if self.credit != "critic":
            return
        if self.exploration_schedule == "learned":
            raise ConfigError(
                "exploration_schedule='learned': expected 'constant' or 'linear' with "
                "credit='critic'"
            )
        if self.learning_starts > self.buffer_size:
            raise ConfigError(
                f"learning_starts={self.learning_starts}: expected at most buffer_size="
                f"{self.buffer_size}, which is all that the buffer ever holds"
            )

    def _check_node_std(self) -> None:
        stds = self.node_std if isinstance(self.node_std, tuple) else (self.node_std,)
        for std in stds:
            numeric = isinstance(std, int | float) and not isinstance(std, bool)
            if not (numeric and is_finite(std) and std >= 0):
                raise ConfigError(
                    f"node_std={self.node_std!r}: expected a finite number of at least 0, or a "
                    "tuple with one for each hidden layer"
                )
        if 0 in stds and issubclass(RULES[self.rule], LossRule):
            raise ConfigError(
                f"node_std={self.node_std!r}: rule={self.rule!r} learns from the loss under node "
                "noise, expected positive numbers, or another rule"
            )


def with_changes(config: Config, changes: dict[str, Any]) -> Config:
    """A copy of ``config`` with some fields changed.

    Raises:
        ConfigError: A name that is no field.
    """
    names = [field.name for field in fields(Config)]
    for name in changes:
        if name not in names:
            raise ConfigError(f"{name}: no such hyperparameter; expected one of {', '.join(names)}")
    return replace(config, **changes)
