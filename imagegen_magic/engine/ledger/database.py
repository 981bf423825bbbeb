"""One SQLite file, and the one thread that writes it: all waiting requests go into one transaction, which is then made durable.

A write that must not be lost is deferred if it cannot be made: it is made as soon as possible, before any newer one.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

from imagegen_magic.errors import Charge, LedgerError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Migration = tuple[str, ...]

_MAX_BATCH = 2_000  # requests in one transaction, so that the first of many is answered soon
_RETRY_AFTER = 2.0  # seconds until a deferred write is tried again, if nothing else is written meanwhile


class _WorkItem(NamedTuple):
    work: Work[Any]
    writes: bool
    charge: Charge
    deferrable: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class _Failure(NamedTuple):
    error: Exception
    transient: bool  # caused by the disk or another program, not by this item


class Database:
    """A SQLite file in WAL mode with synchronous=FULL, written by one thread of its own, usable from any event loop and thread.

    `migrations` are the statements from each format of the file to the next, `functions` the SQL functions that they call. `min_reader`
    is the oldest format whose programs can use a file of the newest one (default: the newest). `application_id` marks the file as ours.
    `patience` is how many seconds to wait for another process's transaction. `transactions` counts those that wrote. `newer` is True
    once a file of a newer format was opened. After a fork the child has a thread and a connection of its own.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration],
        *,
        application_id: int,
        min_reader: int | None = None,
        patience: float = 10.0,
        functions: Mapping[str, Callable[[str], str]] = MappingProxyType({}),
        on_open: str = "",
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.transactions = 0
        self.newer = False
        self._migrations = migrations
        self._min_reader = len(migrations) if min_reader is None else min_reader
        self._application_id = application_id
        self._patience = patience
        self._functions = functions
        self._on_open = on_open
        self._file: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._reset()
        with _forking:
            _databases.add(self)

    def _reset(self) -> None:
        self._starting = threading.Lock()
        self._working = threading.Lock()
        self._reading = threading.Lock()
        self._inspecting = threading.Lock()
        self._inspected: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._queue: SimpleQueue[_WorkItem | None] = SimpleQueue()
        self._deferred: list[_WorkItem] = []

    async def run(self, work: Work[T], *, writes: bool = True, charge: Charge = "no", deferrable: bool = False) -> T:
        """Return the result of `work` once its transaction is on the disk. It is done even if the caller is cancelled meanwhile.

        `work` may be called again after a rollback. Raises LedgerError (with that `charge`), and any error of `work`. A `deferrable` one
        that the disk or another program prevented is done as soon as possible all the same, before anything newer.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._starting:
            if self._thread is None:
                self._queue = SimpleQueue()
                self._thread = threading.Thread(target=self._serve, args=(self._queue,), name="imagegen ledger", daemon=True)
                self._thread.start()
            self._queue.put(_WorkItem(work, writes, charge, deferrable, loop, future))
        return await future

    def read_now(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in the calling thread, without creating or waiting; none if there is no readable file."""
        if not self.path.exists():
            return []
        with self._reading, suppress(sqlite3.Error), closing(self._reader(patience=0)) as connection:
            return connection.execute(query, values).fetchall()
        return []

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in the calling thread; none if the file or the table does not exist yet.

        Raises LedgerError if the file cannot be read.
        """
        if not self.path.exists():
            return []
        try:
            with self._reading, closing(self._reader()) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if str(error).startswith("no such "):  # SQLite's words: not migrated yet
                return []
            what = f"The ledger {self.path} cannot be read: {error}"
            raise LedgerError(what, **_next_step(getattr(error, "sqlite_errorname", ""), "no")) from error

    def _reader(self, patience: float | None = None) -> sqlite3.Connection:
        """Return a read-only connection, which the caller closes."""
        address, patience = f"{self.path.as_uri()}?mode=ro", self._patience if patience is None else patience
        return sqlite3.connect(address, uri=True, timeout=patience, check_same_thread=False)

    def inspect(self) -> str:
        """Read the whole file in the calling thread, on a connection of its own, and return the damage found.

        Empty if the file is sound or does not exist, or if a fork or `close` interrupted the reading.
        """
        if not self.path.exists():
            return ""
        with self._inspecting:
            try:
                with closing(self._reader()) as connection:
                    self._inspected = connection
                    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            except sqlite3.OperationalError:  # interrupted, locked, or removed meanwhile: no damage is known
                return ""
            except sqlite3.DatabaseError as error:
                return str(error)
            finally:
                self._inspected = None
        return "" if found == "ok" else found

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
        with self._working:
            try:
                connection = self._connected()
                self._begin(connection, batch, patient)
            except Exception as error:  # any error goes to the callers that wait
                self._disconnect()
                return [self._failed(error, item) for item in batch]
            return self._commit(connection, batch)

    def _begin(self, connection: sqlite3.Connection, batch: Sequence[_WorkItem], patient: bool) -> None:
        if not patient:  # no caller waits for this batch, and it must not delay the next one
            connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("BEGIN IMMEDIATE" if any(item.writes for item in batch) else "BEGIN")
        finally:
            if not patient:
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._patience)}")

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_WorkItem]) -> list[Any]:
        try:
            outcomes = [item.work(connection) for item in batch]
            connection.execute("COMMIT")
        except Exception as error:  # any error belongs to the caller, never to this thread
            self._roll_back(connection)
            return [self._failed(error, batch[0])] if len(batch) == 1 else self._commit_each(connection, batch)
        self.transactions += any(item.writes for item in batch)
        return outcomes

    def _commit_each(self, connection: sqlite3.Connection, batch: Sequence[_WorkItem]) -> list[Any]:
        """Perform items one by one, so that one failure affects no other item; but no write precedes a deferred one."""
        outcomes: list[Any] = []
        obstacle: Exception | None = None
        for item in batch:
            if obstacle and item.writes:
                outcomes.append(self._failed(obstacle, item))
                continue
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:  # not tried for each item: this may have taken the whole patience
                return outcomes + [self._failed(error, each) for each in batch[len(outcomes) :]]
            outcomes += self._commit(connection, [item])
            if item.deferrable and _is_transient(outcomes[-1]):
                obstacle = outcomes[-1].error.__cause__
        return outcomes

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._file == self._identity():
            return self._connection
        self._disconnect()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
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

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = self._version(connection)  # before any change: the file may be another program's
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.row_factory = sqlite3.Row
        for name, function in self._functions.items():
            connection.create_function(name, 1, function, deterministic=True)
        if version < len(self._migrations):
            self._migrate(connection)
        with suppress(sqlite3.OperationalError):  # locked, or the disk is full: the next opening does it
            connection.execute(self._on_open)

    def _version(self, connection: sqlite3.Connection) -> int:
        """Return the file's format, which may be newer than ours.

        Raises LedgerError if the file is another program's, or needs a newer version of this one.
        """
        marked = cast(int, connection.execute("PRAGMA user_version").fetchone()[0])
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == self._application_id
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not ours and (marked or tables):
            raise LedgerError(f"{self.path} is another program's database, not a ledger", hint=f"move it away, or {_ELSEWHERE}")
        version, min_reader = (max(marked, stored) for stored in _stored_formats(connection)) if tables else (marked, marked)
        self.newer = version > len(self._migrations)
        if min_reader > len(self._migrations):
            known = f"this one knows format {len(self._migrations)}"
            what = f"The ledger {self.path} was written by a newer imagegen_magic (format {version}; {known})"
            raise LedgerError(what, hint=f"update with pip install -U imagegen_magic, or {_ELSEWHERE}")
        return version

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # read again: another process may have migrated it meanwhile
            version = self._version(connection)
            for statement in (statement for migration in self._migrations[version:] for statement in migration):
                connection.execute(statement)
            if version < len(self._migrations):
                self._store_formats(connection)
            connection.execute("COMMIT")
        finally:
            self._roll_back(connection)

    def _store_formats(self, connection: sqlite3.Connection) -> None:
        """Write the file's format and its oldest reader; version 0.1.0 reads only the `user_version`."""
        connection.execute(f"PRAGMA application_id = {self._application_id}")
        connection.execute(f"PRAGMA user_version = {self._min_reader}")
        formats = (("format", len(self._migrations)), ("min_reader", self._min_reader))
        query = "INSERT INTO about (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        connection.executemany(query, [(key, str(value)) for key, value in formats])

    def _failed(self, error: Exception, item: _WorkItem) -> _Failure:
        return _Failure(self._explained(error, item), isinstance(error, (sqlite3.OperationalError, OSError)))

    def _explained(self, error: Exception, item: _WorkItem) -> Exception:
        """Return the error as a LedgerError, with the charge; a programming error stays as it is."""
        what = f"The ledger {self.path} cannot be {'written' if item.writes else 'read'}: "
        if isinstance(error, LedgerError):
            what, step = error.what, dict[str, Any](hint=error.hint, retry=error.retry)
        elif isinstance(error, sqlite3.Error):
            what, step = what + str(error), _next_step(getattr(error, "sqlite_errorname", ""), item.charge)
        elif isinstance(error, OSError):
            what, step = what + (error.strerror or str(error)), _next_step("", item.charge)
        else:
            return error
        explained = LedgerError(what, charge=item.charge, **step)
        explained.__cause__ = error
        return explained


_ELSEWHERE = "set IMAGEGEN_HOME to another folder"
DAMAGED = f"move the file away (a new ledger starts by itself; the old one keeps its task ids), or {_ELSEWHERE}"
_DISK_FULL = "make room on that disk", f", or {_ELSEWHERE}"
_REMEDIES = {  # by the beginning of SQLite's error name: what to do, and the alternative while nothing was charged
    "SQLITE_BUSY": ("close the other program that has it locked", ""),
    "SQLITE_FULL": _DISK_FULL,
    "SQLITE_IOERR": _DISK_FULL,
}


def _stored_formats(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the file's format and the oldest one whose programs can use it; 0 if it does not record them, as in 0.1.0."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'about'").fetchone():
        return 0, 0
    query = "SELECT key, CAST(value AS INTEGER) FROM about WHERE key IN ('format', 'min_reader')"
    stored: dict[str, int] = dict(connection.execute(query).fetchall())
    return stored.get("format", 0), stored.get("min_reader", 0)


def _next_step(name: str, charge: Charge) -> dict[str, Any]:
    """Return the hint for an SQLite error, by its name; once something may have been charged, never with `retry`."""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return {"hint": DAMAGED}
    found = next((remedy for start, remedy in _REMEDIES.items() if name.startswith(start)), None)
    remedy, alternative = found or ("make the folder writable", f", or {_ELSEWHERE}")
    if charge != "no":
        # another ledger does not know the task
        return {"hint": f"{remedy}, then %imagegen resume collects what is missing, without paying again"}
    return {"hint": remedy + alternative, "retry": found is not None}


def _is_transient(outcome: Any) -> bool:
    return isinstance(outcome, _Failure) and outcome.transient


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
        by_loop.setdefault(item.loop, []).append((item.future, outcome))
    for loop, results in by_loop.items():
        with suppress(RuntimeError):  # that loop is closed
            loop.call_soon_threadsafe(_settle, results)


def _settle(results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in results:
        if future.done():
            continue
        if isinstance(outcome, _Failure):
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_forking = threading.Lock()


def _before_fork() -> None:
    # SQLite's locks belong to a process, and a child does not inherit them although its memory records them. A child that used an
    # open connection could lose its writes. So no connection is open at the fork.
    _forking.acquire()
    for database in _databases:
        database._starting.acquire()
        database._working.acquire()
        database._reading.acquire()
        database._stop_inspecting()
        database._inspecting.acquire()
        database._disconnect()


def _after_fork_in_parent() -> None:
    for database in _databases:
        database._inspecting.release()
        database._reading.release()
        database._working.release()
        database._starting.release()
    _forking.release()


def _after_fork_in_child() -> None:
    for database in _databases:
        database._reset()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
