"""Annotations of images: stars, a note and tags, with their rules (tables `marks` and `tags`)."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, json_of, text_of
from imagegen_magic.records import Record

MAX_STARS = 5
_MAX_TAG = 60  # characters
_MAX_NOTE = 10_000  # characters


@dataclass(frozen=True, slots=True)
class Annotation(Record):
    """The annotation of one image: 0 to 5 stars, sorted tags, a note."""

    stars: int = 0
    tags: tuple[str, ...] = ()
    note: str = ""


async def set_stars(ledger: LedgerFile, picture: int, stars: int) -> None:
    """Give an image 0 to 5 stars. Raises ValueError for another number, LookupError if there is no such image."""
    if not 0 <= stars <= MAX_STARS:
        raise ValueError(f"a picture has 0 to {MAX_STARS} stars, not {stars}")
    query = "INSERT INTO marks (picture, stars) VALUES (?, ?) ON CONFLICT (picture) DO UPDATE SET stars = excluded.stars"
    await _change(ledger, picture, query, [(picture, stars or None)])


async def set_note(ledger: LedgerFile, picture: int, text: str) -> None:
    """Replace the note of an image; an empty one removes it.

    Raises ValueError if it is longer than 10,000 characters, LookupError if there is no such image.
    """
    note = text_of(text).strip()
    if len(note) > _MAX_NOTE:
        raise ValueError(f"a note has at most {_MAX_NOTE:,} characters, this one has {len(note):,}")
    query = "INSERT INTO marks (picture, note) VALUES (?, ?) ON CONFLICT (picture) DO UPDATE SET note = excluded.note"
    await _change(ledger, picture, query, [(picture, note or None)])


async def add_tags(ledger: LedgerFile, picture: int, *tags: str) -> None:
    """Tag an image; case and a leading # are ignored. Raises ValueError for an invalid tag, LookupError if there is no such image."""
    values = [(picture, normalize_tag(tag)) for tag in tags]
    await _change(ledger, picture, "INSERT OR IGNORE INTO tags (picture, tag) VALUES (?, ?)", values)


async def remove_tags(ledger: LedgerFile, picture: int, *tags: str) -> None:
    """Remove tags from an image; missing ones are ignored. Raises ValueError for an invalid tag, LookupError if there is no such image."""
    await _change(ledger, picture, "DELETE FROM tags WHERE picture = ? AND tag = ?", [(picture, normalize_tag(tag)) for tag in tags])


def normalize_tag(tag: str) -> str:
    """Return a tag in its only spelling: composed, lower case, without a leading #. Raises ValueError if it is empty or too long."""
    spelt = " ".join(unicodedata.normalize("NFC", text_of(tag)).casefold().strip().strip(",").lstrip("#").split())
    if not spelt or len(spelt) > _MAX_TAG:
        raise ValueError(f"{tag!r} is not a tag: use one or a few words of at most {_MAX_TAG} characters")
    return spelt


async def _change(ledger: LedgerFile, picture: int, query: str, values: Sequence[tuple[object, ...]]) -> None:
    def work(connection: sqlite3.Connection) -> None:
        kept = "SELECT 1 FROM pictures WHERE id = ? AND id NOT IN (SELECT picture FROM deletions)"
        if not connection.execute(kept, (picture,)).fetchone():
            raise LookupError(f"there is no picture {picture}")
        connection.executemany(query, values)

    await ledger.run(work)


async def annotations_of(ledger: LedgerFile, pictures: Iterable[int]) -> dict[int, Annotation]:
    """Return the annotations of these images, by id; images without one are left out."""
    rows = await ledger.fetch(_ANNOTATIONS, (json_of(list(pictures)),))
    found = {picture: Annotation(stars, tuple(json.loads(tags)), note) for picture, stars, note, tags in rows}
    return {picture: annotation for picture, annotation in found.items() if annotation != Annotation()}


_ANNOTATIONS = f"""SELECT pictures.id, coalesce(marks.stars, 0), coalesce(marks.note, ''),
        (SELECT json_group_array(tag) FROM (SELECT tags.tag FROM tags WHERE tags.picture = pictures.id ORDER BY tag))
    FROM pictures LEFT JOIN marks ON marks.picture = pictures.id WHERE pictures.id {IN_LIST}"""


async def starred(ledger: LedgerFile) -> set[int]:
    """Return the images that have stars."""
    return {row["picture"] for row in await ledger.fetch("SELECT picture FROM marks WHERE stars > 0")}
