"""The ledger: every task, its state, cost and pictures, durable before the next step is made, so that nothing paid for is forgotten.

    planned -> submitting -> submitted -> made -> saved
                   |             |          |
                   +-> unknown   +-> failed-+          planned -> dropped

`submitted` and `made` are collectable: the gateway has the task, and whoever claims it can bring its pictures home without paying again.
A task is left alone while a living process has it, and within that process while a job has it in its hands (Claims). An end that cannot
be written is written later, before anything newer.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from imagegen_magic import paths
from imagegen_magic.engine.ledger import process_locks
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.ledger.database import DAMAGED, Database, T, Work
from imagegen_magic.engine.ledger.records import (
    ANSWER_BYTES,
    PICTURES,
    STATES,
    NewJob,
    NewSource,
    NewTask,
    PictureRow,
    TaskRow,
    encoded,
    insert_job,
    iso,
    json_of,
    marks,
    missing_in,
    now,
    read_cost,
    read_picture,
    read_tasks,
    seconds_of,
    text_of,
)
from imagegen_magic.engine.ledger.schema import FUNCTIONS, MIGRATIONS, MIN_READER
from imagegen_magic.errors import LedgerError
from imagegen_magic.records import ProcessBound
from imagegen_magic.result import Cost

__all__ = [
    "ANSWER_BYTES",
    "RESUMABLE",
    "STATES",
    "Ledger",
    "NewJob",
    "NewSource",
    "NewTask",
    "PictureRow",
    "TaskRow",
    "iso",
    "read_cost",
]

_APPLICATION_ID = 0x494D4731  # "IMG1"

RESUMABLE = ("submitted", "made")
_ENDS = ("saved", "failed", "unknown", "dropped")


class Ledger(ProcessBound):
    """The tasks and pictures of one home folder, shared by all processes that use it.

    Nothing touches the disk before the first question. An open ledger is an owner: what it added or claimed is left alone by others
    until it releases it, is closed, or its process ends in whatever way. Every method raises LedgerError where the file cannot be used.
    """

    def __init__(self, home: Path, *, patience: float = 10.0) -> None:
        self._database = Database(
            home / "ledger.sqlite",
            MIGRATIONS,
            application_id=_APPLICATION_ID,
            min_reader=MIN_READER,
            patience=patience,
            functions=FUNCTIONS,
        )
        self.path = self._database.path
        self._damage = ""  # what the reading of the whole file found
        self._inspector: threading.Thread | None = None
        self._owner = process_locks.ProcessLock(self.path.parent / "owners")
        self._own_claims = Claims()  # of what is taken for no job: as long as this ledger is there
        self._claims_of: weakref.WeakValueDictionary[int, Claims] = weakref.WeakValueDictionary()

    @property
    def owner(self) -> str:
        """The name under which this ledger takes tasks: that of its session, which ends with `close` or with the process."""
        return self._owner.name

    @property
    def transactions(self) -> int:
        """How many transactions wrote so far."""
        return self._database.transactions

    @property
    def newer(self) -> bool:
        """Whether a newer version has added to the file what this one does not know; told once it was opened."""
        return self._database.newer

    async def check(self) -> None:
        """Open the ledger, look at its tables, and write to it durably, so that what is wrong is known before anything is sent.

        The whole of it is read by `inspect` or `inspect_in_background`; what that found is said from then on, as long as it is so.
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
            self._owner.name  # noqa: B018 - its first use takes the lock, which must be possible too

        await self._database.run(work, charge="no")

    def _damaged(self, what: str) -> LedgerError:
        return LedgerError(f"The ledger {self.path} is damaged: {what}", hint=DAMAGED)

    def inspect(self) -> LedgerError | None:
        """Read the whole file, in the calling thread, and return what is wrong with it; reading takes 2.5 ms a megabyte."""
        self._damage = self._database.inspect()
        return self._damaged(self._damage) if self._damage else None

    def inspect_in_background(self) -> None:
        """Read the whole file once, in a thread of its own beside the work; `check` says from then on what was found."""
        if self._inspector is None:
            self._inspector = threading.Thread(target=self.inspect, name="imagegen ledger check", daemon=True)
            self._inspector.start()

    @property
    def damage(self) -> LedgerError | None:
        """What is known to be wrong with the file, as far as it was read."""
        return self._damaged(self._damage) if self._damage else None

    async def run(self, work: Work[T], *, writes: bool = True) -> T:
        """Return what `work`, given the connection, returns; one transaction with whatever else waits, for tables beside jobs and tasks."""
        return await self._database.run(work, writes=writes, charge="no")

    async def add(
        self,
        jobs: Sequence[NewJob],
        allow: Callable[[sqlite3.Connection], None] = lambda connection: None,
        *,
        claims: Claims | None = None,
    ) -> list[tuple[int, list[int]]]:
        """Record what is about to be submitted, all in one transaction; returns (job id, rows of its tasks) for each.

        `allow` is asked first, in the same transaction, and may raise: then nothing is recorded. The tasks are in `claims`, else in this
        ledger's own as long as it is open.
        """

        def work(connection: sqlite3.Connection) -> list[tuple[int, list[int]]]:
            allow(connection)
            added = [insert_job(connection, job, self._owner.name) for job in jobs]
            self._claim((row for _, rows in added for row in rows), claims)
            return added

        return await self._database.run(work)

    def _claim(self, rows: Iterable[int], claims: Claims | None) -> None:
        claims, taken = claims or self._own_claims, list(rows)
        claims.add(taken)
        for row in taken:
            self._claims_of[row] = claims

    async def set_state(self, row: int, state: str, **columns: Any) -> None:
        """Record a task's state, and when it was first reached.

        Columns: task_id, sent, cost (Cost; unknown never replaces known), estimated_seconds, answer (any JSON, kept up to ANSWER_BYTES),
        error, seconds. Raises ValueError for another state, TypeError for another column; and LedgerError where it cannot be written now:
        what became of a submission is written later then, before anything newer.
        """
        if state not in STATES:
            raise ValueError(f"{state!r} is not one of {', '.join(STATES)}")
        changes = {"state": state, **encoded(columns)}

        def work(connection: sqlite3.Connection) -> None:
            _change(connection, row, changes)

        before = state in ("planned", "submitting")
        await self._database.run(work, charge="no" if before or state == "dropped" else "unknown", kept=not before)

    async def record_result(
        self, row: int, urls: Sequence[str], *, expires_at: float | None, cost: Cost, seconds: float | None, answer: Any
    ) -> list[int]:
        """Record a finished task's addresses and return its pictures' ids, in order.

        Asked anew, the addresses of pictures that are not saved yet are replaced under the same ids.
        """
        changes = encoded({"cost": cost, "seconds": seconds, "answer": answer})

        def work(connection: sqlite3.Connection) -> list[int]:
            _change(connection, row, {"state": "made", **changes})
            addressed = [_address(connection, row, position, url, expires_at) for position, url in enumerate(urls)]
            if all(saved for _, saved in addressed):
                _end_if_saved(connection, row)
            return [picture for picture, _ in addressed]

        return await self._database.run(work, charge="yes")

    async def record_saved(
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
        """Record where a picture is; with its last one the task is saved. What cannot be written now is written later, too."""
        values = (paths.text_of(path), sha256, size, width, height, mime_type, json_of(list(differences)))

        def work(connection: sqlite3.Connection) -> None:
            query = (
                "UPDATE pictures SET path = ?, sha256 = ?, size = ?, width = ?, height = ?, mime_type = ?, differences = ?, saved_at = ?"
                " WHERE id = ? RETURNING task"
            )
            found = connection.execute(query, (*values, now(), picture)).fetchall()
            if not found:
                raise LedgerError(f"The ledger has no picture {picture}", hint="look with %imagegen jobs")
            _end_if_saved(connection, found[0]["task"])

        await self._database.run(work, charge="yes", kept=True)

    async def record_unreadable(self, picture: int, *, path: str | Path, error: str) -> None:
        """Record where the file is that came as a picture and is none that can be read; with its last one the task is saved, with `error`.

        Such a picture has a path and no `saved_at`. What cannot be written now is written later.
        """

        def work(connection: sqlite3.Connection) -> None:
            query = "UPDATE pictures SET path = ?, saved_at = NULL WHERE id = ? RETURNING task"
            for row in [each["task"] for each in connection.execute(query, (paths.text_of(path), picture)).fetchall()]:
                connection.execute("UPDATE tasks SET error = ? WHERE row = ?", (text_of(error), row))
                _end_if_saved(connection, row)

        await self._database.run(work, charge="yes", kept=True)

    async def record_drift(self, picture: int, share: float, mean: float) -> None:
        """Record how much of what a mask protects a picture has changed: share of its pixels, mean absolute difference, both 0..1."""

        def work(connection: sqlite3.Connection) -> None:
            query = """INSERT INTO drifts (picture, share, mean) VALUES (?, ?, ?)
                ON CONFLICT (picture) DO UPDATE SET share = excluded.share, mean = excluded.mean"""
            connection.execute(query, (picture, share, mean))

        await self._database.run(work, charge="yes")

    async def release(self, rows: Sequence[int], note: str = "") -> None:
        """Stop waiting for tasks of ours: they keep their state, and whoever wants can claim them; what was only planned is dropped.

        What cannot be written now is written later.
        """

        def work(connection: sqlite3.Connection) -> None:
            query = "UPDATE tasks SET state = 'dropped', dropped_at = ? WHERE row = ? AND owner = ? AND state = 'planned'"
            connection.executemany(query, [(now(), row, self._owner.name) for row in rows])
            query = "UPDATE tasks SET owner = NULL, note = coalesce(nullif(?, ''), note) WHERE row = ? AND owner = ?"
            connection.executemany(query, [(text_of(note), row, self._owner.name) for row in rows])
            for each in _of_state(connection, rows, "made"):
                _end_if_saved(connection, each)  # it was taken up once more, and what came of it before is still there

        await self._database.run(work, charge="unknown", kept=True)

    async def claim(self, *, rows: Sequence[int] | None = None, claims: Claims | None = None) -> list[TaskRow]:
        """Take over the collectable tasks (of these rows) that nobody alive carries; no two claimers get the same one. Newest first.

        They are in `claims`, else in this ledger's own; none is taken for one that has ended meanwhile.
        """

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            if claims is not None and claims.ended:
                return []
            left = self._left(connection, RESUMABLE)
            mine = left if rows is None else left & set(rows)
            connection.executemany("UPDATE tasks SET owner = ? WHERE row = ?", [(self._owner.name, row) for row in mine])
            self._claim(mine, claims)
            return read_tasks(connection, mine)

        return await self._database.run(work)

    async def reclaim(self, row: int, *, claims: Claims | None = None) -> list[TaskRow]:
        """Take over a task that the gateway has, also one that was given up or came to nothing; none where somebody alive carries it.

        None too where it was never accepted, or where all its pictures are saved.
        """

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            if claims is not None and claims.ended:
                return []
            query = """SELECT state, owner, (SELECT count(*) FROM pictures WHERE task = tasks.row) AS known,
                (SELECT count(saved_at) FROM pictures WHERE task = tasks.row) AS saved FROM tasks WHERE row = ? AND task_id IS NOT NULL"""
            found = connection.execute(query, (row,)).fetchone()
            if not found or found["state"] in ("planned", "submitting") or (found["known"] and found["known"] == found["saved"]):
                return []
            if found["state"] in RESUMABLE and not self._uncarried([(found["owner"], row)]):
                return []
            _change(connection, row, {"state": "made" if found["known"] else "submitted", "owner": self._owner.name})
            self._claim([row], claims)
            return read_tasks(connection, [row])

        return await self._database.run(work)

    async def forget(self, row: int, error: str) -> TaskRow | None:
        """Give a task up, and return it as it was: nobody collects it any more by itself, and the same may be sent again.

        Its id, addresses and cost stay. None where somebody alive carries it, and where there is nothing to give up: it was never sent,
        has failed, or has all its pictures.
        """

        def work(connection: sqlite3.Connection) -> TaskRow | None:
            found = read_tasks(connection, [row])
            if not found or not self._may_be_given_up(found[0]):
                return None
            _change(connection, row, {"state": "failed", "error": text_of(error)})
            return found[0]

        return await self._database.run(work, charge="no")

    def _may_be_given_up(self, task: TaskRow) -> bool:
        """Say whether a person may give this task up: nobody carries it, and it has no picture, or not all."""
        if task.state in RESUMABLE:
            return bool(self._uncarried([(task.owner, task.row)]))
        return task.state == "unknown" or (task.state == "saved" and any(each.saved_at is None for each in task.pictures))

    async def add_folder(self, rows: Sequence[int], folder: str | Path) -> None:
        """Record a folder that the pictures of tasks go to from now on, beside the one that they were asked to go to."""
        query = "INSERT INTO folders (task, folder) VALUES (?, ?) ON CONFLICT DO NOTHING"

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(query, [(row, paths.text_of(folder)) for row in rows])

        await self._database.run(work, charge="yes")

    async def extra_folders(self, row: int) -> list[Path]:
        """Return the other folders that a task's pictures were to go to, each as `add_folder` recorded it."""

        def work(connection: sqlite3.Connection) -> list[Path]:
            return [paths.path_of(each["folder"]) for each in connection.execute("SELECT folder FROM folders WHERE task = ?", (row,))]

        return await self._database.run(work, writes=False)

    async def recover_orphans(self) -> list[TaskRow]:
        """Turn what was being submitted by whoever is gone into `unknown` and return it; what they had only planned is dropped.

        What they had taken up once more, though all of it is on the disk, is as it was before.
        """

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            for row in self._left(connection, ("planned",)):
                _change(connection, row, {"state": "dropped"})
            whole = {each["task"] for each in connection.execute(_WHOLE)}
            for row in whole and self._left(connection, ("made",)) & whole:
                _end_if_saved(connection, row)
            unknown = self._left(connection, ("submitting",))
            for row in unknown:
                _change(connection, row, {"state": "unknown", "error": "the process ended, or was stopped, while this was being submitted"})
            return read_tasks(connection, unknown)

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
                return read_tasks(connection, rows)
            query = f"SELECT row FROM tasks WHERE (? OR state IN ({marks(states or ())})) AND (? OR job = ?) ORDER BY row DESC LIMIT ?"
            found = connection.execute(query, (states is None, *(states or ()), job is None, job, _limit(limit)))
            return read_tasks(connection, [each["row"] for each in found])

        return await self._database.run(work, writes=False)

    async def latest_row(self) -> int:
        """Return the latest task's row, 0 where there is none."""

        def work(connection: sqlite3.Connection) -> int:
            return int(connection.execute("SELECT coalesce(max(row), 0) FROM tasks").fetchone()[0])

        return await self._database.run(work, writes=False)

    async def reopen(self, pictures: Sequence[int]) -> None:
        """Make pictures whose files are gone collectable again, with their tasks."""

        def work(connection: sqlite3.Connection) -> None:
            for start in range(0, len(pictures), 500):
                some = pictures[start : start + 500]
                query = f"UPDATE pictures SET saved_at = NULL, path = NULL WHERE id IN ({marks(some)}) RETURNING task"
                rows = {each["task"] for each in connection.execute(query, some)}
                connection.executemany("UPDATE tasks SET state = 'made', owner = NULL WHERE row = ?", [(row,) for row in rows])

        await self._database.run(work)

    async def sources(self, job: int) -> list[NewSource]:
        """Return what a request was made with: references in their order, then the mask."""
        query = "SELECT role, name, picture, sha256 FROM sources WHERE job = ? ORDER BY position"

        def work(connection: sqlite3.Connection) -> list[NewSource]:
            return [NewSource(*row) for row in connection.execute(query, (job,))]

        return await self._database.run(work, writes=False)

    async def by_fingerprint(self, fingerprints: Iterable[str]) -> dict[str, list[TaskRow]]:
        """Return the tasks that asked for the same, newest first, by fingerprint; what certainly came to nothing is left out."""
        wanted = sorted(set(fingerprints) - {""})

        def work(connection: sqlite3.Connection) -> dict[str, list[TaskRow]]:
            rows: list[int] = []
            for start in range(0, len(wanted), 500):
                some = wanted[start : start + 500]
                query = f"SELECT row FROM tasks WHERE fingerprint IN ({marks(some)}) AND state NOT IN ('failed', 'dropped')"
                rows += [each["row"] for each in connection.execute(query, some)]
            found: dict[str, list[TaskRow]] = {}
            for task in read_tasks(connection, rows):
                found.setdefault(task.fingerprint, []).append(task)
            return found

        return await self._database.run(work, writes=False)

    async def durations(self, provider: str, model: str, quality: str, tier: str, limit: int = 60, *, sandbox: bool = False) -> list[float]:
        """Return how many seconds the tasks of this class took, newest first."""
        query = (
            "SELECT tasks.seconds FROM tasks JOIN jobs ON jobs.id = tasks.job WHERE jobs.provider = ? AND jobs.model = ?"
            " AND jobs.quality = ? AND jobs.tier = ? AND jobs.sandbox = ? AND tasks.state IN ('made', 'saved')"
            " AND tasks.seconds IS NOT NULL ORDER BY tasks.made_at DESC, tasks.row DESC LIMIT ?"
        )

        def work(connection: sqlite3.Connection) -> list[float]:
            return [row["seconds"] for row in connection.execute(query, (provider, model, quality, tier, sandbox, limit))]

        return await self._database.run(work, writes=False)

    async def pictures(self, *, limit: int | None = 20, ids: Sequence[int] | None = None, words: str = "") -> list[PictureRow]:
        """Return saved pictures, newest first: these ids, or those whose prompt or name has all the words, in any case."""

        def work(connection: sqlite3.Connection) -> list[PictureRow]:
            wanted = words.casefold().split()
            connection.create_function("has_words", 2, lambda *texts: _has_words(wanted, texts), deterministic=True)
            query = f"{PICTURES} WHERE pictures.saved_at IS NOT NULL"
            query += "" if ids is None else f" AND pictures.id IN ({marks(ids)})"  # alone, so that it is looked up and not looked for
            query += " AND (? OR has_words(jobs.prompt, jobs.name)) ORDER BY pictures.id DESC LIMIT ?"
            found = connection.execute(query, (*(ids or ()), not wanted, _limit(limit)))
            return [read_picture(row) for row in found]

        return await self._database.run(work, writes=False)

    def peek(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query at once, in the calling thread; none where there is no ledger that can be read."""
        return self._database.peek(query)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in the calling thread; none where there is no ledger yet. Raises LedgerError where it is damaged."""
        return self._database.ask(query)

    def count_resumable(self) -> int:
        """Count the pictures that could be collected and that nobody alive carries, at once.

        0 too where there is no ledger that can be read: `check` says why.
        """
        with suppress(OSError):
            found = {row: (owner, pictures) for owner, row, pictures in self._database.peek(_WAITING)}
            left = self._uncarried((owner, row) for row, (owner, _) in found.items())
            return sum(found[row][1] for row in left)
        return 0

    def close(self) -> None:
        """Finish what is being written, end the thread, and let go what is ours; a later call opens the ledger again."""
        self._database.close()
        if self._inspector is not None:
            self._inspector.join()
            self._inspector = None
        self._owner.release()

    def _alive(self, owner: str | None) -> bool:
        return process_locks.alive(self._owner.folder, owner)

    def _left(self, connection: sqlite3.Connection, states: Sequence[str]) -> set[int]:
        """Return the tasks of these states that nobody alive carries."""
        found = connection.execute(f"SELECT owner, row FROM tasks WHERE {_OPEN} AND state IN ({marks(states)})", states)
        return self._uncarried((each["owner"], each["row"]) for each in found)

    def _uncarried(self, tasks: Iterable[tuple[str | None, int]]) -> set[int]:
        """Return which of these tasks (owner, row) nobody alive carries: their process is gone, or no job of this one has them."""
        alive: dict[str | None, bool] = {}
        left = set()
        for owner, row in tasks:
            if owner not in alive:
                alive[owner] = self._alive(owner)
            if not alive[owner] or (owner == self._owner.known and row not in self._claims_of.get(row, ())):
                left.add(row)
        return left


_OPEN = "state IN ('planned', 'submitting', 'submitted', 'made')"  # literally as in the index, or SQLite does not use it
_WHOLE = f"""SELECT task FROM pictures WHERE task IN (SELECT row FROM tasks WHERE {_OPEN} AND state = 'made')
    GROUP BY task HAVING count(path) = count(*)"""
_WAITING = f"""SELECT owner, row, CASE state WHEN 'submitted' THEN count
        ELSE (SELECT count(*) FROM pictures WHERE pictures.task = tasks.row AND pictures.path IS NULL) END
    FROM tasks WHERE {_OPEN} AND state IN ('submitted', 'made')"""


def _change(connection: sqlite3.Connection, row: int, changes: Mapping[str, Any]) -> None:
    """Write a task's new state and columns; raises LedgerError where there is no such task."""
    state = changes["state"]
    settings = [f"{name} = ?" for name in changes]
    settings.append(f"{state}_at = coalesce({state}_at, ?)")
    if state in _ENDS:
        settings.append("owner = NULL")
    done = connection.execute(f"UPDATE tasks SET {', '.join(settings)} WHERE row = ?", (*changes.values(), now(), row))
    if not done.rowcount:
        raise LedgerError(f"The ledger has no task {row}", hint="look with %imagegen jobs")


def latest_by_fingerprint(connection: sqlite3.Connection, fingerprints: Iterable[str]) -> dict[str, tuple[int, float]]:
    """Return the latest saved picture that asked for the same, as (id, epoch seconds), by fingerprint."""
    wanted = sorted(set(fingerprints) - {""})
    found = {}
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        query = f"""SELECT tasks.fingerprint, max(pictures.id) AS picture, pictures.saved_at
            FROM tasks JOIN pictures ON pictures.task = tasks.row
            WHERE tasks.fingerprint IN ({marks(some)}) AND pictures.saved_at IS NOT NULL GROUP BY tasks.fingerprint"""
        found.update({each["fingerprint"]: (each["picture"], seconds_of(each["saved_at"])) for each in connection.execute(query, some)})
    return found


def _address(connection: sqlite3.Connection, row: int, position: int, url: str, expires_at: float | None) -> tuple[int, bool]:
    """Record where a picture of a task can be fetched, unless it is saved already; returns its id, and whether it is."""
    query = """INSERT INTO pictures (task, position, url, expires_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (task, position) DO UPDATE SET url = excluded.url, expires_at = excluded.expires_at WHERE saved_at IS NULL
        RETURNING id"""
    found = connection.execute(query, (row, position, text_of(url), None if expires_at is None else iso(expires_at))).fetchall()
    if found:
        return int(found[0]["id"]), False
    known = connection.execute("SELECT id FROM pictures WHERE task = ? AND position = ?", (row, position)).fetchone()
    return int(known["id"]), True


def _end_if_saved(connection: sqlite3.Connection, row: int) -> None:
    """End a task all of whose pictures are on the disk; what is wrong with one that cannot be read stays said."""
    query = "SELECT count(*), count(path), count(saved_at) FROM pictures WHERE task = ?"
    known, kept, saved = connection.execute(query, (row,)).fetchone()
    if known and known == kept:
        _change(connection, row, {"state": "saved"} | ({"error": None} if known == saved else {}))


def _of_state(connection: sqlite3.Connection, rows: Sequence[int], state: str) -> list[int]:
    found: list[int] = []
    for start in range(0, len(rows), 500):
        some = rows[start : start + 500]
        query = f"SELECT row FROM tasks WHERE row IN ({marks(some)}) AND state = ?"
        found += [each["row"] for each in connection.execute(query, (*some, state))]
    return found


def _has_words(wanted: Sequence[str], texts: Iterable[str | None]) -> bool:
    text = " ".join(each for each in texts if each).casefold()
    return all(word in text for word in wanted)


def _limit(limit: int | None) -> int:
    return -1 if limit is None else limit
