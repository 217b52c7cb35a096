"""Kills training at random moments, resumes it, and compares the end with an undisturbed run.

    python examples/benchmarks/kill_and_resume.py [--kills 50] [--env ENV[/PRESET]] [--out DIR]
        [--quick] [-- flags of nodepert train]

`nodepert train` runs in a process that is killed (SIGKILL) after a random time on the CPU, up to
what an undisturbed run takes; `nodepert train --resume` goes on, and is killed in turn, until a run
has come to its end. Then the next starts, until there were so many kills. Each must end with the
tensors of the undisturbed one, to the last bit: weights, feedback weights, optimisers, statistics,
replay buffer, random numbers and the environment's state. So must its progress.csv, all but times.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import multiprocessing
import os
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from dataclasses import asdict, dataclass

import torch

from nodepert.agents.cli import main as nodepert

FLAGS = {
    "DelayedXOR-v0": ("--steps", "20000", "--checkpoint-every", "1000", "--evaluations", "6"),
    "CartPole-v1": ("--steps", "10000", "--checkpoint-every", "1000", "--evaluations", "2"),
    "DelayedXOR-v0/replay": ("--steps", "4000", "--checkpoint-every", "400", "--evaluations", "4"),
    "Pendulum-v1/critic": (
        *("--steps", "1500", "--checkpoint-every", "200", "--evaluations", "2"),
        *("--learning-starts", "300"),
    ),
}
QUICK_FLAGS = (
    *("--steps", "2400", "--checkpoint-every", "400", "--evaluations", "2", "--batch-size", "4"),
    *("--n-envs", "2", "--n-steps", "16", "--net-arch", "8"),
)
TIMES = ("time/fps", "time/time_elapsed")


@dataclass
class Kill:
    """One kill, and how the run that it hit ended."""

    env: str
    run: int
    cpu_seconds: float  # after which the process was killed
    checkpoint: str  # the newest then
    half_written: int  # files that the kill left half-written
    same: bool = False  # whether the run ended as the undisturbed one


def call(words: list[str], cwd: pathlib.Path) -> None:
    """One command, in a process of its own; what it prints is dropped."""
    os.chdir(cwd)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    torch.set_num_threads(1)
    nodepert(words)


def start(words: list[str], cwd: pathlib.Path) -> multiprocessing.process.BaseProcess:
    """Starts a command; forking saves the seconds that imports take."""
    process = multiprocessing.get_context("fork").Process(target=call, args=(words, cwd))
    process.start()
    return process


def kill_after(process: multiprocessing.process.BaseProcess, seconds: float) -> None:
    """Waits for the end of a process, and sees to it after so many seconds on the CPU."""
    assert process.pid is not None
    clock = ~process.pid << 3 | 2  # as clock_getcpuclockid(3) gives it on Linux
    with suppress(OSError):  # it has ended, and its clock with it
        while process.is_alive() and time.clock_gettime(clock) < seconds:
            time.sleep(0.001)
    process.kill()
    process.join()


def ending(folder: pathlib.Path) -> tuple[str, str]:
    """What a run must have in common with the undisturbed one: tensors, and lines of its log."""
    with zipfile.ZipFile(folder / "model.zip") as archive:
        tensors = hashlib.sha256(archive.read("tensors.safetensors")).hexdigest()
    with (folder / "progress.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    return tensors, hashlib.sha256(repr(rows).encode()).hexdigest()


def command(env: str, flags: tuple[str, ...], folder: pathlib.Path) -> list[str]:
    """Starts a run, or goes on with it."""
    if (folder / "checkpoints/run.json").exists():
        return ["train", "--resume", folder.name]
    env, _, preset = env.partition("/")
    named = ("--preset", preset) if preset else ()
    return ["train", env, *named, *flags, "--out", folder.name, "--overwrite"]


def kill_until_done(
    env: str, flags: tuple[str, ...], folder: pathlib.Path, longest: float, most: int, run: int
) -> list[Kill]:
    """One run, killed at most so often, to its end.

    Raises:
        RuntimeError: It failed.
    """
    kills: list[Kill] = []
    while True:
        seconds = random.uniform(0, longest) if len(kills) < most else math.inf
        process = start(command(env, flags, folder), folder.parent)
        kill_after(process, seconds)
        if process.exitcode == 0:
            return kills
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"{folder}: exit code {process.exitcode}")
        found = sorted(folder.glob("checkpoints/*.zip"), key=lambda path: path.stat().st_mtime)
        kills.append(
            Kill(env, run, round(seconds, 3), found[-1].stem if found else "none",
                 len(list(folder.rglob(".*.????????"))))
        )  # fmt: skip
        if (folder / "result.json").exists():  # killed while it was saying goodbye
            return kills


def measure(env: str, flags: tuple[str, ...], count: int) -> list[Kill]:
    """So many kills of runs on one environment."""
    kills: list[Kill] = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        kill_until_done(env, flags, folder / "undisturbed", math.inf, 0, 0)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        longest = used.ru_utime + used.ru_stime
        expected = ending(folder / "undisturbed")
        run = 0
        while len(kills) < count:
            run += 1
            own = folder / f"run_{run}"
            hit = kill_until_done(env, flags, own, longest, count - len(kills), run)
            same = ending(own) == expected
            for kill in hit:
                kill.same = same
            kills += hit
            print(f"{env}, run {run}: {len(hit)} kills, {'same' if same else 'NOT THE SAME'}")
    return kills


def main() -> None:
    """Kills, compares, writes a CSV; exit code 1 where a run ended differently."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--env", default="DelayedXOR-v0", help="or ENV/PRESET, as in presets.yml")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/kill_and_resume"))
    parser.add_argument("--quick", action="store_true", help="two kills of a tiny run")
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much, once for all processes
    count = 2 if arguments.quick else arguments.kills
    default = QUICK_FLAGS if arguments.quick else FLAGS.get(arguments.env, ())
    kills = measure(arguments.env, tuple(arguments.flags) or default, count)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"kill_and_resume_{arguments.env.replace('/', '_')}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(kills[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(kill) for kill in kills)
    same, half = sum(kill.same for kill in kills), sum(kill.half_written for kill in kills)
    print(f"{same} of {len(kills)} kills ended as the undisturbed run, to the last bit; "
          f"{half} left a half-written file\nwrote {path}")  # fmt: skip
    sys.exit(0 if same == len(kills) else 1)


if __name__ == "__main__":
    main()
