import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

AGENTS = ("random", "np", "np:fixed")
FLAGS = ("compare", "DelayedXOR-v0", "--agents", *AGENTS, "--steps", 40_000, "--seeds", 1,
         "--evaluations", 4, "--out", "out", "--hyperparameters", "table.yml")  # fmt: skip


def until(condition, timeout=120):
    """Waits until something is so, and returns what it is."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)
    return found


def gone(pid):
    """Whether a process has ended, also where nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def test_killed_comparison_goes_on_where_it_stopped(run, tmp_path):
    # A step size with which np:fixed fails; the others are as they were.
    (tmp_path / "table.yml").write_text("np:fixed: {DelayedXOR-v0: {learning_rate: 1.0e+30}}")
    script = "import sys; from nodepert.agents.cli import main; main(sys.argv[1:])"
    words = [str(word) for word in FLAGS]
    first = subprocess.Popen([sys.executable, "-c", script, *words], cwd=tmp_path)
    try:
        logs = tmp_path / "out/logs"
        until(lambda: list(logs.glob("*-np-0.log")))  # the second run has begun
        workers = children(first.pid)
        assert {path.name for path in (tmp_path / "out/runs").glob("*.json")} == {
            "DelayedXOR-v0-random-0.json"
        }
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    until(lambda: all(gone(worker) for worker in workers), 20)
    finished = tmp_path / "out/runs/DelayedXOR-v0-random-0.json"
    before = (finished.stat().st_ino, finished.read_bytes())

    done = run(*FLAGS, "--jobs", 2)
    assert done.code == 1
    assert "1 of 3 runs are finished already" in done.out
    assert "1 of 3 runs failed: np:fixed on DelayedXOR-v0, seed 0" in done.err.replace("\n", " ")
    assert "Traceback" not in done.err
    log = (logs / "DelayedXOR-v0-np_fixed-0.log").read_text()
    assert "NonFiniteError" in log
    assert (finished.stat().st_ino, finished.read_bytes()) == before, "it was run again"
    with (tmp_path / "out/comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["agent"] for row in rows} == {"random", "np"}
    ours = [row for row in rows if row["agent"] == "np"]
    assert len(ours) == 5
    assert int(ours[-1]["env_steps"]) == 40_000
    assert float(ours[-1]["value"]) > 0.9
    report = (tmp_path / "out/report.html").read_text()
    assert "np:fixed on DelayedXOR-v0, seed 0" in report
    assert "report: out/report.html" in done.out
    record = json.loads((tmp_path / "out/runs/DelayedXOR-v0-np-0.json").read_text())
    assert record["hyperparameters"]["rule"] == "response"

    again = run(*FLAGS[:2], "--agents", "random", "np", *FLAGS[6:])
    assert again.code == 0, again.err
    assert "2 of 2 runs are finished already" in again.out
    changed = run(*FLAGS[:2], "--agents", "random", "--seeds", 1, "--steps", 7, "--out", "out")
    assert changed.code == 1
    assert "steps=40000, now 7" in changed.err
    assert os.listdir(tmp_path / "out/runs")


def test_same_on_ray(run, tmp_path):
    pytest.importorskip("ray")
    words = ("compare", "DelayedXOR-v0", "--agents", "np", "--steps", 4_000, "--evaluations", 2)
    tables = []
    for executor in ("local", "ray"):
        done = run(*words, "--seeds", 1, "--out", executor, "--executor", executor)
        assert done.code == 0, done.err
        with (tmp_path / executor / "comparison.csv").open(newline="") as file:
            tables.append([{**row, "seconds": None} for row in csv.DictReader(file)])
        assert (tmp_path / executor / "logs/DelayedXOR-v0-np-0.log").exists()
    assert tables[0] == tables[1]
    assert len(tables[0]) >= 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 1, "ENV: expected at least one"),
        (("CartPole-v1", "--agents", "sac"), 1, "can't act in CartPole-v1"),
        (("CartPole-v1", "--agents", "pppo"), 1, "np:PRESET:RULE, ppo"),
        (("CartPole-v1", "--agents", "np:magic"), 1, "response"),
        (("CartPoel-v1",), 1, "CartPole"),
        (("MNIST-v0", "CartPole-v1", "--env-kwarg", "discrete=true"), 1, "CartPole-v1"),
        (("CartPole-v1", "--steps", "0"), 1, "--steps 0"),
        (("CartPole-v1", "--seeds", "0"), 1, "--seeds 0"),
        (("CartPole-v1", "--jobs", "0"), 1, "--jobs 0"),
        (("CartPole-v1", "--address", "auto"), 1, "expected --executor ray"),
        (("CartPole-v1", "--minutes", "-1"), 1, "--minutes -1"),
        (("CartPole-v1", "--hyperparameters", "nothing.yml"), 1, "nothing.yml"),
        (("CartPole-v1", "--stepps", "1"), 2, "--stepps"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_arguments_are_named_and_nothing_is_run(run, tmp_path, words, code, said):
    done = run("compare", *words)
    assert done.code == code
    assert said in done.err.replace("\n", " ")
    assert "Traceback" not in done.err
    assert not os.listdir(tmp_path)


def test_help(run):
    done = run("compare", "--help")
    assert (done.code, done.err) == (0, "")
    text = " ".join(done.out.replace("│", " ").split())
    for flag in ("agents", "steps", "seeds", "jobs", "out", "evaluations", "minutes", "split",
                 "quick", "hyperparameters", "env-kwarg", "target"):  # fmt: skip
        assert f"--{flag}" in text
    assert "recurrent_ppo, ars, es, random" in text
    assert "None}" not in text
    assert "nodepert compare ENV" in run("--help").out
