"""Annotations of images: stars, a note and tags (tables `marks` and `tags`)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, json_of
from imagegen_magic.records import Record


@dataclass(frozen=True, slots=True)
class Annotation(Record):
    """The annotation of one image: 0 to 5 stars, sorted tags, a note."""

    stars: int = 0
    tags: tuple[str, ...] = ()
    note: str = ""


async def set_stars(ledger: LedgerFile, picture: int, stars: int) -> None:
    """Set the stars of an image. Raises LookupError if there is no such image."""
    query = "INSERT INTO marks (picture, stars) VALUES (?, ?) ON CONFLICT (picture) DO UPDATE SET stars = excluded.stars"
    await _change(ledger, picture, query, [(picture, stars or None)])


async def set_note(ledger: LedgerFile, picture: int, note: str) -> None:
    """Set the note of an image; an empty one removes it. Raises LookupError if there is no such image."""
    query = "INSERT INTO marks (picture, note) VALUES (?, ?) ON CONFLICT (picture) DO UPDATE SET note = excluded.note"
    await _change(ledger, picture, query, [(picture, note or None)])


async def add_tags(ledger: LedgerFile, picture: int, tags: Iterable[str]) -> None:
    """Add tags to an image. Raises LookupError if there is no such image."""
    await _change(ledger, picture, "INSERT OR IGNORE INTO tags (picture, tag) VALUES (?, ?)", [(picture, tag) for tag in tags])


async def remove_tags(ledger: LedgerFile, picture: int, tags: Iterable[str]) -> None:
    """Remove tags from an image. Raises LookupError if there is no such image."""
    await _change(ledger, picture, "DELETE FROM tags WHERE picture = ? AND tag = ?", [(picture, tag) for tag in tags])


async def _change(ledger: LedgerFile, picture: int, query: str, values: Sequence[tuple[object, ...]]) -> None:
    def work(connection: sqlite3.Connection) -> None:
        if not connection.execute("SELECT 1 FROM pictures WHERE id = ?", (picture,)).fetchone():
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
