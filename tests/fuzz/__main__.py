"""Feeds random inputs to everything that reads what users give it.

    python tests/fuzz [--inputs 100000] [--seed 0] [--jobs 1]
        [--only TARGET ...] [--out FOLDER]

Each input must be accepted, or rejected by an error of ours with a message, in time, with nothing
half-written. Writes a table of the outcome, and each of the first failing inputs with its
traceback. An input follows from its target, its number and the seed:

    python tests/fuzz --only "model files" --number 123      # this one again
"""

from __future__ import annotations

import argparse
import csv
import itertools
import pathlib
import resource
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict

import torch
from driver import Outcome, fuzz
from targets import TARGETS

COLUMNS = ("target", "inputs", "rejected", "accepted", "uncaught", "seconds")
MEMORY = 6 << 30
"""Bytes that the process may take: whoever asks for more gets an error, not the machine."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--number", type=int, help="feed this input alone")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/fuzz"))
    arguments = parser.parse_args()
    names, one = arguments.only, arguments.number
    total = sum(TARGETS[name].share for name in names)
    parts = [
        (name, numbers, arguments.seed)
        for name in names
        for numbers in (
            split(round(arguments.inputs * TARGETS[name].share / total), arguments.jobs)
            if one is None
            else [range(one, one + 1)]
        )
    ]
    outcomes = {name: Outcome(name) for name in names}
    with ProcessPoolExecutor(arguments.jobs, initializer=limit) as pool:
        for outcome in pool.map(fuzz_named, *zip(*parts, strict=True)):
            outcomes[outcome.target].add(outcome)
            print(
                f"{outcome.target}: {outcome.inputs} inputs, {outcome.uncaught} uncaught",
                flush=True,
            )
    found = list(outcomes.values())
    write(arguments.out, found)
    show(found)
    sys.exit(any(outcome.uncaught for outcome in found))


def split(count: int, parts: int) -> list[range]:
    """The numbers below ``count`` in as many ranges."""
    ends = [count * i // parts for i in range(parts + 1)]
    return [range(*pair) for pair in itertools.pairwise(ends)]


def limit() -> None:
    """For each process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def fuzz_named(name: str, numbers: range, seed: int) -> Outcome:
    """As :func:`driver.fuzz`; what a process can be sent."""
    return fuzz(TARGETS[name], numbers, seed)


def write(folder: pathlib.Path, outcomes: list[Outcome]) -> None:
    """The table, and the failing inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "fuzz.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for outcome in outcomes:
            writer.writerow({**asdict(outcome), "seconds": round(outcome.seconds, 1)})
    for outcome in outcomes:
        for number, text in outcome.failures.items():
            path = folder / f"{outcome.target.replace(' ', '_')}-{number}.txt"
            path.write_text(text, "utf-8", "backslashreplace")


def show(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        row = asdict(outcome)
        print("  ".join(f"{name} {row[name]}" for name in COLUMNS[:-1]))
        for number, text in outcome.failures.items():
            print(f"    {number}: {text.strip().splitlines()[-1][:150]}")


if __name__ == "__main__":
    main()
