"""The file of a ledger: which process has it open, whether it is damaged, and how it is read and written."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from imagegen_magic.engine.ledger import process_locks
from imagegen_magic.engine.ledger.database import DAMAGED, Database, damage_in
from imagegen_magic.engine.ledger.records import missing_in, now
from imagegen_magic.errors import LedgerError


class LedgerFile(Database):
    """The SQLite file in a home folder, which all processes with that folder share.

    The disk is not touched before the first query. Every method raises LedgerError if the file cannot be used.
    """

    def __init__(self, home: Path, *, patience: float = 10.0) -> None:
        super().__init__(home / "ledger.sqlite", patience=patience)
        self._damage = ""  # found when the whole file was read
        self._inspector: threading.Thread | None = None
        self._lock = process_locks.ProcessLock(self.path.parent / "owners")

    @property
    def owner(self) -> str:
        """The name under which this ledger claims tasks; it is valid until `close` or the end of the process."""
        return self._lock.name

    def is_alive(self, owner: str | None) -> bool:
        """Return whether the process that has this name of an owner still runs. Raises OSError."""
        return process_locks.is_alive(self._lock.folder, owner)

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
            if self._damage:
                self._damage = damage_in(connection)  # it may be another file by now
            if damage := missing_in(connection) or self._damage:
                raise self._damaged(damage)
            query = "INSERT INTO about (key, value) VALUES ('last checked', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            connection.execute(query, (now(),))
            self._lock.name  # noqa: B018 - its first use takes the lock, which must be possible too

        await self.run(work)

    def inspect(self) -> LedgerError | None:
        """Read the whole file in the calling thread, at 2.5 ms a megabyte, and return its damage."""
        self._damage = self.quick_check()
        return self.damage

    def inspect_in_background(self) -> None:
        """Read the whole file once, in a thread of its own; `check` raises the damage from then on."""
        if self._inspector is None:
            self._inspector = threading.Thread(target=self.inspect, name="imagegen ledger check", daemon=True)
            self._inspector.start()

    def close(self) -> None:
        """Finish all writes, end the thread and release the lock; a later call opens the ledger again."""
        super().close()
        if self._inspector is not None:
            self._inspector.join()
            self._inspector = None
        self._lock.release()
