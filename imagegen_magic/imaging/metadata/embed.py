"""How a picture was made, written into a copy of it as standard XMP, its pixels untouched, and read back.

The packet lies where part 3 of the XMP specification puts it: a PNG's iTXt chunk `XML:com.adobe.xmp`, a JPEG's APP1 segment, a WebP's
`XMP ` chunk.

XMP that is there already stays as it is: ours is added beside it, in a description of its own, and a property that is there keeps its
value; XMP that nobody can read is replaced. Content credentials (C2PA) stay in the copy too, but they were signed for the file as it
was: `has_credentials` tells, so that a person can be told that only the original proves them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Literal

from imagegen_magic.errors import ImageInvalid, UnsupportedOption
from imagegen_magic.formats import JPEG, PNG, WEBP, kind_of
from imagegen_magic.imaging.containers import Chunk, boxes, vp8_size
from imagegen_magic.imaging.metadata import xmp
from imagegen_magic.imaging.metadata.provenance import Origin, scrubbed

__all__ = ["LEVELS", "Level", "Origin", "embed", "has_credentials", "read", "scrubbed", "told"]

Level = Literal["full", "minimal", "none"]
LEVELS: tuple[Level, ...] = ("full", "minimal", "none")

_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_JPEG_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_MOST = 65_533 - len(_JPEG_SIGNATURE)  # bytes of a packet in one segment
_LEADING = (b"\xff\xe0", b"\xff\xe1")  # JFIF and Exif, which readers expect at the front
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10


def embed(data: bytes, origin: Origin, level: Level = "full", *, secrets: Iterable[str] = ()) -> bytes:
    """Return a copy of a PNG, JPEG or WebP that says how it was made; no pixel changes, and with `none` no byte.

    `minimal` tells only that a model made it, with which tool, and when. Never in it: a path, an address's query, anything that looks
    like a key, and the `secrets`. A prompt stays as it is but for keys. Raises UnsupportedOption where the level is none of the three,
    or the XMP that is there already leaves no room; ImageInvalid where the file is none of the three formats, or broken.
    """
    if level not in LEVELS:
        raise UnsupportedOption(f"there is no metadata level {level!r}", option="metadata", value=level, allowed=LEVELS)
    if level == "none":
        return data
    try:
        kind = kind_of(data)
        if kind not in (PNG, JPEG, WEBP):
            raise ImageInvalid(f"a {kind.name} file carries no metadata that are written here")
        write: Callable[[bytes, bytes], bytes] = _into_png if kind is PNG else _into_jpeg if kind is JPEG else _into_webp
        packet = xmp.packet(told(origin, level, secrets=secrets), _existing(data), _JPEG_MOST if kind is JPEG else xmp.MOST)
        return write(data, packet)
    except (struct.error, IndexError) as error:
        raise _unreadable("the picture is cut short or corrupt") from error
    except ImageInvalid as error:
        raise _unreadable(error.what) from error


def told(origin: Origin, level: Level, *, secrets: Iterable[str] = ()) -> Origin:
    """Return what of an origin is told at a level: all that may leave this machine, or with `minimal` the tool and the time."""
    whole = scrubbed(origin, secrets)
    return whole if level == "full" else Origin(created=whole.created, tool=whole.tool)


def read(data: bytes) -> Origin | None:
    """Return what a copy of ours tells of its making; None where it tells nothing, or is no picture."""
    try:
        packet = _existing(data)
        return xmp.origin(packet) if packet else None
    except (ImageInvalid, struct.error):
        return None


def has_credentials(data: bytes) -> bool:
    """Say whether a picture carries content credentials (C2PA), which hold for these very bytes only."""
    try:
        return any(_is_credentials(data, box) for box in boxes(data))
    except (ImageInvalid, struct.error):
        return False


def _unreadable(what: str) -> ImageInvalid:
    return ImageInvalid(what, blame="you", charge="no", hint="leave this picture out, or take --metadata none")


def _existing(data: bytes) -> str | None:
    """Return the packet that a file carries; empty where it carries one that is no text, None where it carries none."""
    for box in boxes(data):
        if _is_xmp(data, box):
            try:
                return _packet_in(data, box).decode("utf-8")
            except (UnicodeDecodeError, zlib.error, IndexError):
                return ""
    return None


def _is_xmp(data: bytes, box: Chunk) -> bool:
    if box.name == b"iTXt":
        return data.startswith(_PNG_KEYWORD, box.content)
    return box.name == b"XMP " or (box.name == b"\xff\xe1" and data.startswith(_JPEG_SIGNATURE, box.content))


def _is_credentials(data: bytes, box: Chunk) -> bool:
    if box.name == b"\xff\xeb":  # APP11, in which JPEG carries JUMBF (ISO 19566-5)
        return data.startswith(b"JP", box.content) and b"c2pa" in data[box.content : box.end]
    return box.name in (b"caBX", b"C2PA")


def _packet_in(data: bytes, box: Chunk) -> bytes:
    content = data[box.content : box.content_end]
    if box.name == b"XMP ":
        return content
    if box.name != b"iTXt":
        return content[len(_JPEG_SIGNATURE) :]
    rest = content[len(_PNG_KEYWORD) :]
    text = rest[2:].split(b"\0", 2)[2]  # after the language and the translated keyword
    return zlib.decompressobj().decompress(text, xmp.MOST) if rest[0] else text


def _into_png(data: bytes, packet: bytes) -> bytes:
    found = list(boxes(data))
    if not found or found[0].name != b"IHDR" or found[-1].name != b"IEND":
        raise ImageInvalid("the PNG picture is cut short or corrupt")
    content = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0" + packet
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return data[: found[0].end] + chunk + _kept(data, found[1:], found[0].end)


def _into_jpeg(data: bytes, packet: bytes) -> bytes:
    found = list(boxes(data))
    scan = found[-1].end if found else 2
    if data[scan:].lstrip(b"\xff")[:1] != b"\xda":
        raise ImageInvalid("the JPEG picture is cut short or corrupt")
    place = 2
    for box in found:
        if box.name not in _LEADING or _is_xmp(data, box):
            break
        place = box.end
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(_JPEG_SIGNATURE) + len(packet)) + _JPEG_SIGNATURE + packet
    return data[:place] + segment + _kept(data, [box for box in found if box.start >= place], place)


def _into_webp(data: bytes, packet: bytes) -> bytes:
    found = list(boxes(data))
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if not found or found[-1].end < min(end, len(data)) or end > len(data) or found[0].name not in (b"VP8X", b"VP8 ", b"VP8L"):
        raise ImageInvalid("the WebP picture is cut short or corrupt")
    extended = _chunk(b"VP8X", _extended(data, found[0]))
    rest = found[1:] if found[0].name == b"VP8X" else found
    start = rest[0].start if rest else end
    body = b"WEBP" + extended + _kept(data[:end], rest, start) + _chunk(b"XMP ", packet)
    return b"RIFF" + struct.pack("<I", len(body)) + body + data[end:]


def _extended(data: bytes, first: Chunk) -> bytes:
    """Return the content of a WebP's VP8X chunk that says: there is XMP."""
    if first.name == b"VP8X":
        return bytes([data[first.content] | _XMP_FLAG]) + data[first.content + 1 : first.content_end]
    width, height, alpha = vp8_size(data, first)
    flags = _XMP_FLAG | (_ALPHA_FLAG if alpha else 0)
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _kept(data: bytes, found: Iterable[Chunk], place: int) -> bytes:
    """Return everything from a place on but the XMP."""
    kept = []
    for box in found:
        if _is_xmp(data, box):
            kept.append(data[place : box.start])
            place = box.end
    return b"".join([*kept, data[place:]])
