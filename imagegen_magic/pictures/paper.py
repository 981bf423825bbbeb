"""A sheet brought to its last form: a Pillow picture, or a PNG or PDF file."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.paths import path_of
from imagegen_magic.pictures.sheet import Sheet

SUFFIXES = (".png", ".pdf")


def picture(sheet: Sheet, edge: int | None = None) -> Image.Image:
    """Return a sheet as a picture; raises UnsupportedOption where it would be too large, with the edge that fits."""
    drawn = Image.open(io.BytesIO(sheet.png(edge)), formats=("PNG",))
    drawn.load()
    return drawn


def write(sheet: Sheet, path: str | Path, edge: int | None = None) -> Path:
    """Write a sheet as the suffix says, over what was there, and return where.

    Raises UnsupportedOption for another suffix and where the sheet would be too large, OSError where the disk refuses.
    """
    target = path_of(path).expanduser()
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        what = f"A sheet is written as {' or '.join(SUFFIXES)}, not as {suffix or 'a file without a suffix'}"
        raise UnsupportedOption(what, option="path", value=str(path), nearest=f"{target.stem}.png", allowed=SUFFIXES)
    content = sheet.pdf(edge) if suffix == ".pdf" else sheet.png(edge)
    target.write_bytes(content)
    return target
