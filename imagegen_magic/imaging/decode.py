"""From bytes to pixels: an image is decoded only after its format, completeness and size are checked.

Pillow's plugins are called directly: `Image.open` would warn, try every registered plugin, or obey a limit of the user's own.
"""

from __future__ import annotations

import importlib
import io
import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from mmap import mmap
from typing import cast

from PIL import Image, ImageFile, features

from imagegen_magic.errors import ImageGenError, ImageInvalid
from imagegen_magic.formats import JPEG2000, PNG, TIFF, WEB_FORMATS, ImageFormat
from imagegen_magic.imaging.containers import identify, png_chunks
from imagegen_magic.imaging.strip import StrippedFile, strip

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
DECODERS = threading.BoundedSemaphore(2)  # images decoded at once: a 4K one takes 33 MB

_BAND = 1 << 16  # px converted at a time: a whole converted 4K copy would double the memory
_MAX_TILE = 1 << 26  # px of one tile of a TIFF, for which libtiff allocates memory
_QUIET = threading.RLock()


def decoded(data: bytes) -> Image.Image:
    """Return the whole image, of several the first, all its pixels decoded. Raises ImageInvalid: no image, incomplete, or too large."""
    if len(data) > MAX_BYTES:
        raise ImageInvalid(f"the picture has {len(data) / 2**20:.0f} MiB, more than the {MAX_BYTES / 2**20:.0f} MiB that are read")
    image_format = identify(data)
    _, image = examined(image_format, data)
    load_pixels(image, image_format)
    return image


def reopened(data: bytes) -> Image.Image:
    """Return an image with everything that Pillow reads of its file, texts and metadata too; without them if they are broken.

    Raises ImageInvalid if the pixels themselves cannot be decoded.
    """
    image_format = identify(data)
    try:
        with translate_errors(image_format.name):
            image = _plugin(image_format)(io.BytesIO(data))
            image.load()
            return image
    except ImageInvalid:
        return decoded(data)


def opened(data: bytes, max_pixels: float = MAX_PIXELS) -> ImageFile.ImageFile:
    """Return the image with its header read, its pixels not yet loaded. Raises ImageInvalid."""
    return examined(identify(data), data, max_pixels)[1]


def examined(image_format: ImageFormat, data: bytes, max_pixels: float = MAX_PIXELS) -> tuple[StrippedFile, ImageFile.ImageFile]:
    """Return what of a file is its image, and that image with its header read. Raises ImageInvalid."""
    found = strip(image_format, data)
    if found.width or found.height:
        check_pixels(found.width, found.height, max_pixels)
    make = _plugin(image_format)
    with translate_errors(image_format.name), quiet():
        image = make(io.BytesIO(data) if image_format is JPEG2000 else _CompleteFile(found.data))  # OpenJPEG reads ahead
        check_pixels(*image.size, max_pixels)
        tags = getattr(image, "tag_v2", {}) if image_format is TIFF else {}
        if tags.get(322, 0) * tags.get(323, 0) > _MAX_TILE:
            raise ImageInvalid("the TIFF picture is corrupt: its tiles are larger than any picture that is read")
    if found.exif:
        image.info["exif"] = found.exif
    return found, image


class _CompleteFile(io.BytesIO):
    """A file that raises OSError at its end, because a process can set Pillow to accept incomplete images."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data and size:
            raise OSError("its end is missing")
        return data


def load_pixels(image: ImageFile.ImageFile, image_format: ImageFormat) -> None:
    """Decode an opened image. Raises ImageInvalid."""
    with nullcontext() if image_format in WEB_FORMATS else quiet(), translate_errors(image_format.name):
        image.load()


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
        reason = str(error).split("\n")[0][:100] or type(error).__name__
        raise ImageInvalid(f"the {name} picture is corrupt or cut short ({reason})") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Pillow's warnings about odd tags; the filters are the process's, so one thread at a time."""
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
    except ImageInvalid:  # something other than its pixels is broken
        image = opened(bytes(data), math.inf)
    if image_format is PNG and "exif" not in image.info:  # it may follow the pixels
        image.info["exif"] = next((b"Exif\0\0" + data[at.content : at.content_end] for at in png_chunks(data) if at.name == b"eXIf"), b"")
    image.info = {"exif": image.info.get("exif", b"")}  # XMP, which decoding leaves out, has an orientation too
    return image.size[::-1] if orientation(image) >= 5 else image.size


def orientation(image: Image.Image) -> int:
    """Return the Exif orientation, 1 to 8; 1 if none can be read."""
    with quiet(), suppress(Exception):  # Pillow's readers raise anything for broken metadata
        turn = image.getexif().get(0x0112, 1)
        return turn if turn in range(1, 9) else 1
    return 1


def row_bands(image: Image.Image, step: int = 1) -> Iterator[Image.Image]:
    """Yield the image from top to bottom in L, RGB or RGBA, whatever its mode; each band but the last has a multiple of `step` rows."""
    rows, scale = max(1, _BAND // image.width // step) * step, _scale(image)
    for top in range(0, image.height, rows):
        yield _band_to_8bit(image.crop((0, top, image.width, min(image.height, top + rows))), scale)


def is_deep(image: Image.Image) -> bool:
    """Return whether a pixel is one number of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def white_of(image: Image.Image) -> int:
    """Return the number that is white in an image of more than 8 bits, as its file says; 0 if it does not.

    Of a TIFF that is MaxSampleValue, or the largest number of its BitsPerSample (9 to 16) if SampleFormat says whole numbers from 0.
    """
    scaled_by_pillow = image.format == "PPM" and image.mode == "I"
    if image.format == "PNG" or scaled_by_pillow or (image.format == "JPEG2000" and image.mode.startswith("I;16")):
        return 0xFFFF
    tags = getattr(image, "tag_v2", {})
    bits, formats, largest = (_numbers(tags.get(tag)) for tag in (258, 339, 281))
    if formats not in ((), (1,)) or len(bits) != 1 or not 8 < bits[0] <= 16:
        return 0
    return largest[0] if largest and 255 < largest[0] < 1 << bits[0] else (1 << bits[0]) - 1


def _numbers(value: object) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()


def to_8bit(image: Image.Image) -> Image.Image:
    """Return the image in L, RGB or RGBA: itself if it is in one of them."""
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    return assembled(row_bands(image), image.size)


def assembled(bands: Iterable[Image.Image], size: tuple[int, int]) -> Image.Image:
    """Return bands of one mode as one image, the first at the top."""
    whole, top = None, 0
    for band in bands:
        whole = whole or Image.new(band.mode, size)
        whole.paste(band, (0, top))
        top += band.height
    assert whole is not None  # every image has a row
    return whole


def number_range(image: Image.Image) -> tuple[float, float]:
    """Return the smallest and largest number of an image of more than 8 bits a pixel; NaN or infinity if one of them is such."""
    numbers = image if image.mode == "F" else image.convert("I")
    lowest, highest = cast("tuple[float, float]", numbers.getextrema())
    if image.mode == "F" and not math.isfinite(mean := cast("float", image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))):
        return mean, mean  # the extremes pass over NaN, which a mean does not
    return lowest, highest


def is_far_below_white(image: Image.Image, highest: float) -> bool:
    """Return whether a TIFF of 16 bits uses no more than 12 of them, and does not say so: it would be nearly black."""
    return image.format == "TIFF" and white_of(image) == 0xFFFF and highest < 1 << 12


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
    """Return the alpha, 0 to 255, of the most transparent pixel of an RGBA or LA image."""
    return cast("tuple[float, float]", image.getchannel("A").getextrema())[0]


def _scale(image: Image.Image) -> float:
    """Return the factor from a number of more than 8 bits to grey: from what its file says is white, else from its largest number."""
    if not is_deep(image):
        return 1.0
    if white := white_of(image):
        return 1 / 256 if white == 0xFFFF else 255.5 / white
    _, highest = cast("tuple[float, float]", (image if image.mode == "F" else image.convert("I")).getextrema())
    return 255 / highest if 1 < highest < float("inf") else 255.0


def _band_to_8bit(image: Image.Image, scale: float) -> Image.Image:
    if is_deep(image):
        numbers = image if image.mode == "F" else image.convert("I")
        return numbers.point(lambda value: value * scale).convert("L")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def check_pixels(width: int, height: int, limit: float = MAX_PIXELS) -> None:
    """Raise ImageInvalid if a header claims more pixels than the limit, or none."""
    if width * height > limit:
        claim = f"{width}×{height} ({width * height / 1e6:.0f} megapixels)"
        raise ImageInvalid(f"the picture claims to be {claim}, more than the {limit / 1e6:.0f} megapixels that are decoded")
    if not width * height:
        raise ImageInvalid("the picture claims to have no pixels")
