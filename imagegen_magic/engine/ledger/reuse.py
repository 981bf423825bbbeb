"""Earlier tasks of the same request, by fingerprint: what `--reuse` serves instead of new submissions."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Sequence

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, TaskRow, json_of, read_tasks
from imagegen_magic.humanize import seconds_of


async def tasks_by_fingerprint(ledger: LedgerFile, fingerprints: Iterable[str]) -> dict[str, list[TaskRow]]:
    """Return the tasks with these fingerprints, newest first, by fingerprint; failed and dropped ones are left out."""
    query = f"SELECT row FROM tasks WHERE fingerprint {IN_LIST} AND fingerprint != '' AND state NOT IN ('failed', 'dropped')"
    values = (json_of(sorted(fingerprints)),)
    tasks = await ledger.run(lambda connection: read_tasks(connection, [row for (row,) in connection.execute(query, values)]), writes=False)
    found: dict[str, list[TaskRow]] = {}
    for task in tasks:
        found.setdefault(task.fingerprint, []).append(task)
    return found


def latest_by_fingerprint(connection: sqlite3.Connection, fingerprints: Iterable[str]) -> dict[str, tuple[int, float]]:
    """Return the latest saved image of each fingerprint that has one, as (id, epoch seconds)."""
    query = f"""SELECT tasks.fingerprint, max(pictures.id), pictures.saved_at FROM tasks JOIN pictures ON pictures.task = tasks.row
        WHERE tasks.fingerprint {IN_LIST} AND tasks.fingerprint != '' AND pictures.saved_at IS NOT NULL GROUP BY tasks.fingerprint"""
    found = connection.execute(query, (json_of(sorted(fingerprints)),))
    return {fingerprint: (picture, seconds_of(saved_at)) for fingerprint, picture, saved_at in found}


async def latest_row(ledger: LedgerFile) -> int:
    """Return the row of the latest task, 0 if there is none."""
    return int((await ledger.fetch("SELECT coalesce(max(row), 0) FROM tasks"))[0][0])


def is_requested_after(connection: sqlite3.Connection, row: int, fingerprints: Iterable[str], own: Container[int] = ()) -> bool:
    """Return whether a task with one of these fingerprints was recorded after that row, and has neither failed nor been dropped.

    The rows in `own` do not count.
    """
    # `+` keeps SQLite from the index of fingerprints: few rows are later
    query = f"SELECT row FROM tasks WHERE row > ? AND state NOT IN ('failed', 'dropped') AND +fingerprint {IN_LIST}"
    return any(found not in own for (found,) in connection.execute(query, (row, json_of(list(fingerprints)))))


async def reopen(ledger: LedgerFile, pictures: Sequence[int]) -> None:
    """Make images whose files are missing resumable again, with their tasks."""
    ids = (json_of(list(pictures)),)
    query = f"UPDATE tasks SET state = 'made', owner = NULL WHERE row IN (SELECT task FROM pictures WHERE id {IN_LIST})"

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(f"UPDATE pictures SET saved_at = NULL, path = NULL WHERE id {IN_LIST}", ids)
        connection.execute(query, ids)

    await ledger.run(work)
