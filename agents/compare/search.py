"""Search in weight space on sb3-contrib's ARS: it, and the evolution strategy of Salimans et al."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import sb3_contrib
import torch
from sb3_contrib.ars.policies import ARSPolicy
from sb3_contrib.common.vec_env.async_eval import AsyncEval
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor, nn

__all__ = ["ARS", "ES", "centred_ranks"]


class ARS(sb3_contrib.ARS):
    """sb3-contrib's, with env steps counted once.

    Its evaluations call back once for each lane and count a step of every lane each time, so that
    n lanes would count n times too much.
    """

    def _trigger_callback(
        self,
        _locals: dict[str, Any],
        _globals: dict[str, Any],
        callback: BaseCallback,
        n_envs: int,
    ) -> None:
        super()._trigger_callback(_locals, _globals, callback, 1)


class ES(ARS):
    """Evolution strategy: antithetic pairs, centred ranks, Adam (arXiv 1703.03864).

    All candidates of a generation play the same episodes, as probes of our own agent do. Policies,
    evaluations and normalisation are those of sb3-contrib's ARS.

    Args:
        policy: See sb3-contrib's ARS.
        env: Its lanes play the episodes of a candidate.
        learning_rate: Of Adam, or a schedule.
        n_delta: Pairs of candidates a generation.
        delta_std: Standard deviation of the noise on the weights.
        n_eval_episodes: Episodes of a candidate.
        policy_kwargs: Options of the policy.
        seed: Of weights and noise.
        device: Where the weights are.
    """

    weights: Any  # in sb3-contrib None at first

    def __init__(
        self,
        policy: str | type[ARSPolicy],
        env: GymEnv,
        learning_rate: float | Callable[[float], float] = 0.01,
        n_delta: int = 16,
        delta_std: float | Callable[[float], float] = 0.05,
        n_eval_episodes: int = 1,
        policy_kwargs: dict[str, Any] | None = None,
        seed: int | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(
            policy,
            env,
            n_delta=n_delta,
            learning_rate=learning_rate,
            delta_std=delta_std,
            zero_policy=False,
            n_eval_episodes=n_eval_episodes,
            policy_kwargs=policy_kwargs,
            seed=seed,
            device=device,
        )

    def _setup_model(self) -> None:
        super()._setup_model()
        self.weights = nn.Parameter(self.weights)
        self.optimizer = torch.optim.Adam([self.weights])

    def _do_one_update(self, callback: BaseCallback, async_eval: AsyncEval | None) -> None:
        """One generation."""
        std = self.delta_std_schedule(self._current_progress_remaining)
        noise = torch.randn(self.n_delta, self.n_params, device=self.device)
        noise = torch.cat([noise, -noise])  # [2P, n]
        with torch.no_grad():
            returns = self.evaluate_candidates(self.weights + std * noise, callback, async_eval)
        self.weights.grad = -(centred_ranks(returns) @ noise) / (len(noise) * std)
        rate = self.lr_schedule(self._current_progress_remaining)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self._load(self.weights)
        self._n_updates += 1

    def evaluate_candidates(
        self, candidate_weights: Tensor, callback: BaseCallback, async_eval: AsyncEval | None
    ) -> Tensor:
        """The return of each candidate, all on the same episodes."""
        callback.on_rollout_start()
        episodes = int(torch.randint(2**31, ()))
        returns = [self._return_of(one, episodes, callback) for one in candidate_weights]
        callback.on_rollout_end()
        return torch.tensor(returns, device=self.device)

    def _return_of(self, weights: Tensor, episodes: int, callback: BaseCallback) -> float:
        assert self.env is not None
        self._load(weights)
        self.env.seed(episodes)
        mean, _ = evaluate_policy(
            self.policy,
            self.env,
            n_eval_episodes=self.n_eval_episodes,
            callback=lambda _l, _g: self._trigger_callback(_l, _g, callback, 1),
            warn=False,
        )
        return cast(float, mean)

    def _load(self, weights: Tensor) -> None:
        self.policy.load_from_vector(weights.detach().cpu().numpy())


def centred_ranks(returns: Tensor) -> Tensor:
    """From −½ for the lowest of the returns to ½ for the highest, shape (N,); ties share a rank."""
    below = (returns[:, None] > returns).sum(1) + (returns[:, None] == returns).sum(1) / 2 - 0.5
    return below / (len(returns) - 1) - 0.5
