"""One SQLite file and the one thread that writes it: all that waits goes into one transaction, is made durable, and is then answered."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, TypeVar, cast

from imagegen_magic.errors import Charged, LedgerError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Migration = tuple[str, ...]

_MOST = 2_000  # in one transaction, so that the first of a flood need not wait for the last


@dataclass(frozen=True, slots=True)
class _Order:
    work: Work[Any]
    writes: bool
    charged: Charged
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception


class Database:
    """A SQLite file in WAL mode with synchronous=FULL, written by one thread of its own, usable from any event loop and thread.

    `migrations` are the statements that lead from each version of the file to the next, `functions` what they may call;
    `application_id` marks the file as ours;
    `patience` is how many seconds to wait for another process's transaction; `transactions` counts the ones that wrote.
    After a fork the child starts anew, with a thread and a connection of its own.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration],
        *,
        application_id: int,
        patience: float = 10.0,
        functions: Mapping[str, Callable[[str], str]] = MappingProxyType({}),
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.transactions = 0
        self._migrations = migrations
        self._application_id = application_id
        self._patience = patience
        self._functions = functions
        self._file: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._start_anew()
        with _forking:
            _databases.add(self)

    def _start_anew(self) -> None:
        self._starting = threading.Lock()
        self._working = threading.Lock()
        self._peeking = threading.Lock()
        self._thread: threading.Thread | None = None
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()

    async def run(self, work: Work[T], *, writes: bool = True, charged: Charged = "unknown") -> T:
        """Return what `work` returns once its transaction is on the disk; it is done even if the caller is cancelled meanwhile.

        `work` may be called a second time after a rollback. Raises LedgerError (carrying `charged`), and whatever `work` raises.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        order = _Order(work, writes, charged, loop, answer)
        with self._starting:
            if self._thread is None:
                self._orders = SimpleQueue()
                self._thread = threading.Thread(target=self._serve, args=(self._orders,), name="imagegen ledger", daemon=True)
                self._thread.start()
            self._orders.put(order)
        return await answer

    def peek(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query at once, in the calling thread, neither creating nor waiting; none where there is no readable file."""
        if not self.path.exists():
            return []
        address = f"{self.path.as_uri()}?mode=ro"
        with self._peeking, suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            return connection.execute(query).fetchall()
        return []

    def close(self) -> None:
        """Finish what is waiting and end the thread; a later `run` starts it again."""
        with self._starting:
            thread, self._thread = self._thread, None
            self._orders.put(None)
        if thread is not None:
            thread.join()

    def _serve(self, orders: SimpleQueue[_Order | None]) -> None:
        batch = _take(orders)
        while batch:
            _answer(batch, self._perform(batch))
            batch = _take(orders)
        with self._working:
            self._disconnect()

    def _perform(self, batch: Sequence[_Order]) -> list[Any]:
        with self._working:
            try:
                connection = self._connected()
                connection.execute("BEGIN IMMEDIATE" if any(order.writes for order in batch) else "BEGIN")
            except Exception as error:  # whatever it is, those who wait must hear of it
                self._disconnect()
                return [_Failure(self._explained(error, order)) for order in batch]
            return self._commit(connection, batch)

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Order]) -> list[Any]:
        try:
            outcomes = [order.work(connection) for order in batch]
            connection.execute("COMMIT")
        except Exception as error:  # every kind of it belongs to the one who gave the order, never to this thread
            self._roll_back(connection)
            return [_Failure(self._explained(error, batch[0]))] if len(batch) == 1 else self._each_alone(connection, batch)
        self.transactions += any(order.writes for order in batch)
        return outcomes

    def _each_alone(self, connection: sqlite3.Connection, batch: Sequence[_Order]) -> list[Any]:
        """Perform orders one by one, so that one that fails takes no other with it."""
        outcomes: list[Any] = []
        for order in batch:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:  # not to be asked again for each: that may have taken all our patience
                return outcomes + [_Failure(self._explained(error, each)) for each in batch[len(outcomes) :]]
            outcomes += self._commit(connection, [order])
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
        # a file that was moved away under us would go on taking rows that nobody ever sees again
        with suppress(FileNotFoundError):
            status = os.stat(self.path)
            return status.st_dev, status.st_ino
        return None

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = self._version(connection)  # before anything is changed: the file may be another program's
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.row_factory = sqlite3.Row
        for name, function in self._functions.items():
            connection.create_function(name, 1, function, deterministic=True)
        if version < len(self._migrations):
            self._migrate(connection)

    def _version(self, connection: sqlite3.Connection) -> int:
        """Return the file's version; raises LedgerError where it is not ours, or newer than we are."""
        version = cast(int, connection.execute("PRAGMA user_version").fetchone()[0])
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == self._application_id
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not ours and (version or tables):
            raise LedgerError(f"{self.path} is another program's database, not a ledger", next_step=f"move it away, or {_ELSEWHERE}")
        if version > len(self._migrations):
            what = (
                f"The ledger {self.path} was written by a newer imagegen_magic (format {version}; this one knows {len(self._migrations)})"
            )
            raise LedgerError(what, next_step=f"update with pip install -U imagegen_magic, or {_ELSEWHERE}")
        return version

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # asked again: another process may have done it while we waited
            for statement in (statement for migration in self._migrations[self._version(connection) :] for statement in migration):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {self._application_id}")
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
            connection.execute("COMMIT")
        finally:
            self._roll_back(connection)

    def _explained(self, error: Exception, order: _Order) -> Exception:
        """Return the error in our words, with what is known of the charge; a programming error stays what it is."""
        what, next_step = f"The ledger {self.path} {_VERB[order.writes]}: ", _WRITABLE
        if isinstance(error, LedgerError):
            what, next_step = error.what, error.next_step
        elif isinstance(error, sqlite3.Error):
            what += str(error)
            next_step = next((step for start, step in _NEXT_STEPS.items() if _name(error).startswith(start)), _WRITABLE)
        elif isinstance(error, OSError):
            what += error.strerror or str(error)
        else:
            return error
        explained = LedgerError(what, charged=order.charged, next_step=next_step)
        explained.__cause__ = error
        return explained


_VERB = {True: "cannot be written", False: "cannot be read"}
_ELSEWHERE = "set IMAGEGEN_HOME to another folder"
_WRITABLE = f"make the folder writable, or {_ELSEWHERE}"
_ROOM = f"make room on that disk, or {_ELSEWHERE}, then run the cell again"
DAMAGED = f"move the file away (a new ledger starts by itself; the old one keeps its task ids), or {_ELSEWHERE}"
_NEXT_STEPS = {
    "SQLITE_BUSY": "another program holds it: close that, then run the cell again",
    "SQLITE_FULL": _ROOM,
    "SQLITE_IOERR": _ROOM,
    "SQLITE_CORRUPT": DAMAGED,
    "SQLITE_NOTADB": DAMAGED,
}


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")


def _take(orders: SimpleQueue[_Order | None]) -> list[_Order]:
    """Wait for an order and return it with all that wait behind it; none where the end was ordered."""
    batch: list[_Order] = []
    order = orders.get()
    with suppress(Empty):
        while order is not None:
            batch.append(order)
            if len(batch) == _MOST:
                return batch
            order = orders.get_nowait()
        if batch:
            orders.put(None)  # the end, seen while looking for more: meet it again after this batch
    return batch


def _answer(batch: Sequence[_Order], outcomes: Sequence[Any]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for order, outcome in zip(batch, outcomes, strict=True):
        by_loop.setdefault(order.loop, []).append((order.answer, outcome))
    for loop, answers in by_loop.items():
        with suppress(RuntimeError):  # that loop is closed, and nobody waits there any more
            loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for answer, outcome in answers:
        if answer.done():
            continue
        if isinstance(outcome, _Failure):
            answer.set_exception(outcome.error)
        else:
            answer.set_result(outcome)


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_forking = threading.Lock()


def _before_fork() -> None:
    # SQLite keeps its locks per process and a child does not inherit them, but its memory says that it did: a child that goes on
    # beside an open connection can lose what it writes. So none is open at the fork.
    _forking.acquire()
    for database in _databases:
        database._starting.acquire()
        database._working.acquire()
        database._peeking.acquire()
        database._disconnect()


def _after_fork_in_parent() -> None:
    for database in _databases:
        database._peeking.release()
        database._working.release()
        database._starting.release()
    _forking.release()


def _after_fork_in_child() -> None:
    for database in _databases:
        database._start_anew()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
