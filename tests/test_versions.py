"""A ledger of another version: an older one is brought up to date, a newer one is used as far as it is known, and nothing in it is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from imagegen_magic.engine import schema
from imagegen_magic.engine.ledger import Ledger, NewJob, NewTask
from imagegen_magic.errors import LedgerError
from imagegen_magic.result import Cost

JOB = NewJob(
    provider="evolink",
    dialect="evolink",
    base_url="https://api.evolink.ai",
    sandbox=False,
    model="gpt-image-2",
    quality="high",
    tier="2k",
    asked={"prompt": "A red fox"},
    resolved={"prompt": "A red fox", "size": "1:1"},
    expected={"pixels": [[1024, 1024]], "mime_type": "image/png", "alpha": None, "pictures": 1},
    price=Cost(Decimal("0.040"), "USD", "estimated", "price list", "2025-01-01"),
    save_dir="imagegen",
    name=None,
    tasks=[NewTask({"method": "POST", "path": "/", "json": {}}, 1, "key-1", "alike")],
)
FILE: dict[str, Any] = {"path": "/x/fox.png", "sha256": "ab", "size": 9, "width": 4, "height": 3, "mime_type": "image/png"}
LATER = ("CREATE TABLE later (picture INTEGER PRIMARY KEY REFERENCES pictures (id), depth REAL NOT NULL DEFAULT 0)",)
COLUMNS = tuple(
    f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT 'kept'"
    # of a new name, and of names that another table has already
    for table, column in (
        *(
            (table, "mood")
            for table in ("jobs", "tasks", "pictures", "sources", "members", "studies", "uploads", "drifts", "budgets", "votes")
        ),
        ("jobs", "state"),
        ("jobs", "count"),
        ("pictures", "cost"),
        ("pictures", "job"),
        ("about", "who"),
    )
)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a loop of its own."""
    return asyncio.run(coroutine)


async def made(ledger: Ledger, job: NewJob = JOB) -> int:
    """Bring a job of one task to `made` and return its picture's id."""
    [(_, [row])] = await ledger.add([job])
    await ledger.mark(row, "submitted", task_id=f"task_{row}")
    [picture] = await ledger.made(row, [f"https://cdn/{row}"], expires_at=None, cost=Cost(), seconds=4.0, answer={})
    return picture


def becomes_newer(monkeypatch: pytest.MonkeyPatch, *statements: str, min_reader: int = schema.MIN_READER) -> None:
    """Make this process a newer version, whose format has one step more."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.MIGRATIONS", (*schema.MIGRATIONS, statements))
    monkeypatch.setattr("imagegen_magic.engine.ledger.MIN_READER", min_reader)


def marks(home: Path) -> tuple[int, dict[str, str]]:
    """Return what a file says of its format: the `user_version`, which 0.1.0 reads, and what later versions read."""
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        told = dict(connection.execute("SELECT key, value FROM about WHERE key IN ('format', 'min_reader')").fetchall())
        return connection.execute("PRAGMA user_version").fetchone()[0], told


def test_a_format_of_additions_says_who_can_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`min_reader` stays where it was, in a row and in the mark that version 0.1.0 compares with its own."""
    newer = len(schema.MIGRATIONS) + 1
    becomes_newer(monkeypatch, *LATER)
    with closing(Ledger(tmp_path)) as ledger:
        run(ledger.check())
    assert marks(tmp_path) == (schema.MIN_READER, {"format": str(newer), "min_reader": str(schema.MIN_READER)})


@pytest.mark.parametrize("statements", [LATER, COLUMNS], ids=["tables", "columns"])
def test_a_newer_format_of_additions_is_used_by_this_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statements: tuple[str, ...]
) -> None:
    """Nothing paid for becomes uncollectable: what waits is claimed and saved, new requests are recorded, all is found again."""
    becomes_newer(monkeypatch, *statements)
    with closing(Ledger(tmp_path)) as newer:
        waiting = run(made(newer))
    before = marks(tmp_path)
    monkeypatch.undo()
    with closing(Ledger(tmp_path)) as older:
        run(older.check())
        [task] = run(older.claim())
        assert (task.state, task.count, task.cost, task.job, task.task_id) == ("made", 1, Cost(), 1, "task_1")
        run(older.saved(waiting, **FILE))
        run(older.drifted(waiting, 0.1, 0.2))
        run(older.saved(run(made(older)), **FILE))
        assert [(row.id, row.job, row.cost) for row in run(older.pictures())] == [(2, 2, Cost()), (1, 1, Cost())]
        assert [task.row for task in run(older.alike(["alike"]))["alike"]] == [2, 1]
    assert marks(tmp_path) == before


def test_what_a_newer_version_wrote_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that this version writes again keeps the columns that it does not know."""
    becomes_newer(monkeypatch, *COLUMNS)
    with closing(Ledger(tmp_path)) as newer:
        picture = run(made(newer))
        run(newer.drifted(picture, 0.5, 0.5))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        for table in ("jobs", "tasks", "pictures", "drifts"):
            connection.execute(f"UPDATE {table} SET mood = 'blue'")
    monkeypatch.undo()
    with closing(Ledger(tmp_path)) as older:
        run(older.claim())
        run(older.saved(picture, **FILE))
        run(older.drifted(picture, 0.1, 0.2))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        for table in ("jobs", "tasks", "pictures", "drifts"):
            assert connection.execute(f"SELECT mood FROM {table}").fetchall() == [("blue",)]
        assert connection.execute("SELECT share FROM drifts").fetchall() == [(0.1,)]


def test_a_format_that_is_not_for_us_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its `min_reader` is above ours, nothing is touched, and the refusal has the command that updates this program."""
    needs = len(schema.MIGRATIONS) + 1
    becomes_newer(monkeypatch, "ALTER TABLE tasks RENAME COLUMN note TO remark", min_reader=needs)
    with closing(Ledger(tmp_path)) as newer:
        run(newer.check())
    before = marks(tmp_path)
    assert before == (needs, {"format": str(needs), "min_reader": str(needs)})
    monkeypatch.undo()
    with closing(Ledger(tmp_path)) as older, pytest.raises(LedgerError, match=rf"newer imagegen_magic \(format {needs}") as caught:
        run(older.check())
    assert "pip install -U imagegen_magic" in caught.value.next_step
    assert caught.value.charged == "no"
    assert marks(tmp_path) == before


def test_the_row_alone_is_enough_to_be_refused(tmp_path: Path) -> None:
    """`min_reader` counts also where the mark that 0.1.0 reads is lower."""
    with closing(Ledger(tmp_path)) as ledger:
        run(ledger.check())
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO about (key, value) VALUES ('format', '99'), ('min_reader', '98')")
    with closing(Ledger(tmp_path)) as ledger, pytest.raises(LedgerError, match=r"\(format 99"):
        run(ledger.check())
