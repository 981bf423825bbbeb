"""How often the effects of a sweep were compared while it grew (table `effect_checks`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import now


async def count_checks(ledger: LedgerFile, sweep: int, sizes: Mapping[str, int]) -> int:
    """Record a check of scores, each with its number of values, and return how many sizes one of them was checked at, at most.

    Another check at the same size is none.
    """

    def work(connection: sqlite3.Connection) -> int:
        rows = [(sweep, score, size, now()) for score, size in sizes.items()]
        connection.executemany("INSERT OR IGNORE INTO effect_checks (sweep, score, size, created) VALUES (?, ?, ?, ?)", rows)
        query = "SELECT score, count(*) AS checks FROM effect_checks WHERE sweep = ? GROUP BY score"
        counts = {row["score"]: row["checks"] for row in connection.execute(query, (sweep,))}
        return max((counts[score] for score in sizes), default=1)

    return await ledger.run(work)
