"""Runs of two processes that are ended, and go on as if they had not been."""

import json
import pathlib
import re
import signal
import socket
import sys
import time

import pytest

from nodepert.agents import NodePerturbation
from nodepert.agents.cli import main

SCRIPT = pathlib.Path(__file__).with_name("shared_checkpoints.py")


def test_a_killed_process_costs_nothing_but_time(torchrun, tmp_path):
    dying = torchrun(SCRIPT, tmp_path, "dies", processes=2)
    _, err = dying.communicate(timeout=120)
    assert dying.returncode != 0, err
    going_on = torchrun(SCRIPT, tmp_path, "goes_on", processes=2)
    _, err = going_on.communicate(timeout=120)
    assert going_on.returncode == 0, err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["from"] == 6 * 64  # a checkpoint every three updates; killed in the ninth
    assert found["same in each process"]
    assert found["threads of gloo"] == 0
    assert re.search("force_reset=False: the file has the lanes of 2 processes", found["alone"])


TRAIN = ["--no-python", pathlib.Path(sys.executable).with_name("nodepert"), "train"]
WORDS = [*TRAIN, "DelayedXOR-v0", "--steps", "24000", "--evaluations", "1", "--out"]


def stop(processes, out):
    """Ends a run by a signal to the last process of torchrun; returns what all say."""
    while processes[0].poll() is None and len(list(out.glob("checkpoints/*.zip"))) < 2:
        time.sleep(0.05)
    processes[-1].send_signal(signal.SIGTERM)
    said = "".join(one.communicate(timeout=240)[1] for one in processes)
    assert re.search(r"nodepert: stopped, saved .*checkpoint_\d+_steps.zip", said), said
    assert said.count("nodepert: stopped") == 1
    return said


def finish(processes, out):
    """Sees that a run goes on to its end."""
    told, errors = zip(*[one.communicate(timeout=240) for one in processes], strict=True)
    assert not any(one.returncode for one in processes), errors
    assert "".join(told).count("Going on from") == 1
    assert json.loads((out / "result.json").read_text())["env_steps"] >= 24000
    assert NodePerturbation.load(out / "model.zip").num_timesteps >= 24000


def test_the_command_line_stops_all_and_resumes_all(torchrun, tmp_path):
    out = tmp_path / "run"
    said = stop([torchrun(*WORDS, out, processes=2)], out)
    assert said.count("finishing the update") == 1
    finish([torchrun(*TRAIN, "--resume", out, processes=2)], out)


@pytest.fixture
def machines(torchrun):
    """Starts a command on two machines, each with its own folder; they share nothing but a port."""

    def start(folders, *words):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        several = ["--nnodes", 2, "--master-addr", "127.0.0.1", "--master-port", port]
        return [
            torchrun(*several, "--node-rank", rank, *words, cwd=folder)
            for rank, folder in enumerate(folders)
        ]

    return start


def test_two_machines_stop_together_and_resume_together(machines, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    out = folders[0] / "run"
    said = stop(machines(folders, *WORDS, "run"), out)
    assert "To go on: torchrun … --no-python nodepert train --resume run" in said
    assert not any(folders[1].iterdir())
    finish(machines(folders, *TRAIN, "--resume", "run"), out)
    assert not any(folders[1].iterdir())


def test_one_process_does_not_go_back_by_itself(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(SystemExit):
        main(["train", "DelayedXOR-v0", "--on-divergence", "rollback"])
    assert "--on-divergence rollback: one of several processes" in capsys.readouterr().err
