"""Comparing agents: the same env steps for all, several seeds, one report."""

from nodepert.agents.compare.comparison import DEFAULT_AGENTS, Plan, compare, plan_runs
from nodepert.agents.compare.hyperparameters import read_table
from nodepert.agents.compare.records import Folder
from nodepert.agents.compare.report import write_report, write_report_of

__all__ = [
    "DEFAULT_AGENTS",
    "Folder",
    "Plan",
    "compare",
    "plan_runs",
    "read_table",
    "write_report",
    "write_report_of",
]
