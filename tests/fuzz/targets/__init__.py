"""What is fuzzed: one module for each kind of input."""

from targets import (
    broken_environments,
    command_line,
    configs,
    hyperparameters,
    idx,
    model_files,
    presets,
    records,
    run_folders,
    spaces,
)

__all__ = ["TARGETS"]

MODULES = (
    idx,
    model_files,
    configs,
    hyperparameters,
    presets,
    command_line,
    spaces,
    records,
    run_folders,
    broken_environments,
)
TARGETS = {module.TARGET.name: module.TARGET for module in MODULES}
