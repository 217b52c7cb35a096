"""Functions that run and load the examples, and read what these leave."""

import csv
import importlib
import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def run_script():
    """Runs a script of examples/ in a folder, to its end; returns what it prints."""

    def run(script, *arguments, cwd, timeout=240):
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def run_study(run_script, is_png, tmp_path_factory):
    """Runs a study of examples/paper/ in its quick mode; returns the folder of its files."""

    def run(name, *, jobs=1, timeout=240):
        out = tmp_path_factory.mktemp(name)
        arguments = (f"paper/{name}.py", "--quick", "--jobs", jobs, "--out", out)
        run_script(*arguments, cwd=out, timeout=timeout)
        assert is_png(out / f"{name}.png")
        return out

    return run


@pytest.fixture(scope="session")
def load_script():
    """Imports a script of examples/ as a module."""

    def load(script):
        path = EXAMPLES / script
        for name, module in list(sys.modules.items()):  # folders have scripts of one name
            file = pathlib.Path(getattr(module, "__file__", None) or "/")
            if EXAMPLES in file.parents and file.parent != path.parent:
                del sys.modules[name]
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(path.parent)  # a script imports its neighbours
            return importlib.import_module(path.stem)

    return load


@pytest.fixture(scope="session")
def read_csv():
    """Reads the rows of a CSV as dicts of text."""

    def read(path):
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture(scope="session")
def is_png():
    """Whether a file is one."""
    return lambda path: path.read_bytes().startswith(b"\x89PNG")
