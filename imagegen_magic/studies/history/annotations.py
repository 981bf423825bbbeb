"""What a person thinks of a picture: stars, tags and a note, kept in the ledger beside it."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.records import Record

MOST_STARS = 5
_TAG_CHARACTERS = 60
_NOTE_CHARACTERS = 10_000
_AT_ONCE = 500  # values in one question: older SQLite takes at most 999


@dataclass(frozen=True, slots=True)
class Annotation(Record):
    """What is marked at one picture: 0 to 5 stars, tags in their order, a note."""

    stars: int = 0
    tags: tuple[str, ...] = ()
    note: str = ""


async def star(ledger: Ledger, picture: int, stars: int) -> None:
    """Give a picture 0 to 5 stars. Raises ValueError for another number, LookupError where there is no such picture."""
    if not 0 <= stars <= MOST_STARS:
        raise ValueError(f"a picture has 0 to {MOST_STARS} stars, not {stars}")
    query = "INSERT INTO marks (picture, stars) VALUES (?, ?) ON CONFLICT (picture) DO UPDATE SET stars = excluded.stars"
    await _change(ledger, picture, query, [(picture, stars or None)])


async def note(ledger: Ledger, picture: int, words: str) -> None:
    """Write a note to a picture in the place of the one it has; an empty one takes it away.

    Raises ValueError where it is longer than 10,000 characters, LookupError where there is no such picture.
    """
    words = _sayable(words).strip()
    if len(words) > _NOTE_CHARACTERS:
        raise ValueError(f"a note has at most {_NOTE_CHARACTERS:,} characters, this one has {len(words):,}")
    query = "INSERT INTO marks (picture, note) VALUES (?, ?) ON CONFLICT (picture) DO UPDATE SET note = excluded.note"
    await _change(ledger, picture, query, [(picture, words or None)])


async def tag(ledger: Ledger, picture: int, *tags: str) -> None:
    """Tag a picture; capitals and a leading # say nothing. Raises ValueError for no tag, LookupError where there is no such picture."""
    rows = [(picture, normal(each)) for each in tags]
    await _change(ledger, picture, "INSERT OR IGNORE INTO tags (picture, tag) VALUES (?, ?)", rows)


async def untag(ledger: Ledger, picture: int, *tags: str) -> None:
    """Take tags from a picture; one that it does not have is no error. Raises LookupError where there is no such picture."""
    rows = [(picture, normal(each)) for each in tags]
    await _change(ledger, picture, "DELETE FROM tags WHERE picture = ? AND tag = ?", rows)


def normal(tag: str) -> str:
    """Return a tag in its one spelling: composed, in small letters, without # before it; raises ValueError where nothing is left."""
    spelt = " ".join(unicodedata.normalize("NFC", _sayable(tag)).casefold().strip().strip(",").lstrip("#").split())
    if not spelt or len(spelt) > _TAG_CHARACTERS:
        raise ValueError(f"{tag!r} is no tag: a word or a few, at most {_TAG_CHARACTERS} characters")
    return spelt


async def of(ledger: Ledger, pictures: Iterable[int]) -> dict[int, Annotation]:
    """Return what is marked at these pictures, by id; those without a mark are left out."""
    wanted = list(pictures)
    return await ledger.run(lambda connection: read(connection, wanted), writes=False)


def read(connection: sqlite3.Connection, pictures: list[int]) -> dict[int, Annotation]:
    """Return the marks of these pictures within a transaction."""
    stars: dict[int, tuple[int, str]] = {}
    tags: dict[int, list[str]] = {}
    for start in range(0, len(pictures), _AT_ONCE):
        some = pictures[start : start + _AT_ONCE]
        places = ", ".join("?" for _ in some)
        for row in connection.execute(f"SELECT picture, stars, note FROM marks WHERE picture IN ({places})", some):
            stars[row["picture"]] = (row["stars"] or 0, row["note"] or "")
        for row in connection.execute(f"SELECT picture, tag FROM tags WHERE picture IN ({places}) ORDER BY tag", some):
            tags.setdefault(row["picture"], []).append(row["tag"])
    found = {
        number: Annotation(stars.get(number, (0, ""))[0], tuple(tags.get(number, ())), stars.get(number, (0, ""))[1]) for number in pictures
    }
    return {number: mark for number, mark in found.items() if mark != Annotation()}


async def starred(ledger: Ledger) -> set[int]:
    """Return the pictures that have stars."""

    def work(connection: sqlite3.Connection) -> set[int]:
        return {row["picture"] for row in connection.execute("SELECT picture FROM marks WHERE stars > 0")}

    return await ledger.run(work, writes=False)


async def adopt_stars(ledger: Ledger) -> None:
    """Take over the stars that the panel once kept in a file of its own beside the ledger, as five each, and remove the file."""
    file = ledger.path.parent / "starred.json"
    try:
        ids = [(MOST_STARS, int(number)) for number in json.loads(file.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError):
        ids = []  # it says nothing that could be read
    query = "INSERT OR IGNORE INTO marks (picture, stars) SELECT id, ? FROM pictures WHERE id = ?"
    if ids:
        await ledger.run(lambda connection: connection.executemany(query, ids))
    with suppress(OSError):
        file.unlink()


async def _change(ledger: Ledger, picture: int, query: str, rows: Sequence[tuple[object, ...]]) -> None:
    def work(connection: sqlite3.Connection) -> None:
        if not connection.execute("SELECT 1 FROM pictures WHERE id = ?", (picture,)).fetchone():
            raise LookupError(f"there is no picture {picture}")
        connection.executemany(query, rows)

    await ledger.run(work)


def _sayable(text: str) -> str:
    # half of a surrogate pair is no text to SQLite
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
