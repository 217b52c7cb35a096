"""Tasks in a module that other processes can import, and where their logs go."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def tasks(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the workers of Ray
    yield importlib.import_module("executor_tasks")
    sys.modules.pop("executor_tasks", None)


@pytest.fixture
def log_of(tmp_path):
    return lambda task: tmp_path / f"{Path(str(task)).name}.log"
