"""How an image was made, written into a copy of it as standard XMP, its pixels untouched, and read back.

The packet stands where part 3 of the XMP specification puts it: a PNG's iTXt chunk `XML:com.adobe.xmp`, a JPEG's APP1 segment, a WebP's
`XMP ` chunk. A file that has another tool's XMP packet or content credentials (C2PA) already stays as it is, byte for byte: credentials
are signed for these very bytes. Its record belongs into a JSON file beside the copy.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Literal

from imagegen_magic.errors import ImageInvalid, UnsupportedOption
from imagegen_magic.formats import JPEG, PNG, WEB_FORMATS, WEBP, ImageFormat, format_of
from imagegen_magic.imaging.containers import (
    APP1,
    APP11,
    EOI,
    Chunk,
    chunks,
    corrupt,
    identify,
    jpeg_header,
    png_chunks,
    riff_chunk,
    riff_chunks,
    vp8_size,
)
from imagegen_magic.imaging.metadata import xmp
from imagegen_magic.imaging.metadata.provenance import Origin, redact

__all__ = ["LEVELS", "Level", "Origin", "embed", "has_credentials", "read", "redact", "shareable"]

Level = Literal["full", "minimal", "none"]
LEVELS: tuple[Level, ...] = ("full", "minimal", "none")

_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_JPEG_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_XMP = b"http://ns.adobe.com/x"  # also the start of an extension's signature
_MAX_JPEG_PACKET = 65_533 - len(_JPEG_SIGNATURE)  # bytes in one segment
_LEADING = (b"\xff\xe0", APP1)  # JFIF and Exif, which readers expect at the front
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10


def embed(data: bytes, origin: Origin, level: Level = "full", *, secrets: Iterable[str] = ()) -> bytes:
    """Return a copy of a PNG, JPEG or WebP that says how it was made; no pixel changes.

    It is `data` itself with level `none`, and if the file has another tool's XMP or content credentials. `minimal` writes only that a
    model made it, with which tool, and when. The packet never holds a path, an address's query, anything that looks like a key, or one
    of the `secrets`; a prompt is written as it is, without keys. A packet of ours is replaced.

    Raises UnsupportedOption for an unknown level; ImageInvalid if the file is of another format or broken.
    """
    if level not in LEVELS:
        raise UnsupportedOption(f"there is no metadata level {level!r}", option="metadata", value=level, allowed=LEVELS)
    if level == "none":
        return data
    try:
        image_format = identify(data)
        if image_format not in WEB_FORMATS:
            raise ImageInvalid(f"no metadata are written into {image_format.name} files")
        if has_credentials(data) or any(not xmp.is_ours(_packet_in(data, chunk)) for chunk in _xmp_chunks(image_format, data)):
            return data
        packet = xmp.packet(shareable(origin, level, secrets=secrets), _MAX_JPEG_PACKET if image_format is JPEG else xmp.MAX_PACKET)
        return _WRITERS[image_format](data, packet)
    except (struct.error, IndexError) as error:
        raise _unreadable("the picture is cut short or corrupt") from error
    except ImageInvalid as error:
        raise _unreadable(error.what) from error


def shareable(origin: Origin, level: Level, *, secrets: Iterable[str] = ()) -> Origin:
    """Return what of an origin leaves this machine at a level: all of it without secrets, or with `minimal` the tool and the time."""
    redacted = redact(origin, secrets)
    return redacted if level == "full" else Origin(created=redacted.created, tool=redacted.tool)


def read(data: bytes) -> Origin | None:
    """Return how an exported copy says it was made; None if it does not say it, or is no image."""
    image_format = format_of(data)
    if image_format not in WEB_FORMATS or image_format is None:
        return None
    try:
        packet = next((_packet_in(data, chunk) for chunk in _xmp_chunks(image_format, data)), "")
        return xmp.origin(packet) if packet else None
    except (ImageInvalid, struct.error):
        return None


def has_credentials(data: bytes) -> bool:
    """Return whether an image carries content credentials (C2PA), which are signed for these very bytes."""
    image_format = format_of(data)
    if image_format is None or image_format not in WEB_FORMATS:
        return False
    return any(_is_credentials(data, chunk) for chunk in chunks(image_format, data))


def _unreadable(what: str) -> ImageInvalid:
    return ImageInvalid(what, blame="you", charge="no", hint="leave this picture out, or take --metadata none")


def _xmp_chunks(image_format: ImageFormat, data: bytes) -> list[Chunk]:
    return [chunk for chunk in chunks(image_format, data) if _is_xmp(data, chunk)]


def _is_xmp(data: bytes, chunk: Chunk) -> bool:
    if chunk.name == b"iTXt":
        return data.startswith(_PNG_KEYWORD, chunk.content)
    return chunk.name == b"XMP " or (chunk.name == APP1 and data.startswith(_JPEG_XMP, chunk.content))


def _is_credentials(data: bytes, chunk: Chunk) -> bool:
    if chunk.name == APP11:  # in which JPEG carries JUMBF (ISO 19566-5)
        return data.startswith(b"JP", chunk.content) and b"c2pa" in data[chunk.content : chunk.end]
    return chunk.name in (b"caBX", b"C2PA")


def _packet_in(data: bytes, chunk: Chunk) -> str:
    """Return the packet in a chunk; empty if it is no text."""
    content = data[chunk.content : chunk.content_end]
    try:
        if chunk.name == b"iTXt":
            rest = content[len(_PNG_KEYWORD) :]
            text = rest[2:].split(b"\0", 2)[2]  # after the language and the translated keyword
            content = zlib.decompressobj().decompress(text, xmp.MAX_PACKET) if rest[0] else text
        return content.removeprefix(_JPEG_SIGNATURE).decode("utf-8")
    except (UnicodeDecodeError, zlib.error, IndexError):
        return ""


def _into_png(data: bytes, packet: bytes) -> bytes:
    found = list(png_chunks(data))
    if not found or found[0].name != b"IHDR" or found[-1].name != b"IEND":
        raise corrupt(PNG, "its header or its end is missing")
    content = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0" + packet
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return data[: found[0].end] + chunk + _without_xmp(data, found[1:], found[0].end)


def _into_jpeg(data: bytes, packet: bytes) -> bytes:
    found = list(chunks(JPEG, data))
    if not found or found[-1].name != EOI:
        raise corrupt(JPEG, "its end is missing")
    place = 2
    for segment in found:
        if segment.name not in _LEADING or _is_xmp(data, segment):
            break
        place = segment.end
    content = _JPEG_SIGNATURE + packet
    header = APP1 + struct.pack(">H", 2 + len(content))
    return data[:place] + header + content + _without_xmp(data, [each for each in jpeg_header(data) if each.start >= place], place)


def _into_webp(data: bytes, packet: bytes) -> bytes:
    found = list(riff_chunks(data))
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if not found or found[-1].end < end or end > len(data) or found[0].name not in (b"VP8X", b"VP8 ", b"VP8L"):
        raise corrupt(WEBP, "its header or its end is missing")
    first = data[found[0].content : found[0].content_end]
    extended = riff_chunk(b"VP8X", _extended(found[0].name, first))
    rest = found[1:] if found[0].name == b"VP8X" else found
    start = rest[0].start if rest else end
    body = b"WEBP" + extended + _without_xmp(data[:end], rest, start) + riff_chunk(b"XMP ", packet)
    return b"RIFF" + struct.pack("<I", len(body)) + body + data[end:]


def _extended(name: bytes, content: bytes) -> bytes:
    """Return the content of a WebP's VP8X chunk that announces XMP, from its first chunk."""
    if name == b"VP8X":
        return bytes([content[0] | _XMP_FLAG]) + content[1:]
    width, height, alpha = vp8_size(name, content)
    flags = _XMP_FLAG | (_ALPHA_FLAG if alpha else 0)
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _without_xmp(data: bytes, found: Iterable[Chunk], place: int) -> bytes:
    """Return everything from a place on, without the XMP packets."""
    kept = []
    for chunk in found:
        if _is_xmp(data, chunk):
            kept.append(data[place : chunk.start])
            place = chunk.end
    return b"".join([*kept, data[place:]])


_WRITERS: dict[ImageFormat, Callable[[bytes, bytes], bytes]] = {PNG: _into_png, JPEG: _into_jpeg, WEBP: _into_webp}
