"""Each example runs to its end in its quick mode, and leaves what it promises."""

import re

import pytest

from nodepert.agents.compare import hyperparameters
from nodepert.agents.presets import preset_for


def test_quickstart_learns_and_loads_what_it_saved(run_script, tmp_path):
    first, second = run_script("quickstart.py", cwd=tmp_path).splitlines()[-2:]
    assert (tmp_path / "mnist_model.zip").exists()
    value = float(first.split("value=")[1].split(")")[0])
    assert value < 0.12
    assert f"value={value}" in second


def test_the_tour_learns_in_three_ways(run_script, is_png, tmp_path):
    output = run_script("tour.py", tmp_path, cwd=tmp_path)
    pairs, one_point, replayed = map(float, re.findall(r"mean loss ([\d.]+)", output))
    assert replayed < one_point < pairs < 0.15
    assert is_png(tmp_path / "tour.png")
    assert (tmp_path / "heaters.zip").exists()


def test_delayed_xor_is_learned_through_response_feedback(run_script, read_csv, is_png, tmp_path):
    run_script("delayed_xor.py", "--quick", "--out", tmp_path, cwd=tmp_path)
    rows = read_csv(tmp_path / "curves.csv")
    assert {row["rule"] for row in rows} == {"response", "loss", "fixed", "backprop"}
    best = max(float(row["go_accuracy"]) for row in rows if row["rule"] == "response")
    assert best >= 0.99
    assert is_png(tmp_path / "curves.png")


def test_an_environment_with_dynamics_is_learned_by_score(run_script, tmp_path):
    credit, returns = run_script("gym_env.py", "--steps", 4_800, cwd=tmp_path).splitlines()[-2:]
    before, after = map(float, re.findall(r"-?[\d.]+(?= ->|$)", returns))
    assert "credit score" in credit
    assert after > before / 2


def test_autoencoder_plots_reconstructions(run_script, is_png, tmp_path):
    output = run_script("autoencoder.py", "--quick", "--out", tmp_path, cwd=tmp_path)
    assert "test_mse: 0." in output
    assert is_png(tmp_path / "autoencoder.png")
    assert (tmp_path / "model.zip").exists()


@pytest.mark.parametrize(
    ("script", "name", "arguments"),
    [
        ("reach.py", "reach_quick", ["--only", "mnist", "xor"]),
        ("value_mode.py", "value_mode_quick", []),
        ("score_speed.py", "score_speed", []),
        ("paired_episodes.py", "paired_episodes_quick", []),
        ("scaling.py", "scaling_quick", ["--only", "width", "noise"]),
        ("probes.py", "probes", ["--losses", "mse", "noisy"]),
    ],
)
def test_benchmarks_write_csv_and_picture(
    script, name, arguments, run_script, read_csv, is_png, tmp_path
):
    run_script(f"benchmarks/{script}", "--quick", *arguments, "--out", tmp_path, cwd=tmp_path)
    assert len(read_csv(tmp_path / f"{name}.csv")) >= 4
    assert is_png(tmp_path / f"{name}.png")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("training_speed", ["--batch-sizes", "64"]), ("env_throughput", [])],
)
def test_benchmarks_of_memory_start_afresh(name, arguments, run_script, read_csv, is_png, tmp_path):
    words = (f"benchmarks/{name}.py", "--quick", *arguments, "--out", tmp_path)
    run_script(*words, cwd=tmp_path, apart=True)
    assert len(read_csv(tmp_path / f"{name}.csv")) >= 4
    assert is_png(tmp_path / f"{name}.png")


def test_the_table_of_reach_goes_on_where_it_was_cut_off(run_script, read_csv, tmp_path):
    arguments = ("benchmarks/reach.py", "--quick", "--only", "xor", "--out", tmp_path)
    run_script(*arguments, cwd=tmp_path)
    path = tmp_path / "reach_quick.csv"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert "5 of 6 runs are in" in run_script(*arguments, cwd=tmp_path)
    assert len(read_csv(path)) == len(whole.splitlines()) - 1


def test_the_suite_goes_on_where_it_was_cut_off(
    load_script, read_csv, is_png, tmp_path, monkeypatch
):
    suite = load_script("benchmarks/suite.py")
    words = "suite.py --quick --tasks xor --agents np np:given es --out"
    monkeypatch.setattr("sys.argv", [*words.split(), str(tmp_path)])
    suite.main()
    rows = read_csv(tmp_path / "comparison.csv")
    assert {row["agent"] for row in rows} == {"np", "np:given", "es"}
    assert {row["env"] for row in rows} == {"DelayedXOR-v0"}
    assert is_png(tmp_path / "curves.png")
    done = list(tmp_path.glob("runs/xor/*/runs/*.json"))
    assert len(done) == 3
    gone = next(path for path in done if "np_given" in str(path))
    gone.unlink()
    kept = {path: path.stat().st_mtime_ns for path in done if path != gone}
    suite.main()
    assert gone.exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_sac_has_fewer_env_steps_in_the_suite(load_script):
    suite = load_script("benchmarks/suite.py")
    for task in suite.TASKS.values():
        for entry in task.entries:
            assert (entry.most_steps == 100_000) is (entry.agent == "sac")


def test_the_tables_of_the_readme_are_those_of_the_committed_results(load_script):
    table = load_script("benchmarks/readme_table.py")
    text = table.README.read_text("utf-8")
    assert table.updated(text) == text, "python examples/benchmarks/readme_table.py writes them"
    assert table.updated(text.replace("PPO 500", "PPO 501")) == text
    with pytest.raises(SystemExit, match="table: reach"):
        table.updated(text.replace("table: reach", "table: breach"))


def test_the_best_of_a_row_is_bold(load_script):
    table = load_script("benchmarks/readme_table.py")

    def row(*learners):
        cells = [table.Cell(name, metric, value, 5, 100_000, reached)
                 for name, metric, value, reached in learners]  # fmt: skip
        return table.line(("Task-v0", cells[0], None, tuple(cells[1:])))

    assert row(("", "test_error", 0.02, None), ("PPO", "test_error", 0.019, None)) == [
        "Task-v0", "100 k", "2.0 %", "–", "PPO **1.9 %**"
    ]  # fmt: skip
    equal = row(("", "mean_return", 500, (5e3, 5)), ("PPO", "mean_return", 500, (2e4, 5)))
    assert equal[2:] == ["500 (**5 k**)", "–", "PPO 500 (20 k)"]
    some = row(("", "mean_return", 500, (5e3, 5)), ("PPO", "mean_return", 500, (2e3, 4)))
    assert some[2:] == ["500 (5 k)", "–", "PPO 500 (2 k, 4 of 5 seeds)"]


def test_discrete_preset_and_dqn_hold_what_the_committed_search_chose(load_script):
    value_mode = load_script("benchmarks/value_mode.py")
    preset = preset_for("MNIST-v0", "discrete")
    setting = {name: getattr(preset.config, name) for name in value_mode.OURS_BASE}
    assert value_mode.chosen("value, response", preset.steps) == value_mode.as_text(setting)
    assert preset.steps == max(value_mode.BUDGETS)

    dqn = hyperparameters.entry(hyperparameters.packaged(), "dqn", "MNIST-v0")
    dqn.update(dqn["policy_kwargs"]["optimizer_kwargs"])
    dqn["learning_rate"] = float(dqn["learning_rate"].removeprefix("lin_"))
    setting = {name: dqn[name] for name in value_mode.DQN_BASE}
    assert value_mode.chosen("DQN", preset.steps) == value_mode.as_text(setting)


def test_presets_hold_the_settings_that_the_committed_search_chose(load_script):
    reach = load_script("benchmarks/reach.py")

    def check(variant, preset, env_steps):
        config = reach.preset_for(variant.env, preset).config
        held = reach.Setting(config.learning_rate, config.weight_decay)
        assert reach.setting_of(variant, env_steps) == held, variant

    rows = {(variant.task, variant.name): variant for variant in reach.variants()}
    plain = [variant for variant in rows.values() if variant.name == "one-point"]
    assert len(plain) == 5
    for variant in plain:
        check(variant, variant.preset, variant.budgets[0])
    check(rows["mnist-replayed", "one-point, 9 replays"], "replay", 200_000)
