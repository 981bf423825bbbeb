"""A small picture for the notebook: bounded in pixels and bytes, upright, and in a format that every front end shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from imagegen_magic.formats import JPEG, PNG
from imagegen_magic.imaging.decode import DECODERS, assembled, decoded, min_alpha, orientation, row_bands
from imagegen_magic.records import Record

EDGE = 1024  # px
LIMIT = 150_000  # bytes
_QUALITIES = (85, 75, 65, 55, 45, 35)
_MAX_PROFILE = 16_384  # bytes of an ICC profile that a preview may carry
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Preview(Record):
    """A JPEG, or a PNG if something is transparent; `width` and `height` in pixels."""

    data: bytes
    mime_type: str
    width: int
    height: int

    @property
    def base64(self) -> str:
        """The bytes as a notebook's output carries them."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_url(self) -> str:
        """The picture as a data: URL."""
        return f"data:{self.mime_type};base64,{self.base64}"


def preview(data: bytes | Image.Image, edge: int = EDGE, limit: int = LIMIT) -> Preview:
    """Return a preview of at most `edge` px on the long side, never enlarged, and at most `limit` bytes.

    A `limit` below what the smallest picture takes (about 700 bytes) gives that one. Raises ImageInvalid if bytes are no complete image.
    """
    if isinstance(data, Image.Image):
        return fitted(small(data, edge), limit)
    with DECODERS:
        image = small(decoded(data), edge)
    return fitted(image, limit)


def small(image: Image.Image, edge: int = EDGE) -> Image.Image:
    """Return a copy in L, RGB or RGBA, upright and within `edge` px, that holds nothing of the large one."""
    size = within(image.size, edge)
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        copy = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=1.0)
    else:
        copy = _converted(image, size)
    profile = image.info.get("icc_profile") or b""
    fits = len(profile) <= _MAX_PROFILE and profile[16:20] == (b"GRAY" if copy.mode == "L" else b"RGB ")
    copy.info = {"icc_profile": profile} if fits else {}
    turn = UPRIGHT.get(orientation(image))
    return copy if turn is None else copy.transpose(turn)


def within(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """Return a size in the same shape with no side above `edge` px; itself if it is smaller."""
    scale = min(1.0, max(1, edge) / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fitted(image: Image.Image, limit: int = LIMIT) -> Preview:
    """Return the picture (L, RGB or RGBA) in at most `limit` bytes: by quality first, then by making it smaller."""
    if image.mode == "RGBA" and min_alpha(image) == 255:
        image = image.convert("RGB")
    mime_type, attempts = (PNG.mime_type, _pngs) if image.mode == "RGBA" else (JPEG.mime_type, _jpegs)
    while True:
        for data in attempts(image):
            if len(data) <= limit or max(image.size) == 1:
                return Preview(data, mime_type, *image.size)
        image = image.resize((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)), Image.Resampling.LANCZOS)


def _converted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the image at `size` in L, RGB or RGBA, from bands that are first made smaller by a whole factor."""
    factor = max(1, min(image.width // size[0], image.height // size[1]))
    reduced = (-(-image.width // factor), -(-image.height // factor))
    whole = assembled((band.reduce(factor) for band in row_bands(image, factor)), reduced)
    return whole.resize(size, Image.Resampling.LANCZOS, box=(0, 0, image.width / factor, image.height / factor))


def _jpegs(image: Image.Image) -> Iterator[bytes]:
    for quality in _QUALITIES:
        yield _saved(image, "JPEG", quality=quality)


def _pngs(image: Image.Image) -> Iterator[bytes]:
    yield _saved(image, "PNG")
    yield _saved(image.quantize(256, method=Image.Quantize.FASTOCTREE), "PNG")


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, icc_profile=image.info.get("icc_profile"), **options)
    return file.getvalue()
