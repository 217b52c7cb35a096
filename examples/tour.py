"""A tour as a notebook: a loss without a gradient, learned three ways, and what the layers did.

Cells begin with `# %%`: open this file in VS Code, Spyder or PyCharm and run them one by one, make
a notebook of it (`pip install jupytext && jupytext --to ipynb examples/tour.py`), or run it whole:

    python examples/tour.py [FOLDER]        # default: runs/tour
"""

# %% [markdown]
# ## A task
# Three heaters warm each other. Say how hot each should be, and get one number back: how far off
# the room was. Nothing tells which heater was to blame.

# %%
import pathlib
import sys

import matplotlib
import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps

from nodepert.agents import NodePerturbation
from nodepert.agents.metrics import weight_alignment
from nodepert.envs import LossEnv
from nodepert.envs.testing import check_loss_env

matplotlib.use("Agg")  # in a notebook: %matplotlib inline
from matplotlib import pyplot as plt

torch.set_num_threads(1)
folder = pathlib.Path(sys.argv[1] if len(sys.argv) == 2 else "runs/tour")
folder.mkdir(parents=True, exist_ok=True)


class Heaters(LossEnv):
    """Heat three rooms to the temperatures that are shown."""

    COUPLING = np.array([[1.0, 0.4, 0.0], [0.4, 1.0, 0.4], [0.0, 0.4, 1.0]])

    def __init__(self):
        super().__init__()
        self.observation_space = Box(-1, 1, (3,), np.float32)
        self.action_space = Box(-1, 1, (3,), np.float32)

    def sample_contexts(self, draws):
        """Temperatures to reach."""
        return {"observation": (2 * draws.uniform(3) - 1).astype(np.float32)}

    def loss(self, context, actions):
        """How far off the rooms are, all three together."""
        heat = actions @ self.COUPLING
        warm = heat + 0.2 * np.sin(3 * heat)
        return np.square(warm - 0.6 * context["observation"]).sum(axis=1)


check_loss_env(Heaters)

# %% [markdown]
# ## Three ways to find the error at the output
# Pairs of probes take two env steps a context; one-point probes take one, and compare it with the
# others of its batch; stored probes are learned from again. The length of one-point probes matters:
# too short, and what the contexts differ by hides the answer; too long, and the loss is no longer
# nearly quadratic over them. Try 0.1 and 0.5.

# %%
WAYS = {
    "pairs": {"credit": "paired"},
    "one-point": {"credit": "one_point", "probe_std": 0.2},
    "one-point, 4 replays": {"credit": "one_point", "probe_std": 0.2, "replays": 4},
}
fresh = Heaters.vector(2_000)
shown, _ = fresh.reset(seed=123)


class Score(BaseCallback):
    """Mean loss on 2,000 contexts, and the angle between B and W of the output layer."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def _on_step(self):
        fresh.reset(seed=123)
        losses = -fresh.step(self.model.predict(shown)[0])[1]
        angle = weight_alignment(self.model.policy.network)["weight_angle_3"]
        self.rows.append((self.num_timesteps, losses.mean(), angle))
        return True


curves = {}
for way, settings in WAYS.items():
    score = Score()
    model = NodePerturbation("MlpPolicy", Heaters(), seed=0, net_arch=(32, 32), **settings)
    model.learn(20_000, callback=EveryNTimesteps(1_000, score))
    curves[way] = np.array(score.rows)
    print(f"{way}: mean loss {curves[way][-1, 1]:.4f} after {model.num_timesteps:,} env steps")

# %% [markdown]
# ## What they did
# Left, the loss that is left; right, how the feedback weights B, random at first, came to point
# where the forward weights W do, though nothing ever copied them.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for way, (steps, losses, angles) in ((way, rows.T) for way, rows in curves.items()):
    left.plot(steps, losses, label=way)
    right.plot(steps, angles, label=way)
left.set(xlabel="env steps", ylabel="mean loss", yscale="log")
right.set(xlabel="env steps", ylabel="angle between B and W, degrees")
left.legend()
figure.savefig(folder / "tour.png", dpi=120)
print(f"wrote {folder / 'tour.png'}")

# %% [markdown]
# ## Keep it
# The file holds JSON and numbers; loading it runs no code.

# %%
model.save(folder / "heaters")
again = NodePerturbation.load(folder / "heaters")
assert np.array_equal(again.predict(shown)[0], model.predict(shown)[0])
