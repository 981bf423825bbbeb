"""The file of a ledger: which process has it open, whether it is sound, and how it is read and written."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagegen_magic.engine.ledger import process_locks
from imagegen_magic.engine.ledger.database import DAMAGED, Database, T, Work
from imagegen_magic.engine.ledger.records import missing_in, now
from imagegen_magic.engine.ledger.schema import FUNCTIONS, MIGRATIONS, MIN_READER, RECORD_OLD_ERRORS
from imagegen_magic.errors import LedgerError
from imagegen_magic.records import ProcessBound

_APPLICATION_ID = 0x494D4731  # "IMG1"


class LedgerFile(ProcessBound):
    """The SQLite file in a home folder, which all processes with that folder share.

    The disk is not touched before the first query. Every method raises LedgerError if the file cannot be used.
    """

    def __init__(self, home: Path, *, patience: float = 10.0) -> None:
        self._database = Database(
            home / "ledger.sqlite",
            MIGRATIONS,
            application_id=_APPLICATION_ID,
            min_reader=MIN_READER,
            patience=patience,
            functions=FUNCTIONS,
            on_open=RECORD_OLD_ERRORS,
        )
        self.path = self._database.path
        self._damage = ""  # found when the whole file was read
        self._inspector: threading.Thread | None = None
        self._lock = process_locks.ProcessLock(self.path.parent / "owners")

    @property
    def owner(self) -> str:
        """The name under which this ledger claims tasks; it is valid until `close` or the end of the process."""
        return self._lock.name

    @property
    def transactions(self) -> int:
        """How many transactions wrote so far."""
        return self._database.transactions

    @property
    def newer(self) -> bool:
        """Whether a newer version added tables or columns that this one does not know; False until the file is opened."""
        return self._database.newer

    @property
    def damage(self) -> LedgerError | None:
        """The damage found so far."""
        return self._damaged(self._damage) if self._damage else None

    def _damaged(self, what: str) -> LedgerError:
        return LedgerError(f"The ledger {self.path} is damaged: {what}", hint=DAMAGED)

    async def check(self) -> None:
        """Open the ledger, check its tables and write to it durably, so that a fault is known before anything is sent.

        `inspect` and `inspect_in_background` read the whole file. The damage that they found is raised here while it lasts.
        """

        def work(connection: sqlite3.Connection) -> None:
            if missing := missing_in(connection):
                raise self._damaged(missing)
            if self._damage:
                found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
                self._damage = "" if found == "ok" else found  # it may be another file by now
            if self._damage:
                raise self._damaged(self._damage)
            query = "INSERT INTO about (key, value) VALUES ('last checked', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            connection.execute(query, (now(),))
            self._lock.name  # noqa: B018 - its first use takes the lock, which must be possible too

        await self._database.run(work)

    def inspect(self) -> LedgerError | None:
        """Read the whole file in the calling thread, at 2.5 ms a megabyte, and return its damage."""
        self._damage = self._database.inspect()
        return self.damage

    def inspect_in_background(self) -> None:
        """Read the whole file once, in a thread of its own; `check` raises the damage from then on."""
        if self._inspector is None:
            self._inspector = threading.Thread(target=self.inspect, name="imagegen ledger check", daemon=True)
            self._inspector.start()

    async def run(self, work: Work[T], *, writes: bool = True) -> T:
        """Return the result of `work(connection)`, run in one transaction with all that waits."""
        return await self._database.run(work, writes=writes)

    async def fetch(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        return await self._database.run(lambda connection: connection.execute(query, values).fetchall(), writes=False)

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in the calling thread; none if there is no ledger yet."""
        return self._database.read(query, values)

    def read_now(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query at once, in the calling thread; none if no ledger can be read."""
        return self._database.read_now(query, values)

    def is_alive(self, owner: str | None) -> bool:
        """Return whether the process that has this name of an owner still runs. Raises OSError."""
        return process_locks.is_alive(self._lock.folder, owner)

    def close(self) -> None:
        """Finish all writes, end the thread and release the lock; a later call opens the ledger again."""
        self._database.close()
        if self._inspector is not None:
            self._inspector.join()
            self._inspector = None
        self._lock.release()
