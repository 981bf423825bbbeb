"""Edits: an image repainted inside a mask alone, or a new image with the references blended in."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_SHOWN = 0.5  # weight of the references in a new image

Painter = Callable[[int, int], Image.Image]
"""Paints a new picture of so many pixels."""


def opened(content: bytes) -> Image.Image:
    """Return an image in RGB, or in RGBA if it has transparency."""
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")


def inpainted(reference: Image.Image, mask: Image.Image, size: tuple[int, int], paint: Painter) -> Image.Image:
    """Return the reference, stretched to `size`, repainted where the mask is transparent; all other pixels stay the same."""
    base = _stretched(reference, size)
    keep = _stretched(mask.convert("RGBA").getchannel("A"), size)
    box = ImageChops.invert(keep).getbbox()
    if box is None:
        return base
    fresh = base.copy()
    fresh.paste(paint(box[2] - box[0], box[3] - box[1]).convert(base.mode), box)
    return Image.composite(base, fresh, keep)


def blended(references: Sequence[Image.Image], drawn: Image.Image) -> Image.Image:
    """Return a new image blended with the references, side by side."""
    sheet, count = Image.new("RGB", drawn.size), len(references)
    for number, reference in enumerate(references):
        left, right = drawn.width * number // count, drawn.width * (number + 1) // count
        if right > left:
            sheet.paste(_stretched(reference.convert("RGB"), (right - left, drawn.height)), (left, 0))
    mixed = Image.blend(drawn.convert("RGB"), sheet, _SHOWN)
    if drawn.mode == "RGBA":
        mixed.putalpha(drawn.getchannel("A"))
    return mixed


def coarse(content: bytes, edge: int) -> bytes:
    """Return a picture as a PNG of the same pixels with at most `edge` blocks along its longer edge, as a first view of it."""
    image = opened(content)
    scale = edge / max(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.resize(image.size, Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def _stretched(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
