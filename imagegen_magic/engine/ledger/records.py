"""The records of the ledger, and how its tables store them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, NamedTuple, get_args

from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.ledger.schema import searchable
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import iso_time, seconds_of
from imagegen_magic.records import Record, hash_of_fields
from imagegen_magic.result import Cost, Kind
from imagegen_magic.secret_patterns import Address

ANSWER_BYTES = 65_536
STATES = ("planned", "submitting", "submitted", "made", "saved", "failed", "unknown", "dropped")


class Checks(NamedTuple):
    """Whether an image is as it was requested: its pixels, its format, its alpha; None if nothing was requested."""

    pixels: bool | None = None
    format: bool | None = None
    alpha: bool | None = None


NO_CHECKS = Checks()


class NewTask(NamedTuple):
    """One submission: `sent` is its request as {"method", "path", "json"}, `pictures` the number of images it makes.

    Submissions of the same request have the same `fingerprint`.
    """

    sent: dict[str, Any]
    pictures: int
    idempotency_key: str
    fingerprint: str = ""


class NewSource(NamedTuple):
    """An input image of a request: its `role` (`reference` or `mask`) and the `name` that the user gave it.

    `picture` is its ledger id if the ledger has it; `sha256` is of its bytes if they are on this machine.
    """

    role: str
    name: str
    picture: int | None = None
    sha256: str | None = None


class NewJob(NamedTuple):
    """One request.

    `asked` has the options as the user gave them, `resolved` also the defaults; `expected` is {"pixels": [[w, h], …], "mime_type",
    "alpha", "pictures"}, and for a request that was not checked "unchecked", what the model's page refuses of it.
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


@dataclass(frozen=True, slots=True, repr=False)
class PictureRow(Record):
    """One image with facts of its task.

    `position` counts from 0 within the task, `first` is the index of the task's first picture within the job, so
    `first + position` is the picture's index within the job. `path`, `sha256`, `size` (bytes), `width`, `height` (pixels),
    `mime_type` and `saved_at` are None until it is saved. `cost` is the whole task's, which makes `count` images. `share` and
    `mean` are the drift of an edit's protected part, 0..1; `seed` is that with which it was made, None if unknown; `text` is what the
    service wrote beside the task's pictures. Times are epoch seconds.
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
    expected: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    text: str = ""

    __hash__ = hash_of_fields


@dataclass(frozen=True, slots=True, repr=False)
class TaskRow(Record):
    """One task with its job and its images: all that is needed to resume it.

    `row` is the ledger's id, `position` counts the job's tasks from 0, `first` is the index of its first picture within the job
    and `count` how many it makes; `pictures` are those with a known URL. Times are epoch seconds, of the first time in each state.
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
    error_record: dict[str, Any] | None
    pictures: tuple[PictureRow, ...]

    @property
    def failure(self) -> ImageGenError | None:
        """The error of the task; None if it has none."""
        if self.error is None:
            return None
        return ImageGenError.from_record(self.error_record) if self.error_record else ImageGenError(self.error)

    __hash__ = hash_of_fields


# every column by its name: a newer version may add columns, and two tables may have columns of one name
_TASKS = """SELECT tasks.row, tasks.job, tasks.position, tasks.first, tasks.count, tasks.state, tasks.owner, tasks.task_id, tasks.cost,
        tasks.error, tasks.note, tasks.estimated_seconds, tasks.seconds, tasks.planned_at, tasks.submitting_at, tasks.submitted_at,
        tasks.made_at, tasks.saved_at, tasks.failed_at, tasks.unknown_at, tasks.dropped_at, tasks.idempotency_key, tasks.sent,
        tasks.answer, tasks.fingerprint, jobs.created, jobs.provider, jobs.dialect, jobs.base_url, jobs.sandbox, jobs.model, jobs.quality,
        jobs.tier, jobs.prompt, jobs.asked, jobs.resolved, jobs.expected, jobs.price, jobs.save_dir, jobs.name,
        errors.record AS error_record
    FROM tasks JOIN jobs ON jobs.id = tasks.job
        LEFT JOIN errors ON errors.task = tasks.row AND errors.message = tasks.error"""
_PICTURES = """SELECT pictures.id, pictures.task, pictures.position, pictures.url, pictures.expires_at, pictures.path, pictures.sha256,
        pictures.size, pictures.width, pictures.height, pictures.mime_type, pictures.differences, pictures.saved_at,
        tasks.job, jobs.created, jobs.provider, jobs.sandbox, jobs.model, jobs.asked, jobs.resolved,
        tasks.position AS task_position, tasks.first, tasks.count, tasks.task_id, tasks.cost, tasks.seconds, tasks.submitted_at,
        drifts.share, drifts.mean, jobs.expected, seeds.seed,
        coalesce(texts.text, '') AS text
    FROM pictures JOIN tasks ON tasks.row = pictures.task JOIN jobs ON jobs.id = tasks.job
        LEFT JOIN drifts ON drifts.picture = pictures.id LEFT JOIN seeds ON seeds.picture = pictures.id
        LEFT JOIN texts ON texts.task = tasks.row"""
IN_LIST = "IN (SELECT value FROM json_each(?))"
"""A condition: one of the values of a JSON array, as `json_of` returns it."""


def missing_in(connection: sqlite3.Connection) -> str:
    """Return which table or column is missing in the file; empty if none is."""
    try:
        for query in (_TASKS, _PICTURES):
            connection.execute(f"{query} LIMIT 0")
    except sqlite3.OperationalError as error:
        return str(error)
    return ""


def insert_job(connection: sqlite3.Connection, job: NewJob, owner: str) -> tuple[int, list[int]]:
    """Insert a request with its tasks, all planned; returns its id and the rows of its tasks."""
    moment = now()
    columns: dict[str, Any] = {
        "created": moment,
        **{name: text_of(getattr(job, name)) for name in ("provider", "dialect", "base_url", "model", "quality", "tier", "save_dir")},
        **{name: json_of(getattr(job, name)) for name in ("asked", "resolved", "expected")},
        "sandbox": job.sandbox,
        "prompt": text_of(str(job.asked.get("prompt", ""))),
        "price": _cost(job.price),
        "name": None if job.name is None else text_of(job.name),
        "session": owner,
    }
    number = _insert(connection, "jobs", columns)
    _insert(connection, "prompts", {"rowid": number, "words": searchable(f"{columns['prompt']} {columns['name'] or ''}")})
    for position, source in enumerate(job.sources):
        _insert(connection, "sources", {"job": number, "position": position, **source._asdict(), "name": text_of(source.name)})
    rows, first = [], 0
    for position, task in enumerate(job.tasks):
        columns = {"job": number, "position": position, "first": first, "count": task.pictures, "state": "planned", "owner": owner}
        columns |= {"cost": _UNKNOWN_COST, "planned_at": moment, "idempotency_key": task.idempotency_key, "sent": json_of(task.sent)}
        rows.append(_insert(connection, "tasks", columns | {"fingerprint": task.fingerprint}))
        first += task.pictures
    return number, rows


def _insert(connection: sqlite3.Connection, table: str, columns: Mapping[str, Any], verb: str = "INSERT") -> int:
    query = f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    return connection.execute(query, tuple(columns.values())).lastrowid or 0


def read_tasks(connection: sqlite3.Connection, rows: Iterable[int]) -> list[TaskRow]:
    """Return these tasks with their jobs and pictures, newest first."""
    wanted = (json_of(list(rows)),)
    pictures: dict[int, list[PictureRow]] = {}
    for picture in read_pictures(connection, f"pictures.task {IN_LIST} ORDER BY pictures.position", wanted):
        pictures.setdefault(picture.task, []).append(picture)
    found = connection.execute(f"{_TASKS} WHERE tasks.row {IN_LIST} ORDER BY tasks.row DESC", wanted)
    return [TaskRow(**_decoded(each), pictures=tuple(pictures.get(each["row"], ()))) for each in found]


def read_pictures(connection: sqlite3.Connection, condition: str, values: Sequence[Any]) -> list[PictureRow]:
    """Return the images that meet a condition in SQL on the tables `pictures`, `tasks` and `jobs`; `values` are its parameters."""
    return [PictureRow(**_decoded(each)) for each in connection.execute(f"{_PICTURES} WHERE {condition}", values)]


def now() -> str:
    """Return the current time as the columns store it."""
    return iso(CLOCK.time())


def iso(seconds: float) -> str:
    """Return epoch seconds as the columns store them; such texts sort by time."""
    return iso_time(seconds, "milliseconds")


def text_of(value: str) -> str:
    """Return a text that a column can store."""
    # SQLite takes no half of a surrogate pair; all other text is stored unchanged
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def json_of(value: Any) -> str:
    """Return a value as JSON that a column can store."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if text.isascii() or text == text_of(text) else json.dumps(value, default=str)


def bounded(answer: Any) -> str:
    """Return an answer as JSON of at most ANSWER_BYTES bytes; a longer one becomes {"cut": its size, "start": its beginning}."""
    text = json_of(answer)
    raw = text.encode()
    if len(raw) <= ANSWER_BYTES:
        return text
    start = raw[: ANSWER_BYTES // 2 - 100].decode("utf-8", "ignore")  # quotes and backslashes take two bytes within a JSON string
    return json.dumps({"cut": len(raw), "start": start}, ensure_ascii=False)


def _cost(cost: Cost) -> str:
    stored = {name: getattr(cost, name) for name in _COST}
    if cost.amount is not None:
        stored["amount"] = str(cost.amount)
    return json_of({name: value for name, value in stored.items() if value})


def read_cost(text: str) -> Cost:
    """Return a cost from its column; fields that this version does not know are left out."""
    stored = {name: value for name, value in json.loads(text).items() if name in _COST}
    amount = stored.pop("amount", None)
    if "kind" in stored and stored["kind"] not in get_args(Kind):
        stored["kind"] = "unknown" if amount is None else "estimated"  # a kind of a newer version
    return Cost(None if amount is None else Decimal(amount), **stored)


_COST = tuple(each.name for each in fields(Cost))
_UNKNOWN_COST = _cost(Cost())


def error_text(error: ImageGenError | str) -> str:
    """Return an error as the column `error` stores it."""
    return text_of(str(error))


def store_error(connection: sqlite3.Connection, row: int, error: ImageGenError | str) -> None:
    """Write the record of a task's error, beside its message."""
    record = (error if isinstance(error, ImageGenError) else ImageGenError(error)).to_record()
    columns = {"task": row, "message": error_text(error), "error_type": record["type"], "record": json_of(record)}
    columns |= {name: text_of(record[name]) for name in ("charge", "blame", "hint")}
    _insert(connection, "errors", columns, verb="INSERT OR REPLACE")


def encoded(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns as the table stores them, without unknown values, which replace none. Raises TypeError for another column."""
    return {name: _ENCODERS[name](value) for name, value in columns.items() if _is_known(name, value)}


def _is_known(name: str, value: Any) -> bool:
    if name not in _ENCODERS:
        raise TypeError(f"{name!r} is not one of {', '.join(_ENCODERS)}")
    return value is not None and not (isinstance(value, Cost) and value.amount is None)


_ENCODERS: dict[str, Any] = {
    "task_id": text_of,
    "idempotency_key": text_of,
    "sent": json_of,
    "cost": _cost,
    "estimated_seconds": float,
    "answer": bounded,
    "error": error_text,
    "seconds": float,
}


_TIMES = ("created", "expires_at", *(f"{state}_at" for state in STATES))
_DECODERS: dict[str, Any] = {
    **dict.fromkeys(_TIMES, seconds_of),
    **dict.fromkeys(("asked", "resolved", "expected", "sent", "answer", "error_record"), json.loads),
    **dict.fromkeys(("price", "cost"), read_cost),
    "differences": lambda text: tuple(json.loads(text)),
    "url": Address,
    "sandbox": bool,
}


def _decoded(row: sqlite3.Row) -> dict[str, Any]:
    return {
        name: _DECODERS[name](row[name]) if name in _DECODERS and row[name] is not None else row[name]
        for name in row.keys()  # noqa: SIM118 - a Row iterates over its values
    }
