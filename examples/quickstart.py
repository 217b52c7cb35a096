"""Learn MNIST from minus the loss alone, score the model, save it and load it again."""

from nodepert.agents import NodePerturbation
from nodepert.agents.evaluation import evaluate

model = NodePerturbation("MlpPolicy", "MNIST-v0", seed=0)
model.learn(100_000, progress_bar=True)
print(evaluate(model, "MNIST-v0"), "after", model.num_timesteps, "env steps")
model.save("mnist_model")
print(evaluate(NodePerturbation.load("mnist_model"), "MNIST-v0"), "from the file")
