"""What a training run keeps besides what it learns: logs, returns, what is due, divergence."""
