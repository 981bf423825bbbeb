"""The one table of formats that are read here, and how each is told from its bytes: by its signature, never by a file's name."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

from imagegen_magic.errors import ImageInvalid


class ImageFormat(NamedTuple):
    """A file format: what people call it, its MIME type and its usual suffix."""

    name: str
    mime_type: str
    suffix: str


PNG = ImageFormat("PNG", "image/png", ".png")
JPEG = ImageFormat("JPEG", "image/jpeg", ".jpg")
WEBP = ImageFormat("WebP", "image/webp", ".webp")
GIF = ImageFormat("GIF", "image/gif", ".gif")
BMP = ImageFormat("BMP", "image/bmp", ".bmp")
TIFF = ImageFormat("TIFF", "image/tiff", ".tiff")
AVIF = ImageFormat("AVIF", "image/avif", ".avif")
JPEG2000 = ImageFormat("JPEG 2000", "image/jp2", ".jp2")
HEIC = ImageFormat("HEIC", "image/heic", ".heic")

FORMATS = (PNG, JPEG, WEBP, GIF, BMP, TIFF, AVIF, JPEG2000, HEIC)

BY_TYPE = {kind.mime_type: kind for kind in FORMATS}

_SIGNATURES = (
    (PNG, (b"\x89PNG\r\n\x1a\n",)),
    (JPEG, (b"\xff\xd8\xff",)),
    (GIF, (b"GIF87a", b"GIF89a")),
    (BMP, (b"BM",)),
    (TIFF, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (JPEG2000, (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")),
)
_BRANDS = dict.fromkeys((b"avif", b"avis"), AVIF) | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), HEIC
)
_STRUCTURE = (b"mif1", b"msf1")  # brands of the container alone (ISO 23008-12), which do not say how the picture is coded
_MOST_BRANDS = 64


def format_of(data: bytes | mmap) -> ImageFormat | None:
    """Return the format that the first bytes name, or None for one that is not read here."""
    start = data[:16]
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WEBP
    if start[4:8] == b"ftyp":
        return _of_brands(list(_brands(data)))
    return next((kind for kind, signatures in _SIGNATURES if start.startswith(signatures)), None)


def kind_of(data: bytes | mmap, *, quoted: bool = False) -> ImageFormat:
    """Return the format that the first bytes name. Raises ImageInvalid, saying what else it looks like; `quoted` as in `looks_like`."""
    if kind := format_of(data):
        return kind
    raise ImageInvalid(f"what came is not a picture that can be read here but {looks_like(bytes(data[:512]), len(data), quoted=quoted)}")


def _brands(data: bytes | mmap) -> Iterator[bytes]:
    """Yield the major brand of an ISO base media file, and then the compatible ones."""
    yield bytes(data[8:12])
    end = min(int.from_bytes(data[:4]), len(data), 16 + 4 * _MOST_BRANDS)
    for place in range(16, end - 3, 4):
        yield bytes(data[place : place + 4])


def _of_brands(brands: list[bytes]) -> ImageFormat | None:
    coding = next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
    return coding or (HEIC if any(brand in _STRUCTURE for brand in brands) else None)


_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
)


def looks_like(data: bytes, size: int | None = None, *, quoted: bool = False) -> str:
    """Say what bytes that are no picture look like; `size` is how many there are where `data` is only their beginning.

    Their first words are `quoted` only where a gateway sent them: a file of this machine may be where somebody keeps keys, and what is
    said of it is saved with the notebook.
    """
    kind, _, words = _likeness(data, len(data) if size is None else size).partition(": ")
    return f"{kind}: {words}" if quoted and words else kind


def _likeness(data: bytes, size: int) -> str:
    if not data.strip():
        return "empty" if not data else "blank"
    for sign, words in _OTHERS:
        if data.startswith(sign):
            return words
    start = data[:400].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] in (b"{", b"["):
        return f"JSON: {_quoted(start)}"
    if start[:1] == b"<":
        return "an SVG drawing" if b"<svg" in start.lower() else f"HTML or XML: {_quoted(start)}"
    text = start.decode("utf-8", "replace")
    if text.replace("\ufffd", "\0").replace("\n", " ").isprintable():
        return f"text: {_quoted(start)}"
    return f"{size} bytes of something else"


def _quoted(start: bytes) -> str:
    text = " ".join(start.decode("utf-8", "replace").split())
    return repr(text[:80] + ("…" if len(text) > 80 else ""))
