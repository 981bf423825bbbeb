"""From bytes to pixels: what kind of picture it is, whether it is whole and of bearable size, and only then decoded.

Pillow's plugins are called directly: `Image.open` would warn, or obey a limit that belongs to the user's own work.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from imagegen_magic.errors import ImageInvalid

MOST_BYTES = 64 * 2**20
MOST_PIXELS = 50_000_000
DECODERS = threading.BoundedSemaphore(2)  # pictures decoded at once: a 4K one takes 33 MB

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
    MemoryError,
    Image.DecompressionBombError,
)
_STRIP = 1 << 16  # px converted at a time: a whole converted 4K copy would double the memory
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"})


class Kind(NamedTuple):
    """A file format: what people call it, its MIME type and its usual suffix."""

    name: str
    mime_type: str
    suffix: str


PNG = Kind("PNG", "image/png", ".png")
JPEG = Kind("JPEG", "image/jpeg", ".jpg")
WEBP = Kind("WebP", "image/webp", ".webp")


def kind_of(data: bytes, *, quoted: bool = False) -> Kind:
    """Return the format that the first bytes tell. Raises ImageInvalid, saying what else it looks like; `quoted` as in `looks_like`."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    raise ImageInvalid(f"what came is not a PNG, JPEG or WebP picture but {looks_like(data, quoted=quoted)}")


def decoded(data: bytes) -> Image.Image:
    """Return the whole picture, all its pixels decoded. Raises ImageInvalid where it is none, not whole, or too large."""
    if len(data) > MOST_BYTES:
        raise ImageInvalid(f"the picture has {len(data) / 2**20:.0f} MiB, more than the {MOST_BYTES / 2**20:.0f} MiB that are read")
    image = opened(data)
    with told(kind_of(data).name):
        image.load()
    return image


def opened(data: bytes, most_pixels: float = MOST_PIXELS) -> ImageFile.ImageFile:
    """Return the picture with its header read and its pixels yet to `load()`, best within `told()`. Raises ImageInvalid."""
    kind = kind_of(data)
    with told(kind.name):
        return _opened(kind, data, most_pixels)


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what Pillow raises about a broken picture of that format into ImageInvalid."""
    try:
        yield
    except ImageInvalid:
        raise
    except _BROKEN as error:
        raise ImageInvalid(f"the {name} picture is corrupt or cut short ({_words(error)})") from error


def orientation(image: Image.Image) -> int:
    """Return the Exif orientation, 1 to 8; 1 where none can be read."""
    exif: bytes = image.info.get("exif", b"")
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        entries = [struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * number) for number in range(count)]
    except struct.error:
        return 1
    return next((value for tag, _, _, value in entries if tag == 0x0112 and 1 <= value <= 8), 1)


def strips(image: Image.Image, step: int = 1) -> Iterator[Image.Image]:
    """Yield the picture from top to bottom in L, RGB or RGBA, whatever its mode; each strip but the last has a multiple of `step` rows."""
    rows = max(1, _STRIP // image.width // step) * step
    for top in range(0, image.height, rows):
        yield _ordinary(image.crop((0, top, image.width, min(image.height, top + rows))))


def ordinary(image: Image.Image) -> Image.Image:
    """Return the picture in L, RGB or RGBA: itself where it is in one of them."""
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    whole, top = None, 0
    for strip in strips(image):
        whole = whole or Image.new(strip.mode, image.size)
        whole.paste(strip, (0, top))
        top += strip.height
    assert whole is not None  # every picture has a row
    return whole


def least_alpha(image: Image.Image) -> float:
    """Return the alpha, 0 to 255, of the most transparent pixel of an RGBA or LA picture."""
    return cast("tuple[float, float]", image.getchannel("A").getextrema())[0]


def _ordinary(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which a plain convert would clip
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L", "F") else "RGB")


def _opened(kind: Kind, data: bytes, most_pixels: float) -> ImageFile.ImageFile:
    image: ImageFile.ImageFile
    exif = b""
    if kind is PNG:
        image = PngImagePlugin.PngImageFile(io.BytesIO(_whole_png(data, most_pixels)))
    elif kind is JPEG:
        data, exif = _whole_jpeg(data)
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    else:
        _check_webp(data, most_pixels)
        image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    check_pixels(*image.size, most_pixels)
    if exif:
        image.info["exif"] = exif
    return image


def check_pixels(width: int, height: int, most: float = MOST_PIXELS) -> None:
    """Hold what a header claims against the limit. Raises ImageInvalid."""
    if width * height > most:
        claim = f"{width}×{height} ({width * height / 1e6:.0f} megapixels)"
        raise ImageInvalid(f"the picture claims to be {claim}, more than the {most / 1e6:.0f} megapixels that are decoded")
    if not width * height:
        raise ImageInvalid("the picture claims to have no pixels")


def _whole_png(data: bytes, most_pixels: float) -> bytes:
    """Return a PNG whose every chunk is there with a true checksum; without its animation, of which Pillow may warn."""
    if data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        check_pixels(width, height, most_pixels)
    chunks = list(_png_chunks(data))
    if not any(name == b"acTL" for name, _, _ in chunks):
        return data
    return data[:8] + b"".join(data[start:end] for name, start, end in chunks if name in _PNG_NEEDED)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of every chunk up to IEND. Raises ImageInvalid where the file ends before it or a checksum is wrong."""
    place, view = 8, memoryview(data)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ImageInvalid(f"the PNG picture is corrupt: a checksum is wrong near byte {place}")
        name = data[place + 4 : place + 8]
        yield name, place, end
        if name == b"IEND":
            return
        place = end
    raise ImageInvalid(f"the PNG picture is cut short: {len(data)} bytes came, and its end is missing")


def _whole_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG without its Exif, and the Exif, of whose faults Pillow would warn. Raises ImageInvalid where the end is missing."""
    place, exif, kept = 2, b"", [data[:2]]
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + struct.unpack_from(">H", data, place + 2)[0]
        if marker == 0xDA:
            break
        if marker == 0xE1 and data[place + 4 : place + 8] == b"Exif":
            exif = exif or data[place + 4 : end]
        else:
            kept.append(data[place:end])
        place = end
    if data.find(b"\xff\xd9", place) < 0:
        raise ImageInvalid(f"the JPEG picture is cut short: {len(data)} bytes came, and its end is missing")
    return (b"".join([*kept, data[place:]]), exif) if exif else (data, b"")


def _check_webp(data: bytes, most_pixels: float) -> None:
    """Hold length and canvas against the limits before libwebp makes room for it. Raises ImageInvalid."""
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise ImageInvalid(f"the WebP picture is cut short: {len(data)} bytes came, and its end is missing")
    match data[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    check_pixels(width, height, most_pixels)


def _words(error: BaseException) -> str:
    return str(error).split("\n")[0][:100] or type(error).__name__


_SIGNS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
)


def looks_like(data: bytes, *, quoted: bool = False) -> str:
    """Say what bytes that are no picture look like.

    Their first words are `quoted` only where a gateway sent them: a file of this machine may be where somebody keeps keys, and what is
    said of it is saved with the notebook.
    """
    kind, _, words = _likeness(data).partition(": ")
    return f"{kind}: {words}" if quoted and words else kind


def _likeness(data: bytes) -> str:
    if not data.strip():
        return "empty" if not data else "blank"
    for sign, words in _SIGNS:
        if data.startswith(sign):
            return words
    if data[4:12] in (b"ftypavif", b"ftypavis", b"ftypheic"):
        return f"{'a HEIC' if data[8:12] == b'heic' else 'an AVIF'} picture"
    start = data[:400].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] in (b"{", b"["):
        return f"JSON: {_quoted(start)}"
    if start[:1] == b"<":
        return "an SVG drawing" if b"<svg" in start.lower() else f"HTML or XML: {_quoted(start)}"
    text = start.decode("utf-8", "replace")
    return (
        f"text: {_quoted(start)}"
        if text.replace("\ufffd", "\0").replace("\n", " ").isprintable()
        else f"{len(data)} bytes of something else"
    )


def _quoted(start: bytes) -> str:
    text = " ".join(start.decode("utf-8", "replace").split())
    return repr(text[:80] + ("…" if len(text) > 80 else ""))
