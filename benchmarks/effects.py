"""How long the effect table of 10,000 pictures and five scores takes, and how often Python could sum these values meanwhile.

The sweep has 5 styles by 4 qualities by 20 subjects. Goal: below one second. Run: `python benchmarks/effects.py [--rounds 5]`
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

from imagegen_magic.studies.effects.records import Row, ScoreRows
from imagegen_magic.studies.effects.table import effects

PICTURES, SCORES = 10_000, 5


def scores() -> list[ScoreRows]:
    """Return five scores of the same pictures."""
    chance = random.Random(1)
    combinations = [
        {"style": f"s{number % 5}", "quality": f"q{number // 5 % 4}", "subject": f"x{number // 20 % 20}"} for number in range(PICTURES)
    ]
    rows = [tuple(Row(combination, chance.gauss(0, 1)) for combination in combinations) for _ in range(SCORES)]
    return [ScoreRows(f"score {number}", each) for number, each in enumerate(rows)]


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the median time of a call, in seconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print the time of the table, that of one sum over all values, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    given = scores()
    table = seconds(lambda: effects(given), rounds)
    total = seconds(lambda: sum(row.value or 0 for score in given for row in score.rows), rounds)
    print(f"{PICTURES:,} pictures, {SCORES} scores: effects {table:.2f} s, a sum over the values {total:.4f} s, ratio {table / total:.0f}")


if __name__ == "__main__":
    main()
