"""Queries over all images: full-text search, lineage, and single images by id or content."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, PictureRow, iso, json_of, read_pictures, text_of
from imagegen_magic.engine.ledger.schema import searchable
from imagegen_magic.humanize import seconds_of

_WORD = re.compile(r'"([^"]*)"|([^\s"]+)')
_INDEXED = re.compile(r"[^\W_]|[^\x00-\x7f]")  # what the full-text index has words for
_FEW_JOBS = 3_000  # with more matches it is faster to start from the newest images


class Criteria(NamedTuple):
    """What to search for; None and an empty text match all.

    All words of `text` must be in the prompt or name, in any order and case; the last word may be a prefix, "quoted words" a phrase.
    `model` is the name of a model or gateway, `after` epoch seconds, `stars` the minimum. `limit` bounds the number of results.
    """

    text: str = ""
    model: str | None = None
    after: float | None = None
    stars: int | None = None
    tag: str | None = None
    limit: int | None = 20


async def search(ledger: LedgerFile, criteria: Criteria) -> list[PictureRow]:
    """Return the saved images that match, newest first."""

    def work(connection: sqlite3.Connection) -> list[PictureRow]:
        ids = json_of(_find(connection, criteria))
        return read_pictures(connection, f"pictures.id {IN_LIST} ORDER BY pictures.id DESC", (ids,))

    return await ledger.run(work, writes=False)


async def count_by_day(ledger: LedgerFile, criteria: Criteria) -> list[tuple[str, int]]:
    """Return how many saved images match on each day (an ISO date here), oldest first."""

    def work(connection: sqlite3.Connection) -> list[tuple[str, int]]:
        return [tuple(row) for row in connection.execute(_BY_DAY, (json_of(_find(connection, criteria)),))]

    return await ledger.run(work, writes=False)


def match_expression(text: str) -> str:
    """Return a text as an expression of the full-text index, in which each word and quoted phrase is literal; empty without a word."""
    return " ".join(_phrases(text))


def _phrases(text: str) -> Iterator[str]:
    words = [(phrase or word, bool(phrase)) for phrase, word in _words(text) if _INDEXED.search(phrase or word)]
    for number, (word, quoted) in enumerate(words, 1):
        prefix = "" if quoted or number < len(words) else "*"
        yield f'"{" ".join(searchable(word).split())}"{prefix}'


def _words(text: str) -> list[tuple[str, str]]:
    return _WORD.findall(text_of(text).replace("\0", " "))


def _unindexed(text: str) -> Iterator[str]:
    """Yield the words that are no words for the index, `!?` for example: they are searched as substrings."""
    for phrase, word in _words(text):
        if (sign := (phrase or word).strip()) and not _INDEXED.search(sign):
            yield sign


def _find(connection: sqlite3.Connection, criteria: Criteria) -> list[int]:
    """Return the ids of the images, newest first."""
    conditions, values = _conditions(connection, criteria)
    expression = match_expression(criteria.text)

    def ids(tables: str, *match: str, extra: tuple[object, ...] = ()) -> list[int]:
        query = (
            f"SELECT pictures.id FROM {tables} WHERE {' AND '.join([*conditions, *match])} ORDER BY pictures.id DESC LIMIT coalesce(?, -1)"
        )
        return [row["id"] for row in connection.execute(query, (*values, *extra, criteria.limit))]

    if not expression:
        return ids(_BY_TIME)
    floor = connection.execute(_FLOOR, (expression, _FEW_JOBS - 1)).fetchone()
    if floor is None:
        return ids(_BY_JOB, f"{_MATCHES})", extra=(expression,))
    found = ids(_BY_TIME, f"{_MATCHES} AND rowid >= ?)", extra=(expression, floor["rowid"]))
    if len(found) == criteria.limit and not connection.execute(_SAVED_SINCE, (found[-1], floor["rowid"])).fetchone():
        return found
    return ids(_BY_TIME, f"{_MATCHES})", extra=(expression,))


def _conditions(connection: sqlite3.Connection, criteria: Criteria) -> tuple[list[str], list[object]]:
    conditions, values = ["pictures.saved_at IS NOT NULL"], list[object]()
    if criteria.after is not None:
        conditions.append("pictures.saved_at >= ?")
        values.append(_earliest(criteria.after))
    if criteria.stars:
        conditions.append("pictures.id IN (SELECT picture FROM marks WHERE stars >= ?)")
        values.append(criteria.stars)
    if criteria.tag is not None:
        conditions.append("pictures.id IN (SELECT picture FROM tags WHERE tag = ?)")
        values.append(criteria.tag)
    if criteria.model is not None:
        pairs = _models(connection, criteria.model)
        conditions.append(f"tasks.job IN ({' UNION ALL '.join([_OF_MODEL] * len(pairs))})" if pairs else "0")
        values += [name for pair in pairs for name in pair]
    for sign in _unindexed(criteria.text):
        conditions.append("instr((SELECT prompt FROM jobs WHERE jobs.id = tasks.job), ?)")
        values.append(sign)
    return conditions, values


def _earliest(seconds: float) -> str:
    """Return epoch seconds as the ledger stores them; a moment before all calendars is the first day."""
    try:
        return iso(seconds)
    except (ValueError, OverflowError, OSError):
        return "0001-01-01T00:00:00.000+00:00"


def _models(connection: sqlite3.Connection, name: str) -> list[tuple[str, str]]:
    """Return the (gateway, model) pairs with that name, in any case."""
    pair, found = ("", ""), []
    while row := connection.execute(_NEXT_MODEL, pair).fetchone():  # from one to the next in the index: there are few
        pair = (row["provider"], row["model"])
        found += [pair] if name.casefold() in (pair[0].casefold(), pair[1].casefold()) else []
    return found


_BY_DAY = f"""SELECT strftime('%Y-%m-%d', saved_at, 'localtime') AS day, count(*) FROM pictures WHERE id {IN_LIST}
    GROUP BY day ORDER BY day"""
_BY_TIME = "pictures CROSS JOIN tasks ON tasks.row = pictures.task"  # SQLite keeps the order of a CROSS JOIN
_BY_JOB = "tasks CROSS JOIN pictures ON pictures.task = tasks.row"
_MATCHES = "tasks.job IN (SELECT rowid FROM prompts WHERE prompts MATCH ?"
# if many jobs match, the latest of them have the latest images, unless images of an older one were saved since
_FLOOR = "SELECT rowid FROM prompts WHERE prompts MATCH ? ORDER BY rowid DESC LIMIT 1 OFFSET ?"
_SAVED_SINCE = "SELECT 1 FROM pictures CROSS JOIN tasks ON tasks.row = pictures.task WHERE pictures.id > ? AND tasks.job < ? LIMIT 1"
_NEXT_MODEL = "SELECT provider, model FROM jobs WHERE (provider, model) > (?, ?) ORDER BY provider, model LIMIT 1"
_OF_MODEL = "SELECT id FROM jobs WHERE provider = ? AND model = ?"


class Edge(NamedTuple):
    """A step from one image to another (`picture`), or to a file or address that has only a name; `role` is how it was used."""

    role: str
    name: str
    picture: int | None


@dataclass
class Walk:
    """The edges found from an image in one direction, by image id; `left_out` counts those beyond the limit."""

    found: dict[int, list[Edge]] = field(default_factory=dict)
    left_out: int = 0


async def lineage(ledger: LedgerFile, picture: int, max_edges: int) -> tuple[Walk, Walk]:
    """Return the edges to what an image was made from, and to what was made from it; at most `max_edges` in each direction."""

    def work(connection: sqlite3.Connection) -> tuple[Walk, Walk]:
        return (
            _walk(picture, max_edges, lambda number: _origins(connection, number)),
            _walk(picture, max_edges, lambda number: _offspring(connection, number)),
        )

    return await ledger.run(work, writes=False)


def _walk(picture: int, room: int, step: Callable[[int], Iterator[Edge]]) -> Walk:
    """Walk breadth first, so that the farthest edges are left out."""
    walk, waiting = Walk(), [picture]
    while waiting:
        number = waiting.pop(0)
        edges = list(dict.fromkeys(step(number)))
        walk.found[number] = edges[:room]
        walk.left_out += len(edges[room:])
        room -= len(walk.found[number])
        reached = dict.fromkeys(edge.picture for edge in walk.found[number] if edge.picture)
        waiting += [each for each in reached if each not in walk.found and each not in waiting]
    return walk


def _origins(connection: sqlite3.Connection, number: int) -> Iterator[Edge]:
    for source in connection.execute(_MADE_FROM, (number,)).fetchall():
        yield Edge(source["role"], source["name"], source["picture"] or _by_content(connection, source, number))


def _by_content(connection: sqlite3.Connection, source: sqlite3.Row, child: int) -> int | None:
    """Return the image that a source is although it was not named as one: by its bytes, or by its URL at the gateway."""
    name: str = source["name"]
    if source["sha256"]:
        rows = connection.execute("SELECT max(id) AS id FROM pictures WHERE sha256 = ? AND id < ?", (source["sha256"], child))
    elif name.startswith(("http://", "https://")):
        both = (name, name.replace("https://", "http://", 1))  # the sandbox in this process has both
        rows = connection.execute("SELECT max(id) AS id FROM pictures WHERE url IN (?, ?) AND id < ?", (*both, child))
    else:
        return None
    found: int | None = rows.fetchone()["id"]
    return found


def _offspring(connection: sqlite3.Connection, number: int) -> Iterator[Edge]:
    row = connection.execute("SELECT sha256, url FROM pictures WHERE id = ?", (number,)).fetchone()
    if row is None:
        return
    values = (number, row["sha256"], row["url"], row["url"].replace("http://", "https://", 1), number)
    for child in connection.execute(_MADE_INTO, values).fetchall():
        yield Edge(child["role"], f"@{child['id']}", child["id"])


_MADE_FROM = """SELECT role, name, picture, sha256 FROM sources
    WHERE job = (SELECT tasks.job FROM pictures JOIN tasks ON tasks.row = pictures.task WHERE pictures.id = ?) ORDER BY position"""
_MADE_INTO = """SELECT pictures.id, sources.role FROM sources
        JOIN tasks ON tasks.job = sources.job JOIN pictures ON pictures.task = tasks.row
    WHERE pictures.saved_at IS NOT NULL AND (sources.picture = ? OR (sources.picture IS NULL
        AND (sources.sha256 = ? OR (sources.sha256 IS NULL AND sources.name IN (?, ?))))) AND pictures.id != ? ORDER BY pictures.id"""


async def find_by_content(ledger: LedgerFile, sha256: str) -> PictureRow | None:
    """Return the latest saved image of these bytes, None if there is none."""
    if not sha256:
        return None
    condition = "pictures.sha256 = ? AND pictures.saved_at IS NOT NULL ORDER BY pictures.id DESC LIMIT 1"
    rows = await ledger.run(lambda connection: read_pictures(connection, condition, (sha256,)), writes=False)
    return rows[0] if rows else None


class StoredImage(NamedTuple):
    """One image: its file, URL and content; the URL's end and `saved_at` are epoch seconds, None if unknown or not saved."""

    id: int
    path: str | None
    url: str
    sha256: str | None
    expires_at: float | None
    saved_at: float | None


def find_image(ledger: LedgerFile, number: int, *, wait: bool = True) -> StoredImage | None:
    """Return an image, in the calling thread; None if there is none.

    Raises LedgerError if the ledger cannot be read; without `wait` it returns None then, and at once.
    """
    rows = ledger.read("SELECT id, path, url, sha256, expires_at, saved_at FROM pictures WHERE id = ?", (number,), wait=wait)
    if not rows:
        return None
    *facts, expires_at, saved_at = rows[0]
    return StoredImage(*facts, *(seconds_of(moment) if moment else None for moment in (expires_at, saved_at)))


def unreadable_paths_now(ledger: LedgerFile) -> list[str]:
    """Return the files of results that cannot be read as images, in the calling thread."""
    query = "SELECT path FROM pictures WHERE path IS NOT NULL AND saved_at IS NULL"
    return [path for (path,) in ledger.read(query, wait=False)]


def originals_now(ledger: LedgerFile) -> tuple[int, int]:
    """Return the number of saved images and their bytes, as recorded, in the calling thread."""
    rows = ledger.read("SELECT count(*), coalesce(sum(size), 0) FROM pictures WHERE saved_at IS NOT NULL", wait=False)
    return rows[0] if rows else (0, 0)
