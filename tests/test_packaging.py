"""The package that users install: complete, importable from anywhere, with its data."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

try:
    import tomllib
except ImportError:  # Python 3.10, where pytest brings tomli
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONSTRAINTS_LOWEST = (ROOT / "constraints-lowest.txt").read_text("utf-8")
MAPPING = SETTINGS["tool"]["setuptools"]["package-dir"]
MNIST = {
    f"nodepert/envs/data/mnist/{part}.gz"
    for part in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
}


def source_files() -> list[Path]:
    """The modules of the package as they lie in the working tree."""
    return [path for top in ("envs", "agents") for path in (ROOT / top).rglob("*.py")]


def run(*command: str | Path, **options: object) -> str:
    """Runs Python with arguments; what it printed is in the message if it fails."""
    done = subprocess.run(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that the working tree stays clean and old builds stay out."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("envs", "agents"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    run("-m", "pip", "wheel", *offline, "--wheel-dir", out, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_every_folder_of_modules_is_listed() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in source_files()}
    listed = SETTINGS["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted("nodepert." + folder.replace("/", ".") for folder in folders)
    assert sorted(MAPPING) == sorted(listed)
    assert all(MAPPING[name] == name.removeprefix("nodepert.").replace(".", "/") for name in listed)


def test_version_is_that_of_pyproject_and_has_its_changes_listed() -> None:
    assert version("nodepert") == SETTINGS["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(version('nodepert'))}$", changes, re.MULTILINE)


def test_every_dependency_is_constrained() -> None:
    project = SETTINGS["project"]
    extras = project["optional-dependencies"]
    used = [extras[name] for name in ("dev", "docs", "ray", "release")]
    wanted = [*project["dependencies"], *itertools.chain.from_iterable(used)]
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {re.match(r"[\w.-]+", one)[0] for one in wanted} == pinned


def test_lowest_versions_are_those_that_are_allowed() -> None:
    lowest = dict(re.findall(r"^([\w.-]+)==([\d.]+)$", CONSTRAINTS_LOWEST, re.MULTILINE))
    for requirement in SETTINGS["project"]["dependencies"]:
        name, bound = re.match(r"([\w.-]+)(?:>=([\d.]+))?", requirement).groups()
        if bound and name != "torch":
            assert lowest[name].removesuffix(".0") == bound


def test_wheel_is_complete(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"nodepert/{path.relative_to(ROOT).as_posix()}" for path in source_files()}
    rest = {"nodepert/envs/py.typed", "nodepert/agents/py.typed"}
    rest |= {"nodepert/agents/compare/hyperparameters.yml"}
    rest |= {f"nodepert/agents/tune/{name}.yml" for name in ("paper", "spaces")}
    assert names >= sources | MNIST | rest | {"nodepert/envs/data/mnist/README.md"}
    assert {name for name in names if name.endswith("/LICENSE")}
    assert "nodepert/__init__.py" not in names, "nodepert is a namespace package"


def test_wheel_imports_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    offline = ("--no-deps", "--no-index", "--no-compile")
    run("-m", "pip", "install", *offline, "--target", site, wheel, cwd=elsewhere)
    script = shutil.copy(ROOT / ".ci" / "import_all.py", elsewhere)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    # The script fails unless each module's __file__ is below `site`.
    printed = run(script, site, cwd=elsewhere, env=environment)
    count = len([path for path in source_files() if path.name != "__main__.py"])
    assert f"nodepert {version('nodepert')}: {count} modules imported" in printed
    assert all((site / name).is_file() for name in MNIST)
