"""A sheet brought to its last form: a Pillow picture, or a PNG or PDF file."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image

from imagegen_magic.errors import SaveError, UnsupportedOption
from imagegen_magic.imaging.sheet.sheet import Sheet
from imagegen_magic.paths import path_of

SUFFIXES = (".png", ".pdf")


def picture(sheet: Sheet, edge: int | None = None) -> Image.Image:
    """Return a sheet as a picture; raises UnsupportedOption where it would be too large, with the edge that fits."""
    _check_edge(edge)
    drawn = Image.open(io.BytesIO(sheet.png(edge)), formats=("PNG",))
    drawn.load()
    return drawn


def write(sheet: Sheet, path: str | Path, edge: int | None = None) -> Path:
    """Write a sheet as the suffix says, over what was there, and return where.

    Raises UnsupportedOption for another suffix and where the sheet would be too large, SaveError where the disk refuses.
    """
    _check_edge(edge)
    target = _target(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        what = f"A sheet is written as {' or '.join(SUFFIXES)}, not as {suffix or 'a file without a suffix'}"
        raise UnsupportedOption(what, option="path", value=str(path), fix={"path": f"{target.stem}.png"}, allowed=SUFFIXES)
    content = sheet.pdf(edge) if suffix == ".pdf" else sheet.png(edge)
    try:
        target.write_bytes(content)
    except (OSError, ValueError) as error:  # a name with NUL is a ValueError
        what = f"The sheet could not be written to {str(target)!r}: {getattr(error, 'strerror', None) or error}"
        step = "make room, or give a path in a folder that is there and may be written to"
        raise SaveError(what, charge="no", hint=step) from error
    return target


def _target(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        what = f"A sheet is written to a path, not to a value of type {type(path).__name__}"
        raise UnsupportedOption(what, option="path", value=path, hint="give it like sheet.png or sheet.pdf")
    try:
        return path_of(path).expanduser()
    except RuntimeError as error:  # a user that does not exist
        raise UnsupportedOption(f"{path} is no path here: {error}", option="path", value=str(path)) from None


def _check_edge(edge: object) -> None:
    if edge is not None and (isinstance(edge, bool) or not isinstance(edge, int) or edge < 1):
        raise UnsupportedOption(f"edge = {edge!r} is no length of pictures", option="edge", value=edge, allowed=("pixels, 1 or more",))
