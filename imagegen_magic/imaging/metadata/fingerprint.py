"""The bytes of a reference from which requests' fingerprints are made: those that version 0.1.0 sent.

The fingerprint of a request must never change, or `--reuse` pays again for what it has. So this module reproduces 0.1.0 to the byte,
also for odd files: it walks JPEG headers and WebP chunks as 0.1.0 did, without checks.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from imagegen_magic.formats import JPEG, PNG, WEBP, ImageFormat
from imagegen_magic.imaging.containers import png_chunks, riff_file
from imagegen_magic.imaging.metadata.location import entries, iptc_has_location, raw_profile, text_of_chunk, xmp_has_location

_GPS, _GPS_VERSION = 0x8825, 0
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_COLOUR_SEGMENTS = (0xE0, 0xE2, 0xEE)  # JFIF, ICC profile, Adobe's colour transform
_WEBP_PIXELS = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_TEXT_CHUNKS = (b"iTXt", b"tEXt", b"zTXt")


def fingerprint_bytes(image_format: ImageFormat, data: bytes) -> bytes:
    """Return what version 0.1.0 sent for a complete PNG, JPEG or WebP that was upright and small enough; other formats as they are."""
    try:
        return {PNG: _png, JPEG: _jpeg, WEBP: _webp}[image_format](data)
    except (LookupError, ValueError, struct.error):
        return data


def _exif_has_location(exif: bytes) -> bool:
    """Return whether the first directory points to GPS tags other than the version, or cannot be read."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return bool(tiff.strip(b"\0"))
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        blocks = [value for tag, value in entries(tiff, order, start) if tag == _GPS]
        return any(tag != _GPS_VERSION for block in blocks for tag, _ in entries(tiff, order, block))
    except struct.error:
        return True


def _png(data: bytes) -> bytes:
    chunks = list(png_chunks(data))
    whole = data[: chunks[-1].end]
    if not any(_text_has_location(chunk.name, data[chunk.content : chunk.content_end]) for chunk in chunks):
        return data if whole == data else whole
    return data[:8] + b"".join(data[chunk.start : chunk.end] for chunk in chunks if chunk.name not in (b"eXIf", *_TEXT_CHUNKS))


def _text_has_location(name: bytes, content: bytes) -> bool:
    if name == b"eXIf":
        return _exif_has_location(content)
    if name not in _TEXT_CHUNKS:
        return False
    keyword, _, rest = content.partition(b"\0")
    text = text_of_chunk(name, rest)
    if text is None:
        return True
    if not keyword.startswith(b"Raw profile type "):
        return xmp_has_location(text)
    try:
        block = raw_profile(text)
    except ValueError:
        return True
    return (block.startswith(b"Exif\0\0") and _exif_has_location(block)) or xmp_has_location(block) or iptc_has_location(block)


def _jpeg(data: bytes) -> bytes:
    segments, scan = _jpeg_header(data)
    end = _jpeg_end(data, scan)
    if not any(map(_segment_has_location, segments)) and not _tail_has_location(data[end:]):
        return data
    return b"\xff\xd8" + b"".join(segment for segment in segments if _is_kept(segment)) + data[scan:end]


def _jpeg_header(data: bytes) -> tuple[list[bytes], int]:
    """Return the segments before the first scan, and its offset."""
    segments, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        if data[place + 1] == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        segments.append(data[place:end])
        place = end
    return segments, place


def _jpeg_end(data: bytes, place: int) -> int:
    while match := _MARKER.search(data, place):
        if data[match.end() - 1] == 0xD9:
            return match.end()
        place = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
    return len(data)


def _segment_has_location(segment: bytes) -> bool:
    content = segment[4:]
    if segment[1] == 0xE1:
        return _exif_has_location(content) if content.startswith(b"Exif\0") else xmp_has_location(content)
    return segment[1] == 0xED and iptc_has_location(content)


def _is_kept(segment: bytes) -> bool:
    if segment[1] == 0xE2:
        return segment[4:].startswith(b"ICC_PROFILE\0")
    return segment[1] in _COLOUR_SEGMENTS or not (0xE0 <= segment[1] <= 0xEF or segment[1] == 0xFE)


def _tail_has_location(tail: bytes) -> bool:
    """Return whether what follows the image, a second one or a film, may have a location."""
    starts = (match.start() for match in re.finditer(rb"Exif\0\0(?:II|MM)", tail))
    blocks = any(_exif_has_location(tail[start : start + 65_536]) for start in starts)
    return blocks or b"\xa9xyz" in tail or xmp_has_location(tail, any_encoding=False)


def _webp(data: bytes) -> bytes:
    size = int.from_bytes(data[4:8], "little")
    data = data if len(data) <= 8 + size + size % 2 else data[: 8 + size + size % 2]
    chunks = list(_webp_chunks(data))
    readers: dict[bytes, Callable[[bytes], bool]] = {b"EXIF": _exif_has_location, b"XMP ": xmp_has_location}
    if not any(name in readers and readers[name](chunk[8:]) for name, chunk in chunks):
        return data
    return riff_file(b"".join(_without_flags(chunk) if name == b"VP8X" else chunk for name, chunk in chunks if name in _WEBP_PIXELS))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place, end = 12, 8 + int.from_bytes(data[4:8], "little")
    while place + 8 <= end:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        following = place + 8 + size + size % 2
        yield data[place : place + 4], data[place:following]
        place = following


def _without_flags(header: bytes) -> bytes:
    """Return a VP8X chunk that announces neither Exif nor XMP."""
    return header[:8] + bytes([header[8] & ~0x0C & 0xFF]) + header[9:]
