"""A BMP, TIFF, JPEG 2000 or AVIF file, checked to be complete, and a copy for the decoder without extras that may be broken.

TIFF: TIFF 6.0 and BigTIFF. JPEG 2000: ISO/IEC 15444-1, annexes A and I. AVIF: ISO/IEC 14496-12. BMP: Windows' BITMAPINFOHEADER.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from imagegen_magic.formats import AVIF, BMP, JPEG2000, TIFF, ImageFormat
from imagegen_magic.imaging.containers import IPTC, OTHER, PLACE, XMP, Part, StrippedFile, corrupt, cut_short, profile_is_sound

_MAX_CLAIMED = 50_000_000  # px


def _bmp(data: bytes) -> StrippedFile:
    offset, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        packing = size = 0
    else:
        width, height, _, depth, packing, size = struct.unpack_from("<iiHHII", data, 18)
    if packing in (0, 3, 6):  # not compressed
        size = (width * depth + 31) // 32 * 4 * abs(height)
    if offset + size > len(data) and width * abs(height) <= _MAX_CLAIMED:  # a larger claim is for the limit of pixels to refuse
        raise cut_short(BMP, data)
    return StrippedFile(data, abs(width), abs(height), b"", 1, (), still=False)


_SIZES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_WIDTHS = {5: 8, 10: 8, 11: 4, 12: 8} | {kind: struct.calcsize(code) for kind, code in _SIZES.items()}
_MAX_VALUES = 1 << 22
_MAX_PAGES = 10_000
_NEEDED_TAGS = frozenset(
    {
        *(256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339, 347),
        *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34675),  # JPEG within, YCbCr, colour profile
    }
)
_WORDS = {700: XMP, 33723: IPTC, 34377: IPTC}
_GPS = 34853
_GEO = (33550, 33922, 34264)  # GeoTIFF: which place each pixel is of
_TIME = (0, 7, 29)  # tags of a GPS directory that do not say where


class _Entry(NamedTuple):
    tag: int
    kind: int
    amount: int
    place: int  # of its values
    start: int  # of the entry itself


class _Tags:
    """The tags of a TIFF, classic or big; raises struct.error where they lie outside of the file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = data[2:4] in (b"+\0", b"\0+")
        (self.first,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), data, 8 if self.big else 4)

    def entries(self, start: int) -> tuple[list[_Entry], int]:
        """Return a directory's entries and where the next directory starts, 0 for none."""
        head, size, width = ("Q", 20, 8) if self.big else ("H", 12, 4)
        (count,) = struct.unpack_from(self.order + head, self.data, start)
        place = start + struct.calcsize(head)
        if place + count * size > len(self.data):
            raise IndexError
        found = [self._entry(place + number * size, width) for number in range(count)]
        end = place + count * size
        code = self.order + ("Q" if self.big else "I")
        return found, struct.unpack_from(code, self.data, end)[0] if end + width <= len(self.data) else 0

    def _entry(self, start: int, width: int) -> _Entry:
        tag, kind = struct.unpack_from(f"{self.order}HH", self.data, start)
        code = self.order + ("Q" if self.big else "I")
        (count,) = struct.unpack_from(code, self.data, start + 4)
        inside = start + 4 + width
        fits = count * _WIDTHS.get(kind, 1) <= width
        return _Entry(tag, kind, count, inside if fits else struct.unpack_from(code, self.data, inside)[0], start)

    def values(self, entry: _Entry | None) -> tuple[int, ...]:
        """Return an entry's whole numbers; empty where it is missing or holds none."""
        if entry is None or entry.kind not in _SIZES or entry.amount > _MAX_VALUES:
            return ()
        return struct.unpack_from(f"{self.order}{entry.amount}{_SIZES[entry.kind]}", self.data, entry.place)

    def directory(self, entries: list[_Entry], start: int) -> bytes:
        """Return a directory of these entries alone, to stand at `start`, with none after it."""
        size = 20 if self.big else 12
        count = struct.pack(self.order + ("Q" if self.big else "H"), len(entries))
        return count + b"".join(self.data[entry.start : entry.start + size] for entry in entries) + bytes(8 if self.big else 4)


def _tiff(data: bytes) -> StrippedFile:
    tags = _Tags(data)
    entries, following = tags.entries(tags.first)
    by_tag = {entry.tag: entry for entry in reversed(entries)}
    width, height = (next(iter(tags.values(by_tag.get(tag))), 0) for tag in (256, 257))
    for offsets, counts in ((273, 279), (324, 325), (513, 514)):
        spans = zip(tags.values(by_tag.get(offsets)), tags.values(by_tag.get(counts)), strict=False)
        if any(place + size > len(data) for place, size in spans):
            raise cut_short(TIFF, data)
    sides = [next(iter(tags.values(by_tag.get(tag))), 0) for tag in (322, 323)]
    if sides[0] * sides[1] > 1 << 26:
        raise corrupt(TIFF, "its tiles are larger than any picture that is read")
    kept = [entry for entry in entries if entry.tag in _NEEDED_TAGS and by_tag[entry.tag] is entry and _sound(tags, entry)]
    rest = tuple(_extra(tags, entry) for entry in entries if entry.tag not in _NEEDED_TAGS)
    copy = _with_directory(tags, kept)
    return StrippedFile(copy, width, height, b"", _pages(tags, following), rest, still=False, white=_white(tags, by_tag))


def _sound(tags: _Tags, entry: _Entry) -> bool:
    """Return whether an entry may stay: a colour profile only where it is one."""
    start = entry.place
    return entry.tag != 34675 or profile_is_sound(tags.data[start : start + entry.amount])


def _extra(tags: _Tags, entry: _Entry) -> Part:
    end = entry.place + entry.amount * _WIDTHS.get(entry.kind, 1)
    if entry.tag in _GEO or (entry.tag == _GPS and _names_a_place(tags, entry)):
        return Part(PLACE, entry.place, end)
    return Part(_WORDS.get(entry.tag, ""), entry.place, end)


def _names_a_place(tags: _Tags, entry: _Entry) -> bool:
    try:
        within, _ = tags.entries(next(iter(tags.values(entry)), 0))
    except (struct.error, IndexError):
        return False
    return any(each.tag not in _TIME for each in within)


def _with_directory(tags: _Tags, entries: list[_Entry]) -> bytes:
    """Return the file with a directory of the needed tags alone, in the place of all that it has."""
    data = tags.data
    start = len(data) + len(data) % 2
    code, place = ("Q", 8) if tags.big else ("I", 4)
    if start >= 1 << 32 and not tags.big:
        return data
    head = data[:place] + struct.pack(tags.order + code, start)
    return b"".join((head, data[len(head) :], bytes(start - len(data)), tags.directory(entries, start)))


def _pages(tags: _Tags, following: int) -> int:
    seen = {tags.first}
    while following and following not in seen and len(seen) < _MAX_PAGES:
        seen.add(following)
        try:
            _, following = tags.entries(following)
        except (struct.error, IndexError):
            return len(seen) - 1
    return len(seen)


def _white(tags: _Tags, by_tag: dict[int, _Entry]) -> int:
    bits, formats, largest, larger = (tags.values(by_tag.get(tag)) for tag in (258, 339, 281, 341))
    return white_of_samples(bits or (1,), formats or (1,), largest or larger)


def white_of_samples(bits: tuple[int, ...], formats: tuple[int, ...], largest: tuple[int, ...]) -> int:
    """Return the number that is white in a grey TIFF of 9 to 16 bits a pixel, 0 where none is said: TIFF 6.0, MaxSampleValue, SampleFormat.

    `bits` are its BitsPerSample, `formats` its SampleFormat (1: whole numbers from 0), `largest` its MaxSampleValue where it has one.
    """
    if tuple(formats) != (1,) or len(bits) != 1 or not 8 < bits[0] <= 16:
        return 0
    return largest[0] if largest and 255 < largest[0] < 1 << bits[0] else (1 << bits[0]) - 1


_JP2_HEADER = (b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef")
_MAX_COMPONENTS = 5


def _jpeg2000(data: bytes) -> StrippedFile:
    if data[:4] == b"\xff\x4f\xff\x51":
        width, height = _codestream(data, 0, len(data))
        return StrippedFile(data, width, height, b"", 1, (), still=False, white=0xFFFF)
    parts, rest, sizes = [], list[Part](), list[tuple[int, int]]()
    for name, start, content, end in _boxes(JPEG2000, data, 0, len(data)):
        if name == b"jp2h":
            inner = [(inside, data[first:last]) for inside, first, _, last in _boxes(JPEG2000, data, content, end)]
            kept = b"".join(box for inside, box in inner if inside in _JP2_HEADER)
            parts.append(struct.pack(">I4s", len(kept) + 8, name) + kept)
            sizes += [
                (width, height) for inside, box in inner if inside == b"ihdr" for height, width in [struct.unpack_from(">II", box, 8)]
            ]
        elif name == b"jp2c":
            sizes.append(_codestream(data, content, end))
            parts.append(data[start:end])
            break
        elif name in (b"jP  ", b"ftyp"):
            parts.append(data[start:end])
        else:
            rest.append(Part(XMP if b"<x:xmpmeta" in data[content:end] else OTHER, start, end))
    if len(sizes) < 2:
        raise cut_short(JPEG2000, data)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return StrippedFile(b"".join(parts), width, height, b"", 1, tuple(rest), still=False, white=0xFFFF)


def _codestream(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return the width and height of a codestream. Raises ImageInvalid where its tiles or its end are missing."""
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise corrupt(JPEG2000, "its codestream has no header")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    if right <= left or bottom <= top or not 1 <= components <= _MAX_COMPONENTS:
        raise corrupt(JPEG2000, "its header contradicts itself")
    place = start + 2
    while data[place : place + 2] not in (b"\xff\x90", b"\xff\xd9"):  # the main header's segments, up to the first tile
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]
        if place + 2 > end:
            raise cut_short(JPEG2000, data)
    while data[place : place + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">I", data, place + 6)
        if length and length < 14:
            raise corrupt(JPEG2000, f"a tile near byte {place} is too short")
        place = place + length if length else data.rfind(b"\xff\xd9", place, end)
        if place < 0 or place + 2 > end:
            raise cut_short(JPEG2000, data)
    if data[place : place + 2] != b"\xff\xd9":
        raise cut_short(JPEG2000, data)
    return right - left, bottom - top


def _avif(data: bytes) -> StrippedFile:
    names = [name for name, *_ in _boxes(AVIF, data, 0, len(data))]
    if b"meta" not in names and b"moov" not in names:
        raise corrupt(AVIF, "it does not say what is in it")
    return StrippedFile(data, 0, 0, b"", 1, (), still=False)


def _boxes(kind: ImageFormat, data: bytes, place: int, stop: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield name, start, start of the content and end of every box. Raises ImageInvalid where one leaves the file."""
    while place + 8 <= stop:
        size, name = struct.unpack_from(">I4s", data, place)
        content = place + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + 8)
            content = place + 16
        end = place + size if size else stop
        if end > stop:
            raise cut_short(kind, data)
        if end < content:
            raise corrupt(kind, f"a box near byte {place} is too short")
        yield name, place, content, end
        place = end


READERS: dict[ImageFormat, Callable[[bytes], StrippedFile]] = {BMP: _bmp, TIFF: _tiff, JPEG2000: _jpeg2000, AVIF: _avif}
