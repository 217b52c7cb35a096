"""A discrete-event simulator, written with simpy, whose knobs are set for each case.

    python examples/black_box/inventory.py [--quick] [--seeds 0 1 2] [--out FOLDER]

Two goods are sold from stock. Where the stock of one falls to its reorder point, a lorry is asked
to bring it back to its full level; both goods share that lorry. What a month costs is found by
playing through it, customer by customer: there is no formula, and no gradient, since stock is
counted in whole pieces. Needs simpy (`pip install -e .[examples]`).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import contest
import numpy as np
import rivals
import simpy
from gymnasium import spaces
from numpy.typing import NDArray

from nodepert.envs import Draws, LossEnv
from nodepert.envs.base import Context
from nodepert.envs.testing import check_loss_env

Array = NDArray[Any]
DAYS = 15.0
GOODS = 2
MOST = 20.0  # pieces that a reorder point, or the rest up to the full level, can be
TRIP = 1.5  # days, times a random factor
PER_TRIP = 3.0  # a trip costs so much,
LOST = 4.0  # and a customer who goes without
SCALE = 10.0  # of the loss: a day's cost is about this


class Shop:
    """One month of the shop; ``cost`` is what it came to.

    Args:
        rates: Customers a day for each good, and what keeping a piece costs a day.
        levels: Reorder point and full level of each good, in pieces, shape (2, 2).
        seed: Of customers and lorry, which are the same whatever the levels are.
    """

    def __init__(self, rates: Array, levels: Array, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.env = simpy.Environment()
        self.lorry = simpy.Resource(self.env, capacity=1)
        self.trips = rng.uniform(0.5, 1.5, (GOODS, 64)) * TRIP
        self.keeping = float(rates[GOODS])
        self.stock = [int(full) for _, full in levels]
        self.cost = 0.0
        for good, (point, full) in enumerate(levels):
            gaps = rng.exponential(1 / rates[good], int(3 * rates[good] * DAYS) + 20).tolist()
            self.env.process(self.sell(good, gaps, int(point), int(full)))
        self.env.run(until=DAYS)

    def sell(self, good: int, gaps: list[float], point: int, full: int) -> Generator[Any, Any, Any]:
        """Serves customers, pays for what lies in stock, and calls the lorry in time."""
        coming = None
        for gap in gaps:
            yield self.env.timeout(gap)
            self.cost += self.keeping * self.stock[good] * gap
            if self.stock[good]:
                self.stock[good] -= 1
            else:
                self.cost += LOST
            if self.stock[good] <= point and (coming is None or not coming.is_alive):
                coming = self.env.process(self.bring(good, full))

    def bring(self, good: int, full: int) -> Generator[Any, Any, Any]:
        """Waits for the lorry, then for the goods."""
        with self.lorry.request() as turn:
            yield turn
            self.cost += PER_TRIP
            trip = int(self.env.now * 64 / DAYS)  # the same weather on the same day
            yield self.env.timeout(float(self.trips[good, trip]))
            self.stock[good] = max(self.stock[good], full)


class Inventory(LossEnv):
    """Choose reorder points and full levels for a month.

    **Observation**: Box(0, 1, (3,)): how many customers want each of two goods (0 is 0.5 a day, 1
    is 4), and what keeping a piece costs (0 is 0.05 a day, 1 is 0.5). **Action**: Box(−1, 1, (4,)):
    for each good its reorder point and what its full level has above that, −1 for none and 1 for
    20 pieces, rounded. **Reward**: minus a day's cost / 10. **End of episode**: after one action.

    Lanes with one seed have the same customers on the same days: common random numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0.0, 1.0, (GOODS + 1,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2 * GOODS,), np.float32)

    def sample_contexts(self, draws: Draws) -> Context:
        """A case, and the seed of its month."""
        case = draws.uniform(GOODS + 1).astype(np.float32)
        return {"observation": case, "seed": draws.integers(2**31)}

    def loss(self, context: Context, actions: Array) -> Array:
        """Plays the month of each lane."""
        low, high = np.array([0.5, 0.5, 0.05]), np.array([4.0, 4.0, 0.5])
        rates = low + (high - low) * context["observation"]
        knobs = np.rint(MOST * np.clip((actions + 1) / 2, 0, 1)).reshape(-1, GOODS, 2)
        levels = np.cumsum(knobs, axis=2)  # reorder point, full level
        levels[:, :, 1] = np.maximum(levels[:, :, 1], 1)
        months = zip(rates, levels, context["seed"].tolist(), strict=True)
        return np.array([Shop(*month).cost for month in months]) / DAYS / SCALE


def textbook(observation: Array) -> Array:
    """Harris's lot size √(2 · rate · trip / keeping), and two trips' demand as reorder point."""
    rates = 0.5 + 3.5 * observation[:, :GOODS]
    keeping = 0.05 + 0.45 * observation[:, GOODS:]
    lots = np.sqrt(2 * rates * PER_TRIP / keeping)
    points = 2 * TRIP * rates
    return np.stack([points, lots], axis=2).reshape(len(observation), -1) / MOST * 2 - 1


def main() -> None:
    """Checks the task, lets all learn it, and writes the results."""
    arguments = contest.parse(__doc__)
    check_loss_env(Inventory)
    env = Inventory()
    score = contest.mean_loss(env, 50 if arguments.quick else 200)
    task = contest.Task(
        name="inventory",
        title="Two goods and one lorry",
        unit="a day's cost / 10",
        lanes=Inventory.vector,
        score=score,
        search_seeds=len(contest.SEARCH_SEEDS),
        lines={"textbook rule": score(textbook, "test")},
    )
    learners = rivals.learners(rivals.OWN_DEAR_TRIALS, processes=32)
    contest.hold(task, learners, arguments, steps=4_096, quick=1_536)


if __name__ == "__main__":
    main()
