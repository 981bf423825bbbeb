"""Where a picture was taken: whether the extras of its file say so, in Exif, XMP, IPTC or what follows the picture.

Exif 2.32 (CIPA DC-008) 4.6.6, XMP part 3 (storage in files), IPTC-IIM 4.2, the PNG and WebP container specifications.

`former` is kept as version 0.1.0 had it, to the byte: of what it returned the fingerprints of requests were made.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress

from imagegen_magic.formats import JPEG, PNG, WEBP, ImageFormat
from imagegen_magic.imaging.essentials import COMMENT, EXIF, IPTC, PLACE, TEXT, XMP, Part

_GPS = 0x8825
_DIRECTORIES = (0x8769, 0x014A)  # Exif's own, and further pictures'
TIMES = (0, 7, 29)  # tags of a GPS block that say its version and when, not where
_MOST_DIRECTORIES = 32
_XMP_NAMES = rb"(?:GPS\w+|Location(?:Created|Shown)?|Sublocation|City|State|Country(?:Name|Code)?)"
_XMP = re.compile(rb"<\w+:" + _XMP_NAMES + rb"[\s/>]|\s\w+:" + _XMP_NAMES + rb"\s*=")
_IPTC = re.compile(rb"\x1c\x02[\x1a\x1b\x5a\x5c\x5f\x64\x65]")  # content location, city, sublocation, state, country
_TIFF = re.compile(rb"II\*\0|MM\0\*")
_FILM = re.compile(rb"\xa9xyz|....loci\0\0\0\0|com\.apple\.quicktime\.location", re.DOTALL)  # where a film was taken
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MOST_TEXT = 4 * 2**20  # bytes of a compressed text chunk that are read
_KEPT_SEGMENTS = (0xE0, 0xE2, 0xEE)  # JFIF, ICC profile, Adobe's colour transform
_NEEDED_WEBP = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})


def is_told(kind: ImageFormat, data: bytes, rest: Iterable[Part]) -> bool:
    """Return whether one of a file's extras says where the picture was taken; what cannot be read says nothing."""
    return any(_part_says(kind, part.what, data[part.start : part.end]) for part in rest)


def _part_says(kind: ImageFormat, what: str, content: bytes) -> bool:
    if what == PLACE:
        return True
    if kind is PNG and content[4:8] in (b"iTXt", b"tEXt", b"zTXt"):
        return _chunk_says(content[4:8], content[8:-4])
    if what == EXIF:
        return exif_says(content)
    if what == IPTC:
        return bool(_IPTC.search(content))
    if what in (XMP, TEXT, COMMENT):
        return in_xmp(content)
    return _anything_says(content)


def exif_says(exif: bytes) -> bool:
    """Return whether an Exif block, in one of its directories, says where: more than the version and the time of its GPS block."""
    start = _TIFF.search(exif, 0, 64)
    return start is not None and _tiff_says(exif[start.start() :])


def _tiff_says(tiff: bytes) -> bool:
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    waiting, seen = [int.from_bytes(tiff[4:8], "little" if order == "<" else "big")], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        start = waiting.pop()
        if start in seen:
            continue
        seen.add(start)
        with suppress(struct.error):
            entries = list(_entries(tiff, order, start))
            waiting += [value for tag, value in entries if tag in _DIRECTORIES]
            waiting += struct.unpack_from(f"{order}I", tiff, start + 2 + 12 * len(entries))
        with suppress(struct.error):
            places = [value for tag, value in _entries(tiff, order, start) if tag == _GPS]
            if any(tag not in TIMES for place in places for tag, _ in _entries(tiff, order, place)):
                return True
    return False


def _chunk_says(name: bytes, content: bytes) -> bool:
    keyword, _, rest = content.partition(b"\0")
    text = _text(name, rest) or b""
    if not keyword.startswith(b"Raw profile type "):
        return in_xmp(text)
    with suppress(ValueError):
        block = bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
        return exif_says(block) or in_xmp(block) or bool(_IPTC.search(block))
    return False


def _anything_says(content: bytes) -> bool:
    """Return whether something that is not read further, as a second picture or a film, says where."""
    starts = (match.start() for match in _TIFF.finditer(content))
    return bool(_FILM.search(content)) or in_xmp(content) or any(_tiff_says(content[start : start + 65_536]) for start in starts)


def former(kind: ImageFormat, data: bytes) -> bytes:
    """Return what version 0.1.0 made of a whole PNG, JPEG or WebP file that was upright and small enough: the bytes that it sent."""
    try:
        return _CUTS[kind](ended(kind, data))
    except (KeyError, IndexError, ValueError, struct.error):
        return data


def ended(kind: ImageFormat, data: bytes) -> bytes:
    """Return a whole PNG or WebP file up to its picture's end, `data` itself where nothing follows; other formats as they are."""
    end = len(data)
    if kind is PNG:
        end = max(stop for _, stop in _png_chunks(data))
    elif kind is WEBP:
        size = int.from_bytes(data[4:8], "little")
        end = 8 + size + size % 2
    return data if end >= len(data) else data[:end]


def in_exif(exif: bytes) -> bool:
    """Return whether an Exif block says where, or cannot be read and so might. A GPS block of its version alone says nothing."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return bool(tiff.strip(b"\0"))
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        places = [value for tag, value in _entries(tiff, order, start) if tag == _GPS]
        return any(tag != 0 for place in places for tag, _ in _entries(tiff, order, place))
    except struct.error:
        return True


def in_xmp(xmp: bytes) -> bool:
    """Return whether an XMP packet, in any of Unicode's encodings, says where."""
    return bool(_XMP.search(xmp.replace(b"\0", b"")))


def _entries(tiff: bytes, order: str, start: int) -> Iterator[tuple[int, int]]:
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for number in range(count):
        tag, _, _, value = struct.unpack_from(f"{order}HHII", tiff, start + 2 + 12 * number)
        yield tag, value


def _jpeg(data: bytes) -> bytes:
    head, body = _jpeg_segments(data)
    end = _jpeg_end(data, body)
    tail = data[end:]
    if not any(_segment_tells(data[start:stop]) for start, stop in head) and not _tail_tells(tail):
        return data
    kept = b"".join(data[start:stop] for start, stop in head if _segment_stays(data[start:stop]))
    return b"\xff\xd8" + kept + data[body:end]


def _jpeg_segments(data: bytes) -> tuple[list[tuple[int, int]], int]:
    """Return start and end of every segment before the first scan, and where the scan starts."""
    segments, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        if data[place + 1] == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        segments.append((place, end))
        place = end
    return segments, place


def _jpeg_end(data: bytes, place: int) -> int:
    """Return where the picture ends, whose scans start at `place`."""
    while match := _MARKER.search(data, place):
        if data[match.end() - 1] == 0xD9:
            return match.end()
        place = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
    return len(data)


def _segment_tells(segment: bytes) -> bool:
    match segment[1], segment[4:]:
        case 0xE1, content if content.startswith(b"Exif\0"):
            return in_exif(content)
        case 0xE1, content:
            return in_xmp(content)
        case 0xED, content:
            return bool(_IPTC.search(content))
    return False


def _segment_stays(segment: bytes) -> bool:
    if segment[1] == 0xE2:
        return segment[4:].startswith(b"ICC_PROFILE\0")
    return segment[1] in _KEPT_SEGMENTS or not (0xE0 <= segment[1] <= 0xEF or segment[1] == 0xFE)


def _tail_tells(tail: bytes) -> bool:
    """Return whether what follows the picture, a second one or a film, says where; each with an Exif of its own might."""
    starts = (match.start() for match in re.finditer(rb"Exif\0\0(?:II|MM)", tail))
    return any(in_exif(tail[start : start + 65_536]) for start in starts) or b"\xa9xyz" in tail or bool(_XMP.search(tail))


def _png(data: bytes) -> bytes:
    chunks = list(_png_chunks(data))
    if not any(_chunk_tells(data[start + 4 : start + 8], data[start + 8 : end - 4]) for start, end in chunks):
        return data
    gone = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
    return data[:8] + b"".join(data[start:end] for start, end in chunks if data[start + 4 : start + 8] not in gone)


def _png_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    place = 8
    name = b""
    while name != b"IEND":  # which is there: the file is a whole one
        name = data[place + 4 : place + 8]
        end = place + 12 + int.from_bytes(data[place : place + 4])
        yield place, end
        place = end


def _chunk_tells(name: bytes, content: bytes) -> bool:
    if name == b"eXIf":
        return in_exif(content)
    if name not in (b"iTXt", b"tEXt", b"zTXt"):
        return False
    keyword, _, rest = content.partition(b"\0")
    text = _text(name, rest)
    if text is None:
        return True
    if keyword.startswith(b"Raw profile type "):  # as ImageMagick writes them: a name, a length, and the block in hexadecimal
        return _raw_profile_tells(text)
    return in_xmp(text)


def _text(name: bytes, rest: bytes) -> bytes | None:
    """Return a text chunk's text, unpacked; None where it cannot be, or is too long to be read."""
    packed = name == b"zTXt" or (name == b"iTXt" and rest[:1] == b"\1")
    text = rest[1:] if name == b"zTXt" else rest[2:].split(b"\0", 2)[-1] if name == b"iTXt" else rest
    if not packed:
        return text
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(text, _MOST_TEXT)
    except zlib.error:
        return None
    return None if unpacking.unconsumed_tail else text


def _raw_profile_tells(text: bytes) -> bool:
    try:
        block = bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return True
    return (block.startswith(b"Exif\0\0") and in_exif(block)) or in_xmp(block) or bool(_IPTC.search(block))


def _webp(data: bytes) -> bytes:
    chunks = list(_webp_chunks(data))
    tells = {b"EXIF": in_exif, b"XMP ": in_xmp}
    if not any(name in tells and tells[name](data[start + 8 : end]) for name, start, end in chunks):
        return data
    parts = [data[start:end] for name, start, end in chunks if name in _NEEDED_WEBP]
    body = b"".join(_flagged(part) if part.startswith(b"VP8X") else part for part in parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    place, whole = 12, int.from_bytes(data[4:8], "little") + 8
    while place + 8 <= whole:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + size + size % 2
        yield data[place : place + 4], place, end
        place = end


def _flagged(header: bytes) -> bytes:
    """Return a VP8X chunk that announces neither Exif nor XMP."""
    return header[:8] + bytes([header[8] & ~0x0C & 0xFF]) + header[9:]


_CUTS = {JPEG: _jpeg, PNG: _png, WEBP: _webp}
