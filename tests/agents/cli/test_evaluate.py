import json

import gymnasium as gym
import pytest

from nodepert.agents import NodePerturbation


@pytest.fixture
def xor_model(tmp_path):
    NodePerturbation("RnnPolicy", "DelayedXOR-v0", seed=0).save(tmp_path / "xor.zip")
    return "xor.zip"


@pytest.fixture
def mnist_model(tmp_path):
    NodePerturbation("MlpPolicy", "MNIST-v0", seed=0, net_arch=(10,)).save(tmp_path / "mnist.zip")
    return "mnist.zip"


def score(done, metric):
    """The number printed after the metric's name."""
    assert done.code == 0, done.err
    name, value = done.out.split(": ")
    assert name == metric
    return float(value)


def test_arguments_of_the_training_are_the_default(run, tmp_path):
    kwargs = {"delay": 1, "stream": True, "max_episode_steps": 60}
    pairs = [word for k, v in kwargs.items() for word in ("--env-kwarg", f"{k}={json.dumps(v)}")]
    trained = run(
        "train", "DelayedXOR-v0", "--out", "run", "--steps", 400, "--evaluations", 1, *pairs
    )
    assert trained.code == 0, trained.err
    value = json.loads((tmp_path / "run/result.json").read_text())["value"]
    plain = score(run("evaluate", "run/model.zip"), "go_accuracy")
    same = score(run("evaluate", "run/model.zip", "--env", "DelayedXOR-v0"), "go_accuracy")
    assert value == plain == same
    longer = run("evaluate", "run/model.zip", "--env-kwarg", "max_episode_steps=90")
    assert score(longer, "go_accuracy") != value


def test_another_environment(run, xor_model):
    on_trials = score(run("evaluate", xor_model), "go_accuracy")
    on_stream = run("evaluate", xor_model, "--env-kwarg", "stream=true")
    assert score(on_stream, "go_accuracy") != on_trials
    module = run("evaluate", xor_model, "--env", "nodepert.envs:DelayedXOR-v0")
    assert score(module, "go_accuracy") == on_trials


def test_arguments_of_the_training_are_not_for_another_environment(run, own_env):
    flags = ("--steps", 10, "--evaluations", 1, "--env-kwarg", "dim=3")
    assert run("train", own_env, "--out", "run", *flags).code == 0
    halves = gym.spec("Halves-v0").entry_point
    gym.register("Threes-v0", entry_point=lambda: halves(dim=3))
    done = run("evaluate", "run/model.zip", "--env", "Threes-v0")
    gym.registry.pop("Threes-v0")
    score(done, "mean_return")


def test_splits(run, mnist_model):
    test = score(run("evaluate", mnist_model), "test_error")
    assert score(run("evaluate", mnist_model, "--split", "test"), "test_error") == test
    validation = run("evaluate", mnist_model, "--split", "validation")
    assert score(validation, "validation_error") != test
    discrete = run("evaluate", mnist_model, "--env-kwarg", "loss=cross_entropy")
    assert score(discrete, "test_error") == test


def test_spaces_that_do_not_fit(run, xor_model):
    done = run("evaluate", xor_model, "--env", "MNIST-v0")
    assert done.code == 1
    assert "MNIST-v0 has spaces Box(0.0, 1.0, (784,), float32)" in done.err


def test_model_of_an_environment_that_is_not_registered(run, tmp_path, own_env):
    assert run("train", own_env, "--out", "run", "--steps", 10, "--evaluations", 1).code == 0
    gym.registry.pop("Halves-v0")
    done = run("evaluate", "run/model.zip")
    assert done.code == 1
    assert "`Halves` doesn't exist" in done.err
    assert "--env" in done.err


def test_model_that_names_no_environment(run, tmp_path, tasks):
    NodePerturbation("MlpPolicy", tasks.Echo()).save(tmp_path / "echo.zip")
    done = run("evaluate", "echo.zip")
    assert done.code == 1
    assert "--env" in done.err


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not a model", "cut"])
def test_files_that_are_no_models(run, tmp_path, mnist_model, content):
    path = tmp_path / "model.zip"
    if content == "cut":
        content = (tmp_path / mnist_model).read_bytes()[:-500]
    if content is not None:
        path.write_bytes(content)
    done = run("evaluate", "model.zip")
    assert (done.code, done.out) == (1, "")
    assert "model.zip" in done.err
    assert "Traceback" not in done.err


def test_folder_in_place_of_a_file(run):
    done = run("evaluate", ".")
    assert done.code == 1
    assert "no such file" in done.err


def test_bad_usage(run, mnist_model):
    assert run("evaluate").code == 2
    assert run("evaluate", mnist_model, "--split", "dev").code == 2
    assert run("evaluate", mnist_model, "--spilt", "test").code == 2
    assert run("evaluate", mnist_model, "--env-kwarg", "loss").code == 1
    assert run("evaluate", "--help").code == 0
