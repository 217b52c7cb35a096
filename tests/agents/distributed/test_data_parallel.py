"""Two processes that share a run, started by torchrun."""

import json
import pathlib

import pytest

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.distributed import DistributedNodePerturbation

SCRIPT = pathlib.Path(__file__).with_name("shared_run.py")


@pytest.fixture(scope="module")
def left(torchrun, tmp_path_factory):
    """The folder that the script leaves."""
    out = tmp_path_factory.mktemp("shared")
    process = torchrun(SCRIPT, out, "cpu", processes=2)
    printed, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    (out / "printed").write_text(printed)
    return out


@pytest.fixture(scope="module")
def found(left):
    return json.loads((left / "found.json").read_text())


@pytest.mark.parametrize("name", ["MNIST", "XOR", "one-point", "loss rule", "matched"])
def test_equals_one_process_up_to_the_order_of_sums(found, name):
    assert found[name]["learned"] > 1e-3
    assert found[name]["difference"] < 1e-6


@pytest.mark.parametrize("name", ["batch_size=7", "memory", "credit='score'", "device='cuda'"])
def test_what_can_not_be_shared_is_refused(found, name):
    message = {"memory": "error_model.*learned from one process's lanes"}.get(name, name)
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(found["refused"][name])


def test_the_first_process_alone_writes(left, found):
    assert found["unseeded"]
    assert (left / "model0.zip").exists()
    assert not (left / "model1.zip").exists()
    assert NodePerturbation.load(left / "model0.zip").seed is not None


def test_the_command_line_shares_too(left):
    printed = (left / "printed").read_text()
    assert printed.count("Training ") == 1
    assert "(20 contexts at once, 1 env step each)" in printed
    assert json.loads((left / "run" / "result.json").read_text())["env_steps"] == 640


def test_needs_other_processes():
    with pytest.raises(ConfigError, match="torchrun"):
        DistributedNodePerturbation("MlpPolicy", "DelayedXOR-v0", seed=0)
