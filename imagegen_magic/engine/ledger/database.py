"""One SQLite file, and the one thread that writes it: all waiting requests go into one transaction, which is then made durable.

A write that must not be lost is deferred if it cannot be made: it is made as soon as possible, before any newer one.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from imagegen_magic.engine.ledger import migration
from imagegen_magic.errors import Charge, LedgerError
from imagegen_magic.records import ProcessBound

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_MAX_BATCH = 2_000  # requests in one transaction, so that the first of many is answered soon
_RETRY_AFTER = 2.0  # seconds until a deferred write is tried again, if nothing else is written meanwhile


class _WorkItem(NamedTuple):
    work: Work[Any]
    writes: bool
    charge: Charge
    deferrable: bool
    future: asyncio.Future[Any]


class Database(ProcessBound):
    """A ledger's SQLite file in WAL mode with synchronous=FULL, written by one thread, usable from any event loop and thread.

    `patience` is how many seconds to wait for another process's transaction. `transactions` counts those that wrote. `newer` is True
    once a file was opened to which a newer version had added tables or columns. After a fork the child has its own thread and connection.
    """

    def __init__(self, path: Path, *, patience: float = 10.0) -> None:
        self.path = Path(os.path.abspath(path))
        self.transactions = 0
        self.newer = False
        self._patience = patience
        self._file: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._reset()
        with _forking:
            _databases.add(self)

    def _reset(self) -> None:
        self._starting, self._working, self._reading, self._inspecting = self._locks = [threading.Lock() for _ in range(4)]
        self._inspected: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._queue: SimpleQueue[_WorkItem | None] = SimpleQueue()
        self._deferred: list[_WorkItem] = []

    async def run(self, work: Work[T], *, writes: bool = True, charge: Charge = "no", deferrable: bool = False) -> T:
        """Return the result of `work` once its transaction is on the disk. It is done even if the caller is cancelled meanwhile.

        `work` may be called again after a rollback. Raises LedgerError (with that `charge`), and any error of `work`. A `deferrable` one
        that the disk or another program prevented is done as soon as possible all the same, before anything newer.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._starting:
            if self._thread is None:
                self._queue = SimpleQueue()
                self._thread = threading.Thread(target=self._serve, args=(self._queue,), name="imagegen ledger", daemon=True)
                self._thread.start()
            self._queue.put(_WorkItem(work, writes, charge, deferrable, future))
        return await future

    async def fetch(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        return await self.run(lambda connection: connection.execute(query, values).fetchall(), writes=False)

    def read(self, query: str, values: Sequence[Any] = (), *, wait: bool = True) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in the calling thread; none if the file or the table does not exist yet.

        Raises LedgerError if the file cannot be read; without `wait` it returns no rows then, and at once.
        """
        if not self.path.exists():
            return []
        try:
            with self._reading, closing(self._reader(self._patience if wait else 0)) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if not wait or str(error).startswith("no such "):  # SQLite's words: not migrated yet
                return []
            raise self._explained(error) from error

    def _reader(self, patience: float) -> sqlite3.Connection:
        """Return a read-only connection, which the caller closes."""
        return sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=patience, check_same_thread=False)

    def quick_check(self) -> str:
        """Read the whole file in the calling thread, on a connection of its own, and return the damage found.

        Empty if the file is undamaged or does not exist, or if a fork or `close` interrupted the reading.
        """
        if not self.path.exists():
            return ""
        with self._inspecting:
            try:
                with closing(self._reader(self._patience)) as self._inspected:
                    return damage_in(self._inspected)
            except sqlite3.OperationalError:  # interrupted, locked, or removed meanwhile: no damage is known
                return ""
            except sqlite3.DatabaseError as error:
                return str(error)
            finally:
                self._inspected = None

    def rewrite(self) -> None:
        """Write the whole file again, so that nothing of deleted rows is left in it; in the calling thread, at about 10 ms a megabyte.

        Raises LedgerError if another program has the file open in a transaction, or the disk has no room for a second copy.
        """
        with self._working:
            try:
                connection = self._connected()
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._patience)}")
                connection.execute("VACUUM")
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except (sqlite3.Error, OSError) as error:
                raise self._explained(error) from error
        if busy:
            raise LedgerError(f"The ledger {self.path} is being read by another program", hint="close the other program", retry=True)

    def _stop_inspecting(self) -> None:
        with suppress(sqlite3.Error, AttributeError):  # it has just ended
            self._inspected.interrupt()  # type: ignore[union-attr]  # None if nothing is being read

    def close(self) -> None:
        """Finish all waiting requests and end the thread; a later `run` starts it again."""
        self._stop_inspecting()
        with self._starting:
            thread, self._thread = self._thread, None
            self._queue.put(None)
        if thread is not None:
            thread.join()

    def _serve(self, queue: SimpleQueue[_WorkItem | None]) -> None:
        while (batch := _next_batch(queue, _RETRY_AFTER if self._deferred else None)) is not None:
            self._serve_batch(batch)
        if self._deferred:
            self._serve_batch([])
            self._deferred = []  # closed: other processes may claim its tasks, and a later write could undo theirs
        with self._working:
            self._disconnect()

    def _serve_batch(self, batch: Sequence[_WorkItem]) -> None:
        """Perform and answer items; deferred ones come before any write."""
        if batch and not any(item.writes for item in batch):
            return _answer(batch, self._perform(batch))
        if self._deferred and self._was_replaced():
            self._deferred = []  # its rows are other tasks
        items = [*self._deferred, *batch]
        outcomes = self._perform(items, patient=bool(batch))
        self._deferred = [item for item, outcome in zip(items, outcomes, strict=True) if item.deferrable and _is_transient(outcome)]
        return _answer(items, outcomes)

    def _perform(self, batch: Sequence[_WorkItem], *, patient: bool = True) -> list[Any]:
        """Return the result of each item, or its error. One failure affects no other item; but no write precedes a deferred one."""
        try:
            return self._transact(batch, patient)
        except Exception as error:  # any error belongs to the caller, never to this thread
            if len(batch) == 1:
                return [self._explained(error, batch[0])]
            obstacle = error if _is_busy(error) else None  # each attempt would wait
        outcomes: list[Any] = []
        for item in batch:
            if obstacle and item.writes:
                outcomes.append(self._explained(obstacle, item))
                continue
            outcomes += self._perform([item], patient=patient)
            if _is_transient(outcomes[-1]) and (item.deferrable or _is_busy(outcomes[-1].__cause__)):
                obstacle = outcomes[-1].__cause__
        return outcomes

    def _transact(self, batch: Sequence[_WorkItem], patient: bool) -> list[Any]:
        """Return the results of all items, done in one transaction. Raises the first error, and nothing is done then."""
        writes = any(item.writes for item in batch)
        with self._working:
            connection = self._connected()
            try:
                # deferred items alone do not wait, since the next batch would wait for them
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._patience) if patient else 0}")
                connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                results = [item.work(connection) for item in batch]
                connection.execute("COMMIT")
            except Exception:
                self._roll_back(connection)
                raise
            self.transactions += writes
            return results

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Undo a transaction. The connection is kept, because a full disk may not let another one open; a broken one is closed."""
        try:
            connection.rollback()
        except sqlite3.Error:
            self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._file == self._identity():
            return self._connection
        self._disconnect()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        try:
            self.newer = migration.prepare(connection, self.path)
        except BaseException:
            connection.close()
            raise
        self._file, self._connection = self._identity(), connection
        return connection

    def _identity(self) -> tuple[int, int] | None:
        # a connection to a file that was moved away would write rows that are never read again
        with suppress(FileNotFoundError):
            status = os.stat(self.path)
            return status.st_dev, status.st_ino
        return None

    def _was_replaced(self) -> bool:
        """Return whether another file is at the path now than the one that was written."""
        with suppress(OSError):
            return self._identity() not in (self._file, None)
        return False

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _explained(self, error: Exception, item: _WorkItem | None = None) -> Exception:
        """Return the error of an item (default: of a query) as a LedgerError, with the charge; a programming error stays as it is."""
        charge: Charge = item.charge if item else "no"
        what = f"The ledger {self.path} cannot be {'written' if item and item.writes else 'read'}: "
        if isinstance(error, LedgerError):
            what, step = error.what, dict[str, Any](hint=error.hint, retry=error.retry)
        elif isinstance(error, sqlite3.Error):
            what, step = what + str(error), _next_step(getattr(error, "sqlite_errorname", ""), charge)
        elif isinstance(error, OSError):
            what, step = what + (error.strerror or str(error)), _next_step("", charge)
        else:
            return error
        explained = LedgerError(what, charge=charge, **step)
        explained.__cause__ = error
        return explained


DAMAGED = f"move the file away (a new ledger starts by itself; the old one keeps its task ids), or {migration.ELSEWHERE}"
_DISK_FULL = "make room on that disk", f", or {migration.ELSEWHERE}"
_REMEDIES = {  # by the beginning of SQLite's error name: what to do, and the alternative while nothing was charged
    "SQLITE_BUSY": ("close the other program that has it locked", ""),
    "SQLITE_FULL": _DISK_FULL,
    "SQLITE_IOERR": _DISK_FULL,
}


def _next_step(name: str, charge: Charge) -> dict[str, Any]:
    """Return the hint for an SQLite error, by its name; once something may have been charged, never with `retry`."""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return {"hint": DAMAGED}
    found = next((remedy for start, remedy in _REMEDIES.items() if name.startswith(start)), None)
    remedy, alternative = found or ("make the folder writable", f", or {migration.ELSEWHERE}")
    if charge != "no":
        # another ledger does not know the task
        return {"hint": f"{remedy}, then %imagegen resume collects what is missing, without paying again"}
    return {"hint": remedy + alternative, "retry": found is not None}


def damage_in(connection: sqlite3.Connection) -> str:
    """Read the whole file, at 2.5 ms a megabyte, and return the first damage found, or an empty text."""
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    return "" if found == "ok" else found


def _is_transient(outcome: Any) -> bool:
    """Return whether an outcome is an error that the disk or another program caused, rather than the item."""
    return isinstance(outcome, LedgerError) and isinstance(outcome.__cause__, (sqlite3.OperationalError, OSError))


def _is_busy(error: BaseException | None) -> bool:
    """Return whether another program had the file locked for the whole patience."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY


def _next_batch(queue: SimpleQueue[_WorkItem | None], timeout: float | None) -> list[_WorkItem] | None:
    """Wait for an item and return it with all that follow it; empty after `timeout` seconds, None at the end of the queue."""
    batch: list[_WorkItem] = []
    with suppress(Empty):
        item = queue.get(timeout=timeout)
        while item is not None:
            batch.append(item)
            if len(batch) == _MAX_BATCH:
                return batch
            item = queue.get_nowait()
        if not batch:
            return None
        queue.put(None)  # the end came after items: it is read again after this batch
    return batch


def _answer(batch: Sequence[_WorkItem], outcomes: Sequence[Any]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for item, outcome in zip(batch, outcomes, strict=True):
        by_loop.setdefault(item.future.get_loop(), []).append((item.future, outcome))
    for loop, results in by_loop.items():
        with suppress(RuntimeError):  # that loop is closed
            loop.call_soon_threadsafe(_settle, results)


def _settle(results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in results:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_forking = threading.Lock()


def _before_fork() -> None:
    # SQLite's locks belong to a process, and a child does not inherit them although its memory records them. A child that used an
    # open connection could lose its writes. So no connection is open at the fork.
    _forking.acquire()
    for database in _databases:
        for lock in database._locks:
            database._stop_inspecting()
            lock.acquire()
        database._disconnect()


def _after_fork_in_parent() -> None:
    for database in _databases:
        for lock in database._locks:
            lock.release()
    _forking.release()


def _after_fork_in_child() -> None:
    for database in _databases:
        database._reset()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
