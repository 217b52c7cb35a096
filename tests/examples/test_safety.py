"""A run that is killed twice ends as the run that was not, and the soak reads what it should."""


def test_killed_and_resumed_runs_end_alike(run_script, read_csv, tmp_path):
    script = "benchmarks/kill_and_resume.py"
    said = run_script(script, "--quick", "--out", tmp_path, cwd=tmp_path, apart=True)
    assert "2 of 2 kills ended as the undisturbed run" in said
    rows = read_csv(tmp_path / "kill_and_resume_DelayedXOR-v0.csv")
    assert [row["same"] for row in rows] == ["True", "True"]


def test_soak_reads_memory_files_and_speed(run_script, read_csv, is_png, tmp_path):
    arguments = ("benchmarks/soak.py", "--quick", "--only", "xor", "--out", tmp_path)
    run_script(*arguments, cwd=tmp_path, apart=True)
    rows = read_csv(tmp_path / "soak_xor.csv")
    assert len(rows) >= 10
    assert all(float(row["memory_mb"]) > 50 and int(row["open_files"]) >= 3 for row in rows)
    assert int(rows[-1]["env_steps"]) > int(rows[0]["env_steps"])
    assert is_png(tmp_path / "soak_xor.png")
