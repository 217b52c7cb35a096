import sys

import pytest

from nodepert.agents import ConfigError
from nodepert.agents.executors import OnRay


def test_without_ray(monkeypatch, log_of):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'nodepert\[ray\]'"):
        list(OnRay(1).run(print, [1], log_of))


class TestWithRay:
    @pytest.fixture(autouse=True)
    def ray(self):
        return pytest.importorskip("ray")

    def test_results_failures_logs_and_workers_that_die(self, tasks, log_of, tmp_path):
        jobs = [(tasks.double, 2), (tasks.double, 3), (tasks.double, 4)]
        jobs += [(tasks.die_once, tmp_path / "marker")]
        outcomes = OnRay(2).run(tasks.call, jobs, lambda job: log_of(job[1]))
        ended = {one.task[1]: one for one in outcomes}
        assert ended[tmp_path / "marker"].result == {"again": True}
        assert (ended[3].result, ended[3].failure) == (None, "ValueError: three is bad")
        assert ended[4].result["twice"] == 8
        assert ended[2].result["threads"] == "1"
        assert ended[2].result["pid"] != ended[4].result["pid"]
        for task in (2, 3, 4):
            log = log_of(task).read_text()
            assert f"doubling {task}" in log
            assert "in C" in log
            assert ("Traceback" in log) == (task == 3)

    @pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
    def test_no_cluster_there(self, log_of, address, monkeypatch):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with pytest.raises(ConfigError, match=f"--address {address}: "):
            list(OnRay(1, address).run(print, [1], log_of))
