"""How much of what a mask protects an edit has changed, from the copies of the pictures that it was made from."""

from __future__ import annotations

from pathlib import Path

from imagegen_magic.engine.storage.source_copies import kept
from imagegen_magic.errors import ImageInvalid


def drift(home: Path, after: bytes, before: str, mask: str) -> tuple[float, float] | None:
    """Return (share of the protected pixels, mean absolute difference), both 0..1, or None where a copy is gone or cannot be read.

    `before` and `mask` are the SHA-256 of the first reference and of the mask.
    """
    from imagegen_magic.imaging import mask_drift as pixels

    found = copies(home, before, mask)
    if found is None:
        return None
    try:
        measured = pixels.drift(found[0], after, found[1])
    except ImageInvalid:
        return None
    return measured.share, measured.mean


def copies(home: Path, before: str, mask: str) -> tuple[bytes, bytes] | None:
    """Return the bytes of the picture that was changed and of its mask, None where a copy is gone."""
    places = kept(home, before), kept(home, mask)
    try:
        return (places[0].read_bytes(), places[1].read_bytes()) if places[0] and places[1] else None
    except OSError:
        return None
