"""A user's image, made ready for upload: upright, without metadata, of a type and size that the service accepts."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from PIL import Image, JpegImagePlugin

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.formats import FORMATS, TIFF, WEB_FORMATS, WEB_TYPES, WEBP, ImageFormat, format_of, looks_like
from imagegen_magic.imaging.arrays import described, from_array, is_array
from imagegen_magic.imaging.decode import (
    DECODERS,
    MAX_PIXELS,
    check_pixels,
    examined,
    is_deep,
    is_far_below_white,
    load,
    load_pixels,
    number_range,
    orientation,
    quiet,
    to_8bit,
    white_of,
)
from imagegen_magic.imaging.encode import Draft, Limits, check_bytes, check_size, encode_within, fits, refused, target
from imagegen_magic.imaging.metadata.fingerprint import fingerprint_bytes
from imagegen_magic.imaging.metadata.location import has_location, image_has_location
from imagegen_magic.imaging.preview import UPRIGHT
from imagegen_magic.imaging.strip import EXIF, StrippedFile
from imagegen_magic.request import LocalImage

MAX_DECODED_PIXELS = 120_000_000  # px decoded if `fit` is to make them fewer: 480 MB; the largest cameras have 102
_MAX_FILE = 512 * 2**20  # bytes
_ACCEPTED = "give a path, an address, bytes, a PIL image, a numpy array, an IPython Image, a matplotlib figure, or an earlier result"
_CONVERTED = ", ".join(each.name for each in FORMATS if each not in WEB_FORMATS)
_TURNED = "turned as its EXIF says"
_LOCATED = "location removed"
_DRAWN = "drawn from a figure"
_OF_SEVERAL = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")  # Pillow's names; a photo's second image (MPO) is no frame


def prepare(
    source: object,
    *,
    name: str,
    types: tuple[str, ...] = WEB_TYPES,
    max_bytes: int,
    max_pixels: float = MAX_PIXELS,
    fit: bool = False,
    option: str = "references",
) -> LocalImage:
    """Return an image ready for upload, with `notes` of each change to it.

    `source`: bytes of a file, a PIL image, an array (H×W, H×W×3, H×W×4; uint8, or floats from 0 to 1), an IPython Image, a
    matplotlib figure, or anything with bytes as its `data`. A PNG, JPEG or WebP of one of the `types` (MIME) that is upright and within
    the limits is sent as its image alone: the coded pixels as they are, the colour profile, and nothing else; byte for byte if it holds
    nothing else. An image that its Exif turns is turned, other formats become PNG, and of several images the first is sent. The notes
    say what was left out.
    Above `max_bytes` or `max_pixels` it is refused; with `fit` an opaque one becomes a JPEG, and, if that is not enough, smaller.

    Raises ImageInvalid (empty, no image, corrupt, more pixels than are decoded) and UnsupportedOption (wrong type, too large; its
    `option` is this one): both before anything is sent.
    """
    limits = Limits(name, tuple(types), max_bytes, max_pixels, fit, option)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(bytes(source), limits)
    if isinstance(source, Image.Image):
        return encode_within(_from_image(source, limits), limits)
    if is_array(source):
        return encode_within(_from_numbers(source, limits), limits)
    if callable(draw := getattr(source, "savefig", None)):
        return _from_figure(draw, limits)
    return _from_file(_bytes_in(source, limits), limits)


def _from_file(data: bytes, limits: Limits, notes: tuple[str, ...] = ()) -> LocalImage:
    image_format = _format(data, limits.name)
    with _as_reference(limits.name):
        found, image = examined(image_format, data, MAX_DECODED_PIXELS)
    check_size(image.size, limits)
    accepted = image_format.mime_type in limits.types
    if accepted and found.still:
        check_bytes(found.data, "", limits)
    with DECODERS, _as_reference(limits.name):
        turn = orientation(image)  # before a TIFF turns itself
        located = has_location(image_format, data, found.rest, image)  # before Pillow's copies lose it
        load_pixels(image, image_format)
        notes += ((_TURNED,) if turn != 1 else ()) + _left_out(found, turn != 1, notes) * accepted + (_LOCATED,) * located
        in_0_1_0 = data if found.data is data else fingerprint_bytes(image_format, data)  # what version 0.1.0 sent
        unchanged = accepted and turn == 1 and fits(in_0_1_0 if limits.fit else found.data, image, limits)
        if unchanged and found.still:
            notes += _first_of(image, image_format, found)
            picture = LocalImage(found.data, image_format.mime_type, *image.size, limits.name, notes)
        else:
            draft = _drafted(image, image_format, data, limits, notes)
            notes = draft.notes + _first_of(image, image_format, found, draft.format is not image_format)
            picture = encode_within(replace(draft, notes=notes), limits)
    return replace(picture, identity=hashlib.sha256(in_0_1_0).hexdigest()) if unchanged and in_0_1_0 is not picture.data else picture


def _left_out(found: StrippedFile, turned: bool, notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the note of what is not sent of a file; none of a figure, which was drawn for this."""
    words = dict.fromkeys(part.what for part in found.rest if part.what and not (turned and part.what == EXIF))
    return () if not words or _DRAWN in notes else (f"left out: {', '.join(words)}",)


def _first_of(image: Image.Image, image_format: ImageFormat, found: StrippedFile, converted: bool = False) -> tuple[str, ...]:
    """Return the note of a conversion, and of which of several images is sent."""
    frames = found.frames or getattr(image, "n_frames", 1)
    first = f"the first of {frames} {'pages' if image_format is TIFF else 'frames'}" if frames > 1 else ""
    note = ", ".join(filter(None, [f"converted from {image_format.name}" if converted else "", first]))
    return (note,) if note else ()


def _drafted(image: Image.Image, image_format: ImageFormat, data: bytes, limits: Limits, notes: tuple[str, ...]) -> Draft:
    """Return a decoded file's image, upright, in the format that it is to have."""
    wanted = image_format if image_format in WEB_FORMATS and image_format.mime_type in limits.types else target(limits)
    turn = orientation(image)
    options = _faithful(image, image_format, data, turn) if wanted is image_format else {}
    return Draft(_upright(image, turn, limits), wanted, options, notes)


def _from_image(image: Image.Image, limits: Limits) -> Draft:
    """Return a PIL image, upright, to be a PNG."""
    with _as_reference(limits.name):
        check_pixels(*image.size, limit=MAX_DECODED_PIXELS)
        check_size(image.size, limits)
        with DECODERS, quiet():
            load(image)
            turn = orientation(image)
            notes = ((_TURNED,) if turn != 1 else ()) + (_LOCATED,) * image_has_location(image) + _frame(image)
            return Draft(_upright(image, turn, limits), target(limits), {}, notes)


def _frame(image: Image.Image) -> tuple[str, ...]:
    """Return the note of which frame of an animation, or page of a scan, is sent: the current one."""
    with suppress(Exception):  # Pillow's readers raise anything for a broken file; no reason to refuse the image
        count = getattr(image, "n_frames", 1) if image.format in _OF_SEVERAL else 1
        if count > 1:
            number = f"number {image.tell() + 1}" if image.tell() else "the first"
            return (f"{number} of {count} {'pages' if image.format == 'TIFF' else 'frames'}",)
    return ()


def _from_numbers(array: Any, limits: Limits) -> Draft:
    """Return an array's image, to be a PNG."""
    if len(array.shape) >= 2:
        with _as_reference(limits.name):
            check_pixels(array.shape[1], array.shape[0], MAX_DECODED_PIXELS) if 0 not in array.shape[:2] else None
        check_size((array.shape[1], array.shape[0]), limits)
    image = from_array(array, name=limits.name, option=limits.option)
    return Draft(image, target(limits), {}, (f"made from an array of {described(array)}",))


def _from_figure(draw: Callable[..., object], limits: Limits) -> LocalImage:
    file = io.BytesIO()
    draw(file, format="png")
    return _from_file(file.getvalue(), limits, (_DRAWN,))


def _bytes_in(source: object, limits: Limits) -> bytes:
    """Return the bytes that an object has as its `data`, as an IPython Image does. Raises UnsupportedOption if there are none."""
    data = getattr(source, "data", None)
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(address := getattr(source, "url", None), str) and address:
        raise refused(limits, f"{limits.name} knows only the address of its picture", "give that address itself")
    raise refused(limits, f"{limits.name} is of type {type(source).__name__}, which holds no picture", _ACCEPTED)


def _format(data: bytes, name: str) -> ImageFormat:
    if len(data) > _MAX_FILE:
        words = f"{name} has {len(data) / 2**20:.0f} MiB, more than the {_MAX_FILE / 2**20:.0f} MiB that are read"
        raise ImageInvalid(words, blame="you", charge="no", hint="make it smaller with another program")
    if image_format := format_of(data):
        return image_format
    words = f"{name} is empty" if not data else f"{name} is not a picture that can be read here but {looks_like(data)}"
    raise ImageInvalid(words, blame="you", charge="no", hint=f"give a PNG, JPEG or WebP, or one to convert: {_CONVERTED}")


@contextmanager
def _as_reference(name: str) -> Iterator[None]:
    """Name the image in an error about it, and set its blame: the user's, not the gateway's."""
    try:
        yield
    except ImageInvalid as error:
        step = error.hint if error.blame == "you" else "save it again with another program, or give another picture"
        raise ImageInvalid(f"{name}: {error.what}", blame="you", charge="no", hint=step) from error


def _faithful(image: Image.Image, image_format: ImageFormat, data: bytes, turn: int) -> dict[str, Any]:
    """Return the options that save the image as finely as its file was: a JPEG by its own tables, so that it loses next to nothing."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image)
        tables = [_flipped(table) if turn >= 5 else table for table in image.quantization.values()]
        return {"qtables": tables, "subsampling": 2 if sampling == 2 else 0}
    if image_format is WEBP:
        return {"lossless": True, "exact": True} if b"VP8L" in data[:65_536] else {"quality": 95}
    return {}


def _flipped(table: list[int]) -> list[int]:
    """Return a JPEG's table of 8×8 with rows and columns exchanged, as the image's are in a quarter turn."""
    return [table[8 * (place % 8) + place // 8] for place in range(64)]


def _upright(image: Image.Image, turn: int, limits: Limits) -> Image.Image:
    """Return a copy in L, RGB or RGBA, turned, with its colour profile alone, if that is for such images."""
    plain = to_8bit(_from_deep(image, limits) if is_deep(image) else image)
    if turn in UPRIGHT:
        plain = plain.transpose(UPRIGHT[turn])
    elif plain is image:
        plain = image.copy()
    profile = image.info.get("icc_profile") or b""
    plain.info = {"icc_profile": profile} if profile[16:20] == (b"GRAY" if plain.mode == "L" else b"RGB ") else {}
    return plain


def _from_deep(image: Image.Image, limits: Limits) -> Image.Image:
    """Return an image of more than 8 bits a pixel as it is if its file says what is white, and of floats from 0 to 1 a grey one."""
    lowest, highest = number_range(image)
    if image.mode != "F" and white_of(image) and not is_far_below_white(image, highest):
        return image
    if image.mode == "F" and 0 <= lowest <= highest <= 1:
        return image.point(lambda value: value * 255).convert("L")
    numbers = f"numpy.asarray({limits.name if limits.name.isidentifier() else 'image'})"
    if not math.isfinite(lowest + highest):
        raise refused(limits, f"{limits.name} holds NaN or infinite numbers", f"fill them, then give floats from 0 to 1: {numbers}")
    words = f"{limits.name} holds numbers from {lowest:g} to {highest:g}, which do not say what is black and what is white"
    scaled = f"({numbers} - {lowest:g}) / {highest - lowest or 1:g}" if lowest < 0 else f"{numbers} / {max(1, highest):g}"
    raise refused(limits, words, f"give floats from 0 to 1: {scaled}, where {highest:g} is white")
