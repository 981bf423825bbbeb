"""An image with its mask over it: the area to be repainted in a colour, and its size in words."""

from __future__ import annotations

from PIL import Image

from imagegen_magic.imaging.decode import DECODERS, decoded
from imagegen_magic.imaging.preview import EDGE, LIMIT, Preview, fitted, small

TINT = (230, 0, 126)  # what is transparent in the mask; the painter marks with the same
STRENGTH = 0.58


def overlay(picture: bytes, mask: Image.Image, edge: int = EDGE, limit: int = LIMIT) -> Preview:
    """Return a preview of at most `edge` px and `limit` bytes, tinted where the mask (with alpha, of the same shape) is transparent.

    Raises ImageInvalid if the bytes are no complete image.
    """
    with DECODERS:
        image = small(decoded(picture), edge)
    opaque = image.convert("RGB") if image.mode != "RGBA" else _on_white(image)
    alpha = mask.getchannel("A").resize(image.size, Image.Resampling.BOX, reducing_gap=1.0)
    tint = alpha.point([round((255 - value) * STRENGTH) for value in range(256)])
    opaque.paste(TINT, (0, 0), tint)
    return fitted(opaque, limit)


def masked_fraction(mask: Image.Image) -> float:
    """Return the share of a mask with alpha that is transparent, 0 to 1; what is half transparent counts half."""
    counts = mask.getchannel("A").histogram()
    return sum((255 - value) * count for value, count in enumerate(counts)) / (255 * mask.width * mask.height)


def describe_fraction(fraction: float) -> str:
    """Return how much is to be repainted: `12 % to be repainted`."""
    if 0 < fraction < 0.01:
        return "under 1 % to be repainted"
    return "over 99 % to be repainted" if 0.99 < fraction < 1 else f"{fraction:.0%} to be repainted".replace("%", " %")


def _on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground
