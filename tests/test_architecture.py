"""The structure that the code keeps to: who imports whom, what is public, what is never called."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    "nodepert."
    + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("envs", "agents")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
PUBLIC = [
    name
    for name, tree in TREES.items()
    if not any(part.startswith("_") for part in name.split(".")) and tree.body[1:]
]
LAYERS = (
    ("agents.cli",),
    ("agents.tune",),
    ("agents.compare", "agents.distributed"),
    ("agents.node_perturbation",),
    ("agents.methods",),
    ("agents.algorithm",),
    ("agents.lanes", "agents.output_error", "agents.feedback", "agents.networks"),
    ("agents.maths", "agents.executors"),
)
TYPE_CHECKING = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
CONFORMANCE = ("nodepert.envs.testing", "nodepert.envs.checks.")
WINDOW = "nodepert.envs.rendering.window"
ENVS_MAY_IMPORT = sys.stdlib_module_names | {"numpy", "gymnasium", "nodepert"}


def statements(node: ast.AST, *, everywhere: bool) -> Iterator[ast.stmt]:
    """The import statements below a node; without ``everywhere``, those that run on import."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif everywhere:
            yield from statements(child, everywhere=True)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif isinstance(child, ast.If) and ast.unparse(child.test) in TYPE_CHECKING:
            for other in child.orelse:
                yield from statements(ast.Module([other], []), everywhere=False)
        else:
            yield from statements(child, everywhere=False)


def imported(tree: ast.AST, *, everywhere: bool, modules: object = TREES) -> set[str]:
    """The modules that a module names in its imports."""
    names = set()
    for statement in statements(tree, everywhere=everywhere):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
            continue
        assert not statement.level, "relative imports hide what is imported"
        for alias in statement.names:
            below = f"{statement.module}.{alias.name}"
            names.add(below if below in modules else statement.module)
    return names


def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """For each module, the modules among ``trees`` that importing it imports."""
    return {
        name: imported(tree, everywhere=False, modules=trees) & trees.keys()
        for name, tree in trees.items()
    }


def reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    """All that ``start`` imports, directly or through others."""
    found, open_ends = set(), [start]
    while open_ends:
        new = edges[open_ends.pop()] - found
        found |= new
        open_ends += new
    return found


def layer_of(name: str) -> int | None:
    """The place of a module in the direction of imports, 0 on top."""
    for number, members in enumerate(LAYERS):
        if any(f"{name}.".startswith(f"nodepert.{member}.") for member in members):
            return number
    return None


def test_no_cycles() -> None:
    TopologicalSorter(graph(TREES)).prepare()


def test_cycle_is_found() -> None:
    sources = {
        "p.a": "from p import b",
        "p.b": "if 1:\n    from p.c import x",
        "p.c": "class C:\n    import p.a",
    }
    edges = graph({name: ast.parse(source) for name, source in sources.items()})
    assert edges == {"p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a"}}
    with pytest.raises(CycleError):
        TopologicalSorter(edges).prepare()


@pytest.mark.parametrize(
    "source",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a",
        "import typing\nif typing.TYPE_CHECKING:\n    import p.a\nelse:\n    import q",
        "def f():\n    import p.a",
        "class C:\n    async def f(self):\n        from p import a",
    ],
)
def test_imports_that_importing_does_not_run_are_no_edges(source: str) -> None:
    tree = ast.parse(source)
    assert "p.a" not in imported(tree, everywhere=False, modules={"p.a"})
    assert "p.a" in imported(tree, everywhere=True, modules={"p.a"})


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("nodepert.envs")])
def test_envs_import_little(name: str) -> None:
    tree = TREES[name]
    names = imported(tree, everywhere=True)
    assert not {one for one in names if f"{one}.".startswith("nodepert.agents.")}
    foreign = {one for one in names if one.split(".")[0] not in ENVS_MAY_IMPORT}
    if name.startswith(CONFORMANCE):  # SB3's check_env, only when that check is asked for
        at_import = imported(tree, everywhere=False)
        assert "stable_baselines3" not in {one.split(".")[0] for one in at_import}
        foreign = {one for one in foreign if one.split(".")[0] != "stable_baselines3"}
    if name == WINDOW:  # only when a window opens
        assert "pygame" not in imported(tree, everywhere=False)
        foreign -= {"pygame"}
    assert not foreign


def test_envs_work_without_the_agents_packages() -> None:
    envs = [name for name in FILES if name.startswith("nodepert.envs")]
    code = (
        "import importlib, sys\n"
        "absent = 'torch', 'stable_baselines3', 'pygame', 'nodepert.agents'\n"
        "for name in absent: sys.modules[name] = None\n"
        f"for name in {envs!r}: importlib.import_module(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_layers_exist() -> None:
    if any(layer_of(name) == 2 for name in FILES):
        missing = {m for members in LAYERS for m in members if f"nodepert.{m}" not in FILES}
        assert not missing, "LAYERS names modules that are gone: the direction is not checked"


@pytest.mark.parametrize("name", [name for name in FILES if layer_of(name) is not None])
def test_direction_of_imports(name: str) -> None:
    above = range(layer_of(name))
    named = imported(TREES[name], everywhere=True)
    assert not {one for one in named if layer_of(one) in above}, "imported by name"
    through = reachable(name, graph(TREES))
    assert not {one for one in through if layer_of(one) in above}, "imported through others"


@pytest.mark.parametrize("name", list(FILES))
def test_package_imports_no_examples(name: str) -> None:
    tops = {one.split(".")[0] for one in imported(TREES[name], everywhere=True)}
    assert not tops & {"examples", "tests"}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_exist_and_have_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert isinstance(getattr(module, "__all__", None), list | tuple), f"{name} has no __all__"
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert thing.__doc__, f"{name}.{public}: no docstring"


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Calls and imports that can run code from a string or a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if (
                called in {"eval", "exec", "builtins.eval", "builtins.exec"}
                or called in {"pickle.load", "pickle.Unpickler"}
                or (called == "pickle.loads" and not own_dump(node))
                or (called == "torch.load" and options.get("weights_only") != "True")
                or options.get("allow_pickle", "False") != "False"
            ):
                yield f"line {node.lineno}: {called}"
        elif isinstance(node, ast.ImportFrom) and node.module == "pickle":
            yield f"line {node.lineno}: from pickle import"
    unsafe_modules = {"dill", "cloudpickle", "joblib", "marshal", "shelve"}
    yield from unsafe_modules & {one.split(".")[0] for one in imported(tree, everywhere=True)}


def own_dump(call: ast.Call) -> bool:
    """Whether a call is ``pickle.loads(pickle.dumps(…))``, which tests that a thing pickles."""
    inner = call.args[0] if call.args else None
    return isinstance(inner, ast.Call) and ast.unparse(inner.func) == "pickle.dumps"


@pytest.mark.parametrize("path", [*FILES.values(), *EXAMPLES], ids=lambda path: path.stem)
def test_no_code_from_strings_or_files(path: Path) -> None:
    assert not list(unsafe(ast.parse(path.read_text("utf-8"))))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("eval('1')", True),
        ("exec('1')", True),
        ("import pickle\npickle.load(f)", True),
        ("from pickle import load", True),
        ("pickle.loads(data)", True),
        ("pickle.loads(pickle.dumps(env))", False),
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=True)", False),
        ("np.load(f, allow_pickle=True)", True),
        ("np.load(f)\nmodel.eval()", False),
    ],
)
def test_unsafe_calls_are_found(source: str, found: bool) -> None:
    assert bool(list(unsafe(ast.parse(source)))) is found
