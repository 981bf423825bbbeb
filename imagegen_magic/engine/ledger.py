"""The ledger: every task, its state, cost and pictures, durable before the next step is made, so that nothing paid for is forgotten.

    planned -> submitting -> submitted -> made -> saved
                   |             |          |
                   +-> unknown   +-> failed-+          planned -> dropped

`submitted` and `made` are collectable: the gateway has the task, and whoever claims it can bring its pictures home without paying again.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from imagegen_magic.engine import owners
from imagegen_magic.engine.database import DAMAGED, Database, T, Work
from imagegen_magic.engine.schema import FUNCTIONS, MIGRATIONS, searchable
from imagegen_magic.errors import LedgerError
from imagegen_magic.result import Cost

ANSWER_BYTES = 65_536
_APPLICATION_ID = 0x494D4731  # "IMG1"

STATES = ("planned", "submitting", "submitted", "made", "saved", "failed", "unknown", "dropped")
COLLECTABLE = ("submitted", "made")
_ENDS = ("saved", "failed", "unknown", "dropped")


@dataclass(frozen=True, slots=True)
class NewTask:
    """One submission to come: `sent` is {"method", "path", "json"} as it will go out, `pictures` how many it makes.

    `fingerprint` is the same for submissions that ask for the same.
    """

    sent: dict[str, Any]
    pictures: int
    idempotency_key: str
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class NewSource:
    """A picture that a request is made with: its `role` (`reference` or `mask`), what a person calls it, and which picture it is.

    `picture` is the ledger's id where it is one of ours, `sha256` of its bytes where they are on this machine.
    """

    role: str
    name: str
    picture: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """One request.

    `asked` is in the user's words, `resolved` the same with defaults filled in, `expected` is {"pixels": [[w, h], …], "mime_type",
    "alpha"}.
    """

    provider: str
    dialect: str
    base_url: str
    sandbox: bool
    model: str
    quality: str
    tier: str
    asked: dict[str, Any]
    resolved: dict[str, Any]
    expected: dict[str, Any]
    price: Cost
    save_dir: str
    name: str | None
    tasks: Sequence[NewTask]
    sources: Sequence[NewSource] = ()


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One picture with what is known of its task.

    `position` counts from 0 within the task, `first` is the index of the task's first picture within the job, so
    `first + position` is the picture's index within the job. `path`, `sha256`, `size` (bytes), `width`, `height` (pixels),
    `mime_type` and `saved_at` are None until it is saved. `cost` is the whole task's, which was to make `count` pictures. `share`
    and `mean` say how much of what a mask protects was changed, 0..1. Times are epoch seconds.
    """

    id: int
    task: int
    position: int
    url: str
    expires_at: float | None
    path: str | None
    sha256: str | None
    size: int | None
    width: int | None
    height: int | None
    mime_type: str | None
    differences: tuple[str, ...]
    saved_at: float | None
    job: int
    created: float
    provider: str
    sandbox: bool
    model: str
    asked: dict[str, Any]
    resolved: dict[str, Any]
    task_position: int
    first: int
    count: int
    task_id: str | None
    cost: Cost
    seconds: float | None
    submitted_at: float | None
    share: float | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task with its job and its pictures: all that is needed to go on with it.

    `row` is the ledger's id, `position` counts the job's tasks from 0, `first` is the index of its first picture within the job
    and `count` how many it makes; `pictures` are those whose addresses are known. Times are epoch seconds, the first time each state
    was reached.
    """

    row: int
    job: int
    position: int
    first: int
    count: int
    state: str
    owner: str | None
    task_id: str | None
    cost: Cost
    error: str | None
    note: str | None
    estimated_seconds: float | None
    seconds: float | None
    planned_at: float
    submitting_at: float | None
    submitted_at: float | None
    made_at: float | None
    saved_at: float | None
    failed_at: float | None
    unknown_at: float | None
    dropped_at: float | None
    idempotency_key: str
    sent: dict[str, Any]
    answer: Any
    created: float
    provider: str
    dialect: str
    base_url: str
    sandbox: bool
    model: str
    quality: str
    tier: str
    prompt: str
    asked: dict[str, Any]
    resolved: dict[str, Any]
    expected: dict[str, Any]
    price: Cost
    save_dir: str
    name: str | None
    fingerprint: str
    pictures: tuple[PictureRow, ...]


class Ledger:
    """The tasks and pictures of one home folder, shared by all processes that use it.

    Nothing touches the disk before the first question. An open ledger is an owner: what it added or claimed is left alone by others
    until it releases it, is closed, or its process ends in whatever way. Every method raises LedgerError where the file cannot be used.
    """

    def __init__(self, home: Path, *, patience: float = 10.0) -> None:
        self._database = Database(
            home / "ledger.sqlite", MIGRATIONS, application_id=_APPLICATION_ID, patience=patience, functions=FUNCTIONS
        )
        self.path = self._database.path
        self._whole = False
        self._owner = owners.Owner(self.path.parent / "owners")

    @property
    def owner(self) -> str:
        """The name under which this ledger takes tasks: that of its session, which ends with `close` or with the process."""
        return self._owner.name

    @property
    def transactions(self) -> int:
        """How many transactions wrote so far."""
        return self._database.transactions

    async def check(self) -> None:
        """Open the ledger, look whether it is whole, and write to it durably, so that what is wrong is known before anything is sent."""

        def work(connection: sqlite3.Connection) -> None:
            if not self._whole:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise LedgerError(f"The ledger {self.path} is damaged: {found}", next_step=DAMAGED)
                self._whole = True
            connection.execute("INSERT OR REPLACE INTO about VALUES ('last checked', ?)", (_now(),))
            self._owner.name  # noqa: B018 - its first use takes the lock, which must be possible too

        await self._database.run(work, charged="no")

    async def run(self, work: Work[T], *, writes: bool = True) -> T:
        """Return what `work`, given the connection, returns; one transaction with whatever else waits, for tables beside jobs and tasks."""
        return await self._database.run(work, writes=writes, charged="no")

    async def add(
        self, jobs: Sequence[NewJob], allow: Callable[[sqlite3.Connection], None] = lambda connection: None
    ) -> list[tuple[int, list[int]]]:
        """Record what is about to be submitted, all in one transaction; returns (job id, rows of its tasks) for each.

        `allow` is asked first, in the same transaction, and may raise: then nothing is recorded.
        """

        def work(connection: sqlite3.Connection) -> list[tuple[int, list[int]]]:
            allow(connection)
            return [_add(connection, job, self._owner.name) for job in jobs]

        return await self._database.run(work, charged="no")

    async def mark(self, row: int, state: str, **columns: Any) -> None:
        """Record a task's state, and when it was first reached.

        Columns: task_id, sent, cost (Cost; unknown never replaces known), estimated_seconds, answer (any JSON, kept up to ANSWER_BYTES),
        error, seconds. Raises ValueError for another state, TypeError for another column.
        """
        if state not in STATES:
            raise ValueError(f"{state!r} is not one of {', '.join(STATES)}")
        changes = {"state": state, **_encoded(columns)}

        def work(connection: sqlite3.Connection) -> None:
            _change(connection, row, changes)

        await self._database.run(work, charged="no" if state in ("planned", "submitting", "dropped") else "unknown")

    async def made(
        self, row: int, urls: Sequence[str], *, expires_at: float | None, cost: Cost, seconds: float | None, answer: Any
    ) -> list[int]:
        """Record a finished task's addresses and return its pictures' ids, in order.

        Asked anew, the addresses of pictures that are not saved yet are replaced under the same ids.
        """
        changes = _encoded({"cost": cost, "seconds": seconds, "answer": answer})

        def work(connection: sqlite3.Connection) -> list[int]:
            _change(connection, row, {"state": "made", **changes})
            ids = [_address(connection, row, position, url, expires_at) for position, url in enumerate(urls)]
            _end_if_saved(connection, row)
            return ids

        return await self._database.run(work, charged="yes")

    async def saved(
        self,
        picture: int,
        *,
        path: str | Path,
        sha256: str,
        size: int,
        width: int,
        height: int,
        mime_type: str,
        differences: Sequence[str] = (),
    ) -> None:
        """Record where a picture is; with its last one the task is saved."""
        values = (_text(str(path)), sha256, size, width, height, mime_type, _json(list(differences)))

        def work(connection: sqlite3.Connection) -> None:
            query = (
                "UPDATE pictures SET path = ?, sha256 = ?, size = ?, width = ?, height = ?, mime_type = ?, differences = ?, saved_at = ?"
                " WHERE id = ? RETURNING task"
            )
            found = connection.execute(query, (*values, _now(), picture)).fetchall()
            if not found:
                raise LedgerError(f"The ledger has no picture {picture}", next_step="look with %imagegen jobs")
            _end_if_saved(connection, found[0]["task"])

        await self._database.run(work, charged="yes")

    async def drifted(self, picture: int, share: float, mean: float) -> None:
        """Record how much of what a mask protects a picture has changed: share of its pixels, mean absolute difference, both 0..1."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO drifts (picture, share, mean) VALUES (?, ?, ?)", (picture, share, mean))

        await self._database.run(work, charged="yes")

    async def release(self, rows: Sequence[int], note: str = "") -> None:
        """Stop waiting for tasks of ours; they keep their state, and whoever wants can claim them."""

        def work(connection: sqlite3.Connection) -> None:
            query = "UPDATE tasks SET owner = NULL, note = coalesce(nullif(?, ''), note) WHERE row = ? AND owner = ?"
            connection.executemany(query, [(_text(note), row, self._owner.name) for row in rows])

        await self._database.run(work)

    async def claim(self, *, rows: Sequence[int] | None = None) -> list[TaskRow]:
        """Take over the collectable tasks (of these rows) that nobody alive waits for; no two claimers get the same one. Newest first."""

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            left = self._left(connection, COLLECTABLE)
            mine = left if rows is None else left & set(rows)
            connection.executemany("UPDATE tasks SET owner = ? WHERE row = ?", [(self._owner.name, row) for row in mine])
            return _tasks(connection, mine)

        return await self._database.run(work)

    async def abandoned(self) -> list[TaskRow]:
        """Turn what dead processes were submitting into `unknown` and return it; what they had only planned is dropped."""

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            for row in self._left(connection, ("planned",)):
                _change(connection, row, {"state": "dropped"})
            unknown = self._left(connection, ("submitting",))
            for row in unknown:
                _change(connection, row, {"state": "unknown", "error": "the process ended while this was being submitted"})
            return _tasks(connection, unknown)

        return await self._database.run(work)

    async def tasks(
        self,
        *,
        states: Sequence[str] | None = None,
        job: int | None = None,
        limit: int | None = None,
        rows: Sequence[int] | None = None,
    ) -> list[TaskRow]:
        """Return tasks, newest first: of these states, of this job, at most so many; or those of these rows."""

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            if rows is not None:
                return _tasks(connection, rows)
            query = f"SELECT row FROM tasks WHERE (? OR state IN ({_marks(states or ())})) AND (? OR job = ?) ORDER BY row DESC LIMIT ?"
            found = connection.execute(query, (states is None, *(states or ()), job is None, job, _limit(limit)))
            return _tasks(connection, [each["row"] for each in found])

        return await self._database.run(work, writes=False)

    async def newest(self) -> int:
        """Return the latest task's row, 0 where there is none."""

        def work(connection: sqlite3.Connection) -> int:
            return int(connection.execute("SELECT coalesce(max(row), 0) FROM tasks").fetchone()[0])

        return await self._database.run(work, writes=False)

    async def reopen(self, pictures: Sequence[int]) -> None:
        """Make pictures whose files are gone collectable again, with their tasks."""

        def work(connection: sqlite3.Connection) -> None:
            for start in range(0, len(pictures), 500):
                some = pictures[start : start + 500]
                query = f"UPDATE pictures SET saved_at = NULL, path = NULL WHERE id IN ({_marks(some)}) RETURNING task"
                rows = {each["task"] for each in connection.execute(query, some)}
                connection.executemany("UPDATE tasks SET state = 'made', owner = NULL WHERE row = ?", [(row,) for row in rows])

        await self._database.run(work, charged="yes")

    async def sources(self, job: int) -> list[NewSource]:
        """Return what a request was made with: references in their order, then the mask."""
        query = "SELECT role, name, picture, sha256 FROM sources WHERE job = ? ORDER BY position"

        def work(connection: sqlite3.Connection) -> list[NewSource]:
            return [NewSource(*row) for row in connection.execute(query, (job,))]

        return await self._database.run(work, writes=False)

    async def alike(self, fingerprints: Iterable[str]) -> dict[str, list[TaskRow]]:
        """Return the tasks that asked for the same, newest first, by fingerprint; what certainly came to nothing is left out."""
        wanted = sorted(set(fingerprints) - {""})

        def work(connection: sqlite3.Connection) -> dict[str, list[TaskRow]]:
            rows: list[int] = []
            for start in range(0, len(wanted), 500):
                some = wanted[start : start + 500]
                query = f"SELECT row FROM tasks WHERE fingerprint IN ({_marks(some)}) AND state NOT IN ('failed', 'dropped')"
                rows += [each["row"] for each in connection.execute(query, some)]
            found: dict[str, list[TaskRow]] = {}
            for task in _tasks(connection, rows):
                found.setdefault(task.fingerprint, []).append(task)
            return found

        return await self._database.run(work, writes=False)

    async def latest_alike(self, fingerprints: Iterable[str]) -> dict[str, tuple[int, float]]:
        """Return the latest saved picture that asked for the same, as (id, epoch seconds), by fingerprint."""
        wanted = sorted(set(fingerprints) - {""})

        def work(connection: sqlite3.Connection) -> dict[str, tuple[int, float]]:
            found = {}
            for start in range(0, len(wanted), 500):
                some = wanted[start : start + 500]
                query = f"""SELECT fingerprint, max(pictures.id) AS picture, pictures.saved_at
                    FROM tasks JOIN pictures ON pictures.task = tasks.row
                    WHERE fingerprint IN ({_marks(some)}) AND pictures.saved_at IS NOT NULL GROUP BY fingerprint"""
                found.update(
                    {each["fingerprint"]: (each["picture"], _seconds(each["saved_at"])) for each in connection.execute(query, some)}
                )
            return found

        return await self._database.run(work, writes=False)

    async def durations(self, provider: str, model: str, quality: str, tier: str, limit: int = 60, *, sandbox: bool = False) -> list[float]:
        """Return how many seconds the tasks of this class took, newest first."""
        query = (
            "SELECT seconds FROM tasks JOIN jobs ON jobs.id = tasks.job WHERE provider = ? AND model = ? AND quality = ? AND tier = ?"
            " AND sandbox = ? AND state IN ('made', 'saved') AND seconds IS NOT NULL ORDER BY made_at DESC, row DESC LIMIT ?"
        )

        def work(connection: sqlite3.Connection) -> list[float]:
            return [row["seconds"] for row in connection.execute(query, (provider, model, quality, tier, sandbox, limit))]

        return await self._database.run(work, writes=False)

    async def pictures(self, *, limit: int | None = 20, ids: Sequence[int] | None = None, words: str = "") -> list[PictureRow]:
        """Return saved pictures, newest first: these ids, or those whose prompt or name has all the words, in any case."""

        def work(connection: sqlite3.Connection) -> list[PictureRow]:
            wanted = words.casefold().split()
            connection.create_function("has_words", 2, lambda *texts: _has_words(wanted, texts), deterministic=True)
            query = f"{_PICTURES} WHERE pictures.saved_at IS NOT NULL"
            query += "" if ids is None else f" AND pictures.id IN ({_marks(ids)})"  # alone, so that it is looked up and not looked for
            query += " AND (? OR has_words(jobs.prompt, jobs.name)) ORDER BY pictures.id DESC LIMIT ?"
            found = connection.execute(query, (*(ids or ()), not wanted, _limit(limit)))
            return [_picture(row) for row in found]

        return await self._database.run(work, writes=False)

    def peek(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query at once, in the calling thread; none where there is no ledger that can be read."""
        return self._database.peek(query)

    def waiting(self) -> int:
        """Count the pictures that could be collected and that nobody alive waits for, at once.

        0 too where there is no ledger that can be read: `check` says why.
        """
        with suppress(OSError):
            return sum(pictures for owner, pictures in self._database.peek(_WAITING) if not self._alive(owner))
        return 0

    def close(self) -> None:
        """Finish what is being written, end the thread, and let go what is ours; a later call opens the ledger again."""
        self._database.close()
        self._owner.release()

    def _alive(self, owner: str | None) -> bool:
        return owners.alive(self._owner.folder, owner)

    def _left(self, connection: sqlite3.Connection, states: Sequence[str]) -> set[int]:
        """Return the tasks of these states that nobody alive waits for."""
        found = connection.execute(f"SELECT owner, row FROM tasks WHERE {_OPEN} AND state IN ({_marks(states)})", states).fetchall()
        dead = {owner for owner in {each["owner"] for each in found} if not self._alive(owner)}
        return {each["row"] for each in found if each["owner"] in dead}


_OPEN = "state IN ('planned', 'submitting', 'submitted', 'made')"  # literally as in the index, or SQLite does not use it
_WAITING = f"""SELECT owner, sum(CASE state WHEN 'submitted' THEN count
        ELSE (SELECT count(*) FROM pictures WHERE pictures.task = tasks.row AND pictures.saved_at IS NULL) END)
    FROM tasks WHERE {_OPEN} AND state IN ('submitted', 'made') GROUP BY owner"""
_TASKS = "SELECT jobs.*, tasks.* FROM tasks JOIN jobs ON jobs.id = tasks.job"
_PICTURES = """SELECT pictures.*, tasks.job, jobs.created, jobs.provider, jobs.sandbox, jobs.model, jobs.asked, jobs.resolved,
        tasks.position AS task_position, tasks.first, tasks.count, tasks.task_id, tasks.cost, tasks.seconds, tasks.submitted_at,
        drifts.share, drifts.mean
    FROM pictures JOIN tasks ON tasks.row = pictures.task JOIN jobs ON jobs.id = tasks.job
        LEFT JOIN drifts ON drifts.picture = pictures.id"""


def _add(connection: sqlite3.Connection, job: NewJob, owner: str) -> tuple[int, list[int]]:
    now = _now()
    columns: dict[str, Any] = {
        "created": now,
        **{name: _text(getattr(job, name)) for name in ("provider", "dialect", "base_url", "model", "quality", "tier", "save_dir")},
        **{name: _json(getattr(job, name)) for name in ("asked", "resolved", "expected")},
        "sandbox": job.sandbox,
        "prompt": _text(str(job.asked.get("prompt", ""))),
        "price": _cost(job.price),
        "name": None if job.name is None else _text(job.name),
        "session": owner,
    }
    number = _insert(connection, "jobs", columns)
    words = searchable(f"{columns['prompt']} {columns['name'] or ''}")
    connection.execute("INSERT INTO prompts (rowid, words) VALUES (?, ?)", (number, words))
    _add_sources(connection, number, job.sources)
    rows, first = [], 0
    for position, task in enumerate(job.tasks):
        columns = {"job": number, "position": position, "first": first, "count": task.pictures, "state": "planned", "owner": owner}
        columns |= {"cost": _cost(Cost()), "planned_at": now, "idempotency_key": task.idempotency_key, "sent": _json(task.sent)}
        columns["fingerprint"] = task.fingerprint
        rows.append(_insert(connection, "tasks", columns))
        first += task.pictures
    return number, rows


def _add_sources(connection: sqlite3.Connection, job: int, sources: Sequence[NewSource]) -> None:
    for position, source in enumerate(sources):
        columns = {"job": job, "role": source.role, "position": position, "name": _text(source.name)}
        _insert(connection, "sources", columns | {"picture": source.picture, "sha256": source.sha256})


def _insert(connection: sqlite3.Connection, table: str, columns: Mapping[str, Any]) -> int:
    query = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({_marks(columns)})"
    return connection.execute(query, tuple(columns.values())).lastrowid or 0


def _change(connection: sqlite3.Connection, row: int, changes: Mapping[str, Any]) -> None:
    """Write a task's new state and columns; raises LedgerError where there is no such task."""
    state = changes["state"]
    settings = [f"{name} = ?" for name in changes]
    settings.append(f"{state}_at = coalesce({state}_at, ?)")
    if state in _ENDS:
        settings.append("owner = NULL")
    done = connection.execute(f"UPDATE tasks SET {', '.join(settings)} WHERE row = ?", (*changes.values(), _now(), row))
    if not done.rowcount:
        raise LedgerError(f"The ledger has no task {row}", next_step="look with %imagegen jobs")


def _address(connection: sqlite3.Connection, row: int, position: int, url: str, expires_at: float | None) -> int:
    """Record where a picture of a task can be fetched, unless it is saved already; returns its id."""
    query = """INSERT INTO pictures (task, position, url, expires_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (task, position) DO UPDATE SET url = excluded.url, expires_at = excluded.expires_at WHERE saved_at IS NULL"""
    connection.execute(query, (row, position, _text(url), None if expires_at is None else iso(expires_at)))
    found = connection.execute("SELECT id FROM pictures WHERE task = ? AND position = ?", (row, position)).fetchone()
    return int(found["id"])


def _end_if_saved(connection: sqlite3.Connection, row: int) -> None:
    query = "SELECT count(*), count(saved_at) FROM pictures WHERE task = ?"
    known, saved = connection.execute(query, (row,)).fetchone()
    if known and known == saved:
        _change(connection, row, {"state": "saved", "error": None})


def _tasks(connection: sqlite3.Connection, rows: Iterable[int]) -> list[TaskRow]:
    """Return these tasks with their jobs and pictures, newest first."""
    ordered = sorted(rows, reverse=True)
    found: list[TaskRow] = []
    for start in range(0, len(ordered), 500):  # older SQLite takes at most 999 values in one question
        some = ordered[start : start + 500]
        pictures: dict[int, list[PictureRow]] = {}
        for each in connection.execute(f"{_PICTURES} WHERE pictures.task IN ({_marks(some)}) ORDER BY pictures.position", some):
            pictures.setdefault(each["task"], []).append(_picture(each))
        for each in connection.execute(f"{_TASKS} WHERE tasks.row IN ({_marks(some)}) ORDER BY tasks.row DESC", some):
            values = _decoded(each, but=("id", "session"))
            found.append(TaskRow(**values, pictures=tuple(pictures.get(each["row"], ()))))
    return found


def _picture(row: sqlite3.Row) -> PictureRow:
    return PictureRow(**_decoded(row))


def _has_words(wanted: Sequence[str], texts: Iterable[str | None]) -> bool:
    text = " ".join(each for each in texts if each).casefold()
    return all(word in text for word in wanted)


def _marks(values: Iterable[Any]) -> str:
    return ", ".join("?" for _ in values)


def _limit(limit: int | None) -> int:
    return -1 if limit is None else limit


def _now() -> str:
    return iso(time.time())


def iso(seconds: float) -> str:
    """Return epoch seconds as a column of times holds them; such texts are in order of time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _text(value: str) -> str:
    # half of a surrogate pair is no text to SQLite; everything else goes in as given
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if text.isascii() or text == _text(text) else json.dumps(value, default=str)


def _bounded(answer: Any) -> str:
    """Return an answer as JSON of at most ANSWER_BYTES bytes; of a longer one the beginning, as {"cut": its bytes, "start": its text}."""
    text = _json(answer)
    raw = text.encode()
    if len(raw) <= ANSWER_BYTES:
        return text
    start = raw[: ANSWER_BYTES // 2 - 100].decode("utf-8", "ignore")  # quotes and backslashes of the text take two bytes within a string
    return json.dumps({"cut": len(raw), "start": start}, ensure_ascii=False)


def _cost(cost: Cost) -> str:
    said = {
        "amount": None if cost.amount is None else str(cost.amount),
        "unit": cost.unit,
        "kind": cost.kind,
        "source": cost.source,
        "checked": cost.checked,
        "unknown": cost.unknown,
    }
    return _json({name: value for name, value in said.items() if value})


def read_cost(text: str) -> Cost:
    """Return a cost as a column of it holds it."""
    said = json.loads(text)
    amount = said.pop("amount", None)
    return Cost(None if amount is None else Decimal(amount), **said)


def _encoded(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns as the table keeps them; what is not known is left as it was. Raises TypeError for a column that is not there."""
    return {name: _ENCODERS[name](value) for name, value in columns.items() if _is_known(name, value)}


def _is_known(name: str, value: Any) -> bool:
    if name not in _ENCODERS:
        raise TypeError(f"{name!r} is not one of {', '.join(_ENCODERS)}")
    return value is not None and not (isinstance(value, Cost) and value.amount is None)


_ENCODERS: dict[str, Any] = {
    "task_id": _text,
    "sent": _json,
    "cost": _cost,
    "estimated_seconds": float,
    "answer": _bounded,
    "error": _text,
    "seconds": float,
}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _read_differences(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


_TIMES = ("created", "expires_at", *(f"{state}_at" for state in STATES))
_DECODERS: dict[str, Any] = {
    **dict.fromkeys(_TIMES, _seconds),
    **dict.fromkeys(("asked", "resolved", "expected", "sent", "answer"), json.loads),
    **dict.fromkeys(("price", "cost"), read_cost),
    "differences": _read_differences,
    "sandbox": bool,
}


def _decoded(row: sqlite3.Row, but: Sequence[str] = ()) -> dict[str, Any]:
    return {
        name: _DECODERS[name](row[name]) if name in _DECODERS and row[name] is not None else row[name]
        for name in row.keys()  # noqa: SIM118 - a Row iterates over its values
        if name not in but
    }
