import csv
import json
import time

import pytest
import torch

from nodepert.agents import NodePerturbation
from nodepert.agents.cli import train as train_module
from nodepert.agents.cli.progress import TensorBoardFile
from nodepert.agents.maths import angle_degrees

XOR = ("train", "DelayedXOR-v0", "--out", "run", "--steps", 400, "--evaluations", 2)
FIELDS = {
    "env": str,
    "agent": str,
    "seed": int,
    "env_steps": int,
    "seconds": float,
    "metric": str,
    "value": float,
    "config": dict,
    "versions": dict,
}
FILES = {"result.json", "progress.csv", "curve.png", "model.zip"}


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def progress_of(folder):
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("env", "metric", "shown", "flags"),
    [
        ("DelayedXOR-v0", "go_accuracy", "go accuracy: ", ()),
        ("MNIST-v0", "test_error", "test error: ", ("--preset", "paper")),
    ],
)
def test_run_leaves_result_log_curve_and_model(run, tmp_path, env, metric, shown, flags):
    done = run(
        "train", env, "--out", "run", "--steps", 1500, "--seed", 3, "--evaluations", 2, *flags
    )
    assert done.code == 0, done.err
    folder = tmp_path / "run"
    assert names(folder) == FILES
    result = result_of(folder)
    assert {name: type(value) for name, value in result.items()} == FIELDS
    assert list(result) == list(FIELDS)
    model = NodePerturbation.load(folder / "model.zip", device="cpu")
    assert (result["env"], result["agent"], result["seed"]) == (env, "NodePerturbation", 3)
    assert (result["metric"], result["env_steps"]) == (metric, model.num_timesteps)
    assert 1500 <= model.num_timesteps < 1500 + 8 * model.config.batch_size * 2
    assert 0 <= result["value"] <= 1
    assert result["seconds"] > 0
    assert {"python", "nodepert", "gymnasium", "numpy", "torch"} <= set(result["versions"])
    rows = progress_of(folder)
    steps = [int(row["time/total_timesteps"]) for row in rows]
    assert (steps[0], steps[-1]) == (0, result["env_steps"])
    assert steps == sorted(set(steps))
    assert float(rows[-1][f"eval/{metric}"]) == result["value"]
    assert len(rows) == 3  # at the start, on the way, at the end
    assert all(0 <= float(row[f"eval/{metric}"]) <= 1 for row in rows)
    png = (folder / "curve.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png[-8:-4] == b"IEND"
    for expected in (f"{shown}{result['value']:.2%}", f"env steps: {result['env_steps']:,}",
                     *(f"run/{name}" for name in FILES)):  # fmt: skip
        assert expected in done.out
    assert "nodepert watch run" in done.out
    next_steps = done.out[done.out.index("next:\n") :].splitlines()[1:]
    assert [line.split()[:3] for line in next_steps] == [
        ["nodepert", "evaluate", "run/model.zip"],
        ["nodepert", "compare", env],
        ["python:", "from", "nodepert.agents"],
    ]
    compile(next_steps[2].partition("python: ")[2], "next steps", "exec")
    again = run(*next_steps[0].split()[1:])
    assert (again.code, again.out) == (0, f"{metric}: {result['value']}\n")
    logged = model.policy.network.layers[1]
    assert float(rows[-1]["weights/norm_2"]) == pytest.approx(logged.weight.norm().item())
    assert float(rows[-1]["alignment/weight_angle_2"]) == pytest.approx(
        angle_degrees(logged.weight.detach(), logged.feedback.detach()), abs=0.01
    )


def test_paper_preset_and_flags_over_it(run, tmp_path):
    flags = ("train", "MNIST-v0", "--steps", 100, "--evaluations", 1, "--preset", "paper")
    assert run(*flags, "--out", "paper").code == 0
    config = result_of(tmp_path / "paper")["config"]
    expected = {"preset": "paper", "policy": "MlpPolicy", "net_arch": [50, 20],
                "activation": "sigmoid", "batch_size": 32, "env_kwargs": {}}  # fmt: skip
    assert {name: config[name] for name in expected} == expected
    network = NodePerturbation.load(tmp_path / "paper/model.zip", device="cpu").policy.network
    assert [tuple(layer.weight.shape) for layer in network.layers] == [
        (50, 784),
        (20, 50),
        (10, 20),
    ]

    changes = ("--net-arch", 30, 20, "--batch-size", 16, "--activation", "tanh", "--rule", "fixed")
    assert run(*flags, *changes, "--out", "changed").code == 0
    changed = result_of(tmp_path / "changed")["config"]
    assert changed == {**config, "net_arch": [30, 20], "batch_size": 16, "activation": "tanh",
                       "rule": "fixed"}  # fmt: skip
    assert run(*flags, *changes, "--out", "fixed", "--learning-rate", "1e-5").code == 0
    assert result_of(tmp_path / "fixed")["config"] == {**changed, "learning_rate": 1e-5}


def test_config_in_the_result_names_what_the_policy_chose(run, tmp_path):
    assert run(*XOR).code == 0
    config = result_of(tmp_path / "run")["config"]
    assert (config["net_arch"], config["activation"], config["n_steps"]) == ([50], "tanh", 8)


def test_config_in_the_result_names_what_the_method_chose(run, tmp_path):
    words = ("train", "MountainCar-v0", "--steps", "1024", "--evaluations", "1", "--out", "run")
    assert run(*words).code == 0
    config = result_of(tmp_path / "run")["config"]
    assert (config["credit"], config["n_steps"]) == ("score", 128)


def test_policy_kwargs(run, tmp_path):
    options = ("--policy-kwarg", "cell=lstm", "--policy-kwarg", "init_gain=0.5")
    done = run(*XOR, *options)
    assert done.code == 0, done.err
    config = result_of(tmp_path / "run")["config"]
    assert (config["cell"], config["init_gain"], config["net_arch"]) == ("lstm", 0.5, [50])
    loaded = NodePerturbation.load(tmp_path / "run/model.zip")
    assert loaded.policy.options()["cell"] == "lstm"
    assert run("evaluate", "run/model.zip").code == 0


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("cell=elman", "cell='elman': expected one of tanh, lstm, gru"),
        ("cell", "--policy-kwarg 'cell': expected KEY=VALUE, such as cell=lstm"),
        ("cells=lstm", "RnnPolicy takes no 'cells'; expected net_arch"),
    ],
)
def test_policy_kwargs_that_are_not_valid(run, tmp_path, pair, message):
    done = run(*XOR, "--policy-kwarg", pair)
    assert done.code == 1
    assert message in done.err
    assert not (tmp_path / "run").exists()


def test_discrete_preset_brings_arguments_of_the_environment(run, tmp_path):
    flags = ("--steps", 640, "--evaluations", 1, "--preset", "discrete")
    done = run("train", "MNIST-v0", *flags, "--env-kwarg", "holdout=true", "--out", "run")
    assert done.code == 0, done.err
    result = result_of(tmp_path / "run")
    assert result["config"]["env_kwargs"] == {"discrete": True, "holdout": True}
    assert (result["config"]["credit"], result["env_steps"]) == ("value", 640)
    assert run("evaluate", "run/model.zip").out == f"test_error: {result['value']}\n"


def test_cnn_preset(run, tmp_path):
    flags = ("--steps", 400, "--evaluations", 1, "--preset", "cnn")
    done = run("train", "MNIST-v0", *flags, "--out", "run", "--policy-kwarg", "channels=[4, 6]")
    assert done.code == 0, done.err
    assert "784-4×12×12-96-128-10" in done.out
    config = result_of(tmp_path / "run")["config"]
    assert (config["policy"], config["channels"]) == ("CnnPolicy", [4, 6])


def test_env_kwargs_are_typed_and_add_up(run, tmp_path):
    kwargs = ("delay=[1, 2]", "loss=zero_one", "discrete=True", "expose_gradient=false")
    done = run(*XOR, *(word for pair in kwargs for word in ("--env-kwarg", pair)))
    assert done.code == 0, done.err
    expected = {"delay": [1, 2], "loss": "zero_one", "discrete": True, "expose_gradient": False}
    assert result_of(tmp_path / "run")["config"]["env_kwargs"] == expected
    assert NodePerturbation.load(tmp_path / "run/model.zip").trained_on == (
        "DelayedXOR-v0",
        expected,
    )


def test_equal_seeds_give_equal_models_however_often_they_are_scored(run, tmp_path, same_weights):
    models = []
    for name, evaluations, seed in (("one", 1, 5), ("two", 4, 5), ("three", 1, 6)):
        run(*XOR, "--out", name, "--evaluations", evaluations, "--seed", seed)
        models.append(NodePerturbation.load(tmp_path / name / "model.zip", device="cpu"))
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_existing_folder_is_refused_and_stays_as_it_is(run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "result.json").write_text("mine")
    done = run(*XOR)
    assert done.code == 1
    assert "--out run: exists already" in done.err
    assert "--overwrite" in done.err
    assert names(folder) == {"result.json"}
    assert (folder / "result.json").read_text() == "mine"


def test_overwrite_replaces_the_files_of_a_run_only(run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("result.json", "model.zip", "notes.txt"):
        (folder / name).write_text("old")
    wrong = run(*XOR, "--overwrite", "--env-kwarg", "delay=-1")
    assert wrong.code == 1
    assert (folder / "model.zip").read_text() == "old", "a bad argument must not cost a model"
    assert run(*XOR, "--overwrite").code == 0
    assert names(folder) == FILES | {"notes.txt"}
    assert (folder / "notes.txt").read_text() == "old"
    assert result_of(folder)["seed"] == 0


def test_out_that_is_a_file(run, tmp_path):
    (tmp_path / "run").write_text("mine")
    for flags in ((), ("--overwrite",)):
        done = run(*XOR, *flags)
        assert done.code == 1
        assert "--out run" in done.err
    assert run(*XOR, "--out", "run/below").code == 1
    assert (tmp_path / "run").read_text() == "mine"


MNIST = ("train", "MNIST-v0", "--out", "run")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train", "MINST-v0", "--out", "run"), 1, "MNIST"),  # did you mean
        (("train", "no_such_module:Task-v0"), 1, "no_such_module"),
        ((*MNIST, "--env-kwarg", "colour=red"), 1, "it takes loss, split"),
        ((*MNIST, "--env-kwarg", "loss=huber"), 1, "loss='huber'"),
        ((*MNIST, "--env-kwarg", "root=/nowhere"), 1, "/nowhere"),
        ((*MNIST, "--env-kwarg", "loss"), 1, "expected KEY=VALUE"),
        ((*MNIST, "--env-kwarg", "=mse"), 1, "expected KEY=VALUE"),
        ((*MNIST, "--preset", "papier"), 1, "default, paper"),
        ((*MNIST, "--preset=papier"), 1, "default, paper"),
        ((*MNIST, "--policy", "TransformerPolicy"), 1, "MlpPolicy, RnnPolicy"),
        ((*MNIST, "--steps", "0"), 1, "--steps 0"),
        ((*MNIST, "--evaluations", "0"), 1, "--evaluations 0"),
        ((*MNIST, "--threads", "0"), 1, "--threads 0"),
        ((*MNIST, "--seed", "-1"), 1, "--seed -1"),
        ((*MNIST, "--seed", str(2**64)), 1, "--seed"),
        ((*MNIST, "--probes", "0"), 1, "probes=0"),
        ((*MNIST, "--net-arch", "0"), 1, "net_arch"),
        ((*MNIST, "--activation", "step"), 1, "relu"),
        ((*MNIST, "--learning-rate", "nan"), 1, "learning_rate"),
        ((*MNIST, "--steps", "many"), 2, "--steps"),
        ((*MNIST, "--learning-rate", "fast"), 2, "--learning-rate"),
        ((*MNIST, "--rule", "magic"), 1, "response"),
        ((*MNIST, "--device", "abacus"), 2, "cuda"),
        ((*MNIST, "--stepps", "100"), 2, "--stepps"),
        ((*MNIST, "more"), 2, "more"),
        (("train", "--steps", "100", "MNIST-v0"), 2, "environment comes first"),
        (("train",), 2, "environment comes first"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, tuple) else "",
)
def test_bad_arguments_are_named_and_leave_nothing(run, tmp_path, words, code, said):
    done = run(*words)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert names(tmp_path) == set()


def test_tensorboard(run, tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert run(*XOR, "--tensorboard").code == 0
    [events] = (tmp_path / "run").glob("events.out.tfevents.*")
    log = accumulator.EventAccumulator(str(events)).Reload()
    scores = [(event.step, event.value) for event in log.Scalars("eval/go_accuracy")]
    rows = [
        (row["time/total_timesteps"], row["eval/go_accuracy"]) for row in progress_of(events.parent)
    ]
    assert scores == [(int(step), pytest.approx(float(score))) for step, score in rows]
    assert run(*XOR, "--overwrite").code == 0
    assert not events.exists(), "a log of another run"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "--tensorboard: there is no TensorBoard" in run(*XOR, "--tensorboard").err


def test_tensorboard_shows_what_was_logged_again_after_a_checkpoint_once(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for since, logged in ((None, {10: 1.0, 20: 2.0, 30: 3.0}), (10, {20: 5.0})):
        log = TensorBoardFile(str(tmp_path), since)
        for step, value in logged.items():
            log.write({"eval": value}, {"eval": ()}, step)
        log.close()
        time.sleep(1.1)  # files are told apart by the second
    shown = accumulator.EventAccumulator(str(tmp_path)).Reload().Scalars("eval")
    assert [(event.step, event.value) for event in shown] == [(10, 1.0), (20, 5.0)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_not_there(run, tmp_path):
    done = run(*MNIST, "--device", "cuda")
    assert (done.code, names(tmp_path)) == (1, set())
    assert "--device cuda" in done.err


def test_own_environment_by_module_and_id(run, tmp_path, own_env):
    flags = ("--steps", 2000, "--evaluations", 2, "--env-kwarg", "dim=3", "--learning-rate", 5e-3)
    done = run("train", own_env, "--out", "run", *flags)
    assert done.code == 0, done.err
    result = result_of(tmp_path / "run")
    assert (result["env"], result["metric"]) == (own_env, "mean_return")
    start = float(progress_of(tmp_path / "run")[0]["eval/mean_return"])
    assert 0.2 * start < result["value"] < 0
    assert f"nodepert evaluate run/model.zip --env {own_env}" in done.out
    again = run("evaluate", "run/model.zip", "--env", own_env)  # with dim=3, as in training
    assert again.out == f"mean_return: {result['value']}\n"
    wrong = run("train", own_env, "--out", "other", "--env-kwarg", "size=3")
    assert wrong.code == 1
    assert "it takes dim, bad" in wrong.err


def test_default_folder_is_named_after_the_environment(run, tmp_path, own_env):
    assert run("train", own_env, "--steps", 10, "--evaluations", 1).code == 0
    assert names(tmp_path / "runs/halves_task_Halves-v0") == FILES


def test_lost_reward_stops_the_run_and_saves_the_last_good_model(run, tmp_path, own_env):
    flags = ("--steps", 12_800, "--evaluations", 4, "--env-kwarg", "bad=70")
    done = run("train", own_env, "--out", "run", *flags)
    assert done.code == 1
    # 128 lanes; the task counts one step in each of 50 vector steps before, and in each score.
    assert "reward nan in lane 3 at vector step 70 (env step 8960)" in done.err.replace("\n", " ")
    assert "Traceback" not in done.err
    assert names(tmp_path / "run") == {"progress.csv", "model.zip", "checkpoints"}
    model = NodePerturbation.load(tmp_path / "run/model.zip", device="cpu")
    assert model.num_timesteps == 69 * 128
    assert "The model as it was before that is in run/model.zip" in done.err
    model.set_env(own_env)
    model.learn(1280, reset_num_timesteps=False)  # as the message says
    assert model.num_timesteps == 79 * 128
    assert all(torch.isfinite(weights).all() for weights in model.policy.state_dict().values())
    assert [int(row["time/total_timesteps"]) for row in progress_of(tmp_path / "run")] == [
        0,
        3200,
        6400,
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("halves_task:Halves-v0", "--env-kwarg", "bad=1"), "reward nan in lane 3"),
        (("CartPole-v1", "--credit", "paired"), "credit='score'"),
    ],
    ids=["own", "CartPole"],
)
def test_run_that_fails_before_anything_is_learned_leaves_nothing(
    run, tmp_path, own_env, words, said
):
    done = run("train", *words, "--out", "run")
    assert done.code == 1
    assert said in done.err
    assert names(tmp_path) == set()


def test_gradient_that_the_environment_does_not_give(run):
    done = run(*MNIST, "--credit", "given", "--rule", "symmetric")
    assert done.code == 1
    assert "expose_gradient=True" in done.err
    assert "Traceback" not in done.err


def test_what_is_not_of_the_run_stays_where_it_fails_at_once(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    assert (
        run("train", "CartPole-v1", "--credit", "paired", "--out", "run", "--overwrite").code == 1
    )
    assert names(tmp_path / "run") == {"notes.txt"}


def test_diverging_weights_are_named(run, tmp_path):
    done = run(*MNIST, "--steps", 2000, "--evaluations", 1, "--learning-rate", 1e30)
    assert done.code == 1
    assert "learning_rate" in done.err
    NodePerturbation.load(tmp_path / "run/model.zip", device="cpu")


@pytest.mark.parametrize(
    ("after", "left"), [(350, {"progress.csv", "model.zip", "checkpoints"}), (100, None)]
)
def test_interrupted_run_keeps_the_last_model(run, tmp_path, monkeypatch, after, left):
    class Interrupted(train_module.Evaluations):
        stop_after = after

        def _on_step(self):
            if self.num_timesteps > self.stop_after:
                raise KeyboardInterrupt
            return True

    monkeypatch.setattr(train_module, "Evaluations", Interrupted)
    done = run(*XOR, "--evaluations", 1)
    assert done.code == 130
    assert "interrupted" in done.err
    assert "Traceback" not in done.err
    assert names(tmp_path) == (set() if left is None else {"run"})
    if left is not None:
        assert names(tmp_path / "run") == left
        NodePerturbation.load(tmp_path / "run/model.zip", device="cpu")
