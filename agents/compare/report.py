"""The report of a comparison: Markdown, and one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
import math
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nodepert.agents.compare.plots import draw_curves, draw_profile
from nodepert.agents.compare.records import Folder
from nodepert.agents.compare.rivals import RIVALS
from nodepert.agents.compare.run import Record
from nodepert.agents.compare.summary import (
    Estimate,
    Line,
    grouped,
    lower_is_better,
    normalised,
    overall,
    table,
)
from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError
from nodepert.agents.files.model_file import config_to_json
from nodepert.agents.files.saving import write_atomically

__all__ = ["write_report", "write_report_of"]

METHOD = """\
Every agent has the same env steps; an update that would need more is not made, and evaluations do
not count. Scores are those of the last evaluation, on the test split or on seeds that no agent
learned from (on the validation split where the metric says so). The interquartile mean leaves out
the lowest and the highest quarter of the seeds; of fewer than four seeds it is the median.
Intervals: 95 %, percentiles of a stratified bootstrap over seeds. P(np better): the probability
that a run of np scores better than one of that agent. Env steps to a target: the median over seeds
of those at the first evaluation that was as good. Agarwal et al., "Deep reinforcement learning
at the edge of the statistical precipice", arXiv 2108.13264. Seconds are of one process with one
thread, evaluations left out."""

STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } img { max-width: 100% }
td, th { border-bottom: 1px solid #ccc; padding: .25em .8em .25em 0; text-align: left }
code { overflow-wrap: anywhere }"""

Image = tuple[str, str]
Section = tuple[str, "str | Table | Image"]


@dataclass(frozen=True)
class Table:
    """Cells as text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    folder: Folder, failures: dict[str, str], target: float | None = None
) -> list[Line]:
    """Writes ``comparison.csv``, the pictures, ``report.md`` and ``report.html``.

    Args:
        folder: Of the comparison; all its finished runs are in the report.
        failures: Names of the runs that failed, and why.
        target: A score of which the table says when it was reached; None for what the
            environments' specs call solved.

    Returns:
        The lines of the table.

    Raises:
        ConfigError: No run is finished.
    """
    records = folder.records()
    if not records:
        raise ConfigError(f"--out {folder.path}: no run is finished, there is nothing to report")
    return write_report_of(records, folder, failures, target)


def write_report_of(
    records: list[Record], folder: Folder, failures: dict[str, str], target: float | None = None
) -> list[Line]:
    """The same for records from anywhere; see :func:`write_report`."""
    folder.write_table(records)
    pictures = {"curves.png": draw_curves(records)}
    if normalised(records):
        pictures["profile.png"] = draw_profile(records)
    for name, content in pictures.items():
        write_atomically(folder.path / name, content)
    lines = table(records, target)
    parts = list(sections(records, lines, failures))
    write_atomically(folder.path / "report.md", markdown(parts).encode())
    write_atomically(folder.path / "report.html", html_page(parts, pictures).encode())
    return lines


def sections(
    records: list[Record], lines: list[Line], failures: dict[str, str]
) -> Iterable[Section]:
    """The parts of the report, each with its heading."""
    for env, agents in grouped(records).items():
        yield env, _about(next(iter(agents.values()))[0])
        own = [line for line in lines if line.env == env]
        yield "", Table(_header(own[0].target), [_cells(line) for line in own])
    if failures:
        rows = [(name, why.partition(":")[0]) for name, why in failures.items()]
        yield "Runs that failed and are left out", Table(("run", "error"), rows)
    yield "Learning curves", ("curves.png", "learning curves over env steps and wall-clock")
    if len(grouped(records)) > 1 and normalised(records):
        yield (
            "All environments, normalised scores",
            Table(
                ("agent", "score", "95 % interval", "P(np better)"),
                [
                    (agent, *_shown(score), _chance(p))
                    for agent, (score, p) in overall(records).items()
                ],
            ),
        )
    if normalised(records):
        yield "Performance profile", ("profile.png", "share of runs above each normalised score")
    yield "How it was measured", METHOD
    yield (
        "Hyperparameters",
        Table(
            ("environment", "agent", "from", "hyperparameters"),
            [
                [env, agent, *_settings(agent, runs[0]["hyperparameters"])]
                for env, agents in grouped(records).items()
                for agent, runs in agents.items()
            ],
        ),
    )
    yield "Versions and machine", Table(("what", "which"), _machine(records))


def _header(target: float | None) -> list[str]:
    goal = [] if target is None else [f"env steps to {target:g}"]
    chance = "P(np better)"
    return ["agent", "score", "95 % interval", "seeds", chance, *goal, "env steps", "seconds", ""]


def _about(record: Record) -> str:
    """One line on what was measured in an environment."""
    metric = record["points"][-1]["metric"]
    better = "lower" if lower_is_better(metric) else "higher"
    kwargs = ", ".join(f"{name}={_public(value)}" for name, value in record["env_kwargs"].items())
    made = f" Made with {kwargs}." if kwargs else ""
    return (
        f"{metric.replace('_', ' ')}, {better} is better; {record['steps']:,} env steps, at most "
        f"{record['minutes']:g} minutes.{made}"
    )


def _cells(line: Line) -> tuple[str, ...]:
    cut = f"cut at {min(line.cut):,} steps ({len(line.cut)} of {line.seeds})" if line.cut else ""
    return (
        line.agent,
        *_shown(line.score),
        str(line.seeds),
        _chance(line.improvement),
        *([] if line.target is None else [_reached(line)]),
        f"{line.env_steps:,}",
        f"{line.seconds:,.1f}",
        cut,
    )


def _reached(line: Line) -> str:
    """When the target was reached: the median over seeds; those that never did count as last."""
    steps = statistics.median_high([*line.reached, *[math.inf] * (line.seeds - len(line.reached))])
    when = "not reached" if math.isinf(steps) else f"{steps:,}"
    return when if len(line.reached) == line.seeds else f"{when} ({len(line.reached)}/{line.seeds})"


def _shown(score: Estimate) -> tuple[str, str]:
    """The value and its interval."""
    interval = "–" if score.interval is None else "{:.4g} to {:.4g}".format(*score.interval)
    return f"{score.value:.4g}", interval


def _chance(p: Estimate | None) -> str:
    if p is None:
        return "–"
    interval = "" if p.interval is None else " ({:.2f} to {:.2f})".format(*p.interval)
    return f"{p.value:.2f}{interval}"


def _settings(agent: str, settings: dict[str, Any]) -> tuple[str, str]:
    """Source and hyperparameters as text; of our agent, those that are not Config's defaults."""
    if agent == "random":
        return "–", "none"
    rest = "the rest: Stable-Baselines3's defaults"
    if agent not in RIVALS:
        usual = {**config_to_json(Config()), "policy_kwargs": {}}
        settings = {k: v for k, v in settings.items() if k not in usual or usual[k] != v}
        rest = "the rest: defaults of nodepert.agents.Config"
    shown = [f"{k}: {_public(v)}" for k, v in settings.items() if k != "source"]
    return str(settings.get("source", "its defaults")), "; ".join([*shown, rest])


def _machine(records: list[Record]) -> list[tuple[str, str]]:
    """Versions with which runs were made, and the machine of this report; nothing private."""
    versions: dict[str, set[str]] = {}
    for record in records:
        for name, version in record["versions"].items():
            versions.setdefault(name, set()).add(version)
    rows = [(name, ", ".join(sorted(found))) for name, found in versions.items()]
    return [
        *rows,
        ("system", f"{platform.system()} on {platform.machine()}"),
        ("CPU cores", str(os.cpu_count())),
    ]


def _public(value: Any) -> str:
    """A setting as text; of a path, its last part only."""
    return os.path.basename(value) if isinstance(value, str) and os.sep in value else str(value)


# Formats ---------------------------------------------------------------------------------------


def markdown(parts: Iterable[Section]) -> str:
    """For repositories; the pictures lie beside it."""
    blocks = ["# Comparison"]
    for heading, content in parts:
        if heading:
            blocks.append(f"## {heading}")
        if isinstance(content, str):
            blocks.append(content)
        elif isinstance(content, Table):
            rows = [content.header, ["---"] * len(content.header), *content.rows]
            blocks.append("\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows))
        else:
            blocks.append(f"![{content[1]}]({content[0]})")
    return "\n\n".join(blocks) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def html_page(parts: Iterable[Section], pictures: dict[str, bytes]) -> str:
    """One file, with the pictures in it."""
    blocks = ["<h1>Comparison</h1>"]
    for heading, content in parts:
        if heading:
            blocks.append(f"<h2>{html.escape(heading)}</h2>")
        if isinstance(content, str):
            blocks.append(f"<p>{html.escape(content)}</p>")
        elif isinstance(content, Table):
            blocks.append(_html_table(content))
        else:
            name, words = content
            data = base64.b64encode(pictures[name]).decode()
            blocks.append(f'<img alt="{html.escape(words)}" src="data:image/png;base64,{data}">')
    body = "\n".join(blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Comparison</title>\n'
        f"<style>\n{STYLE}\n</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_table(content: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    return "\n".join(
        ["<table>", row(content.header, "th"), *(row(r, "td") for r in content.rows), "</table>"]
    )
