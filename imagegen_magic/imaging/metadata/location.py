"""Whether the metadata of an image file say where it was taken: in Exif, XMP, IPTC, or in what follows the image.

Exif 2.32 (CIPA DC-008) 4.6.6, XMP part 3 (storage in files), IPTC-IIM 4.2, the PNG and WebP container specifications.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

from PIL import Image

from imagegen_magic.formats import GIF, PNG, ImageFormat
from imagegen_magic.imaging.strip import COMMENT, EXIF, IPTC, TEXT, XMP, Part

_TIME_TAGS = (0, 7, 29)  # tags of a GPS block that hold its version and the time

_GPS = 0x8825
_DIRECTORIES = (0x8769, 0x014A)  # Exif's own, and those of further images
_MAX_DIRECTORIES = 32
_MAX_TEXT = 4 * 2**20  # bytes of a compressed text chunk that are read
_XMP_NAMES = rb"(?:GPS\w+|Location(?:Created|Shown)?|Sublocation|City|State|Country(?:Name|Code)?)"
_XMP = re.compile(rb"<\w+:" + _XMP_NAMES + rb"[\s/>]|\s\w+:" + _XMP_NAMES + rb"\s*=")
_IPTC = re.compile(rb"\x1c\x02[\x1a\x1b\x5a\x5c\x5f\x64\x65]")  # content location, city, sublocation, state, country
_TIFF = re.compile(rb"II\*\0|MM\0\*")
_FILM = re.compile(rb"\xa9xyz|....loci\0\0\0\0|com\.apple\.quicktime\.location", re.DOTALL)


def has_location(image_format: ImageFormat, data: bytes, rest: Sequence[Part], image: Image.Image) -> bool:
    """Return whether one of a file's extra parts says where the image was taken. A part that cannot be read says nothing.

    `image` is the opened file, for formats whose parts are not known: there its decoder has read the metadata.
    """
    parts = rest or ((Part("", data),) if image_format is GIF else ())
    return any(_part_has_location(image_format, part.what, bytes(part.content)) for part in parts) or image_has_location(image)


def image_has_location(image: Image.Image) -> bool:
    """Return whether the metadata that Pillow has read say where an image was taken; False if they cannot be read."""
    with suppress(Exception):  # Pillow's readers raise anything for broken metadata
        xmp, exif = image.info.get("xmp") or b"", image.info.get("exif") or b""
        gps = any(tag not in _TIME_TAGS for tag in image.getexif().get_ifd(_GPS))
        return gps or exif_has_location(exif) or (isinstance(xmp, bytes) and xmp_has_location(xmp))
    return False


def _part_has_location(image_format: ImageFormat, what: str, content: bytes) -> bool:
    if image_format is PNG and content[4:8] in (b"iTXt", b"tEXt", b"zTXt"):
        return _chunk_has_location(content[4:8], content[8:-4])
    if what == EXIF:
        return exif_has_location(content)
    if what == IPTC:
        return iptc_has_location(content)
    if what in (XMP, TEXT, COMMENT):
        return xmp_has_location(content)
    starts = (match.start() for match in _TIFF.finditer(content))  # a second image or a film, which is not parsed further
    return bool(_FILM.search(content)) or xmp_has_location(content) or any(_tiff_has_location(content[at : at + 65_536]) for at in starts)


def exif_has_location(exif: bytes) -> bool:
    """Return whether one of an Exif block's directories has GPS tags other than the version and the time."""
    start = _TIFF.search(exif, 0, 64)
    return start is not None and _tiff_has_location(exif[start.start() :])


def xmp_has_location(xmp: bytes, *, any_encoding: bool = True) -> bool:
    """Return whether an XMP packet names a place; in any of Unicode's encodings, or in UTF-8 alone."""
    return bool(_XMP.search(xmp.replace(b"\0", b"") if any_encoding else xmp))


def iptc_has_location(block: bytes) -> bool:
    """Return whether an IPTC block names a place."""
    return bool(_IPTC.search(block))


def _tiff_has_location(tiff: bytes) -> bool:
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    queue, seen = [int.from_bytes(tiff[4:8], "little" if order == "<" else "big")], set[int]()
    while queue and len(seen) < _MAX_DIRECTORIES:
        start = queue.pop()
        if start in seen:
            continue
        seen.add(start)
        with suppress(struct.error):
            found = list(entries(tiff, order, start))
            queue += [value for tag, value in found if tag in _DIRECTORIES]
            queue += struct.unpack_from(f"{order}I", tiff, start + 2 + 12 * len(found))
        with suppress(struct.error):
            blocks = [value for tag, value in entries(tiff, order, start) if tag == _GPS]
            if any(tag not in _TIME_TAGS for block in blocks for tag, _ in entries(tiff, order, block)):
                return True
    return False


def entries(tiff: bytes, order: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield tag and value of each entry of a TIFF directory. Raises struct.error if the file ends before."""
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for number in range(count):
        tag, _, _, value = struct.unpack_from(f"{order}HHII", tiff, start + 2 + 12 * number)
        yield tag, value


def _chunk_has_location(name: bytes, content: bytes) -> bool:
    keyword, _, rest = content.partition(b"\0")
    text = text_of_chunk(name, rest) or b""
    if not keyword.startswith(b"Raw profile type "):
        return xmp_has_location(text)
    with suppress(ValueError):
        block = raw_profile(text)
        return exif_has_location(block) or xmp_has_location(block) or iptc_has_location(block)
    return False


def raw_profile(text: bytes) -> bytes:
    """Return the block in a text as ImageMagick writes it: a name, a length, and hexadecimal digits. Raises ValueError."""
    return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))


def text_of_chunk(name: bytes, rest: bytes) -> bytes | None:
    """Return the text that follows a PNG text chunk's keyword, unpacked; None if it is broken or too long."""
    packed = name == b"zTXt" or (name == b"iTXt" and rest[:1] == b"\1")
    text = rest[1:] if name == b"zTXt" else rest[2:].split(b"\0", 2)[-1] if name == b"iTXt" else rest
    if not packed:
        return text
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(text, _MAX_TEXT)
    except zlib.error:
        return None
    return None if unpacking.unconsumed_tail else text
