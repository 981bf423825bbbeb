"""The one walker over the chunks and segments of PNG, JPEG and WebP files. It decodes no pixel and raises nothing for a broken file.

PNG: chunks (ISO/IEC 15948). JPEG: marker segments (ITU-T T.81). WebP: RIFF chunks (RFC 9649).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import takewhile
from mmap import mmap
from typing import NamedTuple

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.formats import JPEG, PNG, WEBP, ImageFormat, format_of, looks_like

SOS, EOI = b"\xff\xda", b"\xff\xd9"  # JPEG markers: start of scan, end of image
APP1, APP11 = b"\xff\xe1", b"\xff\xeb"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers whose segment holds the image's size
JPEG_TABLES = FRAME_HEADERS | {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}  # Huffman and arithmetic codes, quantization, lines, restart interval

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_AFTER_SCAN = re.compile(
    b"\xff[" + b"".join(re.escape(bytes([marker])) for marker in sorted({*JPEG_TABLES, 0xDA, 0xD9, *range(0xE0, 0xFF)})) + b"]"
)
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without content


class Chunk(NamedTuple):
    """One chunk or segment: its name, and the offsets of the whole of it and of its content. `end` includes padding and checksum."""

    name: bytes
    start: int
    end: int
    content: int
    content_end: int


def identify(data: bytes | mmap, *, quoted: bool = False) -> ImageFormat:
    """Return the format that the first bytes name. Raises ImageInvalid, with what it looks like instead; `quoted` as in `looks_like`."""
    if image_format := format_of(data):
        return image_format
    what = looks_like(bytes(data[:512]), len(data), quoted=quoted)
    raise ImageInvalid(f"what came is not a picture that can be read here but {what}")


def chunks(image_format: ImageFormat, data: bytes) -> Iterator[Chunk]:
    """Yield the complete chunks of a PNG, JPEG or WebP in order, up to its end (`IEND`, EOI) or to the first incomplete one."""
    return {PNG: png_chunks, JPEG: jpeg_segments, WEBP: riff_chunks}[image_format](data)


def png_chunks(data: bytes | mmap) -> Iterator[Chunk]:
    """Yield the chunks of a PNG up to `IEND`."""
    place, name = 8, b""
    while place + 12 <= len(data) and name != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            return
        name = bytes(data[place + 4 : place + 8])
        yield Chunk(name, place, end, place + 8, end - 4)
        place = end


def jpeg_segments(data: bytes) -> Iterator[Chunk]:
    """Yield the segments of a JPEG up to EOI, without padding and markers without content; an SOS segment ends with its coded pixels."""
    place, scanned = 2, False
    while place + 2 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker in (0x00, 0xFF):  # padding, and bytes that decoders skip
            found = _MARKER.search(data, place)
            if found is None:
                return
            place = found.start()
            continue
        if marker == 0xD9 and scanned:
            yield Chunk(EOI, place, place + 2, place + 2, place + 2)
            return
        if marker in _STANDALONE or marker == 0xD9:
            place += 2
            continue
        content_end = end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        if end > len(data) or end < place + 4:
            return
        if marker == 0xDA:
            after = _AFTER_SCAN.search(data, end)
            if after is None:
                return
            scanned, end = True, after.start()
        yield Chunk(data[place : place + 2], place, end, place + 4, content_end)
        place = end


def jpeg_header(data: bytes) -> list[Chunk]:
    """Return the segments of a JPEG before its first scan."""
    return list(takewhile(lambda segment: segment.name != SOS, jpeg_segments(data)))


def riff_chunks(data: bytes, place: int = 12, stop: int | None = None) -> Iterator[Chunk]:
    """Yield the chunks from `place` to `stop`, by default those of a WebP file; `end` includes the padding, which the file may lack."""
    last = min(len(data), 8 + int.from_bytes(data[4:8], "little")) if stop is None else stop
    while place + 8 <= last:
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        if place + 8 + length > last:
            return
        end = place + 8 + length + length % 2
        yield Chunk(data[place : place + 4], place, end, place + 8, place + 8 + length)
        place = end


def riff_chunk(name: bytes, content: bytes) -> bytes:
    """Return a RIFF chunk, padded."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff_file(body: bytes) -> bytes:
    """Return a WebP file of packed chunks."""
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def vp8_size(name: bytes, content: bytes) -> tuple[int, int, bool]:
    """Return width, height and whether there is alpha, of a `VP8X`, `VP8 ` or `VP8L` chunk. Raises struct.error if it is too short."""
    if name == b"VP8X":
        if len(content) < 10:
            raise struct.error("VP8X is too short")
        return int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1, bool(content[0] & 0x10)
    if name == b"VP8L":
        bits = struct.unpack_from("<I", content, 1)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack_from("<HH", content, 6)
    return width & 0x3FFF, height & 0x3FFF, False


def cut_short(image_format: ImageFormat, data: bytes) -> ImageInvalid:
    """Return the error of a file whose end is missing."""
    return ImageInvalid(f"the {image_format.name} picture is cut short: {len(data)} bytes came, and its end is missing")


def corrupt(image_format: ImageFormat, why: str) -> ImageInvalid:
    """Return the error of a file that contradicts itself."""
    return ImageInvalid(f"the {image_format.name} picture is corrupt: {why}")


def profile_is_sound(profile: bytes) -> bool:
    """Return whether bytes are an ICC colour profile, by its signature (ICC.1:2022, 7.2.9)."""
    return len(profile) >= 128 and profile[36:40] == b"acsp"
