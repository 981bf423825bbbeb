"""Looking for pictures in the ledger: by words of their prompts, model, time, stars and tags."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from imagegen_magic.engine.ledger.ledger import Ledger, PictureRow
from imagegen_magic.engine.ledger.schema import searchable
from imagegen_magic.records import Record
from imagegen_magic.studies.history import annotations as marks
from imagegen_magic.studies.history import since as moments
from imagegen_magic.studies.history.annotations import Annotation

_WORD = re.compile(r'"([^"]*)"|([^\s"]+)')
_TELLING = re.compile(r"[^\W_]|[^\x00-\x7f]")  # what the full-text index has words for
_NOTHING = Annotation()
_FEW = 3_000  # jobs, from which on it is quicker to look at the newest pictures first


@dataclass(frozen=True, slots=True)
class HistoryEntry(Record):
    """One picture of the history with what is marked at it."""

    picture: PictureRow
    mark: Annotation = _NOTHING


async def search(
    ledger: Ledger,
    words: str = "",
    *,
    model: str | None = None,
    since: str | float | None = None,
    stars: int | None = None,
    tag: str | None = None,
    limit: int | None = 20,
) -> list[HistoryEntry]:
    """Return the saved pictures that fit, newest first.

    `words` are all to be in the prompt (or the name), in any order and case, the last one perhaps only begun; "in quotes" they follow
    one another. Nothing in them is an operator. `model` is a model's or a gateway's name, `since` epoch seconds or what `moments.since`
    reads, `stars` how many at least. Raises UnsupportedOption for another `since`, ValueError for no `tag`.
    """
    await marks.adopt_stars(ledger)
    after = moments.since(since) if isinstance(since, str) else since
    sought = _Sought(words, model, after, stars, None if tag is None else marks.normal(tag), limit)

    def work(connection: sqlite3.Connection) -> tuple[list[int], dict[int, Annotation]]:
        ids = sought.find(connection)
        return ids, marks.read(connection, ids)

    ids, known = await ledger.run(work, writes=False)
    rows = {row.id: row for row in await ledger.pictures(ids=ids, limit=None)} if ids else {}
    return [HistoryEntry(rows[number], known.get(number, _NOTHING)) for number in ids if number in rows]


def match(words: str) -> str:
    """Return what people typed as an expression of the full-text index, in which each word and quoted phrase is a text and no operator.

    Empty where it has no word.
    """
    return " ".join(_phrases(words))


def _phrases(words: str) -> Iterator[str]:
    found = [(phrase or word, bool(phrase)) for phrase, word in _WORD.findall(_clean(words)) if _TELLING.search(phrase or word)]
    for number, (text, whole) in enumerate(found, 1):
        begun = "" if whole or number < len(found) else "*"
        yield f'"{" ".join(searchable(text).split())}"{begun}'


def _clean(words: str) -> str:
    return words.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", " ")


@dataclass(frozen=True, slots=True)
class _Sought:
    """What is sought, as a question to the ledger."""

    words: str
    model: str | None
    after: float | None
    stars: int | None
    tag: str | None
    limit: int | None

    def find(self, connection: sqlite3.Connection) -> list[int]:
        """Return the ids of the pictures, newest first."""
        conditions, values = self._conditions(connection)
        expression = match(self.words)
        if not expression:
            return self._ids(connection, _BY_TIME, conditions, values)
        floor = connection.execute(_FLOOR, (expression, _FEW - 1)).fetchone()
        if floor is not None:
            found = self._ids(connection, _BY_TIME, [*conditions, f"{_FITS} AND rowid >= ?)"], [*values, expression, floor["rowid"]])
            if len(found) == self.limit and not connection.execute(_LATE, (found[-1], floor["rowid"])).fetchone():
                return found
        begin = _BY_JOB if floor is None else _BY_TIME
        return self._ids(connection, begin, [*conditions, f"{_FITS})"], [*values, expression])

    def _ids(self, connection: sqlite3.Connection, begin: str, conditions: list[str], values: list[object]) -> list[int]:
        query = f"SELECT pictures.id FROM {begin} WHERE {' AND '.join(conditions)} ORDER BY pictures.id DESC LIMIT ?"
        return [row["id"] for row in connection.execute(query, (*values, -1 if self.limit is None else self.limit))]

    def _conditions(self, connection: sqlite3.Connection) -> tuple[list[str], list[object]]:
        conditions, values = ["pictures.saved_at IS NOT NULL"], list[object]()
        if self.after is not None:
            conditions.append("pictures.saved_at >= ?")
            values.append(_iso(self.after))
        if self.stars:
            conditions.append("pictures.id IN (SELECT picture FROM marks WHERE stars >= ?)")
            values.append(self.stars)
        if self.tag is not None:
            conditions.append("pictures.id IN (SELECT picture FROM tags WHERE tag = ?)")
            values.append(self.tag)
        if self.model is not None:
            pairs = _models(connection, self.model)
            conditions.append(f"tasks.job IN ({' UNION ALL '.join([_OF_MODEL] * len(pairs))})" if pairs else "0")
            values += [name for pair in pairs for name in pair]
        for sign in self._signs():
            conditions.append("instr((SELECT prompt FROM jobs WHERE jobs.id = tasks.job), ?)")
            values.append(sign)
        return conditions, values

    def _signs(self) -> Iterator[str]:
        """Yield what of the words is no word, `!?` for example: it is looked for as it stands."""
        for phrase, word in _WORD.findall(_clean(self.words)):
            if (text := (phrase or word).strip()) and not _TELLING.search(text):
                yield text


def _iso(seconds: float) -> str:
    """Return epoch seconds as the ledger writes them, so that texts compare as times do; what no calendar holds is its first day."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return "0001-01-01T00:00:00.000+00:00"


def _models(connection: sqlite3.Connection, name: str) -> list[tuple[str, str]]:
    """Return the (gateway, model) pairs that a name means, in any case."""
    pair, found = ("", ""), []
    while row := connection.execute(_NEXT_MODEL, pair).fetchone():  # from one to the next in the index: there are but a few
        pair = (row["provider"], row["model"])
        found += [pair] if name.casefold() in (pair[0].casefold(), pair[1].casefold()) else []
    return found


_BY_TIME = "pictures CROSS JOIN tasks ON tasks.row = pictures.task"  # in this order: SQLite keeps to that of a CROSS JOIN
_BY_JOB = "tasks CROSS JOIN pictures ON pictures.task = tasks.row"
_FITS = "tasks.job IN (SELECT rowid FROM prompts WHERE prompts MATCH ?"
# many requests fit: the latest of them hold the latest pictures, unless an older one's were saved since
_FLOOR = "SELECT rowid FROM prompts WHERE prompts MATCH ? ORDER BY rowid DESC LIMIT 1 OFFSET ?"
_LATE = "SELECT 1 FROM pictures CROSS JOIN tasks ON tasks.row = pictures.task WHERE pictures.id > ? AND tasks.job < ? LIMIT 1"
_NEXT_MODEL = "SELECT provider, model FROM jobs WHERE (provider, model) > (?, ?) ORDER BY provider, model LIMIT 1"
_OF_MODEL = "SELECT id FROM jobs WHERE provider = ? AND model = ?"
