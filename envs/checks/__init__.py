"""What a loss environment promises, as checks; :mod:`nodepert.envs.testing` runs them."""
