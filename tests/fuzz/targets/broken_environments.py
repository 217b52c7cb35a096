"""Broken environments for ``nodepert check``: what is wrong must be said, and in time."""

from __future__ import annotations

import contextlib
import io
from functools import partial

from broken_envs import Broken, Plan, plan
from driver import Target

from nodepert.agents.checking.check import check_env
from nodepert.agents.cli.check import lines
from nodepert.agents.errors import NodepertError

__all__ = ["TARGET"]

TIMEOUT = 5.0
"""Seconds of a check; those that do not hang take one."""


def feed(plan: Plan) -> None:
    """Checks it; raises what the report says, unless it finds nothing."""
    with contextlib.redirect_stdout(io.StringIO()):
        report = check_env(partial(Broken, plan), timeout=TIMEOUT)
    told = list(lines("broken", report))
    assert all("Traceback" not in line and len(line) < 500 for line in told)
    if any(part.broken or part.warned for part in report.parts):
        raise NodepertError("\n".join(told))


TARGET = Target("broken environments", plan, feed, share=0.002, seconds=60.0)
