"""The format of a ledger's file: which programs may use it, and how it is brought up to date."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from imagegen_magic._version import UPDATE
from imagegen_magic.engine.ledger.schema import FUNCTIONS, MIGRATIONS, MIN_READER, RECORD_OLD_ERRORS
from imagegen_magic.errors import LedgerError

ELSEWHERE = "set IMAGEGEN_HOME to another folder"
_APPLICATION_ID = 0x494D4731  # "IMG1"


def prepare(connection: sqlite3.Connection, path: Path) -> bool:
    """Set up a new connection, migrate an older file, and return whether a newer version has added to the file.

    Raises LedgerError, before any change, if the file is another program's or needs a newer version of this one.
    """
    version = _format_of(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.row_factory = sqlite3.Row
    for name, function in FUNCTIONS.items():
        connection.create_function(name, 1, function, deterministic=True)
    if version < len(MIGRATIONS):
        _migrate(connection, path)
    with suppress(sqlite3.OperationalError):  # locked, or the disk is full: the next opening does it
        connection.execute(RECORD_OLD_ERRORS)
    return version > len(MIGRATIONS)


def _format_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's format, 0 for a new file. Raises LedgerError if this program cannot use the file."""
    marked: int = connection.execute("PRAGMA user_version").fetchone()[0]
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not ours and (marked or tables):
        raise LedgerError(f"{path} is another program's database, not a ledger", hint=f"move it away, or {ELSEWHERE}")
    stored: dict[str, int] = {}  # version 0.1.0 stores only the `user_version`
    if "about" in tables:
        stored = dict(connection.execute("SELECT key, CAST(value AS INTEGER) FROM about WHERE key IN ('format', 'min_reader')").fetchall())
    version, min_reader = (max(marked, stored.get(name, 0)) for name in ("format", "min_reader"))
    if min_reader > len(MIGRATIONS):
        known = f"this one knows format {len(MIGRATIONS)}"
        what = f"The ledger {path} was written by a newer imagegen_magic (format {version}; {known})"
        raise LedgerError(what, hint=f"update with {UPDATE}, or {ELSEWHERE}")
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    with connection:  # commits, or rolls back
        connection.execute("BEGIN IMMEDIATE")
        version = _format_of(connection, path)  # again: another process may have migrated it meanwhile
        for statement in (statement for migration in MIGRATIONS[version:] for statement in migration):
            connection.execute(statement)
        if version < len(MIGRATIONS):
            _store_format(connection)


def _store_format(connection: sqlite3.Connection) -> None:
    """Write the file's format and its oldest reader; version 0.1.0 reads only the `user_version`."""
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {MIN_READER}")
    query = "INSERT INTO about (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    connection.executemany(query, [("format", str(len(MIGRATIONS))), ("min_reader", str(MIN_READER))])
