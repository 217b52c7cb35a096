import os
import time

import pytest

from nodepert.agents import ConfigError
from nodepert.agents.executors import OnRay, Processes, make_executor


def test_results_failures_and_logs_come_back(tasks, log_of):
    """A process that dies takes no other with it; a task is taken when there is room for it."""
    before, ended, taken = dict(os.environ), {}, []

    def jobs():
        for job in [
            (tasks.double, 2),
            (tasks.die, 4),
            (tasks.double, 3),
            (tasks.fail_unspeakably, 5),
        ]:
            taken.append(len(ended))
            yield job

    for one in Processes(2).run(tasks.call, jobs(), lambda job: log_of(job[1])):
        ended[one.task[1]] = one
    assert dict(os.environ) == before
    assert taken[:2] == [0, 0]
    assert taken[2] >= 1
    assert {task: one.failure for task, one in ended.items()} == {
        2: None,
        3: "ValueError: three is bad",
        4: "its process ended with code 4",
        5: "Unspeakable: its message can't be shown",
    }
    assert (ended[2].result["twice"], ended[3].result) == (4, None)
    assert len(ended[2].result["much"]) == 10**6, "more than a pipe holds"
    assert ended[2].result["threads"] == "1"
    assert ended[2].result["pid"] != os.getpid()
    for task in (2, 3):
        log = log_of(task).read_text()
        assert f"doubling {task}" in log
        assert "in C" in log
        assert ("Traceback" in log) == (task == 3)


def test_interrupt_ends_what_runs(tasks, log_of, tmp_path):
    path = tmp_path / "pid"

    def jobs():
        yield path
        while not (path.exists() and path.read_text()):
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Processes(2).run(tasks.sleep, jobs(), log_of))
    with pytest.raises(ProcessLookupError):
        os.kill(int(path.read_text()), 0)


def test_names():
    assert make_executor("local", 3) == Processes(3)
    assert make_executor("ray", 2) == OnRay(2, "local")
    assert make_executor("ray", 2, "auto") == OnRay(2, "auto")
    with pytest.raises(ConfigError, match="--jobs 0"):
        make_executor("local", 0)
    with pytest.raises(ConfigError, match="--address auto: expected --executor ray"):
        make_executor("local", 1, "auto")
