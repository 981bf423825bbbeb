"""One image of a sheet: its source, its size without decoding it, and its pixels at the size that is needed."""

from __future__ import annotations

import io
import mmap
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.formats import JPEG, format_of
from imagegen_magic.imaging.decode import DECODERS, MAX_PIXELS, decoded, displayed_size, load_pixels, opened, orientation
from imagegen_magic.imaging.preview import small
from imagegen_magic.paths import StorePath

Source = Path | StorePath | bytes | Image.Image

GONE = "file not found"
UNREADABLE = "not readable"


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A picture on a sheet (`source`: a file, its bytes, or a Pillow picture), or `word`, which stands in its place and says why."""

    source: Source | None = None
    caption: str = ""
    word: str = "missing"


def size_of(tile: Tile) -> tuple[int, int] | str:
    """Return width and height in pixels, upright, without decoding; or the word for an image that cannot be read."""
    source = tile.source
    if source is None:
        return tile.word
    try:
        if isinstance(source, Image.Image):
            return source.size[::-1] if orientation(source) >= 5 else source.size
        if isinstance(source, bytes | StorePath):
            return _size_of_file(source if isinstance(source, bytes) else source.read_bytes())
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _size_of_file(mapped)
    except FileNotFoundError:
        return GONE
    except (ImageInvalid, OSError, ValueError):  # ValueError: an empty file cannot be mapped
        return UNREADABLE


def load(tile: Tile, edge: int) -> Image.Image | str:
    """Return the picture, upright, within `edge` px and never enlarged, in L, RGB or RGBA and sRGB; or the word for it.

    At most two threads decode at a time; of a JPEG only as much as is needed.
    """
    source = tile.source
    if source is None:
        return tile.word
    try:
        if isinstance(source, Image.Image):
            return _srgb(small(source, edge))
        data = source if isinstance(source, bytes) else source.read_bytes()
        with DECODERS:
            return _srgb(small(_near(data, edge), edge))
    except FileNotFoundError:
        return GONE
    except (ImageInvalid, OSError):
        return UNREADABLE


def _size_of_file(data: bytes | mmap.mmap) -> tuple[int, int] | str:
    width, height = displayed_size(data)
    return (width, height) if 0 < width * height <= MAX_PIXELS else UNREADABLE


def _near(data: bytes, edge: int) -> Image.Image:
    """Decode a picture; a JPEG to no more than twice the pixels that are needed."""
    if format_of(data) is not JPEG or max(displayed_size(data)) < 4 * edge:
        return decoded(data)
    image = opened(data)
    enough = 2 * edge / max(image.size)
    image.draft(image.mode, (round(image.width * enough), round(image.height * enough)))
    load_pixels(image, JPEG)
    return image


def _srgb(image: Image.Image) -> Image.Image:
    """Return a picture in the colours of the sheet, which has no profile."""
    profile = image.info.pop("icc_profile", None)
    if not profile or image.mode == "L":
        return image
    try:
        there = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ImportError):
        return image
    there = there or image
    there.info = {}
    return there
