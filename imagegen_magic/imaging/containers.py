"""The boxes that PNG, JPEG and WebP files are made of, read without decoding a pixel.

PNG: chunks (ISO/IEC 15948). JPEG: marker segments (ITU-T T.81). WebP: RIFF chunks (RFC 9649).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import NamedTuple

from PIL import Image

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.formats import JPEG, PNG, WEBP, ImageFormat, kind_of
from imagegen_magic.imaging.decode import opened, orientation

Octets = bytes | mmap

_EXIF = b"Exif\0\0"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers that tell the frame's size


class Chunk(NamedTuple):
    """One chunk or segment: its name, where the whole of it lies in the file, and where its content does."""

    name: bytes
    start: int
    end: int
    content: int
    content_end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its pixels before they are decoded: `width` and `height` upright, as a person sees them."""

    kind: ImageFormat
    width: int
    height: int


def boxes(data: Octets) -> Iterator[Chunk]:
    """Yield the file's boxes in order, up to where it ends or breaks off; of a JPEG those before the first scan.

    Raises ImageInvalid where it is none of the three.
    """
    kind = kind_of(data)
    if kind not in (PNG, JPEG, WEBP):
        raise ImageInvalid(f"the parts of a {kind.name} file are not read here")
    return _walker(kind)(data)


def header(data: Octets) -> Header:
    """Return format and size, of PNG, JPEG and WebP from a few hundred bytes. Raises ImageInvalid where the file does not tell them."""
    kind = kind_of(data)
    if kind not in (PNG, JPEG, WEBP):
        image = opened(bytes(data), float("inf"))
        return Header(kind, *(image.size[::-1] if orientation(image) >= 5 else image.size))
    try:
        width, height, exif = (_png_size if kind is PNG else _jpeg_size if kind is JPEG else _webp_size)(data)
    except (struct.error, IndexError) as error:
        raise ImageInvalid(f"the {kind.name} picture is cut short: it does not even tell its size") from error
    if not width * height:
        raise ImageInvalid("the picture claims to have no pixels")
    return Header(kind, height, width) if _lies(exif) else Header(kind, width, height)


def vp8_size(data: Octets, box: Chunk) -> tuple[int, int, bool]:
    """Return width, height and whether there is alpha, of a WebP's `VP8 ` or `VP8L` chunk."""
    if box.name == b"VP8L":
        bits = struct.unpack_from("<I", data, box.content + 1)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack_from("<HH", data, box.content + 6)
    return width & 0x3FFF, height & 0x3FFF, False


def _lies(exif: bytes) -> bool:
    """Say whether the stored picture lies on its side."""
    probe = Image.new("L", (1, 1))
    probe.info["exif"] = exif
    return orientation(probe) >= 5


def _walker(kind: ImageFormat) -> Callable[[Octets], Iterator[Chunk]]:
    return _png_chunks if kind is PNG else _jpeg_segments if kind is JPEG else _riff_chunks


def _png_chunks(data: Octets) -> Iterator[Chunk]:
    place = 8
    while place + 12 <= len(data):
        end = place + 12 + struct.unpack_from(">I", data, place)[0]
        if end > len(data):
            return
        name = bytes(data[place + 4 : place + 8])
        yield Chunk(name, place, end, place + 8, end - 4)
        if name == b"IEND":
            return
        place = end


def _jpeg_segments(data: Octets) -> Iterator[Chunk]:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + struct.unpack_from(">H", data, place + 2)[0]
        if marker == 0xDA or end > len(data):
            return
        yield Chunk(bytes(data[place : place + 2]), place, end, place + 4, end)
        place = end


def _riff_chunks(data: Octets) -> Iterator[Chunk]:
    place, last = 12, min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while place + 8 <= last:
        length = struct.unpack_from("<I", data, place + 4)[0]
        if place + 8 + length > last:
            return
        yield Chunk(bytes(data[place : place + 4]), place, min(last, place + 8 + length + length % 2), place + 8, place + 8 + length)
        place += 8 + length + length % 2


def _png_size(data: Octets) -> tuple[int, int, bytes]:
    exif = next((bytes(data[box.content : box.content_end]) for box in _png_chunks(data) if box.name == b"eXIf"), b"")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height, exif


def _jpeg_size(data: Octets) -> tuple[int, int, bytes]:
    exif = b""
    for box in _jpeg_segments(data):
        if box.name == b"\xff\xe1" and not exif and data[box.content : box.content + 6] == _EXIF:
            exif = bytes(data[box.content : box.end])
        if box.name[1] in _FRAMES:
            height, width = struct.unpack_from(">HH", data, box.content + 1)
            return width, height, exif
    raise IndexError


def _webp_size(data: Octets) -> tuple[int, int, bytes]:
    found = {box.name: box for box in _riff_chunks(data)}
    exif = found.get(b"EXIF")
    told = bytes(data[exif.content : exif.content_end]) if exif else b""
    if extended := found.get(b"VP8X"):
        sides = bytes(data[extended.content + 4 : extended.content + 10])
        return int.from_bytes(sides[:3], "little") + 1, int.from_bytes(sides[3:], "little") + 1, told
    box = found.get(b"VP8L") or found.get(b"VP8 ")
    if box is None:
        raise IndexError
    return *vp8_size(data, box)[:2], told
