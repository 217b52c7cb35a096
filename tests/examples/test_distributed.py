"""One run over many workers: equal results, and the table on paper."""

import pytest


@pytest.fixture
def run_quick(run_script, tmp_path):
    """Runs a script; apart, if it starts processes of its own."""

    def run(name, *, apart):
        words = (f"distributed/{name}.py", "--quick", "--out", tmp_path)
        return run_script(*words, cwd=tmp_path, apart=apart)

    return run


def test_traffic_on_paper(run_quick, read_csv, is_png, tmp_path):
    printed = run_quick("traffic", apart=False)
    assert (tmp_path / "traffic.md").read_text() in printed
    assert is_png(tmp_path / "traffic.png")
    rows = read_csv(tmp_path / "traffic.csv")
    found = {(r["comes_back"], r["cost"], int(r["workers"])): float(r["speed_up"]) for r in rows}
    assert {workers for *_, workers in found} == {2**n for n in range(11)}
    for kind in ("losses", "observations", "gradients"):
        assert found[kind, "1 ms", 8] > 5
        assert found[kind, "1 s", 64] > 60
    assert found["losses", "1 µs", 1024] < 1  # where env steps cost nothing, sharding them does


def test_workers_and_processes_learn_the_same(run_quick, read_csv, is_png, tmp_path):
    pytest.importorskip("ray")
    run_quick("sharded", apart=True)
    assert is_png(tmp_path / "sharded.png")
    rows = read_csv(tmp_path / "sharded.csv")
    assert [int(row["workers"]) for row in rows] == [0, 1, 2] * 2
    assert {row["equal"] for row in rows} == {"True"}
    run_quick("data_parallel", apart=True)
    one, two = read_csv(tmp_path / "data_parallel.csv")
    assert float(one["difference"]) == 0
    assert float(two["difference"]) < 1e-5
    assert float(two["wire_bytes"]) > float(two["gradient_bytes"])
