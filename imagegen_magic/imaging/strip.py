"""A PNG, JPEG, WebP or GIF file without extras: checked to be complete, and copied without everything but its image.

Pillow decodes this copy, so that no text, metadata or broken extra can refuse a picture; a reference is sent as this copy, so that it
holds nothing but its pixels and what they mean as colours. Of an animation the first frame is kept. No pixel is encoded again.

PNG: ISO/IEC 15948. JPEG: ITU-T T.81, JFIF, ICC.1 annex B.4. WebP: RFC 9649. GIF: GIF89a.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.formats import GIF, JPEG, PNG, WEBP, ImageFormat
from imagegen_magic.imaging.containers import (
    COMMENT,
    CREDENTIALS,
    EOI,
    EXIF,
    FRAME_HEADERS,
    IPTC,
    JPEG_TABLES,
    OTHER,
    PROFILE,
    SOS,
    TAIL,
    TEXT,
    XMP,
    Chunk,
    Part,
    StrippedFile,
    corrupt,
    cut_short,
    jpeg_segments,
    png_chunks,
    profile_is_sound,
    riff_chunk,
    riff_chunks,
    riff_file,
    vp8_size,
)
from imagegen_magic.imaging.strip_rare import READERS as RARE_READERS

_MAX_PROFILE = 16 * 2**20  # bytes of an unpacked colour profile; the largest in use have 3 MB


def strip(kind: ImageFormat, data: bytes) -> StrippedFile:
    """Return the picture of a file of any format of the table. Raises ImageInvalid if it is cut short or corrupt."""
    reader = _READERS.get(kind) or RARE_READERS.get(kind) or _as_it_is
    try:
        return reader(data)
    except (struct.error, LookupError) as error:
        raise cut_short(kind, data) from error


def _as_it_is(data: bytes) -> StrippedFile:
    return StrippedFile(data, 0, 0, b"", 1, (), still=False)


class _Copy:
    """The spans of a file that are kept, in order, and what is left out."""

    def __init__(self, data: bytes) -> None:
        self.rest: list[Part] = []
        self._data, self._changed, self._place = data, False, 0
        self._spans: list[bytes | tuple[int, int]] = []

    def keep(self, start: int, end: int) -> None:
        self._changed |= start != self._place
        self._place = end
        if self._spans and isinstance(last := self._spans[-1], tuple) and last[1] == start:
            self._spans[-1] = (last[0], end)
        else:
            self._spans.append((start, end))

    def put(self, content: bytes, start: int, end: int) -> None:
        """Keep `content` in the place of what lies there."""
        if self._data[start:end] == content:
            self.keep(start, end)
        else:
            self._changed, self._place = True, end
            self._spans.append(content)

    def drop(self, what: str, start: int, end: int) -> None:
        if start < end:
            self.rest.append(Part(what, start, end))

    def joined(self) -> bytes:
        if not self._changed and self._place == len(self._data):
            return self._data
        view = memoryview(self._data)
        return b"".join(view[span[0] : span[1]] if isinstance(span, tuple) else span for span in self._spans)


_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_COLOUR = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}  # bytes that each has
_CHUNK_NAME = re.compile(rb"[A-Za-z]{4}")
_CHUNK_WORDS = {
    b"tEXt": TEXT,
    b"zTXt": TEXT,
    b"iTXt": TEXT,
    b"eXIf": EXIF,
    b"caBX": CREDENTIALS,
    b"tIME": "date",
    b"pHYs": "dots per inch",
    b"iCCP": PROFILE,
    b"acTL": "",
    b"fcTL": "",
    b"fdAT": "",
}
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"


def _png(data: bytes) -> StrippedFile:
    if len(data) < 33:
        raise cut_short(PNG, data)
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise corrupt(PNG, "its header is missing")
    width, height, depth, colours = struct.unpack_from(">IIBB", data, 16)
    copy, exif, frames, seen = _Copy(data), b"", 0, set[bytes]()
    copy.keep(0, 8)
    found = list(png_chunks(data))
    for chunk in found:
        content = memoryview(data)[chunk.content : chunk.content_end]
        valid = _checksum_is_right(data, chunk)
        if chunk.name in _CRITICAL or (chunk.name not in seen and valid and _png_stays(chunk.name, content, colours)):
            copy.keep(chunk.start, chunk.end)
            seen.add(chunk.name)
            continue
        copy.drop(_png_word(chunk.name, content), chunk.start, chunk.end)
        frames += chunk.name == b"fcTL"
        exif = exif or (bytes(content) if chunk.name == b"eXIf" else b"")
    if b"IEND" not in seen:
        raise cut_short(PNG, data)
    if b"IDAT" not in seen:
        raise corrupt(PNG, "it holds no pixels")
    copy.drop(TAIL, found[-1].end, len(data))
    exif = b"Exif\0\0" + exif if exif else b""
    return StrippedFile(copy.joined(), width, height, exif, max(1, frames), tuple(copy.rest), white=0xFFFF if depth == 16 else 0)


def _checksum_is_right(data: bytes, chunk: Chunk) -> bool:
    """Return whether a chunk's checksum is right. Raises ImageInvalid if it is wrong and the pixels depend on the chunk."""
    name = chunk.name
    if zlib.crc32(memoryview(data)[chunk.start + 4 : chunk.content_end]) == int.from_bytes(data[chunk.content_end : chunk.end]):
        return True
    if not name[0] & 0x20 or name.upper() in _CRITICAL or not _CHUNK_NAME.fullmatch(name):
        raise corrupt(PNG, f"a checksum is wrong near byte {chunk.start}")
    return False


def _png_stays(name: bytes, content: memoryview, colours: int) -> bool:
    """Return whether a chunk beside the critical ones says what is transparent or what the colours mean."""
    if name == b"tRNS":
        return len(content) == {0: 2, 2: 6}.get(colours, -1) or (colours == 3 and 1 <= len(content) <= 256)
    if name == b"iCCP":
        return profile_is_sound(_unpacked_profile(bytes(content)))
    return len(content) == _COLOUR.get(name, -1)


def _unpacked_profile(content: bytes) -> bytes:
    """Return the colour profile in an iCCP chunk; b"" where it is broken, too large, or followed by something else."""
    name, _, packed = content.partition(b"\0")
    if not 1 <= len(name) < 80 or packed[:1] != b"\0":
        return b""
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(packed[1:], _MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if unpacking.eof and not unpacking.unused_data else b""


def _png_word(name: bytes, content: memoryview) -> str:
    if name == b"iTXt" and content[: len(_XMP_KEYWORD)] == _XMP_KEYWORD:
        return XMP
    return _CHUNK_WORDS.get(name, OTHER)


_JFIF, _ADOBE = "JFIF", "Adobe"


def _jpeg(data: bytes) -> StrippedFile:
    copy, exif, size = _Copy(data), b"", None
    copy.keep(0, 2)
    segments = [(_jpeg_role(data, segment), segment) for segment in jpeg_segments(data)]
    if not segments or segments[-1][1].name != EOI:
        raise cut_short(JPEG, data)
    last = {role: segment.start for role, segment in segments}
    coloured = _profile_is_complete([data[segment.content : segment.end] for role, segment in segments if role == PROFILE])
    for role, segment in segments:
        start, end, marker = segment.start, segment.end, segment.name[1]
        if marker in FRAME_HEADERS and size is None:
            height, width = struct.unpack_from(">HH", data, segment.content + 1)
            size = width, height
        if role in (_JFIF, _ADOBE):  # each decides what the colours are, and the last of its kind counts
            if last[role] == start:
                copy.put(_without_thumbnail(data[start:end]) if role == _JFIF else _transform_alone(data[start:end]), start, end)
        elif marker in JPEG_TABLES or segment.name in (SOS, EOI) or (role == PROFILE and coloured):
            copy.keep(start, end)
        else:
            copy.drop(role, start, end)
            exif = exif or (data[segment.content : end] if role == EXIF else b"")
    if size is None:
        raise corrupt(JPEG, "it does not say its size")
    copy.drop(TAIL, segments[-1][1].end, len(data))
    return StrippedFile(copy.joined(), *size, exif, 1, tuple(copy.rest))


def _jpeg_role(data: bytes, segment: Chunk) -> str:
    """Return what a segment is in words."""
    content, size = data[segment.content : min(segment.end, segment.content + 36)], segment.end - segment.content
    match segment.name[1]:
        case 0xE0 if content.startswith(b"JFIF\0") and size >= 14:
            return _JFIF
        case 0xEE if content.startswith(b"Adobe") and size >= 12:
            return _ADOBE
        case 0xE1 if content.startswith(b"Exif\0"):
            return EXIF
        case 0xE1 if content.startswith(b"http://ns.adobe.com/x"):
            return XMP
        case 0xE2 if content.startswith(b"ICC_PROFILE\0"):
            return PROFILE
        case 0xE0 if content.startswith(b"JFXX\0"):
            return "thumbnail"
        case 0xED:
            return IPTC
        case 0xEB if b"c2pa" in data[segment.content : segment.end]:
            return CREDENTIALS
        case 0xFE:
            return COMMENT
    return OTHER


def _without_thumbnail(segment: bytes) -> bytes:
    """Return a JFIF segment that says its version and the shape of a pixel alone."""
    return segment if segment[2:4] == b"\0\x10" and segment[16:18] == b"\0\0" else b"\xff\xe0\0\x10" + segment[4:16] + b"\0\0"


def _transform_alone(segment: bytes) -> bytes:
    """Return an Adobe segment that says how its colours are coded, and nothing after it."""
    return b"\xff\xee\0\x0e" + segment[4:16]


def _profile_is_complete(segments: list[bytes]) -> bool:
    """Return whether ICC segments are one profile, with each of its parts once."""
    parts = sorted(content[12:] for content in segments)
    numbers = [part[0] for part in parts if len(part) > 2 and part[1] == len(parts)]
    return bool(parts) and numbers == list(range(1, len(parts) + 1)) and profile_is_sound(b"".join(part[2:] for part in parts))


_RIFF_WORDS = {b"EXIF": EXIF, b"XMP ": XMP, b"C2PA": CREDENTIALS, b"ICCP": PROFILE, b"ANIM": "", b"ANMF": ""}
_RIFF_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH")
_HAS_PROFILE, _HAS_ALPHA, _IS_ANIMATION = 0x20, 0x10, 0x02


def _webp(data: bytes) -> StrippedFile:
    stop = 8 + int.from_bytes(data[4:8], "little")
    if stop > len(data):
        raise cut_short(WEBP, data)
    chunks = list(riff_chunks(data))
    found = _contents(data, chunks)
    frames = [data[chunk.content : chunk.content_end] for chunk in chunks if chunk.name == b"ANMF"]
    if not profile_is_sound(found.get(b"ICCP", b"")):
        found.pop(b"ICCP", None)
    still = True
    if frames and not (b"VP8 " in found or b"VP8L" in found):
        rebuilt, still = _first_frame(frames[0], found)
    else:
        rebuilt, frames = _still(found), []
    kept = _RIFF_PIXELS + ((b"ICCP",) if b"ICCP" in found else ())
    rest = [Part(_RIFF_WORDS.get(chunk.name, OTHER), chunk.start, chunk.content_end) for chunk in chunks if chunk.name not in kept]
    rest += [Part(TAIL, stop + stop % 2, len(data))] if stop + stop % 2 < len(data) else []
    size = vp8_size(rebuilt[12:16], rebuilt[20:])[:2]  # of the header that its decoder makes room for
    exif = found.get(b"EXIF", b"")
    return StrippedFile(data if rebuilt == data else rebuilt, *size, exif, max(1, len(frames)), tuple(rest), still)


def _contents(data: bytes, chunks: list[Chunk]) -> dict[bytes, bytes]:
    """Return the contents of chunks by name, of several the first."""
    return {chunk.name: data[chunk.content : chunk.content_end] for chunk in reversed(chunks)}


def _still(found: dict[bytes, bytes]) -> bytes:
    """Return a WebP of one image from its chunks. Raises ImageInvalid if the pixels are missing."""
    pixels = next((name for name in (b"VP8 ", b"VP8L") if name in found), None)
    if pixels is None:
        raise ImageInvalid("the WebP picture is corrupt or cut short: it has no complete picture")
    header = found.get(b"VP8X")
    if header is None:
        return _riff({pixels: found[pixels]})
    names = (b"ICCP", b"ALPH", pixels) if pixels == b"VP8 " else (b"ICCP", pixels)
    return _riff({b"VP8X": _flagged(header, found), **{name: found[name] for name in names if name in found}})


def _first_frame(frame: bytes, found: dict[bytes, bytes]) -> tuple[bytes, bool]:
    """Return the first frame as a file: a plain image if it fills the canvas, else an animation of one; and whether it is plain."""
    header = found[b"VP8X"]
    within = _contents(frame, list(riff_chunks(frame, 16, len(frame))))
    outer = {name: found[name] for name in (b"VP8X", b"ICCP") if name in found}
    if frame[:12] == bytes(6) + header[4:10]:
        return _still(within | outer), True
    pixels = b"".join(riff_chunk(name, within[name]) for name in (b"ALPH", b"VP8 ", b"VP8L") if name in within)
    outer[b"VP8X"] = _flagged(header, found, _IS_ANIMATION)
    return _riff(outer | {b"ANIM": found.get(b"ANIM", bytes(6)), b"ANMF": frame[:16] + pixels}), False


def _flagged(header: bytes, found: dict[bytes, bytes], flags: int = 0) -> bytes:
    """Return a VP8X chunk that announces what is in the file, and neither Exif nor XMP."""
    if len(header) < 10:
        raise IndexError
    return bytes([header[0] & _HAS_ALPHA | (_HAS_PROFILE if b"ICCP" in found else 0) | flags, 0, 0, 0]) + header[4:10]


def _riff(contents: dict[bytes, bytes]) -> bytes:
    return riff_file(b"".join(riff_chunk(name, content) for name, content in contents.items()))


_EXTENSION, _PICTURE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
_OF_ANIMATIONS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # how often it is played


def _gif(data: bytes) -> StrippedFile:
    copy, frames, control = _Copy(data), 0, (0, 0)
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + _colour_table(flags)
    copy.keep(0, place)
    while data[place] != _TRAILER:
        start = place
        if data[place] == _EXTENSION:
            place = _blocks_end(data, place + 2)
            if data[start + 1] == _CONTROL:
                control = start, place
            else:
                copy.drop(_gif_word(data, start), start, place)
        elif data[place] == _PICTURE:
            place = _blocks_end(data, place + 11 + _colour_table(data[place + 9]))
            if not frames:
                copy.keep(*control) if control[1] else None
                copy.keep(start, place)
            frames += 1
        else:
            raise corrupt(GIF, f"an unknown block near byte {place}")
    if not frames:
        raise corrupt(GIF, "it holds no pixels")
    copy.keep(place, place + 1)
    copy.drop(TAIL, place + 1, len(data))
    return StrippedFile(copy.joined(), width, height, b"", frames, tuple(copy.rest))


def _colour_table(flags: int) -> int:
    """Return how many bytes a colour table has."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks_end(data: bytes, place: int) -> int:
    while size := data[place]:
        place += size + 1
    return place + 1


def _gif_word(data: bytes, start: int) -> str:
    name = data[start + 3 : start + 14]
    match data[start + 1]:
        case 0xFE:
            return COMMENT
        case 0xFF if name == b"XMP DataXMP":
            return XMP
        case 0xFF if name in _OF_ANIMATIONS:
            return ""
        case 0x01:
            return TEXT
    return OTHER


_READERS: dict[ImageFormat, Callable[[bytes], StrippedFile]] = {PNG: _png, JPEG: _jpeg, WEBP: _webp, GIF: _gif}
REBUILT = tuple(_READERS)
