"""Runs every snippet of the README as a reader would.

Python snippets run alone, each in an empty folder. In bash and console snippets every command must
be ``nodepert …`` or ``python examples/…``; those that start with ``make`` are left to continuous
integration. ``<!-- skip: reason -->`` on the line above a snippet leaves it out.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SNIPPET = re.compile(
    r"(?:<!--\s*skip:\s*(?P<reason>[^>]*?)\s*-->\n+)?"
    r"^```(?P<language>python|bash|console)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
TIMEOUT = 120


class Snippet(NamedTuple):
    language: str
    code: str
    reason: str | None
    line: int


def snippets(text: str) -> list[Snippet]:
    return [
        Snippet(
            found["language"],
            found["code"],
            found["reason"],
            text.count("\n", 0, found.start("language")) + 1,
        )
        for found in SNIPPET.finditer(text)
    ]


def commands(snippet: Snippet) -> list[str]:
    """The commands of a shell snippet, without prompts, printed lines, comments."""
    lines = snippet.code.replace("\\\n", " ").splitlines()
    if snippet.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [line for line in lines if line]


README = snippets((ROOT / "README.md").read_text("utf-8"))


@pytest.mark.parametrize("snippet", README, ids=lambda s: f"line{s.line}-{s.language}")
def test_snippet(snippet: Snippet, tmp_path: Path) -> None:
    if snippet.reason is not None:
        pytest.skip(snippet.reason)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    if snippet.language == "python":
        (tmp_path / "snippet.py").write_text(snippet.code, "utf-8")
        run([sys.executable, "snippet.py"], tmp_path)
        return
    lines = commands(snippet)
    if lines and re.match(r"make\b", lines[0]):
        pytest.skip("make is run by continuous integration")
    for line in lines:
        assert re.match(r"nodepert |python examples/", line), (
            f"README.md:{snippet.line}: this test does not run {line!r}; "
            "put <!-- skip: reason --> above the snippet"
        )
        run(["bash", "-c", line], tmp_path)


def run(command: list[str], folder: Path) -> None:
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout


def test_snippets_are_found() -> None:
    text = (
        "Text\n\n```python\nprint(1)\n```\n"
        "<!-- skip: takes an hour -->\n"
        "```bash\nnodepert train A \\\n    --steps 1  # long\n\n# why\nnodepert envs\n```\n\n"
        "```text\nnodepert\n```\n\n"
        "```console\n$ make test\n5 passed\n$ nodepert envs\n```\n"
    )
    first, second, third = snippets(text)
    assert first == ("python", "print(1)\n", None, 3)
    assert (second.language, second.reason, second.line) == ("bash", "takes an hour", 7)
    assert [line.split() for line in commands(second)] == [
        ["nodepert", "train", "A", "--steps", "1"],
        ["nodepert", "envs"],
    ]
    assert commands(third) == ["make test", "nodepert envs"]
