"""A program spoken to over a pipe, slow and noisy, asked by several processes at once.

    python examples/black_box/external_program.py [--quick] [--seeds 0 1 2] [--out FOLDER]

The black box is `kiln.py`, which answers lines of JSON and takes two milliseconds for each. `Kiln`
is all that is needed to make it an environment. `gymnasium.vector.AsyncVectorEnv` runs one such
environment, and one such program, in each of 32 processes. The program's noise follows from the
seed that it is sent, so that the two probes of a context are disturbed alike.

Prints the evaluations a second with 1, 2, … 32 processes, then compares learners.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import subprocess
import sys
import time
from typing import Any

import contest
import gymnasium as gym
import kiln
import numpy as np
import rivals
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from numpy.typing import NDArray

from nodepert.agents.files.formats import as_csv
from nodepert.agents.files.saving import write_atomically

Array = NDArray[Any]
PROGRAM = pathlib.Path(kiln.__file__)
PROCESSES = 32
LARGEST_SEED = 2**31
ORDERS = 300  # of which a score is the mean


class Kiln(gym.Env[Array, Array]):
    """Fire an order: choose burner, fan and length, pay what the program says.

    **Observation**: Box(0, 1, (3,)): thickness, moisture, hardness wanted. **Action**: Box(−1, 1,
    (3,)): the controls, −1 for 0. **Reward**: minus the cost. **End of episode**: after one action.
    """

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self._program: subprocess.Popen[str] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """The next order. All that is random is drawn here, so that equal seeds stay in step."""
        super().reset(seed=seed)
        self._order = self.np_random.random(3).astype(np.float32)
        self._noise = int(self.np_random.integers(LARGEST_SEED))
        return self._order.copy(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Asks the program."""
        controls = (np.asarray(action, np.float64) + 1) / 2
        asked = {"order": self._order.tolist(), "controls": controls.tolist(), "seed": self._noise}
        answer = self._ask(json.dumps(asked))
        return self._order.copy(), -float(answer["cost"]), True, False, {}

    def _ask(self, line: str) -> dict[str, Any]:
        """Sends a line and waits for one; the program is started when it is first needed."""
        if self._program is None:
            self._program = subprocess.Popen(
                [sys.executable, str(PROGRAM)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        print(line, file=self._program.stdin, flush=True)
        answer = self._program.stdout.readline()
        if not answer:
            raise RuntimeError(f"{PROGRAM.name} ended with code {self._program.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the program: it stops where there are no more lines."""
        if self._program is not None:
            self._program.communicate()
            self._program = None


def lanes(count: int) -> AsyncVectorEnv:
    """Kilns in processes of their own."""
    return AsyncVectorEnv([Kiln] * count, autoreset_mode=AutoresetMode.SAME_STEP)


def evaluations_per_second(count: int, steps: int) -> float:
    """How fast so many processes answer."""
    env = lanes(count)
    env.reset(seed=0)
    actions = np.zeros((count, 3), np.float32)
    env.step(actions)  # starts the programs
    started = time.perf_counter()
    for _ in range(steps):
        env.step(actions)
    took = time.perf_counter() - started
    env.close()
    return count * steps / took


def score(predict: rivals.Predict, split: str) -> float:
    """The mean cost of new orders, asked of the program's function, without the wait."""
    rng = np.random.default_rng({"validation": 1, "test": 2}[split])
    orders = rng.random((ORDERS, 3)).astype(np.float32)
    controls = (np.asarray(predict(orders), np.float64) + 1) / 2
    seeds = rng.integers(LARGEST_SEED, size=len(orders)).tolist()
    return float(np.mean([kiln.cost(*one) for one in zip(orders, controls, seeds, strict=True)]))


def main() -> None:
    """Speed, then the comparison."""
    arguments = contest.parse(__doc__)
    rows = []
    for count in (1, PROCESSES) if arguments.quick else (1, 2, 4, 8, 16, PROCESSES):
        speed = evaluations_per_second(count, 20 if arguments.quick else 100)
        rows.append({"processes": count, "evaluations_per_second": round(speed)})
        print(f"{count:3} processes: {speed:6,.0f} evaluations/s", flush=True)
    table = as_csv(list(rows[0]), rows)
    write_atomically(arguments.out / "external_program_speed.csv", table)
    steps = np.linspace(-1, 1, 3 if arguments.quick else 7)
    constants = np.array(list(itertools.product(steps, repeat=3)))
    alike = [score(lambda x, c=c: np.tile(c, (len(x), 1)), "validation") for c in constants]
    best = constants[int(np.argmin(alike))]
    task = contest.Task(
        name="external_program",
        title="A kiln behind a pipe",
        unit="mean cost",
        lanes=lanes,
        score=score,
        search_seeds=len(contest.SEARCH_SEEDS),
        lines={"the best constant controls": score(lambda x: np.tile(best, (len(x), 1)), "test")},
    )
    learners = rivals.learners(rivals.OWN_DEAR_TRIALS, PROCESSES)
    contest.hold(task, learners, arguments, steps=4_096, quick=1_536)


if __name__ == "__main__":
    main()
