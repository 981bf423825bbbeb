"""How the tasks of each gateway and model ended: the facts of reports on conformance."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import iso, read_cost
from imagegen_magic.engine.ledger.spending import prorate
from imagegen_magic.result import Cost

KEYS = {"provider": "jobs.provider", "model": "jobs.model || ' (' || jobs.provider || ')'", "quality": "jobs.quality"}
"""What a report can be grouped by, as SQL expressions."""

_TASKS = """SELECT tasks.row, {key} AS key, jobs.sandbox, tasks.state, tasks.count, tasks.seconds, tasks.cost, jobs.price,
        (SELECT sum(count) FROM tasks AS sister WHERE sister.job = jobs.id) AS whole,
        (SELECT count(*) FROM pictures WHERE pictures.task = tasks.row) AS pictures
    FROM tasks JOIN jobs ON jobs.id = tasks.job
    WHERE tasks.state IN ('made', 'saved', 'failed', 'unknown') AND jobs.created >= ?"""
_IMAGES = """SELECT pictures.task, pictures.width, pictures.height, pictures.mime_type, jobs.expected,
        checks.picture IS NOT NULL AS checked, checks.pixels, checks.format, checks.alpha
    FROM pictures JOIN tasks ON tasks.row = pictures.task JOIN jobs ON jobs.id = tasks.job
        LEFT JOIN checks ON checks.picture = pictures.id
        LEFT JOIN deletions ON deletions.picture = pictures.id
    WHERE (pictures.saved_at IS NOT NULL OR (deletions.picture IS NOT NULL AND pictures.width IS NOT NULL)) AND jobs.created >= ?"""


class ImageFacts(NamedTuple):
    """Whether a saved image of a task is as requested; None if nothing was requested, or it was not recorded."""

    task: int
    pixels: bool | None
    format: bool | None
    alpha: bool | None


class TaskFacts(NamedTuple):
    """How a task ended: `requested` and `received` are numbers of images, `seconds` the gateway's or the measured duration."""

    row: int
    key: str
    sandbox: bool
    state: str
    requested: int
    received: int
    seconds: float | None
    cost: Cost
    price: Cost


async def task_facts(ledger: LedgerFile, by: str, since: float) -> list[TaskFacts]:
    """Return the tasks that ended and were requested since then (epoch seconds), with their key by one of `KEYS`."""
    return [
        TaskFacts(
            *(row["row"], row["key"], bool(row["sandbox"]), row["state"], row["count"], row["pictures"], row["seconds"]),
            cost=read_cost(row["cost"]),
            price=prorate(read_cost(row["price"]), row["count"], row["whole"] or 1),
        )
        for row in await ledger.fetch(_TASKS.format(key=KEYS[by]), (iso(since),))
    ]


async def image_facts(ledger: LedgerFile, since: float) -> list[ImageFacts]:
    """Return the saved images of requests since then. Those of earlier versions are compared by the pixels and the format in the ledger."""
    return list(map(_image_facts, await ledger.fetch(_IMAGES, (iso(since),))))


def _image_facts(row: sqlite3.Row) -> ImageFacts:
    if row["checked"]:
        return ImageFacts(row["task"], *(None if row[name] is None else bool(row[name]) for name in ("pixels", "format", "alpha")))
    expected = json.loads(row["expected"])
    pixels, mime_type = expected.get("pixels"), expected.get("mime_type")
    return ImageFacts(
        row["task"],
        [row["width"], row["height"]] in pixels if pixels else None,
        row["mime_type"] == mime_type if mime_type else None,
        None,
    )
