"""Autoencoder 784-200-2-200-784 on MNIST digits, from the scalar reward alone.

    python examples/autoencoder.py [--steps 720000] [--seed 0] [--out DIR] [--quick]

Prints the test error, and plots reconstructions and the 2-D code, coloured by digit.
"""

from __future__ import annotations

import argparse
import pathlib

import gymnasium as gym
import matplotlib
import numpy as np
import torch

from nodepert.agents import NodePerturbation
from nodepert.agents.evaluation import evaluate
from nodepert.agents.presets import preset_for
from nodepert.envs import MNIST

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ENV = "MNISTAutoencoder-v0"


def main() -> None:
    """Trains, scores and plots."""
    preset = preset_for(ENV)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=preset.steps, help="env steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/autoencoder"))
    parser.add_argument("--quick", action="store_true", help="10,000 env steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = NodePerturbation(preset.policy, gym.make(ENV), preset.config, seed=arguments.seed)
    model.learn(10_000 if arguments.quick else arguments.steps, progress_bar=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.save(arguments.out / "model.zip")
    score = evaluate(model, ENV)
    print(f"{score.metric}: {score.value:.4f} after {model.num_timesteps:,} env steps")
    plot(model, arguments.out / "autoencoder.png")
    print(f"wrote model.zip and autoencoder.png to {arguments.out}")


@torch.no_grad()
def plot(model: NodePerturbation, path: pathlib.Path) -> None:
    """Test digits above their reconstructions, and the code of 3,000 of them."""
    test = MNIST(split="test").examples
    images = test.images[:3000].astype(np.float32) / 255
    step = model.policy.network.step(torch.from_numpy(images), None)
    code, reconstructions = step.hidden[1].numpy(), step.prediction.numpy()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    rows = [pictures[:10].reshape(10, 28, 28) for pictures in (images, reconstructions)]
    left.imshow(np.concatenate([np.concatenate(row, axis=1) for row in rows]), cmap="gray")
    left.set(title="test digits and their reconstructions", xticks=[], yticks=[])
    dots = right.scatter(*code.T, c=test.labels[:3000], cmap="tab10", s=5)
    right.set(title="2-D code", xlabel="unit 1", ylabel="unit 2")
    figure.colorbar(dots, ticks=range(10))
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
