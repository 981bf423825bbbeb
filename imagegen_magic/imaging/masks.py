"""Masks: RGBA images whose transparent part is to be repainted; made and checked.

The convention is OpenAI's image edit, https://platform.openai.com/docs/api-reference/images/createEdit: fully transparent areas of the
mask say where to edit. The colours under it repeat this for the eye: white where it is to be painted, black where not.
"""

from __future__ import annotations

import io
import math
import os
from contextlib import suppress
from numbers import Real
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from imagegen_magic.errors import ImageInvalid, ReadError, UnsupportedOption
from imagegen_magic.formats import PNG
from imagegen_magic.imaging.arrays import described, from_array, is_array
from imagegen_magic.imaging.decode import (
    DECODERS,
    assembled,
    decoded,
    is_deep,
    is_far_below_white,
    load,
    number_range,
    orientation,
    quiet,
    row_bands,
    white_of,
)
from imagegen_magic.imaging.preview import UPRIGHT
from imagegen_magic.paths import path_of
from imagegen_magic.request import LocalImage
from imagegen_magic.result import Generation

_MAX_COLOUR = 48  # of 255: how far the channels of a grey may lie apart, as a JPEG of black and white has it
_TRANSPARENT, _OPAQUE = 0, 255
_CONDITION = "give a condition, as in mask_from(array == 3): true = edit here"


def mask_from(picture: Any) -> Image.Image:
    """Return a mask of a black-and-white picture or an array: white, true and 1 are where to paint; greys paint half, for soft edges.

    `picture`: a PIL image in any mode; a file of one, as path or bytes; an array of booleans, of integers 0 and 1 or 0 to 255, or of
    floats 0 to 1, H×W; or in colour, × 3 or × 4, as references may be. If it holds exactly two values, the larger is
    where to paint; if it holds one, 0 is nowhere, and 1 and white are everywhere. Returns H×W RGBA, transparent where to paint.

    Raises UnsupportedOption for a picture in colour, one that is a mask already, and for numbers that do not say what is white;
    ImageInvalid for a broken file or a closed image, ReadError for a file that is not there.
    """
    picture = _one(picture)
    if is_array(picture):
        return _mask(_grey_of_array(picture))
    image = _image_of(picture)
    return _mask(_grey_of_numbers(image) if is_deep(image) else _grey(image))


def mask_box(image: Any, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """Return a mask as large as `image` that lets the box be painted: from pixel `left` to before `right`, from `top` to before `bottom`.

    `image`: whatever the mask is for: a PIL image, an array, a path, bytes, a result (its first picture), or anything with `width` and
    `height`; upright, as its Exif says. Raises UnsupportedOption if the box is empty or leaves the image, and for anything
    else; ReadError, ImageInvalid.
    """
    width, height = _size_of(_one(image))
    if not all(isinstance(edge, Real) for edge in (left, top, right, bottom)):
        raise _refused("the edges of the box are numbers of pixels", (left, top, right, bottom), "give left, top, right, bottom")
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        box = f"from ({left}, {top}) to ({right}, {bottom})"
        step = f"left < right within 0 to {width}, top < bottom within 0 to {height}"
        raise _refused(f"the box {box} is not one within {width}×{height} pixels", (left, top, right, bottom), step)
    grey = Image.new("L", (width, height), 0)
    ImageDraw.Draw(grey).rectangle((left, top, right - 1, bottom - 1), fill=255)
    return _mask(grey)


def invert(mask: Image.Image) -> Image.Image:
    """Return the mask that paints where this one protects. Raises UnsupportedOption for a picture without alpha."""
    if not isinstance(mask, Image.Image) or not mask.has_transparency_data:
        raise _refused(
            "what is to be inverted is no mask: it has no alpha channel", "mask", "mask_from(picture) makes one: white = edit here"
        )
    return _mask(mask.convert("RGBA").getchannel("A"))


def as_white(data: bytes) -> bytes:
    """Return the file of a mask as a grey PNG that is white where the mask is transparent, for services that repaint the white part."""
    buffer = io.BytesIO()
    with DECODERS:
        ImageChops.invert(decoded(data).convert("RGBA").getchannel("A")).save(buffer, "PNG")
    return buffer.getvalue()


def check_mask(mask: LocalImage, first: LocalImage) -> None:
    """Raise UnsupportedOption if the mask does not say what to paint on the first reference, and ImageInvalid if it is broken.

    It has to be a PNG with an alpha channel, as large as the reference, with something fully transparent and something fully opaque.
    """
    if mask.mime_type != PNG.mime_type:
        kind = mask.mime_type.removeprefix("image/").upper()
        raise _refused(f"the mask {mask.name} is a {kind}, not a PNG with an alpha channel", mask.name, _call(mask.name))
    with DECODERS:
        image = _decoded(mask.data, mask.name)
    _check_alpha(image, mask)
    _check_pixels(image, mask, first)
    least, most = _extremes(image.getchannel("A"))
    if least != _TRANSPARENT or most != _OPAQUE:
        raise _one_sided(mask, least, most)


def _mask(grey: Image.Image) -> Image.Image:
    """Return the mask that paints where `grey` (L) is white."""
    return Image.merge("RGBA", (grey, grey, grey, ImageChops.invert(grey)))


def _grey(image: Image.Image, *, two_as_black_and_white: bool = True) -> Image.Image:
    """Return a black-and-white picture in L, two values as black and white. Raises UnsupportedOption if it is none."""
    grey = assembled(map(_grey_band, row_bands(image)), image.size)
    values = [value for value, count in enumerate(grey.histogram()) if count]
    if len(values) == 1:
        return Image.new("L", image.size, _everywhere(values[0]))
    if len(values) == 2 and two_as_black_and_white:
        return grey.point([255 * (value == values[1]) for value in range(256)])
    return grey


def _everywhere(value: float, white: int = 255) -> int:
    """Return black or white for a mask of one value. Raises UnsupportedOption if it says neither."""
    if value in (0, 1, 255, 65_535, white):
        return 255 if value else 0
    step = "give 0 where to protect and 255 where to paint; of an array a condition, as in mask_from(array == 3)"
    raise _refused(f"the picture holds one value alone, {value:g}, which is neither black nor white", "mask", step)


def _grey_of_numbers(image: Image.Image) -> Image.Image:
    """Return a picture of more than 8 bits a pixel in L, by what it says itself of black and white."""
    numbers, white = image if image.mode == "F" else image.convert("I"), white_of(image)
    least, most = number_range(image)
    if not math.isfinite(least + most):
        raise _refused("the picture holds NaN or infinite numbers", "mask", _CONDITION)
    if least == most:
        return Image.new("L", image.size, _everywhere(most, white))
    if numbers.getcolors(2):
        return numbers.point(lambda value: value * (255.5 / (most - least)) - least * 255.5 / (most - least)).convert("L")
    top = 1 if image.mode == "F" else 255 if not white or is_far_below_white(image, most) else white
    if least < 0 or most > top:
        raise _refused(f"the picture holds values from {least:g} to {most:g}, from which no mask can be made", "mask", _CONDITION)
    return numbers.point(lambda value: value * (255 / top) + 0.5).convert("L")


def _grey_band(band: Image.Image) -> Image.Image:
    if band.mode == "RGBA":
        if _extremes(band.getchannel("A"))[0] < _OPAQUE:
            step = "use it as it is, or invert(mask)"
            raise _refused("the picture is transparent in places, so it is a mask already", "mask", step)
        band = band.convert("RGB")
    if band.mode == "L":
        return band
    red, green, blue = band.split()
    apart = max(_extremes(ImageChops.difference(*pair))[1] for pair in ((red, green), (green, blue), (red, blue)))
    if apart > _MAX_COLOUR:
        step = "give black and white: white = edit here; of an array a condition, mask_from(array[:, :, 0] > 128)"
        raise _refused("the picture is in colour, which does not say where to paint", "mask", step)
    return band.convert("L")


def _grey_of_array(array: Any) -> Image.Image:
    """Return an array as L, white where to paint."""
    if len(array.shape) == 2 and array.dtype.kind in "biuf" and 0 not in array.shape:
        array = _plain_numbers(array)
    shades = array.dtype.kind == "f" and _has_shades(array)
    return _grey(from_array(array, name="the array", option="mask"), two_as_black_and_white=not shades)


def _has_shades(array: Any) -> bool:
    """Return whether an array holds more than two values: rounded to 8 bits, they may seem to be two."""
    return 0 not in array.shape and bool(((array != array.min()) & (array != array.max())).any())


def _plain_numbers(array: Any) -> Any:
    """Return booleans, integers, and floats of one or two values as uint8 from 0 to 255; other floats as they are."""
    least, most = array.min(), array.max()
    if not math.isfinite(float(least) + float(most)):
        return array
    if least == most:
        return (array == array).astype("uint8") * array.astype("uint8").dtype.type(_everywhere(float(most)))
    if not ((array != least) & (array != most)).any():
        return (array == most).astype("uint8") * array.astype("uint8").dtype.type(255)
    if array.dtype.kind == "f":
        return array
    if least < 0 or most > 255:
        raise _refused(
            f"the array {described(array)} holds values from {least} to {most}, from which no mask can be made", "mask", _CONDITION
        )
    return array.astype("uint8")


def _image_of(picture: Any) -> Image.Image:
    """Return a PIL picture, upright, of one or of a file of one."""
    if isinstance(picture, Image.Image):
        with DECODERS, quiet():
            _load(picture)
            with suppress(Exception):  # a picture whose Exif cannot be read lies as it lies
                return _upright(picture, picture.getexif().get(0x0112, 1))
        return picture
    name, data = _file_of(picture)
    with DECODERS:
        image = _decoded(data, name)
    return _upright(image, orientation(image))


def _load(picture: Image.Image) -> None:
    try:
        load(picture)
    except ImageInvalid as error:
        step = error.hint if error.blame == "you" else "give another picture"
        raise ImageInvalid(f"no mask can be made: {error.what}", blame="you", charge="no", hint=step) from error


def _file_of(picture: Any) -> tuple[str, bytes]:
    if isinstance(picture, str | os.PathLike):
        return str(picture), _read(picture)
    data = picture if isinstance(picture, bytes | bytearray | memoryview) else getattr(picture, "data", None)
    if isinstance(data, bytes | bytearray | memoryview):
        return "the picture", bytes(data)
    what = f"no mask can be made of an object of type {type(picture).__name__}"
    raise _refused(what, "mask", "give a black-and-white PIL image, a path, or an array: white, true = edit here")


def _read(path: Any) -> bytes:
    if isinstance(path, str) and "://" in path:
        raise _refused(f"{path} is an address", path, "give the picture itself: a file, or a variable that holds it")
    try:
        return path_of(path).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # a name with NUL, a user that does not exist
        raise ReadError.of(str(path).replace("\0", "\\0"), error) from None


def _one(source: Any) -> Any:
    """Return the first picture of a Generation, which is what a reference takes of one; anything else as it is."""
    if not isinstance(source, Generation):
        return source
    if not len(source):
        raise _refused("that result holds no picture", "an empty result", "give a picture")
    return source[0]


def _upright(image: Image.Image, turn: int) -> Image.Image:
    return image.transpose(UPRIGHT[turn]) if turn in UPRIGHT else image


def _size_of(image: Any) -> tuple[int, int]:
    """Return width and height of whatever a mask is to be for."""
    if is_array(image):
        if len(image.shape) < 2:
            raise _refused(f"the array {described(image)} is no picture", "an array", "give height × width, × 3 or × 4 if in colour")
        return image.shape[1], image.shape[0]
    sides = getattr(image, "width", None), getattr(image, "height", None)
    if not isinstance(image, Image.Image) and all(isinstance(side, int) for side in sides):  # an IPython Image has them, as None
        return image.width, image.height
    return _image_of(image).size


def _decoded(data: bytes, name: str) -> Image.Image:
    try:
        return decoded(data)
    except ImageInvalid as error:
        raise ImageInvalid(f"the mask {name}: {error.what}", blame="you", charge="no", hint="give another mask") from error


def _check_alpha(image: Image.Image, mask: LocalImage) -> None:
    if image.mode in ("RGBA", "LA"):
        return
    if image.has_transparency_data:
        step = 'save it with one: mask.convert("RGBA")'
        raise _refused(f"the mask {mask.name} says what is transparent without an alpha channel ({image.mode})", mask.name, step)
    raise _refused(f"the mask {mask.name} has no alpha channel: nothing in it is transparent", mask.name, _call(mask.name))


def _check_pixels(image: Image.Image, mask: LocalImage, first: LocalImage) -> None:
    if image.size == (first.width, first.height):
        return
    sizes = f"{image.width}×{image.height} pixels, and the first reference {first.name} {first.width}×{first.height}"
    changed = [note for note in first.notes if note.startswith(("turned", "scaled"))]
    since = f" ({', '.join(changed)})" if changed else ""
    raise _refused(f"the mask {mask.name} has {sizes}{since}", mask.name, "make the mask for the picture as it is sent: the same pixels")


def _one_sided(mask: LocalImage, least: float, most: float) -> UnsupportedOption:
    if least != _TRANSPARENT:
        nearly = "" if least == _OPAQUE else f" (the least alpha is {least:.0f} of 255)"
        return _refused(
            f"nothing in the mask {mask.name} is fully transparent{nearly}", mask.name, "make transparent what is to be painted"
        )
    nearly = "" if most == _TRANSPARENT else f" (the most alpha is {most:.0f} of 255)"
    words = f"nothing in the mask {mask.name} is fully opaque{nearly}, so nothing is protected"
    return _refused(words, mask.name, "make opaque what is to stay, or leave the mask out")


def _call(name: str) -> str:
    """Return the advice to make a mask of an image of that name."""
    stem, dot, _ = name.rpartition(".")
    argument = name if name.isidentifier() else repr(name) if stem and dot else "picture"
    return f"mask_from({argument}) makes a mask of a black-and-white picture: white = edit here, black stays"


def _extremes(channel: Image.Image) -> tuple[float, float]:
    least, most = channel.getextrema()
    return least, most  # type: ignore[return-value]  # one band, so two numbers


def _refused(what: str, value: object, step: str) -> UnsupportedOption:
    return UnsupportedOption(what, option="mask", value=value, hint=step)
