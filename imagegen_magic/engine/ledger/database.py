"""One SQLite file and the one thread that writes it: all that waits goes into one transaction, is made durable, and is then answered.

What must not be lost is kept where it cannot be written: it is written before anything else is, as soon as that is possible.
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

_MOST = 2_000  # in one transaction, so that the first of a flood need not wait for the last
_AGAIN = 2.0  # seconds after which what was kept is tried again, where nothing else is written meanwhile


class _Order(NamedTuple):
    work: Work[Any]
    writes: bool
    charge: Charge
    kept: bool
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class _Failure(NamedTuple):
    error: Exception
    may_pass: bool  # the disk's doing, or another program's: not this order's fault


class Database:
    """A SQLite file in WAL mode with synchronous=FULL, written by one thread of its own, usable from any event loop and thread.

    `migrations` are the statements that lead from each format of the file to the next, `functions` what they may call; `min_reader` is
    the oldest format whose programs can use a file of the newest one (default: that one). `application_id` marks the file as ours;
    `patience` is how many seconds to wait for another process's transaction; `transactions` counts the ones that wrote;
    `newer` says, once the file was opened, that its format is newer than ours.
    After a fork the child starts anew, with a thread and a connection of its own.
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
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.transactions = 0
        self.newer = False
        self._migrations = migrations
        self._min_reader = len(migrations) if min_reader is None else min_reader
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
        self._inspecting = threading.Lock()
        self._inspected: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._kept: list[_Order] = []

    async def run(self, work: Work[T], *, writes: bool = True, charge: Charge = "no", kept: bool = False) -> T:
        """Return what `work` returns once its transaction is on the disk; it is done even if the caller is cancelled meanwhile.

        `work` may be called again after a rollback. Raises LedgerError (with that `charge`), and whatever `work` raises. With `kept` it
        is not over then: where the disk or another program was in the way, it is done as soon as possible, before anything newer.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        order = _Order(work, writes, charge, kept, loop, answer)
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
        with self._peeking, suppress(sqlite3.Error), closing(self._reader(patience=0)) as connection:
            return connection.execute(query).fetchall()
        return []

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in the calling thread; none where there is no such file or table yet.

        Raises LedgerError where the file cannot be read.
        """
        if not self.path.exists():
            return []
        try:
            with self._peeking, closing(self._reader()) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.Error as error:
            if str(error).startswith("no such "):  # it was not brought up to date yet
                return []
            what = f"The ledger {self.path} {_VERB[False]}: {error}"
            raise LedgerError(what, hint=_next_step(getattr(error, "sqlite_errorname", ""), "no")) from error

    def _reader(self, patience: float | None = None) -> sqlite3.Connection:
        """Return a connection that only reads; it is the caller's to close."""
        address, patience = f"{self.path.as_uri()}?mode=ro", self._patience if patience is None else patience
        return sqlite3.connect(address, uri=True, timeout=patience, check_same_thread=False)

    def inspect(self) -> str:
        """Read the whole file in the calling thread, on a connection of its own, and return what is damaged in it.

        Empty where it is whole, where there is none, and where a fork or `close` came in between.
        """
        if not self.path.exists():
            return ""
        with self._inspecting:
            try:
                with closing(self._reader()) as connection:
                    self._inspected = connection
                    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            except sqlite3.OperationalError:  # interrupted, locked, or gone by now: nothing is known of damage
                return ""
            except sqlite3.DatabaseError as error:
                return str(error)
            finally:
                self._inspected = None
        return "" if found == "ok" else found

    def _stop_inspecting(self) -> None:
        with suppress(sqlite3.Error, AttributeError):  # it has just ended
            self._inspected.interrupt()  # type: ignore[union-attr]  # None where nobody reads it

    def close(self) -> None:
        """Finish what is waiting and end the thread; a later `run` starts it again."""
        self._stop_inspecting()
        with self._starting:
            thread, self._thread = self._thread, None
            self._orders.put(None)
        if thread is not None:
            thread.join()

    def _serve(self, orders: SimpleQueue[_Order | None]) -> None:
        while (batch := _take(orders, _AGAIN if self._kept else None)) is not None:
            self._serve_batch(batch)
        if self._kept:
            self._serve_batch([])
            self._kept = []  # closed, its tasks are anybody's: what is not written by now might undo what others wrote
        with self._working:
            self._disconnect()

    def _serve_batch(self, batch: Sequence[_Order]) -> None:
        """Perform and answer orders; before anything is written, what was kept."""
        if batch and not any(order.writes for order in batch):
            return _answer(batch, self._perform(batch))
        if self._kept and self._is_another():
            self._kept = []  # its tasks are others
        whole = [*self._kept, *batch]
        outcomes = self._perform(whole, patient=bool(batch))
        self._kept = [order for order, outcome in zip(whole, outcomes, strict=True) if order.kept and _may_pass(outcome)]
        return _answer(whole, outcomes)

    def _perform(self, batch: Sequence[_Order], *, patient: bool = True) -> list[Any]:
        with self._working:
            try:
                connection = self._connected()
                self._begin(connection, batch, patient)
            except Exception as error:  # whatever it is, those who wait must hear of it
                self._disconnect()
                return [self._failed(error, order) for order in batch]
            return self._commit(connection, batch)

    def _begin(self, connection: sqlite3.Connection, batch: Sequence[_Order], patient: bool) -> None:
        if not patient:  # nobody waits for this, and those who come meanwhile shall not wait for it
            connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("BEGIN IMMEDIATE" if any(order.writes for order in batch) else "BEGIN")
        finally:
            if not patient:
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._patience)}")

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Order]) -> list[Any]:
        try:
            outcomes = [order.work(connection) for order in batch]
            connection.execute("COMMIT")
        except Exception as error:  # every kind of it belongs to the one who gave the order, never to this thread
            self._roll_back(connection)
            return [self._failed(error, batch[0])] if len(batch) == 1 else self._each_alone(connection, batch)
        self.transactions += any(order.writes for order in batch)
        return outcomes

    def _each_alone(self, connection: sqlite3.Connection, batch: Sequence[_Order]) -> list[Any]:
        """Perform orders one by one, so that one that fails takes no other with it; but nothing is written before what is kept."""
        outcomes: list[Any] = []
        obstacle: Exception | None = None
        for order in batch:
            if obstacle and order.writes:
                outcomes.append(self._failed(obstacle, order))
                continue
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:  # not to be asked again for each: that may have taken all our patience
                return outcomes + [self._failed(error, each) for each in batch[len(outcomes) :]]
            outcomes += self._commit(connection, [order])
            if order.kept and _may_pass(outcomes[-1]):
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
        # a file that was moved away under us would go on taking rows that nobody ever sees again
        with suppress(FileNotFoundError):
            status = os.stat(self.path)
            return status.st_dev, status.st_ino
        return None

    def _is_another(self) -> bool:
        """Say whether another file is there now than the one that was written to."""
        with suppress(OSError):
            return self._identity() not in (self._file, None)
        return False

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
        """Return the file's format, which may be newer than ours; raises LedgerError where it is not ours, or not for us to use."""
        marked = cast(int, connection.execute("PRAGMA user_version").fetchone()[0])
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == self._application_id
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not ours and (marked or tables):
            raise LedgerError(f"{self.path} is another program's database, not a ledger", hint=f"move it away, or {_ELSEWHERE}")
        version, min_reader = (max(marked, told) for told in _told(connection)) if tables else (marked, marked)
        self.newer = version > len(self._migrations)
        if min_reader > len(self._migrations):
            known = f"this one knows format {len(self._migrations)}"
            what = f"The ledger {self.path} was written by a newer imagegen_magic (format {version}; {known})"
            raise LedgerError(what, hint=f"update with pip install -U imagegen_magic, or {_ELSEWHERE}")
        return version

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # asked again: another process may have done it while we waited
            version = self._version(connection)
            for statement in (statement for migration in self._migrations[version:] for statement in migration):
                connection.execute(statement)
            if version < len(self._migrations):
                self._mark(connection)
            connection.execute("COMMIT")
        finally:
            self._roll_back(connection)

    def _mark(self, connection: sqlite3.Connection) -> None:
        """Write which format the file has now, and which programs can use it; version 0.1.0 reads the `user_version` only."""
        connection.execute(f"PRAGMA application_id = {self._application_id}")
        connection.execute(f"PRAGMA user_version = {self._min_reader}")
        marks = (("format", len(self._migrations)), ("min_reader", self._min_reader))
        query = "INSERT INTO about (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        connection.executemany(query, [(key, str(value)) for key, value in marks])

    def _failed(self, error: Exception, order: _Order) -> _Failure:
        return _Failure(self._explained(error, order), isinstance(error, (sqlite3.OperationalError, OSError)))

    def _explained(self, error: Exception, order: _Order) -> Exception:
        """Return the error in our words, with what is known of the charge; a programming error stays what it is."""
        what = f"The ledger {self.path} {_VERB[order.writes]}: "
        if isinstance(error, LedgerError):
            what, next_step = error.what, error.hint
        elif isinstance(error, sqlite3.Error):
            what, next_step = what + str(error), _next_step(getattr(error, "sqlite_errorname", ""), order.charge)
        elif isinstance(error, OSError):
            what, next_step = what + (error.strerror or str(error)), _next_step("", order.charge)
        else:
            return error
        explained = LedgerError(what, charge=order.charge, hint=next_step)
        explained.__cause__ = error
        return explained


_VERB = {True: "cannot be written", False: "cannot be read"}
_ELSEWHERE = "set IMAGEGEN_HOME to another folder"
DAMAGED = f"move the file away (a new ledger starts by itself; the old one keeps its task ids), or {_ELSEWHERE}"
_AGAIN_LATER = "then run the cell again"
_COLLECT_LATER = "then %imagegen resume collects what is missing, without paying again"
_MENDS = {
    "SQLITE_BUSY": ("another program holds it: close that", ""),
    "SQLITE_FULL": ("make room on that disk", f", or {_ELSEWHERE}"),
    "SQLITE_IOERR": ("make room on that disk", f", or {_ELSEWHERE}"),
}


def _told(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the format that the file says it has, and the oldest one whose programs can use it; 0 where it says nothing, as of 0.1.0."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'about'").fetchone():
        return 0, 0
    query = "SELECT key, CAST(value AS INTEGER) FROM about WHERE key IN ('format', 'min_reader')"
    told: dict[str, int] = dict(connection.execute(query).fetchall())
    return told.get("format", 0), told.get("min_reader", 0)


def _next_step(name: str, charge: Charge) -> str:
    """Return what to do about an error of SQLite, by its name; once something may have been charged never to run the cell again."""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return DAMAGED
    found = next((mend for start, mend in _MENDS.items() if name.startswith(start)), None)
    mend, otherwise = found or ("make the folder writable", f", or {_ELSEWHERE}")
    if charge != "no":
        return f"{mend}, {_COLLECT_LATER}"  # here: another ledger does not know of it
    return f"{mend}{otherwise}, {_AGAIN_LATER}" if found else mend + otherwise


def _may_pass(outcome: Any) -> bool:
    return isinstance(outcome, _Failure) and outcome.may_pass


def _take(orders: SimpleQueue[_Order | None], patience: float | None) -> list[_Order] | None:
    """Wait for an order and return it with all that wait behind it; none after so many seconds, None where the end was ordered."""
    batch: list[_Order] = []
    with suppress(Empty):
        order = orders.get(timeout=patience)
        while order is not None:
            batch.append(order)
            if len(batch) == _MOST:
                return batch
            order = orders.get_nowait()
        if not batch:
            return None
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
        database._stop_inspecting()
        database._inspecting.acquire()
        database._disconnect()


def _after_fork_in_parent() -> None:
    for database in _databases:
        database._inspecting.release()
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
