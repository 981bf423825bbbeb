"""Stars, tags and notes of images: their rules. The ledger stores them."""

from __future__ import annotations

import unicodedata

from imagegen_magic.engine.ledger import annotations as stored
from imagegen_magic.engine.ledger.annotations import Annotation, annotations_of, starred
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.ledger.records import text_of

__all__ = [
    "MAX_STARS",
    "Annotation",
    "add_tags",
    "annotations_of",
    "normalize_tag",
    "remove_tags",
    "set_note",
    "set_stars",
    "starred",
]

MAX_STARS = 5
_MAX_TAG = 60  # characters
_MAX_NOTE = 10_000  # characters


async def set_stars(ledger: Ledger, picture: int, stars: int) -> None:
    """Give an image 0 to 5 stars. Raises ValueError for another number, LookupError if there is no such image."""
    if not 0 <= stars <= MAX_STARS:
        raise ValueError(f"a picture has 0 to {MAX_STARS} stars, not {stars}")
    await stored.set_stars(ledger, picture, stars)


async def set_note(ledger: Ledger, picture: int, words: str) -> None:
    """Replace the note of an image; an empty one removes it.

    Raises ValueError if it is longer than 10,000 characters, LookupError if there is no such image.
    """
    note = text_of(words).strip()
    if len(note) > _MAX_NOTE:
        raise ValueError(f"a note has at most {_MAX_NOTE:,} characters, this one has {len(note):,}")
    await stored.set_note(ledger, picture, note)


async def add_tags(ledger: Ledger, picture: int, *tags: str) -> None:
    """Tag an image; case and a leading # are ignored. Raises ValueError for an invalid tag, LookupError if there is no such image."""
    await stored.add_tags(ledger, picture, [normalize_tag(tag) for tag in tags])


async def remove_tags(ledger: Ledger, picture: int, *tags: str) -> None:
    """Remove tags from an image; missing ones are ignored. Raises ValueError for an invalid tag, LookupError if there is no such image."""
    await stored.remove_tags(ledger, picture, [normalize_tag(tag) for tag in tags])


def normalize_tag(tag: str) -> str:
    """Return a tag in its only spelling: composed, lower case, without a leading #. Raises ValueError if it is empty or too long."""
    spelt = " ".join(unicodedata.normalize("NFC", text_of(tag)).casefold().strip().strip(",").lstrip("#").split())
    if not spelt or len(spelt) > _MAX_TAG:
        raise ValueError(f"{tag!r} is not a tag: use one or a few words of at most {_MAX_TAG} characters")
    return spelt
