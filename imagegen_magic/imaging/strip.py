"""A PNG, JPEG or WebP file without extras: checked to be complete, and copied without everything but its image.

Pillow decodes this copy, so that no text, metadata or broken extra can refuse an image. A reference is sent as this copy, so that it
holds nothing but its pixels and what they mean as colours. Of an animation the first frame is kept. No pixel is encoded again.

PNG: ISO/IEC 15948. JPEG: ITU-T T.81, JFIF, ICC.1 annex B.4. WebP: RFC 9649.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.formats import JPEG, PNG, WEBP, ImageFormat
from imagegen_magic.imaging.containers import (
    EOI,
    FRAME_HEADERS,
    JPEG_TABLES,
    SOS,
    Chunk,
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

EXIF, XMP, TEXT, COMMENT, TAIL = "Exif", "XMP", "text", "comment", "what followed its end"
IPTC, CREDENTIALS, OTHER, PROFILE, THUMBNAIL = "IPTC", "content credentials", "other data", "a broken colour profile", "thumbnail"

_MAX_PROFILE = 16 * 2**20  # bytes of an unpacked colour profile; the largest in use have 3 MB


class Part(NamedTuple):
    """A part of a file that is left out: what it is in words, "" for a frame, and its bytes."""

    what: str
    content: bytes | memoryview


@dataclass(frozen=True, slots=True)
class StrippedFile:
    """A file reduced to its image: `data` is that file, the source's own bytes if they hold nothing else.

    `width` and `height` in pixels as stored (0 if only a decoder knows), `exif` the first Exif block or b"", `frames` how many images
    the source holds (0 if only a decoder knows), `rest` is what was left out. `still`: `data` holds one image and
    nothing else, fit to be sent; False if it is only fit to be decoded.
    """

    data: bytes
    width: int = 0
    height: int = 0
    exif: bytes = b""
    frames: int = 0
    rest: tuple[Part, ...] = ()
    still: bool = False


def strip(image_format: ImageFormat, data: bytes) -> StrippedFile:
    """Return the image of a file; of other formats than PNG, JPEG and WebP the file as it is. Raises ImageInvalid: cut short, corrupt."""
    reader = _READERS.get(image_format, StrippedFile)
    try:
        return reader(data)
    except (struct.error, LookupError) as error:
        raise cut_short(image_format, data) from error


def _joined(data: bytes, parts: list[memoryview | bytes]) -> bytes:
    """Return the parts as a file: `data` itself if nothing was left out."""
    joined = b"".join(parts)
    return data if joined == data else joined


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


def _png(data: bytes) -> StrippedFile:
    if len(data) < 33:
        raise cut_short(PNG, data)
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise corrupt(PNG, "its header is missing")
    width, height, _, colours = struct.unpack_from(">IIBB", data, 16)
    view, found = memoryview(data), list(png_chunks(data))
    kept: list[memoryview | bytes] = [view[:8]]
    rest, exif, seen = [], b"", set[bytes]()
    for chunk in found:
        content = view[chunk.content : chunk.content_end]
        valid = _checksum_is_right(data, chunk)
        if chunk.name in _CRITICAL or (chunk.name not in seen and valid and _png_stays(chunk.name, content, colours)):
            kept.append(view[chunk.start : chunk.end])
            seen.add(chunk.name)
            continue
        what = XMP if chunk.name == b"iTXt" and bytes(content[:18]) == b"XML:com.adobe.xmp\0" else _CHUNK_WORDS.get(chunk.name, OTHER)
        rest.append(Part(what, view[chunk.start : chunk.end]))
        exif = exif or (b"Exif\0\0" + content if chunk.name == b"eXIf" else b"")
    if b"IEND" not in seen:
        raise cut_short(PNG, data)
    if b"IDAT" not in seen:
        raise corrupt(PNG, "it holds no pixels")
    rest += [Part(TAIL, view[found[-1].end :])] if found[-1].end < len(data) else []
    frames = sum(chunk.name == b"fcTL" for chunk in found)
    return StrippedFile(_joined(data, kept), width, height, exif, max(1, frames), tuple(rest), still=True)


def _checksum_is_right(data: bytes, chunk: Chunk) -> bool:
    """Return whether a chunk's checksum is right. Raises ImageInvalid if it is wrong and the pixels depend on the chunk."""
    name = chunk.name
    if zlib.crc32(memoryview(data)[chunk.start + 4 : chunk.content_end]) == int.from_bytes(data[chunk.content_end : chunk.end]):
        return True
    if not name[0] & 0x20 or name.upper() in _CRITICAL or not _CHUNK_NAME.fullmatch(name):
        raise corrupt(PNG, f"a checksum is wrong near byte {chunk.start}")
    return False


def _png_stays(name: bytes, content: memoryview, colours: int) -> bool:
    """Return whether a chunk that is not critical says what is transparent or what the colours mean."""
    if name == b"tRNS":
        return len(content) == {0: 2, 2: 6}.get(colours, -1) or (colours == 3 and 1 <= len(content) <= 256)
    if name == b"iCCP":
        return profile_is_sound(_unpacked_profile(bytes(content)))
    return len(content) == _COLOUR.get(name, -1)


def _unpacked_profile(content: bytes) -> bytes:
    """Return the colour profile in an iCCP chunk; b"" if it is broken, too large, or followed by something else."""
    name, _, packed = content.partition(b"\0")
    if not 1 <= len(name) < 80 or packed[:1] != b"\0":
        return b""
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(packed[1:], _MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if unpacking.eof and not unpacking.unused_data else b""


_JFIF, _ADOBE = "JFIF", "Adobe"


def _jpeg(data: bytes) -> StrippedFile:
    segments = [(_jpeg_role(data, segment), segment) for segment in jpeg_segments(data)]
    if not segments or segments[-1][1].name != EOI:
        raise cut_short(JPEG, data)
    size = next((struct.unpack_from(">HH", data, each.content + 1) for _, each in segments if each.name[1] in FRAME_HEADERS), None)
    if size is None:
        raise corrupt(JPEG, "it does not say its size")
    last = {role: segment.start for role, segment in segments}
    coloured = _profile_is_complete([data[segment.content : segment.end] for role, segment in segments if role == PROFILE])
    kept: list[memoryview | bytes] = [data[:2]]
    rest, exif = [], b""
    for role, segment in segments:
        whole = memoryview(data)[segment.start : segment.end]
        if role in (_JFIF, _ADOBE):  # each decides what the colours are, and the last of its kind counts
            kept += [_without_thumbnail(bytes(whole)) if role == _JFIF else _transform_alone(whole)] * (last[role] == segment.start)
        elif segment.name[1] in JPEG_TABLES or segment.name in (SOS, EOI) or (role == PROFILE and coloured):
            kept.append(whole)
        else:
            rest.append(Part(role, whole))
            exif = exif or (bytes(whole[4:]) if role == EXIF else b"")
    rest += [Part(TAIL, data[segments[-1][1].end :])] if segments[-1][1].end < len(data) else []
    return StrippedFile(_joined(data, kept), size[1], size[0], exif, 1, tuple(rest), still=True)


def _jpeg_role(data: bytes, segment: Chunk) -> str:
    """Return what a segment is."""
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
            return THUMBNAIL
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


def _transform_alone(segment: memoryview) -> bytes:
    """Return an Adobe segment that says how its colours are coded, and nothing after it."""
    return b"\xff\xee\0\x0e" + segment[4:16]


def _profile_is_complete(segments: list[bytes]) -> bool:
    """Return whether ICC segments are one profile, with each of its parts once."""
    parts = sorted(content[12:] for content in segments)
    numbers = [part[0] for part in parts if len(part) > 2 and part[1] == len(parts)]
    return bool(parts) and numbers == list(range(1, len(parts) + 1)) and profile_is_sound(b"".join(part[2:] for part in parts))


_RIFF_WORDS = {b"EXIF": EXIF, b"XMP ": XMP, b"C2PA": CREDENTIALS, b"ICCP": PROFILE, b"ANIM": "", b"ANMF": ""}
_RIFF_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH")
_HAS_PROFILE, _HAS_ALPHA = 0x20, 0x10


def _webp(data: bytes) -> StrippedFile:
    stop = 8 + int.from_bytes(data[4:8], "little")
    if stop > len(data):
        raise cut_short(WEBP, data)
    chunks = list(riff_chunks(data))
    found = _contents(data, chunks)
    if not profile_is_sound(found.get(b"ICCP", b"")):
        found.pop(b"ICCP", None)
    frames = [data[chunk.content : chunk.content_end] for chunk in chunks if chunk.name == b"ANMF"]
    if b"VP8 " in found or b"VP8L" in found:
        frames = []
    still = not frames or frames[0][:12] == bytes(6) + found[b"VP8X"][4:10]  # else its first frame does not fill the canvas
    if frames and still:
        within = _contents(frames[0], list(riff_chunks(frames[0], 16, len(frames[0]))))
        found = within | {name: found[name] for name in (b"VP8X", b"ICCP") if name in found}
    rebuilt = _one_image(found) if still else data
    kept = _RIFF_PIXELS + ((b"ICCP",) if b"ICCP" in found else ())
    left_out = [chunk for chunk in chunks if chunk.name not in kept]
    rest = [Part(_RIFF_WORDS.get(chunk.name, OTHER), data[chunk.content : chunk.content_end]) for chunk in left_out]
    rest += [Part(TAIL, data[stop + stop % 2 :])] if stop + stop % 2 < len(data) else []
    width, height, _ = vp8_size(rebuilt[12:16], rebuilt[20:])  # of the header that its decoder makes room for
    exif = _contents(data, chunks).get(b"EXIF", b"")
    return StrippedFile(data if rebuilt == data else rebuilt, width, height, exif, max(1, len(frames)), tuple(rest), still)


def _contents(data: bytes, chunks: list[Chunk]) -> dict[bytes, bytes]:
    """Return the contents of chunks by name, of several the first."""
    return {chunk.name: data[chunk.content : chunk.content_end] for chunk in reversed(chunks)}


def _one_image(found: dict[bytes, bytes]) -> bytes:
    """Return a WebP of one image from its chunks. Raises ImageInvalid if the pixels are missing."""
    pixels = next((name for name in (b"VP8 ", b"VP8L") if name in found), None)
    if pixels is None:
        raise ImageInvalid("the WebP picture is corrupt or cut short: it has no complete picture")
    contents: dict[bytes, bytes] = {pixels: found[pixels]}
    if header := found.get(b"VP8X"):
        names = (b"ICCP", b"ALPH", pixels) if pixels == b"VP8 " else (b"ICCP", pixels)
        contents = {b"VP8X": _flagged(header, found), **{name: found[name] for name in names if name in found}}
    return riff_file(b"".join(riff_chunk(name, content) for name, content in contents.items()))


def _flagged(header: bytes, found: dict[bytes, bytes]) -> bytes:
    """Return a VP8X chunk that announces what is in the file, and neither Exif nor XMP."""
    if len(header) < 10:
        raise IndexError
    return bytes([header[0] & _HAS_ALPHA | (_HAS_PROFILE if b"ICCP" in found else 0), 0, 0, 0]) + header[4:10]


_READERS: dict[ImageFormat, Callable[[bytes], StrippedFile]] = {PNG: _png, JPEG: _jpeg, WEBP: _webp}
