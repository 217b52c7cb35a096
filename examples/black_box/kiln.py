"""A kiln as an external program: one order and one set of controls a line, one cost a line.

    echo '{"order": [0.5, 0.2, 0.8], "controls": [0.5, 0.5, 0.5], "seed": 7}' | python kiln.py

Lines are JSON. Each firing takes `--seconds` and is disturbed by noise that follows from the seed:
the same line gives the same answer. Only the standard library is used, as if it were not Python.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence

MINUTES = 30


def cost(order: Sequence[float], controls: Sequence[float], seed: int) -> float:
    """What one firing costs: fuel, and shards that are raw or cracked.

    Args:
        order: Thickness and moisture of the ware and the hardness wanted, each from 0 to 1.
        controls: Burner, fan and length of the firing, each from 0 to 1. The burner has eight
            settings; the length is whole minutes.
        seed: Of the weather and of the ware.
    """
    thickness, moisture, hardness = order
    noise = random.Random(seed)
    burner = int(8 * min(max(controls[0], 0.0), 1.0)) / 8
    fan = min(max(controls[1], 0.0), 1.0)
    length = 8 + round(22 * min(max(controls[2], 0.0), 1.0))
    heat, water, fired, cracks = 0.0, 0.3 + 0.5 * moisture, 0.0, 0
    for _ in range(length):
        draught = 0.05 * noise.gauss(0.0, 1.0)
        change = (burner * (1.2 - 0.5 * fan) - heat) * 0.25 / (0.5 + thickness) + draught * fan
        if water > 0.1 and change > 0.12 and noise.random() < 0.5:
            cracks += 1  # wet ware that is heated fast
        heat = max(heat + change, 0.0)
        water = max(water - 0.08 * heat * (0.4 + fan), 0.0)
        fired += max(heat - 0.35, 0.0) * 0.1
    fuel = 0.3 * burner * length / MINUTES
    wrong = abs(fired - 0.3 - 0.7 * hardness)
    return fuel + wrong + 0.15 * min(cracks, 4) + (0.5 if water > 0.05 else 0.0)


def main() -> None:
    """Answers lines until there are no more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.002, help="what a firing takes")
    arguments = parser.parse_args()
    for line in sys.stdin:
        asked = json.loads(line)
        time.sleep(arguments.seconds)
        answer = {"cost": cost(asked["order"], asked["controls"], asked["seed"])}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
