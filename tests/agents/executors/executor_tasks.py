"""What tasks of the tests do, in a module that other processes can import."""

import os
import signal
import sys
import time
from pathlib import Path


def call(job):
    function, argument = job
    return function(argument)


def double(number):
    print("doubling", number)
    os.write(2, b"in C\n")
    if number == 3:
        raise ValueError("three is bad")
    return {
        "number": number,
        "twice": 2 * number,
        "pid": os.getpid(),
        "threads": threads(),
        "much": "x" * 10**6,
    }


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def fail_unspeakably(_):
    raise Unspeakable


def threads():
    return os.environ["OMP_NUM_THREADS"]


def die(code):
    os._exit(code)


def die_once(path):
    """The first time, its process is killed."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"again": True}


def sleep(path):
    Path(path).write_text(str(os.getpid()))
    sys.stdout.flush()
    time.sleep(600)
