"""From bytes to pixels: an image is decoded only after its format, completeness and size are checked.

Pillow's plugins are called directly: `Image.open` would warn, try every registered plugin, or obey a limit of the user's own.
"""

from __future__ import annotations

import importlib
import io
import math
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import mmap
from typing import cast

from PIL import Image, ImageFile, features

from imagegen_magic.errors import ImageGenError, ImageInvalid
from imagegen_magic.formats import PNG, ImageFormat
from imagegen_magic.imaging.containers import StrippedFile, identify, png_chunks
from imagegen_magic.imaging.strip import strip
from imagegen_magic.imaging.strip_rare import white_of_samples

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
DECODERS = threading.BoundedSemaphore(2)  # pictures decoded at once: a 4K one takes 33 MB

_STRIP = 1 << 16  # px converted at a time: a whole converted 4K copy would double the memory
_WHITE = "imagegen_magic white"  # in a decoded picture's `info`
_QUIET = threading.RLock()


def decoded(data: bytes) -> Image.Image:
    """Return the whole picture, of several the first, all its pixels decoded. Raises ImageInvalid: none, not whole, or too large."""
    if len(data) > MAX_BYTES:
        raise ImageInvalid(f"the picture has {len(data) / 2**20:.0f} MiB, more than the {MAX_BYTES / 2**20:.0f} MiB that are read")
    image = opened(data)
    with translate_errors(identify(data).name):
        image.load()
    return image


def reopened(data: bytes) -> Image.Image:
    """Return a picture decoded with all that Pillow reads of its file, texts and metadata too; where those are broken, without them.

    Raises ImageInvalid where the pixels themselves cannot be decoded.
    """
    kind = identify(data)
    try:
        with translate_errors(kind.name):
            image = _plugin(kind)(io.BytesIO(data))
            image.load()
            return image
    except ImageInvalid:
        return decoded(data)


def opened(data: bytes, max_pixels: float = MAX_PIXELS) -> ImageFile.ImageFile:
    """Return the picture with its header read and its pixels yet to `load()`, best within `translate_errors`. Raises ImageInvalid."""
    return examined(identify(data), data, max_pixels)[1]


def examined(kind: ImageFormat, data: bytes, max_pixels: float = MAX_PIXELS) -> tuple[StrippedFile, ImageFile.ImageFile]:
    """Return what of a file is its picture, and that picture with its header read. Raises ImageInvalid."""
    found = strip(kind, data)
    if found.width or found.height:
        check_pixels(found.width, found.height, max_pixels)
    make = _plugin(kind)
    with translate_errors(kind.name), quiet():
        image = make(io.BytesIO(found.data))
        check_pixels(*image.size, max_pixels)
    if found.exif:
        image.info["exif"] = found.exif
    image.info[_WHITE] = found.white
    return found, image


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turn any exception of a decoder into ImageInvalid; `name` is the format."""
    try:
        yield
    except ImageGenError:
        raise
    except MemoryError as error:
        raise ImageInvalid(f"the {name} picture takes more memory than there is") from error
    except Exception as error:  # decoders raise anything: RuntimeError, AssertionError, SystemError, struct.error, …
        raise ImageInvalid(f"the {name} picture is corrupt or cut short ({_words(error)})") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Pillow's warnings about odd tags to itself: the filters are the process's, so one at a time."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _plugin(image_format: ImageFormat) -> Callable[..., ImageFile.ImageFile]:
    """Return what reads a format. Raises ImageInvalid if nothing in this kernel does."""
    module, _, name = image_format.decoder.partition(":")
    optional = not module.startswith("PIL.")
    importlib.invalidate_caches() if optional else None  # it may have been installed a moment ago
    try:
        found: Callable[..., ImageFile.ImageFile] = getattr(importlib.import_module(module), name)
        if not image_format.feature or features.check(image_format.feature):
            return found
    except (ImportError, AttributeError):
        if optional and "HEIF" in Image.OPEN:  # another plugin, which the user has registered
            return Image.OPEN["HEIF"][0]
    step = f"{image_format.install}, or save it as PNG or JPEG"
    raise ImageInvalid(f"the Pillow of this kernel reads no {image_format.name}", blame="you", hint=step)


def displayed_size(data: bytes | mmap) -> tuple[int, int]:
    """Return width and height in pixels, upright, without decoding; of most files only the beginning is read. Raises ImageInvalid."""
    image_format = identify(data)
    try:
        with translate_errors(image_format.name), quiet():
            image = _plugin(image_format)(io.BytesIO(data) if isinstance(data, bytes) else data)
    except ImageInvalid:  # something besides its pixels is broken
        image = opened(bytes(data), math.inf)
    if image_format is PNG and "exif" not in image.info:  # it may follow the pixels
        image.info["exif"] = next((b"Exif\0\0" + data[at.content : at.content_end] for at in png_chunks(data) if at.name == b"eXIf"), b"")
    return image.size[::-1] if orientation(image) >= 5 else image.size


def orientation(image: Image.Image) -> int:
    """Return the Exif orientation, 1 to 8; 1 where none can be read."""
    exif: bytes = image.info.get("exif") or b""
    tiff = exif
    while tiff.startswith(b"Exif\0\0"):  # some writers put it twice
        tiff = tiff[6:]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        entries = [struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * number) for number in range(count)]
    except struct.error:
        return 1
    return next((value for tag, _, _, value in entries if tag == 0x0112 and 1 <= value <= 8), 1)


def row_bands(image: Image.Image, step: int = 1) -> Iterator[Image.Image]:
    """Yield the picture from top to bottom in L, RGB or RGBA, whatever its mode; each strip but the last has a multiple of `step` rows."""
    rows, scale = max(1, _STRIP // image.width // step) * step, _scale(image)
    for top in range(0, image.height, rows):
        yield _band_to_8bit(image.crop((0, top, image.width, min(image.height, top + rows))), scale)


def is_deep(image: Image.Image) -> bool:
    """Return whether a pixel is one number of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def white_of(image: Image.Image) -> int:
    """Return the number that the file of a picture of more than 8 bits says is white; 0 where there is no such file, or it does not."""
    if isinstance(said := image.info.get(_WHITE), int):
        return said
    if image.format == "PNG" or (image.format == "JPEG2000" and image.mode.startswith("I;16")):
        return 0xFFFF
    tags = getattr(image, "tag_v2", {})
    return white_of_samples(tags.get(258, (1,)), tags.get(339, (1,)), _numbers(tags.get(281) or tags.get(341)))


def to_8bit(image: Image.Image) -> Image.Image:
    """Return the picture in L, RGB or RGBA: itself where it is in one of them."""
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    whole, top = None, 0
    for band in row_bands(image):
        whole = whole or Image.new(band.mode, image.size)
        whole.paste(band, (0, top))
        top += band.height
    assert whole is not None  # every picture has a row
    return whole


def number_range(image: Image.Image) -> tuple[float, float]:
    """Return the least and the largest number of a picture of more than 8 bits a pixel; NaN or infinity where one of them is such."""
    numbers = image if image.mode == "F" else image.convert("I")
    least, most = cast("tuple[float, float]", numbers.getextrema())
    if image.mode == "F" and not math.isfinite(mean := cast("float", image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))):
        return mean, mean  # the extremes pass over NaN, which a mean does not
    return least, most


def is_far_below_white(image: Image.Image, most: float) -> bool:
    """Return whether a TIFF of 16 bits uses no more than 12 of them, and does not say so: it would be nearly black."""
    return image.format == "TIFF" and white_of(image) == 0xFFFF and most < 1 << 12


def load(image: Image.Image) -> None:
    """Decode a user's own Pillow image. Raises ImageInvalid if its file is broken, or was closed before it was read."""
    try:
        with translate_errors(image.format or "PIL"):
            image.load()
    except ImageInvalid as error:
        file = getattr(image, "fp", None)
        if (isinstance(image, ImageFile.ImageFile) and (file is None or file.closed)) or "closed" in str(error.__cause__):
            step = "open it again and give it while it is open, or give its path"
            raise ImageInvalid("the image is closed, so its pixels cannot be read", blame="you", charge="no", hint=step) from error
        raise


def min_alpha(image: Image.Image) -> float:
    """Return the alpha, 0 to 255, of the most transparent pixel of an RGBA or LA picture."""
    return cast("tuple[float, float]", image.getchannel("A").getextrema())[0]


def _scale(image: Image.Image) -> float:
    """Return what a number of a picture of more than 8 bits is multiplied by for grey: by what its file says is white, else by its most."""
    if not is_deep(image):
        return 1.0
    if white := white_of(image):
        return 1 / 256 if white == 0xFFFF else 255.5 / white
    _, most = cast("tuple[float, float]", (image if image.mode == "F" else image.convert("I")).getextrema())
    return 255 / most if 1 < most < float("inf") else 255.0


def _band_to_8bit(image: Image.Image, scale: float) -> Image.Image:
    if is_deep(image):
        numbers = image if image.mode == "F" else image.convert("I")
        return numbers.point(lambda value: value * scale).convert("L")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def check_pixels(width: int, height: int, most: float = MAX_PIXELS) -> None:
    """Raise ImageInvalid if a header claims more pixels than the limit, or none."""
    if width * height > most:
        claim = f"{width}×{height} ({width * height / 1e6:.0f} megapixels)"
        raise ImageInvalid(f"the picture claims to be {claim}, more than the {most / 1e6:.0f} megapixels that are decoded")
    if not width * height:
        raise ImageInvalid("the picture claims to have no pixels")


def _numbers(value: object) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()


def _words(error: BaseException) -> str:
    return str(error).split("\n")[0][:100] or type(error).__name__
