"""What scores cost: effects of a sweep of 10,000 pictures with five scorers, and the search of a history that has their values.

The ledger is that of history.py, with 100,000 pictures, to which the scores of 10,000 are added. The effects are what `study.effects()`
does, from the ledger to the table; their baseline is one query for the same values. The search is measured before and after.
Goals: effects below one second, the search unchanged. Run: `python benchmarks/scores.py`
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from history import fill, median_of, questions

from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.studies.effects.available import Sample, compare

PICTURES, SCORERS, ROUNDS = 10_000, 5, 5
NOW = "2026-12-01T00:00:00+00:00"


def combination(number: int) -> dict[str, str]:
    """Return the combination of a picture: 5 styles by 4 qualities by 20 subjects."""
    return {"style": f"s{number % 5}", "quality": f"q{number // 5 % 4}", "subject": f"x{number // 20 % 20}"}


def add_scores(connection: sqlite3.Connection) -> None:
    """Make a sweep of the first 10,000 pictures, with five scores of each."""
    chance = random.Random(1)
    connection.execute("INSERT INTO studies (id, created, prompt, axes, fixed) VALUES (1, ?, 'a', '{}', '')", (NOW,))
    members = [(1, number, json.dumps(combination(number))) for number in range(1, PICTURES + 1)]
    connection.executemany("INSERT INTO members (study, task, place) VALUES (?, ?, ?)", members)
    scorers = [(number, f"score {number}", "1", f"{number}", "code", "", "", "", "", NOW, NOW) for number in range(1, SCORERS + 1)]
    names = "id, name, version, fingerprint, kind, better, source, packages, inputs, created, used"
    connection.executemany(f"INSERT INTO scorers ({names}) VALUES ({', '.join('?' * 11)})", scorers)
    rows = [
        (number, scorer, "", "", "measured", chance.gauss(0, 1), "", "", 0.01, "{}", NOW)
        for number in range(1, PICTURES + 1)
        for scorer in range(1, SCORERS + 1)
    ]
    names = "picture, scorer, inputs, measure, state, value, reason, error, seconds, cost, created"
    connection.executemany(f"INSERT INTO scores ({names}) VALUES ({', '.join('?' * 11)})", rows)


async def searched(ledger: Ledger) -> float:
    """Return the median milliseconds of all kinds of search."""
    return statistics.median([await median_of(question) for question in questions(ledger).values()])


async def measure(ledger: Ledger) -> tuple[float, float, float, float]:
    """Return the milliseconds of a search before and after, the seconds of the effects, and those of the query for the values."""
    await ledger.check()
    await ledger.run(fill)
    before = await searched(ledger)
    await ledger.run(add_scores)
    after = await searched(ledger)
    images = [generated(row) for row in await ledger.pictures(ids=list(range(1, PICTURES + 1)), limit=None)]
    sample = Sample(images, {image.id: combination(image.id) for image in images}, sweep=1)
    names = [f"score {number}" for number in range(1, SCORERS + 1)]
    effects, query = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = await compare(sample, names, ledger)
        effects.append(time.perf_counter() - started)
        started = time.perf_counter()
        values = await ledger.fetch("SELECT picture, scorer, value FROM scores")
        query.append(time.perf_counter() - started)
        assert len(values) == PICTURES * SCORERS == sum(score.measured for score in found.scores)
    return before, after, statistics.median(effects), statistics.median(query)


def main() -> int:
    """Print the figures, and return 0 where the goals are reached."""
    with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder))) as ledger:
        before, after, effects, query = asyncio.run(measure(ledger))
    print(f"effects of {PICTURES:,} pictures and {SCORERS} scorers {effects:.2f} s (goal: < 1 s), the query alone {query:.3f} s")
    print(f"median search before {before:.1f} ms, with {PICTURES * SCORERS:,} scores {after:.1f} ms: {after / before:.2f} of it")
    return 0 if effects < 1 and after < 1.2 * before else 1


if __name__ == "__main__":
    sys.exit(main())
