"""Runs every snippet of the README as a reader would.

Python snippets run alone, each in an empty folder. In bash and console snippets every command must
be ``nodepert …`` or ``python examples/…``; those that start with ``make`` are left to continuous
integration. ``nodepert`` commands that follow each other share a process, since each would spend
most of its time on imports. ``<!-- skip: reason -->`` on the line above a snippet leaves it out.
"""

import itertools
import os
import re
import shlex
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
SHARED = """
import shlex, sys
from nodepert.agents.cli import main
for command in sys.argv[1:]:
    print("$", command, flush=True)
    main(shlex.split(command)[1:])
"""


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
    """The commands of a shell snippet, one by one, without prompts, printed lines, comments."""
    lines = snippet.code.replace("\\\n", " ").splitlines()
    if snippet.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in lines]
    found = [command.strip() for line in lines for command in line.split("&&")]
    return [command for command in found if command]


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
        assert re.match(r"(nodepert |python examples/)[^|<>;&$`*]*$", line), (
            f"README.md:{snippet.line}: this test does not run {line!r}; "
            "put <!-- skip: reason --> above the snippet"
        )
    for program, some in itertools.groupby(lines, key=lambda line: line.split()[0]):
        if program == "nodepert":
            together = list(some)
            printed = run([sys.executable, "-c", SHARED, *together], tmp_path)
            assert [line for line in together if f"$ {line}\n" not in printed] == []
        else:
            for line in some:
                run(shlex.split(line), tmp_path)


def run(command: list[str], folder: Path) -> str:
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
    return done.stdout


def test_snippets_are_found() -> None:
    text = (
        "Text\n\n```python\nprint(1)\n```\n"
        "<!-- skip: takes an hour -->\n"
        "```bash\nnodepert train A \\\n    --steps 1 && nodepert check B  # long\n"
        "\n# why\nnodepert envs\n```\n\n"
        "```text\nnodepert\n```\n\n"
        "```console\n$ make test\n5 passed\n$ nodepert envs\n```\n"
    )
    first, second, third = snippets(text)
    assert first == ("python", "print(1)\n", None, 3)
    assert (second.language, second.reason, second.line) == ("bash", "takes an hour", 7)
    assert [line.split() for line in commands(second)] == [
        ["nodepert", "train", "A", "--steps", "1"],
        ["nodepert", "check", "B"],
        ["nodepert", "envs"],
    ]
    assert commands(third) == ["make test", "nodepert envs"]
