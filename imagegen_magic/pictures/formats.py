"""The formats that people have and gateways do not take: told from their bytes, and opened by the Pillow plugin that reads them."""

from __future__ import annotations

import importlib
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.pictures.decoding import JPEG, PNG, WEBP, Kind, check_pixels, told

GIF = Kind("GIF", "image/gif", ".gif")
BMP = Kind("BMP", "image/bmp", ".bmp")
TIFF = Kind("TIFF", "image/tiff", ".tiff")
AVIF = Kind("AVIF", "image/avif", ".avif")
HEIC = Kind("HEIC", "image/heic", ".heic")
JPEG2000 = Kind("JPEG 2000", "image/jp2", ".jp2")

_SIGNS = (
    (PNG, (b"\x89PNG\r\n\x1a\n",)),
    (JPEG, (b"\xff\xd8\xff",)),
    (GIF, (b"GIF87a", b"GIF89a")),
    (BMP, (b"BM",)),
    (TIFF, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (JPEG2000, (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")),
)
_BRANDS = {b"avif": AVIF, b"avis": AVIF} | dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), HEIC)
_PLUGINS = {
    GIF: ("PIL.GifImagePlugin", "GifImageFile"),
    BMP: ("PIL.BmpImagePlugin", "BmpImageFile"),
    TIFF: ("PIL.TiffImagePlugin", "TiffImageFile"),
    AVIF: ("PIL.AvifImagePlugin", "AvifImageFile"),
    HEIC: ("pillow_heif", "HeifImageFile"),
    JPEG2000: ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
}
_QUIET = threading.RLock()


def format_of(data: bytes) -> Kind | None:
    """Return the format that the first bytes tell, or None for one that nobody here reads."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    return next((kind for kind, signs in _SIGNS if data.startswith(signs)), None)


def open_foreign(kind: Kind, data: bytes, most_pixels: float) -> ImageFile.ImageFile:
    """Return the picture, or the first of several, with its header read. Raises ImageInvalid: broken, too large, or nothing reads it."""
    make = _plugin(kind)
    with quiet(), told(kind.name):
        image = make(io.BytesIO(data))
        check_pixels(*image.size, most_pixels)
        return image


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Pillow's warnings about odd tags to itself: the filters are the process's, so one at a time."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _plugin(kind: Kind) -> Callable[..., ImageFile.ImageFile]:
    module, name = _PLUGINS[kind]
    try:
        found: Callable[..., ImageFile.ImageFile] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        if kind is HEIC and "HEIF" in Image.OPEN:  # another plugin, which its owner has registered
            return Image.OPEN["HEIF"][0]
        step = "%pip install pillow-heif, or save it as JPEG" if kind is HEIC else "save it as PNG or JPEG"
        raise ImageInvalid(f"the Pillow of this kernel reads no {kind.name}", whose="you", charged="no", next_step=step) from error
    return found
