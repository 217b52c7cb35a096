"""``nodepert watch`` on folders of runs, ended and not."""

import threading
import time

import pytest

from nodepert.agents.cli.run_folder import RunFolder
from nodepert.agents.cli.watch import sparkline

XOR = ("train", "DelayedXOR-v0", "--out", "run", "--steps", 400, "--evaluations", 2)
HEAD = "time/total_timesteps,eval/go_accuracy,train/loss,weights/norm_1\n"


def test_a_run_that_has_ended(run, tmp_path):
    assert run(*XOR).code == 0
    done = run("watch", "run")
    assert (done.code, done.err) == (0, "")
    for shown in ("env steps, ended", "eval/go_accuracy", "train/loss", "weights/norm_1",
                  "alignment/weight_angle_2", "picture: run/watch.png"):  # fmt: skip
        assert shown in done.out
    assert (tmp_path / "run/watch.png").read_bytes().startswith(b"\x89PNG")
    RunFolder(tmp_path / "run").create({})
    assert not (tmp_path / "run/watch.png").exists(), "a picture of another run"


def test_a_run_that_goes_on_is_looked_at_again(run, tmp_path):
    (tmp_path / "run").mkdir()
    progress = tmp_path / "run/progress.csv"
    progress.write_text(HEAD + "0,0.25,nan,1\n")

    def train():
        time.sleep(0.3)
        progress.write_text(HEAD + "0,0.25,nan,1\n1234,0.75,0.5,2\n")
        (tmp_path / "run/result.json").write_text("{}")

    thread = threading.Thread(target=train)
    thread.start()
    done = run("watch", "run", "--every", 0.05)
    thread.join()
    assert done.code == 0
    assert "1,234 env steps, ended" in done.out
    assert "▁█" in done.out


def test_ctrl_c_ends_watching_not_with_an_error(run, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/progress.csv").write_text(HEAD + "50,0.25,nan,1\n")

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("nodepert.agents.cli.watch.time.sleep", interrupt)
    done = run("watch", "run")
    assert (done.code, done.err) == (0, "")
    assert "50 env steps, running, or cut off" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere: has no progress.csv"),
        ((".",), "`nodepert train`"),
        ((".", "--every", "0"), "--every 0: expected a positive"),
    ],
)
def test_bad_arguments(run, words, said):
    done = run("watch", *words)
    assert (done.code, done.out) == (1, "")
    assert said in done.err


@pytest.mark.parametrize("rows", [b"ten,0.5,1,1\n", b"10,0.5,1,1,1\n", b"\xff\n"])
def test_damaged_logs_are_named(run, tmp_path, rows):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/progress.csv").write_bytes(HEAD.encode() + rows)
    done = run("watch", "run")
    assert done.code == 1
    assert "run/progress.csv: not the log of a run" in done.err
    assert "Traceback" not in done.err


def test_sparkline():
    assert sparkline([0, 7, 3, 7]) == "▁█▄█"
    assert sparkline([2.0]) == "▁"
    assert sparkline(range(100), width=8) == "▁▂▃▄▅▆▇█"
