"""What was asked about submissions of unknown outcome, when, and what came of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, bounded, json_of, now, text_of
from imagegen_magic.humanize import seconds_of


class Inquiry(NamedTuple):
    """One question about a submission of unknown outcome: its `way` (`repeat` or `list`), when (epoch seconds), and what came of it.

    `outcome` is None if the process ended before an answer came.
    """

    way: str
    asked_at: float
    outcome: str | None


async def begin_inquiry(ledger: LedgerFile, row: int, way: str) -> int:
    """Record that a submission of unknown outcome is asked about, and own it meanwhile; returns the inquiry's id."""

    def work(connection: sqlite3.Connection) -> int:
        connection.execute("UPDATE tasks SET owner = ? WHERE row = ?", (ledger.owner, row))
        query = "INSERT INTO inquiries (task, way, asked_at) VALUES (?, ?, ?)"
        return connection.execute(query, (row, way, now())).lastrowid or 0

    return await ledger.run(work)


async def end_inquiry(ledger: LedgerFile, inquiry: int, outcome: str, answer: Any = None) -> None:
    """Record what came of an inquiry."""
    values = (text_of(outcome), None if answer is None else bounded(answer), inquiry)
    query = "UPDATE inquiries SET outcome = ?, answer = ? WHERE id = ?"
    await ledger.run(lambda connection: connection.execute(query, values))


async def inquiries_of(ledger: LedgerFile, rows: Sequence[int]) -> dict[int, list[Inquiry]]:
    """Return what was asked about these tasks, oldest first, by task."""
    found: dict[int, list[Inquiry]] = {}
    query = f"SELECT task, way, asked_at, outcome FROM inquiries WHERE task {IN_LIST} ORDER BY id"
    for task, way, asked_at, outcome in await ledger.fetch(query, (json_of(list(rows)),)):
        found.setdefault(task, []).append(Inquiry(way, seconds_of(asked_at), outcome))
    return found


async def known_ids(ledger: LedgerFile, ids: Sequence[str]) -> set[str]:
    """Return which of these task ids the ledger has."""
    query = f"SELECT task_id FROM tasks WHERE task_id {IN_LIST}"
    return {task_id for (task_id,) in await ledger.fetch(query, (json_of(list(ids)),))}
