"""The command line: train, evaluate, envs."""
