"""A picture that people have, made ready for the wire: upright, without its location, of a type and size that a gateway takes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from PIL import Image, JpegImagePlugin

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.pictures.arrays import described, from_array, is_array
from imagegen_magic.pictures.decoding import (
    DECODERS,
    MOST_PIXELS,
    WEBP,
    Kind,
    check_pixels,
    looks_like,
    opened,
    ordinary,
    orientation,
    told,
)
from imagegen_magic.pictures.fitting import KINDS, Draft, Limits, check_bytes, check_size, finished, fits, refused, target
from imagegen_magic.pictures.formats import GIF, TIFF, format_of, open_foreign, quiet
from imagegen_magic.pictures.location import ended, in_xmp, without_location
from imagegen_magic.pictures.preview import UPRIGHT
from imagegen_magic.request import LocalPicture

TYPES = ("image/jpeg", "image/png", "image/webp")
MOST_READ = 120_000_000  # px that are decoded where `fit` is to make them fewer: 480 MB; the largest cameras have 102
_MOST_FILE = 512 * 2**20  # bytes
_TAKEN = "give a path, an address, bytes, a PIL image, a numpy array, an IPython Image, a matplotlib figure, or an earlier result"
_TURNED = "turned as its EXIF says"
_CLEANED = "location removed"
_CUT = "what followed the picture's end removed"


def prepare(
    source: object,
    *,
    name: str,
    types: tuple[str, ...] = TYPES,
    most_bytes: int,
    most_pixels: float = MOST_PIXELS,
    fit: bool = False,
    option: str = "references",
) -> LocalPicture:
    """Return a picture ready for upload, with `notes` of each thing that was done to it.

    `source`: bytes of a file, a PIL image, an array (H×W, H×W×3, H×W×4; uint8, or floats from 0 to 1), an IPython Image, a
    matplotlib figure, or anything with bytes as its `data`. Bytes of one of the `types` (MIME) that are upright, say nothing of a
    place and keep to the limits come back as they are, byte for byte. What its Exif turns is turned; what says where it was taken is
    cut out, without touching a pixel where nothing else is to do, and so is what follows a PNG's or WebP's end;
    other formats become PNG, of several pictures the first.
    Above `most_bytes` or `most_pixels` it is refused; with `fit` an opaque one becomes a JPEG, and, where that is not enough, smaller.

    Raises ImageInvalid (empty, no picture, corrupt, more pixels than are decoded) and UnsupportedOption (not taken, too large; its
    `option` is this one): both before anything is sent.
    """
    limits = Limits(name, tuple(types), most_bytes, most_pixels, fit, option)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(bytes(source), limits)
    if isinstance(source, Image.Image):
        return finished(_from_image(source, limits), limits)
    if is_array(source):
        return finished(_from_numbers(source, limits), limits)
    if callable(draw := getattr(source, "savefig", None)):
        return _from_figure(draw, limits)
    return _from_file(_bytes_in(source, limits), limits)


def _from_file(data: bytes, limits: Limits, notes: tuple[str, ...] = ()) -> LocalPicture:
    kind = _kind(data, limits.name)
    own = kind in KINDS
    with _dressed(limits.name), quiet():
        image = opened(data, MOST_READ) if own else open_foreign(kind, data, MOST_READ)
    check_size(image.size, limits)
    whole = ended(kind, data) if own else data
    clean = without_location(kind, whole) if own else data
    if kind.mime_type in limits.types:
        check_bytes(clean, "", limits)
    with DECODERS, _dressed(limits.name):
        if not own:
            return _from_foreign(image, kind, data, limits, notes)
        with told(kind.name):
            image.load()
        notes += ((_CUT,) if whole is not data else ()) + ((_CLEANED,) if clean is not whole else ())
        if orientation(image) == 1 and kind.mime_type in limits.types and fits(clean, image, limits):
            return LocalPicture(clean, kind.mime_type, *image.size, limits.name, notes)
        return finished(_drafted(image, kind, data, limits, notes), limits)


def _from_foreign(image: Image.Image, kind: Kind, data: bytes, limits: Limits, notes: tuple[str, ...]) -> LocalPicture:
    """Return a picture of another format as it is where that format is taken, else converted."""
    with quiet(), told(kind.name):
        notes += _metadata_notes(image)
        frames = getattr(image, "n_frames", 1) if kind in (GIF, TIFF) else 1
        image.load()
    if kind.mime_type in limits.types and not notes and fits(data, image, limits):
        return LocalPicture(data, kind.mime_type, *image.size, limits.name)
    draft = _drafted(image, kind, data, limits, notes)
    return finished(replace(draft, notes=(*draft.notes, _conversion(kind, frames))), limits)


def _conversion(kind: Kind, frames: int) -> str:
    if frames == 1:
        return f"converted from {kind.name}"
    return f"converted from {kind.name}, the first of {frames} {'pages' if kind is TIFF else 'frames'}"


def _drafted(image: Image.Image, kind: Kind, data: bytes, limits: Limits, notes: tuple[str, ...]) -> Draft:
    """Return a decoded file's picture, upright, in the format that it shall have."""
    wanted = kind if kind in KINDS and kind.mime_type in limits.types else target(limits)
    turn = orientation(image) if kind in KINDS else _exif_orientation(image)
    notes += (_TURNED,) if turn != 1 and _TURNED not in notes else ()
    notes += () if wanted is kind or kind not in KINDS else (f"converted from {kind.name}",)
    options = _faithful(image, kind, data, turn) if wanted is kind else {}
    return Draft(_upright(image, turn, limits), wanted, options, notes)


def _from_image(image: Image.Image, limits: Limits) -> Draft:
    """Return a PIL picture, upright, to be a PNG."""
    with _dressed(limits.name):
        check_pixels(*image.size, most=MOST_READ)
        check_size(image.size, limits)
        with DECODERS, quiet(), told(image.format or "PIL"):
            image.load()
            notes, turn = _metadata_notes(image), _exif_orientation(image)
            return Draft(_upright(image, turn, limits), target(limits), {}, notes)


def _from_numbers(array: Any, limits: Limits) -> Draft:
    """Return an array's picture, to be a PNG."""
    if len(array.shape) >= 2:
        with _dressed(limits.name):
            check_pixels(array.shape[1], array.shape[0], MOST_READ) if 0 not in array.shape[:2] else None
        check_size((array.shape[1], array.shape[0]), limits)
    return Draft(
        from_array(array, name=limits.name, option=limits.option), target(limits), {}, (f"made from an array of {described(array)}",)
    )


def _from_figure(draw: Callable[..., object], limits: Limits) -> LocalPicture:
    file = io.BytesIO()
    draw(file, format="png")
    return _from_file(file.getvalue(), limits, ("drawn from a figure",))


def _bytes_in(source: object, limits: Limits) -> bytes:
    """Return the bytes that an object carries as its `data`, as an IPython Image does. Raises UnsupportedOption where there are none."""
    data = getattr(source, "data", None)
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(address := getattr(source, "url", None), str) and address:
        raise refused(limits, f"{limits.name} knows only the address of its picture", "give that address itself")
    raise refused(limits, f"{limits.name} is of type {type(source).__name__}, which holds no picture", _TAKEN)


def _kind(data: bytes, name: str) -> Kind:
    if len(data) > _MOST_FILE:
        words = f"{name} has {len(data) / 2**20:.0f} MiB, more than the {_MOST_FILE / 2**20:.0f} MiB that are read"
        raise ImageInvalid(words, whose="you", charged="no", next_step="make it smaller with another program")
    if kind := format_of(data):
        return kind
    words = f"{name} is empty" if not data else f"{name} is not a picture that can be read here but {looks_like(data)}"
    raise ImageInvalid(words, whose="you", charged="no", next_step="give a PNG, JPEG or WebP, or a BMP, TIFF, GIF, AVIF or HEIC to convert")


@contextmanager
def _dressed(name: str) -> Iterator[None]:
    """Name the picture in what is wrong with it, and say whose it is: not the gateway's."""
    try:
        yield
    except ImageInvalid as error:
        step = error.next_step if error.whose == "you" else "open it with another program and save it anew, or give another picture"
        raise ImageInvalid(f"{name}: {error.what}", whose="you", charged="no", next_step=step) from error


def _faithful(image: Image.Image, kind: Kind, data: bytes, turn: int) -> dict[str, Any]:
    """Return how to save the picture as finely as its file was: a JPEG by its own tables, so that it loses next to nothing once more."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image)
        tables = [_flipped(table) if turn >= 5 else table for table in image.quantization.values()]
        return {"qtables": tables, "subsampling": 2 if sampling == 2 else 0}
    if kind is WEBP:
        return {"lossless": True, "exact": True} if b"VP8L" in data[:65_536] else {"quality": 95}
    return {}


def _flipped(table: list[int]) -> list[int]:
    """Return a JPEG's table of 8×8 with rows and columns changed, as the picture's are in a quarter turn."""
    return [table[8 * (place % 8) + place // 8] for place in range(64)]


def _metadata_notes(image: Image.Image) -> tuple[str, ...]:
    """Say what is done to a picture whose metadata stay behind."""
    places = image.getexif().get_ifd(0x8825)
    xmp = image.info.get("xmp") or b""
    located = any(tag != 0 for tag in places) or (isinstance(xmp, bytes) and in_xmp(xmp))
    return ((_TURNED,) if _exif_orientation(image) != 1 else ()) + ((_CLEANED,) if located else ())


def _exif_orientation(image: Image.Image) -> int:
    turn = image.getexif().get(0x0112, 1)
    return turn if turn in UPRIGHT else 1


def _upright(image: Image.Image, turn: int, limits: Limits) -> Image.Image:
    """Return a copy in L, RGB or RGBA, turned, with its colour profile alone, where that is one of such pictures."""
    plain = ordinary(_from_deep(image, limits) if image.mode in ("F", "I") else image)
    if turn in UPRIGHT:
        plain = plain.transpose(UPRIGHT[turn])
    elif plain is image:
        plain = image.copy()
    profile = image.info.get("icc_profile") or b""
    plain.info = {"icc_profile": profile} if profile[16:20] == (b"GRAY" if plain.mode == "L" else b"RGB ") else {}
    return plain


def _from_deep(image: Image.Image, limits: Limits) -> Image.Image:
    """Return a picture of 32 bits a pixel as grey: floats from 0 to 1, or whole numbers from 0 to 65,535."""
    least, most = image.getextrema()
    highest = 1 if image.mode == "F" else 65_535
    if not (0 <= least <= most <= highest):  # type: ignore[operator]  # one band, so two numbers
        words = f"{limits.name} holds numbers from {least:g} to {most:g}, which do not say what is black and what is white"
        raise refused(limits, words, "scale them to an array of floats from 0 to 1, and give that")
    return image.point(lambda value: value * (255 / highest)).convert("L")
