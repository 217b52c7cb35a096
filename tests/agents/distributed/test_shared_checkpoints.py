"""Runs of two processes that are ended, and go on as if they had not been."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from nodepert.agents import NodePerturbation
from nodepert.agents.cli import main

SCRIPT = pathlib.Path(__file__).with_name("shared_checkpoints.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(*words):
    return subprocess.Popen([*TORCHRUN, *map(str, words)], env=ENVIRONMENT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_a_killed_process_costs_nothing_but_time(tmp_path):
    dying = start(SCRIPT, tmp_path, "dies")
    _, err = dying.communicate(timeout=120)
    assert dying.returncode != 0, err
    going_on = start(SCRIPT, tmp_path, "goes_on")
    _, err = going_on.communicate(timeout=120)
    assert going_on.returncode == 0, err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["from"] == 6 * 64  # a checkpoint every three updates; killed in the ninth
    assert found["same in each process"]
    assert re.search("force_reset=False: the file has the lanes of 2 processes", found["alone"])


def test_the_command_line_stops_all_and_resumes_all(tmp_path):
    out = tmp_path / "run"
    train = ["--no-python", pathlib.Path(sys.executable).with_name("nodepert"), "train"]
    words = ["DelayedXOR-v0", "--steps", "24000", "--evaluations", "1"]
    process = start(*train, *words, "--out", out)
    while process.poll() is None and len(list(out.glob("checkpoints/*.zip"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert re.search(r"nodepert: stopped, saved .*checkpoint_\d+_steps.zip", err), err
    assert err.count("finishing the update") == 1
    resumed = start(*train, "--resume", out)
    told, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    assert told.count("Going on from") == 1
    assert json.loads((out / "result.json").read_text())["env_steps"] >= 24000
    assert NodePerturbation.load(out / "model.zip").num_timesteps >= 24000


def test_one_process_does_not_go_back_by_itself(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(SystemExit):
        main(["train", "DelayedXOR-v0", "--on-divergence", "rollback"])
    assert "--on-divergence rollback: one of several processes" in capsys.readouterr().err
