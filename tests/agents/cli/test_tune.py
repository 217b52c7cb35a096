import os
import sys

import pytest

SMALL = ("DelayedXOR-v0", "--trials", 1, "--steps", 400, "--evaluations", 2)


def test_tuned_settings_are_compared(run, tmp_path):
    pytest.importorskip("optuna")
    done = run("tune", *SMALL)
    assert (done.code, done.err) == (0, "")
    assert "1/1 trial 0 (learning_rate=" in done.out
    folder = tmp_path / "runs/tune/DelayedXOR-v0-np"
    assert {path.name for path in folder.iterdir()} == {
        "best.yml", "logs", "search.png", "study.db", "study.lock", "trials.csv",
    }  # fmt: skip
    assert (folder / "search.png").read_bytes().startswith(b"\x89PNG")
    again = run("tune", *SMALL)
    assert "1 of 1 trials are finished already" in again.out
    assert "1/1" not in again.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("CartPole-v1", "--agent", "sac"), 1, "can't act in CartPole-v1"),
        (("CartPole-v1", "--agent", "pppo"), 1, "np:PRESET:RULE, ppo"),
        (("CartPole-v1", "--agent", "random"), 1, "has no ranges of random"),
        (("CartPoel-v1",), 1, "CartPole"),
        (("DelayedXOR-v0", "--trials", "0"), 1, "--trials 0"),
        (("DelayedXOR-v0", "--steps", "0"), 1, "--steps 0"),
        (("DelayedXOR-v0", "--seed", "-1"), 1, "--seed -1"),
        (("DelayedXOR-v0", "--jobs", "0"), 1, "--jobs 0"),
        (("DelayedXOR-v0", "--address", "auto"), 1, "expected --executor ray"),
        (("DelayedXOR-v0", "--space", "nothing.yml"), 1, "nothing.yml"),
        (("DelayedXOR-v0", "--trialls", "1"), 2, "--trialls"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_arguments_are_named_and_nothing_is_run(run, tmp_path, words, code, said):
    done = run("tune", *words)
    assert done.code == code
    assert said in done.err.replace("\n", " ")
    assert "Traceback" not in done.err
    assert not os.listdir(tmp_path)


def test_without_optuna(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = run("tune", *SMALL)
    assert done.code == 1
    assert "pip install 'nodepert[optuna]'" in done.err
    assert not os.listdir(tmp_path)
