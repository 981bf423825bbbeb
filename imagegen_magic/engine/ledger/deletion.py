"""Deletes images from the ledger: their words and addresses go; what was paid, and what reports count, stays (table `deletions`)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, json_of, now
from imagegen_magic.errors import LedgerError
from imagegen_magic.humanize import seconds_of
from imagegen_magic.records import Record

_UNFINISHED = "unfinished deletion"  # in `about`: the ids and the copies of a deletion until the file was rewritten
_OPEN = "tasks.state IN ('planned', 'submitting', 'submitted', 'made', 'unknown')"
_TASK_OF = f"SELECT task FROM pictures WHERE id {IN_LIST}"
_OPEN_OF = f"SELECT row FROM tasks WHERE row IN ({_TASK_OF}) AND {_OPEN} ORDER BY row"


class StoredFile(NamedTuple):
    """An image that is kept: its file, and that file's SHA-256 (None if it is no readable image)."""

    id: int
    path: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Deletion(Record):
    """What is deleted from the ledger.

    `images` are the ids, `requests` the number of requests whose prompt goes, `sharing` the other images whose requests keep a prompt
    (an open task keeps it, too). `sweeps` are those whose prompt and axes go, `kept_sweeps` those that other images need. `copies` are
    the SHA-256 of source copies that nothing else uses, `offspring` the images that were made from a deleted one, `answers` the names of
    answers in the spool.
    """

    images: tuple[int, ...] = ()
    requests: int = 0
    sharing: tuple[int, ...] = ()
    open_tasks: tuple[int, ...] = ()
    sweeps: tuple[int, ...] = ()
    kept_sweeps: tuple[int, ...] = ()
    copies: tuple[str, ...] = ()
    offspring: tuple[int, ...] = ()
    answers: tuple[str, ...] = ()


class Unfinished(NamedTuple):
    """Deletions whose words may still be in free parts of the file: the ids of the images, and what is to be removed besides.

    `copies` are the SHA-256 of source copies, `answers` the names of answers in the spool.
    """

    images: tuple[int, ...] = ()
    copies: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


async def stored_files(ledger: LedgerFile, ids: Iterable[int]) -> list[StoredFile]:
    """Return those of these images that have a file, readable or not."""
    query = f"SELECT id, path, sha256 FROM pictures WHERE path IS NOT NULL AND id {IN_LIST} ORDER BY id"
    return [StoredFile(*row) for row in await ledger.fetch(query, (json_of(list(ids)),))]


async def open_tasks(ledger: LedgerFile, ids: Iterable[int]) -> list[int]:
    """Return the tasks of these images that are running or not settled."""
    return [row for (row,) in await ledger.fetch(_OPEN_OF, (json_of(list(ids)),))]


async def known_ids(ledger: LedgerFile, ids: Iterable[int]) -> set[int]:
    """Return which of these ids are images of the ledger, deleted ones included."""
    return {number for (number,) in await ledger.fetch(f"SELECT id FROM pictures WHERE id {IN_LIST}", (json_of(list(ids)),))}


async def deleted_among(ledger: LedgerFile, ids: Iterable[int]) -> set[int]:
    """Return which of these images were deleted."""
    return {number for (number,) in await ledger.fetch(f"SELECT picture FROM deletions WHERE picture {IN_LIST}", (json_of(list(ids)),))}


def deleted_at(ledger: LedgerFile, number: int) -> float | None:
    """Return when an image was deleted (epoch seconds), in the calling thread; None if it was not."""
    rows = ledger.read("SELECT deleted_at FROM deletions WHERE picture = ?", (number,), wait=False)
    return seconds_of(rows[0][0]) if rows else None


def unfinished_now(ledger: LedgerFile) -> Unfinished | None:
    """Return the deletions that are not finished, in the calling thread."""
    rows = ledger.read("SELECT value FROM about WHERE key = ?", (_UNFINISHED,), wait=False)
    return _unfinished(rows[0][0]) if rows else None


def _unfinished(stored: str) -> Unfinished:
    return Unfinished(*map(tuple, json.loads(stored)))


async def preview_deletion(ledger: LedgerFile, ids: Sequence[int]) -> Deletion:
    """Return what `delete_images` would delete; nothing changes."""

    def work(connection: sqlite3.Connection) -> Deletion:
        connection.execute("SAVEPOINT preview")
        try:
            return _delete(connection, ids)
        finally:
            connection.execute("ROLLBACK TO preview")
            connection.execute("RELEASE preview")

    return await ledger.run(work)


async def delete_images(ledger: LedgerFile, ids: Sequence[int]) -> Deletion:
    """Delete images in one transaction, with whatever only they need. An image that is deleted already changes nothing.

    The words may be in free parts of the file until `finish_deletion`. Raises LedgerError if a task of them was resumed meanwhile.
    """

    def work(connection: sqlite3.Connection) -> Deletion:
        if row := connection.execute(_OPEN_OF, (json_of(list(ids)),)).fetchone():
            raise LedgerError(f"Task {row[0]} was resumed meanwhile, so nothing was deleted from the ledger", hint="wait, then repeat")
        done = _delete(connection, ids)
        stored = connection.execute("SELECT value FROM about WHERE key = ?", (_UNFINISHED,)).fetchone()
        before = _unfinished(stored[0]) if stored else Unfinished()
        if stored or done.images or done.requests:
            value = json_of([earlier + new for earlier, new in zip(before, (done.images, done.copies, done.answers), strict=True)])
            connection.execute("INSERT OR REPLACE INTO about (key, value) VALUES (?, ?)", (_UNFINISHED, value))
        if done.requests:
            for statement in _INDEX_AGAIN:
                connection.execute(statement)
        return done

    return await ledger.run(work)


async def needed_copies(ledger: LedgerFile, copies: Iterable[str]) -> set[str]:
    """Return which of these source copies, by their SHA-256, an open task needs."""
    query = f"SELECT sources.sha256 FROM sources JOIN tasks ON tasks.job = sources.job WHERE sources.sha256 {IN_LIST} AND {_OPEN}"
    return {sha256 for (sha256,) in await ledger.fetch(query, (json_of(list(copies)),))}


async def finish_deletion(ledger: LedgerFile) -> None:
    """Forget what was unfinished, once the file was rewritten and the copies were removed."""
    await ledger.run(lambda connection: connection.execute("DELETE FROM about WHERE key = ?", (_UNFINISHED,)))


def _delete(connection: sqlite3.Connection, ids: Sequence[int]) -> Deletion:
    values = (json_of(list(ids)),)
    contents = _column(connection, f"SELECT sha256 FROM pictures WHERE sha256 IS NOT NULL AND id {IN_LIST}", values)
    offspring = _column(connection, _OFFSPRING, (*values, json_of(contents), *values))
    images = _column(connection, f"SELECT id FROM pictures WHERE id {IN_LIST} AND id NOT IN (SELECT picture FROM deletions)", values)
    for statement in _DELETE_IMAGES:
        connection.execute(statement, values)
    connection.execute(_MARK, (now(), *values))
    connection.execute(_FORGET_ANSWERS, values)
    connection.execute(_FORGET_TEXTS, values)
    sweeps = _column(connection, _SWEEPS_OF, values)
    finished = [number for number in sweeps if not connection.execute(_SWEEP_IN_USE, (number,)).fetchone()]
    jobs = _column(connection, _JOBS_OF, (*values, json_of(finished)))
    unused = [job for job in jobs if not _images_of(connection, job) and not _open_tasks_of(connection, job)]
    kept = [job for job in jobs if job not in unused]
    answers = _column(connection, _ANSWERS, (json_of(unused), *values))
    forgotten = _forget_requests(connection, unused)
    _delete_sweeps(connection, finished)
    copies = _unused_copies(connection, contents, forgotten.sources)
    connection.execute(f"DELETE FROM uploads WHERE sha256 {IN_LIST}", (json_of(copies),))
    return Deletion(
        images=tuple(images),
        requests=forgotten.requests,
        sharing=tuple(number for job in kept for number in _images_of(connection, job)),
        open_tasks=tuple(row for job in kept for row in _open_tasks_of(connection, job)),
        sweeps=tuple(finished),
        kept_sweeps=tuple(number for number in sweeps if number not in finished),
        copies=tuple(copies),
        offspring=tuple(offspring),
        answers=tuple(answers),
    )


class _Forgotten(NamedTuple):
    requests: int
    sources: list[str]


def _forget_requests(connection: sqlite3.Connection, jobs: Collection[int]) -> _Forgotten:
    """Remove the words of requests; returns how many had any, and the SHA-256 of their sources."""
    values = (json_of(list(jobs)),)
    requests = connection.execute(f"SELECT count(*) FROM jobs WHERE asked != '{{}}' AND id {IN_LIST}", values).fetchone()[0]
    sources = _column(connection, f"SELECT DISTINCT sha256 FROM sources WHERE sha256 IS NOT NULL AND job {IN_LIST}", values)
    for statement in _FORGET_REQUESTS:
        connection.execute(statement, values)
    return _Forgotten(requests, sources)


def _delete_sweeps(connection: sqlite3.Connection, numbers: Collection[int]) -> None:
    values = (json_of(list(numbers)),)
    for statement in (
        f"DELETE FROM members WHERE study {IN_LIST}",
        f"DELETE FROM combination_scores WHERE sweep {IN_LIST}",
        f"UPDATE votes SET study = NULL WHERE study {IN_LIST}",
        f"DELETE FROM studies WHERE id {IN_LIST}",
    ):
        connection.execute(statement, values)


def _unused_copies(connection: sqlite3.Connection, contents: Collection[str], sources: Iterable[str]) -> list[str]:
    """Return the copies to remove: those of deleted images unless an open task needs them, and those of sources that nothing uses."""
    needed = f"SELECT 1 FROM sources JOIN tasks ON tasks.job = sources.job WHERE sources.sha256 = ? AND {_OPEN}"
    used = "SELECT 1 FROM sources WHERE sha256 = ?"
    candidates = {**dict.fromkeys(sources, used), **dict.fromkeys(contents, needed)}
    return [sha256 for sha256, query in candidates.items() if not connection.execute(query, (sha256,)).fetchone()]


def _images_of(connection: sqlite3.Connection, job: int) -> list[int]:
    """Return the images of a request that are not deleted."""
    query = """SELECT pictures.id FROM pictures JOIN tasks ON tasks.row = pictures.task
        WHERE tasks.job = ? AND pictures.id NOT IN (SELECT picture FROM deletions) ORDER BY pictures.id"""
    return _column(connection, query, (job,))


def _open_tasks_of(connection: sqlite3.Connection, job: int) -> list[int]:
    return _column(connection, f"SELECT row FROM tasks WHERE job = ? AND {_OPEN} ORDER BY row", (job,))


def _column(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> list[Any]:
    return [row[0] for row in connection.execute(query, values)]


_MARK = f"INSERT OR IGNORE INTO deletions (picture, deleted_at) SELECT id, ? FROM pictures WHERE id {IN_LIST}"
_SWEEPS_OF = f"SELECT DISTINCT study FROM members WHERE task IN ({_TASK_OF}) ORDER BY study"
_JOBS_OF = f"SELECT DISTINCT job FROM tasks WHERE row IN ({_TASK_OF}) OR row IN (SELECT task FROM members WHERE study {IN_LIST})"
_OFFSPRING = f"""SELECT DISTINCT pictures.id FROM sources JOIN tasks ON tasks.job = sources.job JOIN pictures ON pictures.task = tasks.row
    WHERE pictures.saved_at IS NOT NULL AND (sources.picture {IN_LIST} OR sources.sha256 {IN_LIST}) AND NOT pictures.id {IN_LIST}
    ORDER BY pictures.id"""
_SWEEP_IN_USE = f"""SELECT 1 FROM members JOIN tasks ON tasks.row = members.task WHERE members.study = ? AND ({_OPEN} OR EXISTS (
    SELECT 1 FROM pictures WHERE pictures.task = tasks.row AND pictures.id NOT IN (SELECT picture FROM deletions)))"""
_DELETE_IMAGES = (  # width, height, format and checks stay for the report on conformance, calls of scorers for the budget
    f"""UPDATE pictures SET url = '', expires_at = NULL, path = NULL, sha256 = NULL, size = NULL, differences = '[]', saved_at = NULL
        WHERE id {IN_LIST}""",
    *(f"DELETE FROM {table} WHERE picture {IN_LIST}" for table in ("marks", "tags", "seeds", "drifts", "scores")),
    f"DELETE FROM combination_scores WHERE EXISTS (SELECT 1 FROM json_each(pictures) AS each WHERE each.value {IN_LIST})",
)
_WHOLLY_DELETED = f"""row IN ({_TASK_OF}) AND NOT EXISTS (
    SELECT 1 FROM pictures WHERE pictures.task = tasks.row AND pictures.id NOT IN (SELECT picture FROM deletions))"""
_FORGET_ANSWERS = f"UPDATE tasks SET answer = NULL, note = NULL WHERE {_WHOLLY_DELETED}"
_FORGET_TEXTS = f"DELETE FROM texts WHERE task IN (SELECT row FROM tasks WHERE {_WHOLLY_DELETED})"
_ANSWERS = f"SELECT idempotency_key FROM tasks WHERE job {IN_LIST} OR ({_WHOLLY_DELETED})"
_TASKS_OF_JOB = f"SELECT row FROM tasks WHERE job {IN_LIST}"
_FORGET_REQUESTS = (
    f"UPDATE jobs SET prompt = '', asked = '{{}}', resolved = '{{}}', save_dir = '', name = NULL WHERE id {IN_LIST}",
    f"UPDATE tasks SET sent = '{{}}', answer = NULL, note = NULL, error = iif(error IS NULL, NULL, 'deleted') WHERE job {IN_LIST}",
    f"""UPDATE errors SET message = 'deleted', hint = '', record = json_object('type', error_type, 'what', 'deleted', 'charge', charge,
        'blame', blame, 'hint', '') WHERE task IN ({_TASKS_OF_JOB})""",
    f"UPDATE inquiries SET answer = NULL WHERE task IN ({_TASKS_OF_JOB})",
    f"DELETE FROM folders WHERE task IN ({_TASKS_OF_JOB})",
    f"DELETE FROM sources WHERE job {IN_LIST}",
)
_INDEX_AGAIN = (  # removing single words would leave them in the index until its parts are merged
    "INSERT INTO prompts (prompts) VALUES ('delete-all')",
    "INSERT INTO prompts (rowid, words) SELECT id, searchable(prompt || ' ' || coalesce(name, '')) FROM jobs WHERE asked != '{}'",
)
