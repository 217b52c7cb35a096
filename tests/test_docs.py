"""The documentation: every page is reached, every link leads somewhere, and what it says exists.

`make docs` builds the site, with warnings as errors; this needs none of its packages.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASH = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = sorted(
    {*ROOT.glob("*.md"), *(page for one in ("agents", "envs", "examples")
                           for page in (ROOT / one).rglob("*.md"))}
)  # fmt: skip
SNIPPETS = [(page.name, code) for page in PAGES for code in PYTHON.findall(page.read_text("utf-8"))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as MkDocs makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower()) for text in headings
    }


def in_nav(entry: object) -> set[str]:
    """The files that an entry of ``nav`` names."""
    if isinstance(entry, str):
        return {entry}
    below = entry.values() if isinstance(entry, dict) else entry
    return set().union(*map(in_nav, below))


def test_nav_has_every_page_and_no_other() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    assert in_nav(nav) == {page.relative_to(DOCS).as_posix() for page in PAGES}


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """The links of a page to what is here: as written, the file, and the anchor in it."""
    for target in LINK.findall(page.read_text("utf-8")):
        if not target.startswith("https://"):
            file, _, anchor = target.partition("#")
            yield target, page.parent / file if file else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target, found, anchor in links(page):
        assert found.is_file(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(found), f"{page.name}: {target}"


@pytest.mark.parametrize("page", ELSEWHERE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_other_pages_lead_somewhere(page: Path) -> None:
    for target, found, _ in links(page):
        assert found.exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(("page", "code"), SNIPPETS)
def test_snippets_import_what_there_is(page: str, code: str) -> None:
    for node in ast.walk(ast.parse(code, page)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def test_commands_exist() -> None:
    from nodepert.agents.cli.main import USAGE

    shell = "".join(code for page in PAGES for code in BASH.findall(page.read_text("utf-8")))
    named = set(re.findall(r"^nodepert (\w+)", shell, re.MULTILINE))
    assert named
    assert named <= set(re.findall(r"^  nodepert (\w+)", USAGE, re.MULTILINE))


@pytest.mark.parametrize("name", ["envs", "agents"])
def test_reference_has_every_public_name(name: str) -> None:
    package = importlib.import_module(f"nodepert.{name}")
    page = (DOCS / f"reference/{name}.md").read_text("utf-8")
    listed = set(re.findall(rf"^::: nodepert\.{name}\.(\w+)$", page, re.MULTILINE))
    whole = re.search(rf"^::: nodepert\.{name}$", page, re.MULTILINE)
    assert whole or listed >= set(package.__all__)


def texts() -> str:
    """All strings of the package, with … for what is filled in."""
    found = []
    for folder in ("envs", "agents"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (
                        part.value if isinstance(part, ast.Constant) else "…"
                        for part in node.values
                    )
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def test_errors_that_are_explained_are_raised() -> None:
    messages = re.findall(r"^### `(.*)`$", (DOCS / "faq.md").read_text("utf-8"), re.MULTILINE)
    known = texts()
    assert len(messages) > 10
    assert not [message for message in messages if message not in known]
