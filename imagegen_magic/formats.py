"""The one table of image formats. Everything that depends on a format's name, type, suffix or signature reads it here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple


class ImageFormat(NamedTuple):
    """One image format.

    `option` is its name in `output_format` and in models' lists. `suffixes` start with the usual one. `signature` matches the first 16
    bytes of a file; an ISO base media file (`ftyp`) has `brands` instead. `decoder` is Pillow's plugin as module:class, `feature` what
    Pillow must be built with. `alpha`: pixels can be transparent. `lossy`: its usual coding changes pixels.
    """

    name: str
    mime_type: str
    suffixes: tuple[str, ...]
    decoder: str
    signature: bytes = rb"(?!)"
    brands: tuple[bytes, ...] = ()
    feature: str = ""
    alpha: bool = True
    lossy: bool = False
    install: str = "%pip install --upgrade Pillow and restart the kernel"

    @property
    def option(self) -> str:
        """The name in options and models: png, jpeg, webp."""
        return self.mime_type.removeprefix("image/")

    @property
    def suffix(self) -> str:
        """The usual suffix, with its dot."""
        return self.suffixes[0]

    @property
    def extension(self) -> str:
        """The usual suffix without its dot, as upload forms name it."""
        return self.suffixes[0][1:]


PNG = ImageFormat("PNG", "image/png", (".png",), "PIL.PngImagePlugin:PngImageFile", rb"\x89PNG\r\n\x1a\n")
JPEG = ImageFormat("JPEG", "image/jpeg", (".jpg", ".jpeg"), "PIL.JpegImagePlugin:JpegImageFile", rb"\xff\xd8\xff", alpha=False, lossy=True)
WEBP = ImageFormat("WebP", "image/webp", (".webp",), "PIL.WebPImagePlugin:WebPImageFile", rb"RIFF....WEBP", feature="webp")
GIF = ImageFormat("GIF", "image/gif", (".gif",), "PIL.GifImagePlugin:GifImageFile", rb"GIF8[79]a")
BMP = ImageFormat("BMP", "image/bmp", (".bmp",), "PIL.BmpImagePlugin:BmpImageFile", rb"BM")
TIFF = ImageFormat("TIFF", "image/tiff", (".tiff", ".tif"), "PIL.TiffImagePlugin:TiffImageFile", rb"II[*+]\0|MM\0[*+]")
NETPBM = ImageFormat(
    "Netpbm",
    "image/x-portable-anymap",
    (".ppm", ".pgm", ".pbm", ".pnm"),
    "PIL.PpmImagePlugin:PpmImageFile",
    rb"P[456]\s+[#\d]",  # the binary forms; those in text are text
    alpha=False,
)
AVIF = ImageFormat(
    "AVIF", "image/avif", (".avif",), "PIL.AvifImagePlugin:AvifImageFile", brands=(b"avif", b"avis"), feature="avif", lossy=True
)
JPEG2000 = ImageFormat(
    "JPEG 2000",
    "image/jp2",
    (".jp2",),
    "PIL.Jpeg2KImagePlugin:Jpeg2KImageFile",
    rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    feature="jpg_2000",
    lossy=True,
)
HEIC = ImageFormat(
    "HEIC",
    "image/heic",
    (".heic", ".heif"),
    "pillow_heif:HeifImageFile",
    brands=(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"),
    lossy=True,
    install="%pip install pillow-heif",
)

FORMATS = (PNG, JPEG, WEBP, GIF, BMP, TIFF, NETPBM, AVIF, JPEG2000, HEIC)
WEB_FORMATS = (PNG, JPEG, WEBP)
"""What every service takes and returns; references are sent in one of these, and metadata are written into them."""

WEB_TYPES = tuple(image_format.mime_type for image_format in WEB_FORMATS)

BY_TYPE = {image_format.mime_type: image_format for image_format in FORMATS}
MIME_TYPES = {image_format.option: image_format.mime_type for image_format in FORMATS}
EXTENSIONS = tuple(sorted({suffix[1:] for image_format in FORMATS for suffix in image_format.suffixes}, reverse=True))
"""All suffixes without their dot, longer ones before those that they start with."""

_CONTAINER_BRANDS = (b"mif1", b"msf1")  # ISO 23008-12: they name the container, not how the image is coded
_MAX_BRANDS = 64
_SIGNATURES = tuple((image_format, re.compile(image_format.signature, re.DOTALL)) for image_format in FORMATS)
_BY_BRAND = {brand: image_format for image_format in FORMATS for brand in image_format.brands}


def format_of(data: bytes | mmap) -> ImageFormat | None:
    """Return the format that the first bytes name, or None if it is not in the table."""
    start = data[:16]
    if start[4:8] == b"ftyp":
        brands = sorted(_brands(data), key=_CONTAINER_BRANDS.__contains__)  # stable: the major brand stays first
        return next((_BY_BRAND[brand] for brand in brands if brand in _BY_BRAND), None)
    return next((image_format for image_format, signature in _SIGNATURES if signature.match(start)), None)


def _brands(data: bytes | mmap) -> Iterator[bytes]:
    """Yield the major brand of an ISO base media file, then the compatible brands."""
    yield bytes(data[8:12])
    end = min(int.from_bytes(data[:4]), len(data), 16 + 4 * _MAX_BRANDS)
    for offset in range(16, end - 3, 4):
        yield bytes(data[offset : offset + 4])


_OTHER_FILES = ((b"%PDF", "a PDF"), (b"PK\x03\x04", "a ZIP archive"), (b"\x1f\x8b", "gzip data"))


def looks_like(data: bytes, size: int | None = None, *, quoted: bool = False) -> str:
    """Return what bytes that are no image look like: "a PDF", "JSON", "empty". `size`: of the whole file, if `data` is its beginning.

    `quoted` adds the first words. Use it for a gateway's responses only: a file of this machine may hold keys, and the message is
    saved with the notebook.
    """
    label, _, words = _likeness(data, len(data) if size is None else size).partition(": ")
    return f"{label}: {words}" if quoted and words else label


def _likeness(data: bytes, size: int) -> str:
    if not data.strip():
        return "empty" if not data else "blank"
    if label := next((label for signature, label in _OTHER_FILES if data.startswith(signature)), ""):
        return label
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
