"""Functions that run and load the examples, and read what these leave."""

import contextlib
import csv
import importlib
import io
import os
import pathlib
import runpy
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def run_script():
    """Runs a script of examples/ in a folder, to its end; returns what it prints.

    In this process, which has torch already, unless it is to be run apart: scripts that start
    processes of their own, or that measure this one.
    """

    def run(script, *arguments, cwd, apart=False):
        words = [str(EXAMPLES / script), *map(str, arguments)]
        return run_apart(words, cwd) if apart else run_here(words, cwd)

    return run


def run_here(words, cwd):
    printed = io.StringIO()
    with among_neighbours(pathlib.Path(words[0])) as patch, contextlib.redirect_stdout(printed):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", words)
        runpy.run_path(words[0], run_name="__main__")
    return printed.getvalue()


def run_apart(words, cwd):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def among_neighbours(path):
    """Where a script imports those beside it, and none of the same name from another folder."""
    for name, module in list(sys.modules.items()):
        file = pathlib.Path(getattr(module, "__file__", None) or "/")
        if EXAMPLES in file.parents and file.parent != path.parent:
            del sys.modules[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        yield patch


@pytest.fixture(scope="session")
def run_study(run_script, is_png, tmp_path_factory):
    """Runs a study of examples/paper/ in its quick mode; returns the folder of its files."""

    def run(name, *, apart=False):
        out = tmp_path_factory.mktemp(name)
        arguments = (f"paper/{name}.py", "--quick", "--jobs", 1, "--out", out)
        run_script(*arguments, cwd=out, apart=apart)
        assert is_png(out / f"{name}.png")
        return out

    return run


@pytest.fixture(scope="session")
def load_script():
    """Imports a script of examples/ as a module."""

    def load(script):
        path = EXAMPLES / script
        with among_neighbours(path):
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
