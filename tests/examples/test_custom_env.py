"""The example of a reader's own task: what it prints is what it claims to have learned."""

import pathlib
import re

SCRIPT = pathlib.Path(__file__).parents[2] / "examples/custom_env.py"


def test_a_task_without_a_gradient_is_learned(run_script, tmp_path):
    output = run_script("custom_env.py", "--quick", cwd=tmp_path)
    assert "keeps to the contract" in output
    off, before, after, best = map(float, re.findall(r"^mean loss.* (\S+)$", output, re.M))
    assert best < after < best + 0.1 < off - 0.3
    assert before > 0.5


def test_the_task_is_short():
    """Under 30 lines, docstrings and blank lines apart."""
    lines = SCRIPT.read_text("utf-8").partition("class Motors")[2].partition("register(")[0]
    code = re.sub(r'""".*?"""', "", lines, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) < 30
