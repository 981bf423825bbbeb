"""Sweeps: their prompts and axes, and which combination each task belongs to (tables `studies` and `members`)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, json_of, now, text_of

Combination = Mapping[str, str]
"""The value of each axis."""


class SweepRecord(NamedTuple):
    """A sweep: its prompt with placeholders, the values of each axis, and `fixed`, the options that do not vary."""

    prompt: str
    axes: Mapping[str, Sequence[str]]
    fixed: str = ""


class StoredSweep(NamedTuple):
    """A sweep of the ledger: its number, prompt and axes, and the combination of each task by its row."""

    number: int
    prompt: str
    axes: dict[str, list[str]]
    combinations: dict[int, dict[str, str]]


# if the gateway is an axis, `fixed` has no sandbox: real and play money have one record each all the same
_SAME_SWEEP = """SELECT id FROM studies WHERE prompt = ? AND axes = ? AND fixed = ? AND NOT EXISTS (
    SELECT 1 FROM members JOIN tasks ON tasks.row = members.task JOIN jobs ON jobs.id = tasks.job
    WHERE members.study = studies.id AND jobs.sandbox NOT IN (?, ?)) ORDER BY id"""
_ADD_TASK = "INSERT INTO members (study, task, place) VALUES (?, ?, ?) ON CONFLICT (study, task) DO UPDATE SET place = excluded.place"


async def record_sweep(ledger: LedgerFile, sweep: SweepRecord, combinations: Mapping[int, Combination], sandbox: Collection[bool]) -> int:
    """Store a sweep, or add tasks to the same one, and return its number.

    `combinations` has that of each task, by its row; `sandbox` whether each request goes to the sandbox.
    """
    values = (text_of(sweep.prompt), json_of({axis: list(labels) for axis, labels in sweep.axes.items()}), sweep.fixed)

    def work(connection: sqlite3.Connection) -> int:
        known = connection.execute(_SAME_SWEEP, (*values, any(sandbox), all(sandbox))).fetchone()
        query = "INSERT INTO studies (created, prompt, axes, fixed) VALUES (?, ?, ?, ?)"
        number: int = known["id"] if known else connection.execute(query, (now(), *values)).lastrowid or 0
        _add_tasks(connection, number, combinations)
        return number

    return await ledger.run(work)


async def add_to_sweep(ledger: LedgerFile, number: int, combinations: Mapping[int, Combination]) -> None:
    """Add further tasks to a sweep; `combinations` has that of each task, by its row."""
    await ledger.run(lambda connection: _add_tasks(connection, number, combinations))


def _add_tasks(connection: sqlite3.Connection, number: int, combinations: Mapping[int, Combination]) -> None:
    connection.executemany(_ADD_TASK, [(number, row, json_of(dict(combination))) for row, combination in combinations.items()])


async def find_sweep(ledger: LedgerFile, number: int | None = None) -> StoredSweep | None:
    """Return a sweep, by default the latest; None if there is no such sweep."""

    def work(connection: sqlite3.Connection) -> StoredSweep | None:
        query = "SELECT id, prompt, axes FROM studies WHERE ? IS NULL OR id = ? ORDER BY id DESC LIMIT 1"
        row = connection.execute(query, (number, number)).fetchone()
        if row is None:
            return None
        tasks = connection.execute("SELECT task, place FROM members WHERE study = ? ORDER BY task", (row["id"],))
        return StoredSweep(row["id"], row["prompt"], json.loads(row["axes"]), {task: json.loads(place) for task, place in tasks})

    return await ledger.run(work, writes=False)


async def axes_of(ledger: LedgerFile, number: int) -> dict[str, list[str]]:
    """Return the values of each axis of a sweep in their order; empty for a sweep that is not in the ledger."""

    def work(connection: sqlite3.Connection) -> dict[str, list[str]]:
        row = connection.execute("SELECT axes FROM studies WHERE id = ?", (number,)).fetchone()
        return dict(json.loads(row["axes"])) if row else {}

    return await ledger.run(work, writes=False)


async def combinations_of(ledger: LedgerFile, pictures: Iterable[int], sweep: int = 0) -> tuple[int, dict[int, dict[str, str]]]:
    """Return the number of the sweep that made these images, and the combination of each image by its id.

    By default it is the latest sweep that made any of them; 0 if none did.
    """

    query = f"""SELECT pictures.id, members.study, members.place FROM pictures LEFT JOIN members ON members.task = pictures.task
        WHERE pictures.id {IN_LIST}"""
    rows = await ledger.fetch(query, (json_of(list(pictures)),))
    number = sweep or max((row["study"] or 0 for row in rows), default=0)
    combinations: dict[int, dict[str, str]] = {row["id"]: {} for row in rows}
    combinations |= {row["id"]: json.loads(row["place"]) for row in rows if row["study"] == number}
    return number, combinations
