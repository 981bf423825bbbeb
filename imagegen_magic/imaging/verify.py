"""Whether downloaded bytes are a complete image, and its facts, from its pixels and never from its name."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.imaging.containers import identify
from imagegen_magic.imaging.decode import DECODERS, MAX_BYTES, MAX_PIXELS, decoded, min_alpha, row_bands, translate_errors
from imagegen_magic.imaging.preview import Preview, fitted, small
from imagegen_magic.records import Record

__all__ = ["MAX_BYTES", "MAX_PIXELS", "ImageInfo", "verify"]


@dataclass(frozen=True, slots=True)
class ImageInfo(Record):
    """What a picture is: `width` and `height` in pixels as stored, `suffix` with its dot.

    `alpha`: it has an alpha channel or a transparent colour; `transparent`: some pixel is transparent (None: not checked).
    """

    width: int
    height: int
    mime_type: str
    suffix: str
    alpha: bool
    transparent: bool | None


def verify(data: bytes, *, preview_edge: int | None = None) -> tuple[ImageInfo, Preview | None]:
    """Return the facts of a complete image and, with `preview_edge` in px, its preview.

    It is decoded once, and at most two threads decode at a time.
    Any format of the table in `formats` is an image, of several in one file the first. Raises ImageInvalid: empty, no image (and what
    instead), cut short, corrupt, above `MAX_BYTES` or `MAX_PIXELS`.
    """
    try:
        return _verified(data, preview_edge)
    except ImageInvalid as error:
        error.what = error.what[:1].upper() + error.what[1:]  # the message stands alone; in others a file's name comes first
        raise


def _verified(data: bytes, preview_edge: int | None) -> tuple[ImageInfo, Preview | None]:
    image_format = identify(data, quoted=True)
    with DECODERS, translate_errors(image_format.name):
        image = decoded(data)
        alpha = image.has_transparency_data
        transparent = _transparent(image) if alpha else False
        facts = ImageInfo(image.width, image.height, image_format.mime_type, image_format.suffix, alpha, transparent)
        copy = small(image, preview_edge) if preview_edge is not None else None
        del image
    with translate_errors(image_format.name):
        return facts, fitted(copy) if copy else None


def _transparent(image: Image.Image) -> bool | None:
    if image.mode.startswith("I"):
        return None
    return any(min_alpha(strip) < 255 for strip in row_bands(image))
