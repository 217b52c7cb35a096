"""Any Gymnasium environment: one with dynamics, checked, trained by score and evaluated by SB3.

    python examples/gym_env.py [--steps 60000] [--seed 0]

Nothing here is special to this package but the last lines: the class could stand in any project.
`nodepert check gym_env:Tanks`, run in this folder, says what the agent can do with it.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.evaluation import evaluate_policy

from nodepert.agents import NodePerturbation

Array = NDArray[Any]


class Tanks(gym.Env[Array, Array]):
    """Keep the water in the lower of two tanks at the level that is asked for.

    The pump fills the upper tank, which runs out into the lower one, which runs out into the river.
    The pump has five speeds, so there is no gradient of anything.

    **Observation**: Box(0, 1, (3,)): both levels, and the one wanted. **Action**: Box(−1, 1, (1,)):
    the pump's speed, −1 for off, rounded. **Reward**: minus the distance to the level wanted.
    **End of episode**: never; the registered id is truncated after 60 steps.
    """

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Some water, and a new level to reach."""
        super().reset(seed=seed)
        self.upper, self.lower = self.np_random.uniform(0.0, 0.5, 2)
        self.wanted = self.np_random.uniform(0.2, 0.8)
        return self.observe(), {}

    def observe(self) -> Array:
        """What is shown."""
        return np.array([self.upper, self.lower, self.wanted], np.float32)

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One minute."""
        pumped = 0.25 * np.round(4 * (np.clip(action[0], -1.0, 1.0) + 1) / 2) / 4
        down, out = 0.2 * np.sqrt(self.upper), 0.15 * np.sqrt(self.lower)
        self.upper = float(np.clip(self.upper + pumped - down, 0.0, 1.0))
        self.lower = float(np.clip(self.lower + down - out, 0.0, 1.0))
        return self.observe(), -abs(self.lower - self.wanted), False, False, {}


def main() -> None:
    """Train, and say what it brought."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60_000, help="env steps")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    gym.register("Tanks-v0", Tanks, max_episode_steps=60)
    # What it shows depends on earlier actions, so the agent learns by score; n_envs lanes of it.
    model = NodePerturbation(
        "MlpPolicy",
        "Tanks-v0",
        seed=arguments.seed,
        n_envs=8,
        n_steps=60,
        gamma=0.95,
        net_arch=(64, 64),
        activation="tanh",
        lr_schedule="linear",
    )
    before, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=40, warn=False)
    model.learn(arguments.steps, progress_bar=True)
    after, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=40, warn=False)
    print(f"credit {model.config.credit}, {model.num_timesteps:,} env steps")
    print(f"mean return {before:.2f} -> {after:.2f}")


if __name__ == "__main__":
    main()
