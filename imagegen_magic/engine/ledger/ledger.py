"""The ledger: every task with its state, cost and images, durable before the next step, so that nothing paid for is lost.

    planned -> submitting -> submitted -> made -> saved
                   |             |          |
                   +-> unknown   +-> failed-+          planned -> dropped

`submitted` and `made` are resumable: the gateway has the task, and any process that claims it can fetch its images without paying again.
A task cannot be claimed while a living process owns it and, within that process, a job has it in its Claims. A final state that cannot be
written is written later, before any newer write.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from imagegen_magic import paths
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import (
    ANSWER_BYTES,
    IN_LIST,
    NO_CHECKS,
    STATES,
    Checks,
    NewJob,
    NewSource,
    NewTask,
    PictureRow,
    TaskRow,
    encoded,
    error_text,
    insert_job,
    iso,
    json_of,
    now,
    read_pictures,
    read_tasks,
    store_error,
    text_of,
)
from imagegen_magic.engine.ledger.reservations import end_reservation, ended_reservations
from imagegen_magic.errors import ImageGenError, LedgerError, SubmissionUnknown
from imagegen_magic.result import Cost

__all__ = ["ANSWER_BYTES", "RESUMABLE", "STATES", "Ledger", "NewJob", "NewSource", "NewTask", "PictureRow", "TaskRow"]

RESUMABLE = ("submitted", "made")
_FINAL = ("saved", "failed", "unknown", "dropped")


Check = Callable[[sqlite3.Connection], None]


def _allow_all(connection: sqlite3.Connection) -> None:
    """Allow every request."""


class Ledger(LedgerFile):
    """The tasks and images of one home folder, shared by all processes that use it.

    An open ledger owns the tasks that it added or claimed: other ledgers leave them alone until it releases them, is closed, or its
    process ends. Every method raises LedgerError if the file cannot be used.
    """

    def __init__(self, home: Path, *, patience: float = 10.0) -> None:
        super().__init__(home, patience=patience)
        self._own_claims = Claims()  # of tasks that no job claimed: for the life of this ledger
        self._claims_of: weakref.WeakValueDictionary[int, Claims] = weakref.WeakValueDictionary()

    async def add(
        self,
        jobs: Sequence[NewJob],
        allow: Check = _allow_all,
        *,
        claims: Claims | None = None,
    ) -> list[tuple[int, list[int]]]:
        """Record tasks before they are submitted, all in one transaction; returns (job id, rows of its tasks) for each job.

        `allow` is called first, in the same transaction; if it raises, nothing is recorded. The tasks are added to `claims`, by default
        to those of this ledger.
        """

        def work(connection: sqlite3.Connection) -> list[tuple[int, list[int]]]:
            allow(connection)
            added = [insert_job(connection, job, self.owner) for job in jobs]
            self._claim((row for _, rows in added for row in rows), claims)
            return added

        return await self.run(work)

    def _claim(self, rows: Iterable[int], claims: Claims | None) -> None:
        claims, claimed = claims or self._own_claims, list(rows)
        claims.add(claimed)
        for row in claimed:
            self._claims_of[row] = claims

    async def set_state(self, row: int, state: str, **columns: Any) -> None:
        """Record a task's state, and when it was first reached.

        Columns: task_id, sent, idempotency_key, cost (Cost; an unknown one never replaces a known one), estimated_seconds, answer (any
        JSON, cut to ANSWER_BYTES), error, seconds. Raises ValueError for an unknown state, TypeError for an unknown column, LedgerError if
        it cannot be written now. A state that follows a submission is then written later, before any newer write.
        """
        if state not in STATES:
            raise ValueError(f"{state!r} is not one of {', '.join(STATES)}")
        changes = {"state": state, **encoded(columns)}
        before = state in ("planned", "submitting")
        await self.run(
            lambda connection: _change(connection, row, changes, columns.get("error")),
            charge="no" if before or state == "dropped" else "unknown",
            deferrable=not before,
        )

    async def record_result(
        self,
        row: int,
        urls: Sequence[str],
        *,
        expires_at: float | None,
        cost: Cost,
        seconds: float | None,
        answer: Any,
        task_id: str = "",
        seeds: Sequence[int] = (),
        text: str = "",
    ) -> list[int]:
        """Record the image URLs of a finished task, with its id if that is new, and return the images' ids, in order.

        `seeds` are those of the first images, `text` is what the service wrote beside them. If it had URLs already, those of images that
        are not saved yet are replaced under the same ids.
        """
        changes = encoded({"cost": cost, "seconds": seconds, "answer": answer, "task_id": task_id or None})

        def work(connection: sqlite3.Connection) -> list[int]:
            _change(connection, row, {"state": "made", **changes})
            recorded = [_record_url(connection, row, position, url, expires_at) for position, url in enumerate(urls)]
            known = [(picture, seed) for (picture, _), seed in zip(recorded, seeds, strict=False) if abs(seed) < 2**63]
            connection.executemany("INSERT OR REPLACE INTO seeds (picture, seed) VALUES (?, ?)", known)
            if text:
                connection.execute("INSERT OR REPLACE INTO texts (task, text) VALUES (?, ?)", (row, text_of(text)))
            if all(saved for _, saved in recorded):
                _finish_if_saved(connection, row)
            return [picture for picture, _ in recorded]

        return await self.run(work, charge="yes")

    async def record_saved(
        self,
        picture: int,
        *,
        path: str | paths.Location,
        sha256: str,
        size: int,
        width: int,
        height: int,
        mime_type: str,
        differences: Sequence[str] = (),
        checks: Checks = NO_CHECKS,
    ) -> None:
        """Record the file of an image; after its last image the task is saved. If it cannot be written now, it is written later."""
        values = (paths.text_of(path), sha256, size, width, height, mime_type, json_of(list(differences)))

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE pictures SET url = substr(url, 1, 40) WHERE id = ? AND url LIKE 'data:%'", (picture,))
            query = (
                "UPDATE pictures SET path = ?, sha256 = ?, size = ?, width = ?, height = ?, mime_type = ?, differences = ?, saved_at = ?"
                " WHERE id = ? RETURNING task"
            )
            found = connection.execute(query, (*values, now(), picture)).fetchall()
            if not found:
                raise LedgerError(f"The ledger has no picture {picture}", hint="%imagegen jobs lists what it has")
            connection.execute("INSERT OR REPLACE INTO checks (picture, pixels, format, alpha) VALUES (?, ?, ?, ?)", (picture, *checks))
            _finish_if_saved(connection, found[0]["task"])

        await self.run(work, charge="yes", deferrable=True)

    async def record_unreadable(self, picture: int, *, path: str | paths.Location, error: ImageGenError | str) -> None:
        """Record the file of a result that is not a readable image; after its last image the task is saved, with `error`.

        Such an image has a path and no `saved_at`. If it cannot be written now, it is written later.
        """

        def work(connection: sqlite3.Connection) -> None:
            query = "UPDATE pictures SET path = ?, saved_at = NULL WHERE id = ? RETURNING task"
            for row in [each["task"] for each in connection.execute(query, (paths.text_of(path), picture)).fetchall()]:
                connection.execute("UPDATE tasks SET error = ? WHERE row = ?", (error_text(error), row))
                store_error(connection, row, error)
                _finish_if_saved(connection, row)

        await self.run(work, charge="yes", deferrable=True)

    async def record_drift(self, picture: int, share: float, mean: float) -> None:
        """Record how much of the protected part of an edit changed: share of its pixels, mean absolute difference, both 0..1."""
        query = """INSERT INTO drifts (picture, share, mean) VALUES (?, ?, ?)
            ON CONFLICT (picture) DO UPDATE SET share = excluded.share, mean = excluded.mean"""
        await self.run(lambda connection: connection.execute(query, (picture, share, mean)), charge="yes")

    async def release(self, rows: Sequence[int], note: str = "") -> None:
        """Stop waiting for tasks of ours: planned ones are dropped, the others keep their state and can be claimed.

        If it cannot be written now, it is written later.
        """

        query = f"""UPDATE tasks SET owner = NULL, note = coalesce(nullif(?, ''), note), state = iif(state = 'planned', 'dropped', state),
            dropped_at = iif(state = 'planned', ?, dropped_at) WHERE row {IN_LIST} AND owner = ? RETURNING row, state"""

        def work(connection: sqlite3.Connection) -> None:
            for each in connection.execute(query, (text_of(note), now(), json_of(list(rows)), self.owner)).fetchall():
                if each["state"] == "made":
                    _finish_if_saved(connection, each["row"])  # it was resumed, and its images are still on the disk

        await self.run(work, charge="unknown", deferrable=True)

    async def claim(self, *, rows: Sequence[int] | None = None, claims: Claims | None = None) -> list[TaskRow]:
        """Claim the resumable tasks (of these rows) that no living process has; newest first. A task is never claimed twice.

        They are added to `claims`, by default to those of this ledger. If `claims` has ended, none is claimed.
        """

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            if claims is not None and claims.ended:
                return []
            orphans = self._orphans_in(connection, RESUMABLE)
            claimed = orphans if rows is None else orphans & set(rows)
            connection.executemany("UPDATE tasks SET owner = ? WHERE row = ?", [(self.owner, row) for row in claimed])
            self._claim(claimed, claims)
            return read_tasks(connection, claimed)

        return await self.run(work)

    async def reclaim(self, row: int, *, claims: Claims | None = None) -> list[TaskRow]:
        """Claim a task that the gateway accepted, even if it was given up or failed.

        Nothing is claimed if a living process has it, if the gateway never accepted it, or if all its images are saved.
        """

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            if claims is not None and claims.ended:
                return []
            found = read_tasks(connection, [row])
            if not found or not self._can_be_reclaimed(found[0]):
                return []
            _change(connection, row, {"state": "made" if found[0].pictures else "submitted", "owner": self.owner})
            self._claim([row], claims)
            return read_tasks(connection, [row])

        return await self.run(work)

    def _can_be_reclaimed(self, task: TaskRow) -> bool:
        if task.task_id is None or task.state in ("planned", "submitting"):
            return False
        if (task.pictures or task.deleted) and all(each.saved_at is not None for each in task.pictures):
            return False
        return task.state not in RESUMABLE or self._is_orphan(task)

    async def claim_unknown(self, rows: Sequence[int], *, claims: Claims, allow: Check = _allow_all) -> list[TaskRow]:
        """Claim those of these submissions of unknown outcome that no living process asks about; newest first.

        `allow` is called first, in the same transaction; if it raises, nothing is claimed.
        """

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            if claims.ended:
                return []
            found = [task for task in read_tasks(connection, rows) if task.state == "unknown"]
            claimed = [task.row for task in found if self._is_orphan(task)]
            allow(connection)
            connection.executemany("UPDATE tasks SET owner = ? WHERE row = ?", [(self.owner, row) for row in claimed])
            self._claim(claimed, claims)
            return read_tasks(connection, claimed)

        return await self.run(work)

    async def forget(self, row: int, error: ImageGenError | str) -> TaskRow | None:
        """Give a task up and return it as it was: it is no longer resumed by itself, and the same request may be sent again.

        Its id, URLs and cost stay. None if a living process has it, or if there is nothing to give up: it was never sent, has failed,
        or has all its images.
        """

        def work(connection: sqlite3.Connection) -> TaskRow | None:
            found = read_tasks(connection, [row])
            if not found or not self._can_be_forgotten(found[0]):
                return None
            _change(connection, row, {"state": "failed", "error": error_text(error)}, error)
            return found[0]

        return await self.run(work)

    def _can_be_forgotten(self, task: TaskRow) -> bool:
        if task.state in (*RESUMABLE, "unknown"):
            return self._is_orphan(task)
        return task.state == "saved" and any(each.saved_at is None for each in task.pictures)

    def _is_orphan(self, task: TaskRow) -> bool:
        return bool(self._orphans([(task.owner, task.row)]))

    async def add_folder(self, rows: Sequence[int], folder: str | paths.Location) -> None:
        """Record another folder for the images of tasks, beside the one of their request."""
        query = "INSERT INTO folders (task, folder) VALUES (?, ?) ON CONFLICT DO NOTHING"
        values = [(row, paths.text_of(folder)) for row in rows]
        await self.run(lambda connection: connection.executemany(query, values), charge="yes")

    async def extra_folders(self, row: int) -> list[paths.Location]:
        """Return the folders that `add_folder` recorded for a task."""
        found = await self.fetch("SELECT folder FROM folders WHERE task = ?", (row,))
        return [paths.located(each["folder"]) for each in found]

    async def recover_orphans(self) -> list[TaskRow]:
        """Set what an ended process was submitting to `unknown` and return it; what it had only planned is dropped.

        A task that it had resumed is finished again if all its images are on the disk.
        """

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            for row in self._orphans_in(connection, ("planned",)):
                _change(connection, row, {"state": "dropped"})
            end_reservation(connection, ended_reservations(connection, self.is_alive)[0])
            for row in self._orphans_in(connection, ("made",)):
                _finish_if_saved(connection, row)
            unknown = self._orphans_in(connection, ("submitting",))
            for row in unknown:
                error = SubmissionUnknown("The process ended, or was stopped, while this was being submitted")
                _change(connection, row, {"state": "unknown", "error": error_text(error)}, error)
            return read_tasks(connection, unknown)

        return await self.run(work)

    async def count_unsent(self) -> int:
        """Return how many tasks ended processes had planned and not sent; `recover_orphans` drops them, and nothing was charged."""

        def work(connection: sqlite3.Connection) -> int:
            return len(self._orphans_in(connection, ("planned",))) + ended_reservations(connection, self.is_alive)[1]

        return await self.run(work, writes=False)

    async def count_open(self) -> list[tuple[str, bool, str, int]]:
        """Return how many tasks are open or of unknown outcome, as (provider, sandbox, state, number)."""
        query = """SELECT jobs.provider, jobs.sandbox, tasks.state, count(*) FROM tasks JOIN jobs ON jobs.id = tasks.job
            WHERE tasks.state IN ('planned', 'submitting', 'submitted', 'made', 'unknown') GROUP BY 1, 2, 3 ORDER BY min(tasks.row)"""
        return [(provider, bool(sandbox), state, number) for provider, sandbox, state, number in await self.fetch(query)]

    async def tasks(
        self,
        *,
        states: Sequence[str] | None = None,
        job: int | None = None,
        limit: int | None = None,
        rows: Sequence[int] | None = None,
    ) -> list[TaskRow]:
        """Return tasks, newest first: in these states, of this job, at most `limit`; or those of these rows."""

        def work(connection: sqlite3.Connection) -> list[TaskRow]:
            if rows is not None:
                return read_tasks(connection, rows)
            query = f"SELECT row FROM tasks WHERE (? OR state {IN_LIST}) AND (? OR job = ?) ORDER BY row DESC LIMIT coalesce(?, -1)"
            found = connection.execute(query, (states is None, json_of(list(states or ())), job is None, job, limit))
            return read_tasks(connection, [each["row"] for each in found])

        return await self.run(work, writes=False)

    async def sources(self, job: int) -> list[NewSource]:
        """Return the images that a request used: references in their order, then the mask."""
        query = "SELECT role, name, picture, sha256 FROM sources WHERE job = ? ORDER BY position"
        return [NewSource(*row) for row in await self.fetch(query, (job,))]

    async def durations(self, provider: str, model: str, quality: str, tier: str, limit: int = 60, *, sandbox: bool = False) -> list[float]:
        """Return how many seconds the tasks of this class took, newest first."""
        query = """SELECT tasks.seconds FROM tasks JOIN jobs ON jobs.id = tasks.job WHERE jobs.provider = ? AND jobs.model = ?
            AND jobs.quality = ? AND jobs.tier = ? AND jobs.sandbox = ? AND tasks.state IN ('made', 'saved')
            AND tasks.seconds IS NOT NULL ORDER BY tasks.made_at DESC, tasks.row DESC LIMIT ?"""
        return [row["seconds"] for row in await self.fetch(query, (provider, model, quality, tier, sandbox, limit))]

    async def pictures(self, *, limit: int | None = 20, ids: Sequence[int] | None = None) -> list[PictureRow]:
        """Return saved images (of these ids), newest first."""
        # no condition on the ids if there are none, so that SQLite reads from the newest image
        among, values = ("", ()) if ids is None else (f" AND pictures.id {IN_LIST}", (json_of(list(ids)),))
        condition = f"pictures.saved_at IS NOT NULL{among} ORDER BY pictures.id DESC LIMIT coalesce(?, -1)"
        return await self.run(lambda connection: read_pictures(connection, condition, (*values, limit)), writes=False)

    def count_resumable(self) -> int:
        """Return how many images could be fetched that no living process is waiting for, at once.

        0 also if no ledger can be read: `check` raises the reason.
        """
        with suppress(OSError):
            found = {row: (owner, pictures) for owner, row, pictures in self.read(_RESUMABLE_IMAGES, wait=False)}
            orphans = self._orphans((owner, row) for row, (owner, _) in found.items())
            return sum(found[row][1] for row in orphans)
        return 0

    def _orphans_in(self, connection: sqlite3.Connection, states: Sequence[str]) -> set[int]:
        """Return the tasks in these states that no living process has."""
        found = connection.execute(f"SELECT owner, row FROM tasks WHERE {_OPEN} AND state {IN_LIST}", (json_of(states),))
        return self._orphans((each["owner"], each["row"]) for each in found)

    def _orphans(self, tasks: Iterable[tuple[str | None, int]]) -> set[int]:
        """Return which of these tasks (owner, row) no living process has: theirs has ended, or no job of this one claims them."""
        alive: dict[str | None, bool] = {}
        orphans = set()
        for owner, row in tasks:
            if owner not in alive:
                alive[owner] = self.is_alive(owner)
            if not alive[owner] or (owner == self._lock.taken_name and row not in self._claims_of.get(row, ())):
                orphans.add(row)
        return orphans


_OPEN = "state IN ('planned', 'submitting', 'submitted', 'made')"  # literally as in the index, or SQLite does not use it
_RESUMABLE_IMAGES = f"""SELECT owner, row, CASE state WHEN 'submitted' THEN count
        ELSE (SELECT count(*) FROM pictures WHERE pictures.task = tasks.row AND pictures.path IS NULL) END
    FROM tasks WHERE {_OPEN} AND state IN ('submitted', 'made')"""


def _change(connection: sqlite3.Connection, row: int, changes: Mapping[str, Any], error: ImageGenError | str | None = None) -> None:
    """Write a task's new state and columns, and the record of its error. Raises LedgerError if there is no such task."""
    state = changes["state"]
    assignments = [f"{name} = ?" for name in changes]
    assignments.append(f"{state}_at = coalesce({state}_at, ?)")
    if state in _FINAL:
        assignments.append("owner = NULL")
    done = connection.execute(f"UPDATE tasks SET {', '.join(assignments)} WHERE row = ?", (*changes.values(), now(), row))
    if not done.rowcount:
        raise LedgerError(f"The ledger has no task {row}", hint="%imagegen jobs lists what it has")
    if error is not None:
        store_error(connection, row, error)


def _record_url(connection: sqlite3.Connection, row: int, position: int, url: str, expires_at: float | None) -> tuple[int, bool]:
    """Record the URL of a task's image, unless it is saved already; returns its id, and whether it is saved."""
    query = """INSERT INTO pictures (task, position, url, expires_at) VALUES (?, ?, ?, ?) ON CONFLICT (task, position) DO UPDATE
        SET url = iif(saved_at IS NULL, excluded.url, url), expires_at = iif(saved_at IS NULL, excluded.expires_at, expires_at)
        RETURNING id, saved_at IS NOT NULL AS saved"""
    [found] = connection.execute(query, (row, position, text_of(url), None if expires_at is None else iso(expires_at))).fetchall()
    return found["id"], bool(found["saved"])


def _finish_if_saved(connection: sqlite3.Connection, row: int) -> None:
    """Set a task to `saved` if all its images are on the disk; the error of one that cannot be read stays."""
    query = "SELECT count(*), count(path), count(saved_at) FROM pictures WHERE task = ?"
    known, stored, saved = connection.execute(query, (row,)).fetchone()
    if known and known == stored:
        _change(connection, row, {"state": "saved"} | ({"error": None} if known == saved else {}))
