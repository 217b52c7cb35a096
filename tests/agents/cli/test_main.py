import errno
import importlib
import importlib.metadata
import os
import subprocess
import sys
from dataclasses import fields

import pytest

from nodepert.agents import Config, cli


def test_envs_lists_each_id_with_a_line(run):
    done = run("envs")
    assert done.code == 0
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.out.splitlines()}
    assert {"DelayedXOR-v0", "MNIST-v0", "MNISTAutoencoder-v0"} <= lines.keys()
    assert "digits" in lines["MNIST-v0"]
    assert all(line.endswith(".") for line in lines.values())


def test_version(run):
    done = run("--version")
    assert (done.code, done.out) == (0, importlib.metadata.version("nodepert") + "\n")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help(run, words):
    done = run(*words)
    assert (done.code, done.err) == (0, "")
    for command in ("nodepert train ENV", "nodepert evaluate MODEL", "nodepert check ENV",
                    "nodepert envs"):  # fmt: skip
        assert command in done.out


@pytest.mark.parametrize("words", [("tain", "MNIST-v0"), ("envs", "all"), ("--steps", "5")])
def test_unknown_command(run, words):
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert " ".join(words) in done.err
    assert "nodepert train ENV" in done.err


@pytest.mark.parametrize("words", [("train", "--help"), ("train", "MNIST-v0", "--help")])
def test_help_of_train_shows_every_flag(run, words):
    done = run(*words)
    assert (done.code, done.err) == (0, "")
    flags = [field.name for field in fields(Config)]
    flags += [
        "steps",
        "seed",
        "out",
        "env-kwarg",
        "policy-kwarg",
        "preset",
        "policy",
        "overwrite",
        "evaluations",
    ]
    for name in flags:
        assert f"--{name.replace('_', '-')}" in done.out
    assert "['" not in done.out, "a default that is shown as a list"
    assert "constructor" not in done.out
    assert "--config" not in done.out
    assert "MISSING" not in done.out
    assert all(len(line) <= 100 for line in done.out.splitlines())


def test_help_of_train_shows_the_defaults_of_preset_and_environment(run):
    def shown(*words):  # wherever its lines break
        return " ".join(run("train", *words, "--help").out.replace("│", " ").split())

    text = shown("MNIST-v0", "--preset", "paper")
    assert "(default: 50 20)" in text
    assert "(default: sigmoid)" in text
    assert "(default: RnnPolicy)" in shown("DelayedXOR-v0")


def test_interrupt(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    module = importlib.import_module("nodepert.agents.cli.main")
    monkeypatch.setattr(module, "list_envs", interrupted)
    done = run("envs")
    assert done.code == 130
    assert "interrupted" in done.err


def test_files_that_cannot_be_written(run, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "comparison.csv")

    module = importlib.import_module("nodepert.agents.cli.main")
    monkeypatch.setattr(module, "list_envs", full)
    done = run("envs")
    assert done.code == 1
    assert "No space left on device: 'comparison.csv'" in done.err


def test_console_script_and_exit_code():
    script = "import sys; from nodepert.agents.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "nonsense"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "no command 'nonsense'" in done.stderr
    [entry] = importlib.metadata.entry_points(group="console_scripts", name="nodepert")
    assert entry.load() is cli.main
