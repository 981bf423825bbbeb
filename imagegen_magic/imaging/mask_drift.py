"""Whether an edit kept to its mask: how much of what the mask protects has changed, in figures and as a heat map.

A pixel counts as changed if one of its channels differs by more than `TOLERANCE` of 255; by more than `COARSE_TOLERANCE` if the
result is a JPEG or lossy WebP, or of another size. Measured: saving a photograph at quality 85 with coarse colours changes 1 % of its
pixels by more than 16 and 0.2 % by more than 24. Images of different sizes are both scaled to half of the smaller one, so that
the choice of resampling hardly matters; one of another shape is stretched, since it is unknown what the gateway did. Near the mask's
edge paint bleeds then, so the blocks that it crosses do not count: 16 px as a JPEG codes them, 8 at half the size, 4 without coding.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageChops, ImageFile

from imagegen_magic.formats import WEBP
from imagegen_magic.imaging.containers import identify
from imagegen_magic.imaging.decode import DECODERS, load_pixels, opened, to_8bit
from imagegen_magic.imaging.preview import EDGE, within

TOLERANCE = 16  # of 255
COARSE_TOLERANCE = 24  # of 255
COLOURS = {"allowed": "#648fff", "slight": "#ffb000", "strong": "#dc267f"}  # distinct for colour-blind people, too (IBM's palette)
_STRONG = 128  # of 255: a difference that is drawn in the full colour
_MIN_HALVED = 64  # px: smaller pictures are compared as they are


@dataclass(frozen=True, slots=True)
class Drift:
    """What happened to the pixels that a mask protects.

    `share` of them that changed and `mean` absolute difference of their channels, both 0 to 1. `alignment`: the pictures were of
    the `same` size, were `scaled` to each other, or `stretched`, because their shapes differ by more than 1 %.
    """

    share: float
    mean: float
    alignment: Literal["same", "scaled", "stretched"] = "same"


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two pictures over each other: all L but `difference` and `after`, all of one size.

    `strongest` is the largest channel's difference, `alpha` the mask's, `counted` 255 where a pixel is protected and counts.
    """

    difference: Image.Image
    strongest: Image.Image
    alpha: Image.Image
    counted: Image.Image
    after: Image.Image
    tolerance: int
    alignment: Literal["same", "scaled", "stretched"]


def drift(before: bytes, after: bytes, mask: bytes) -> Drift:
    """Return how much of what `mask` protects (its fully opaque pixels) differs between the reference and the result.

    Two pictures are decoded at once. Raises ImageInvalid if one of the three is no complete image.
    """
    seen = _compared(before, after, mask)
    strengths = seen.strongest.histogram(seen.counted)
    count = sum(strengths)
    if not count:
        return Drift(0.0, 0.0, seen.alignment)
    channels = seen.difference.histogram(seen.counted)
    total = sum(value % 256 * number for value, number in enumerate(channels))
    return Drift(sum(strengths[seen.tolerance + 1 :]) / count, total / sum(channels) / 255, seen.alignment)


def heatmap(before: bytes, after: bytes, mask: bytes, edge: int = EDGE) -> Image.Image:
    """Return the result in grey, at most `edge` px, where `COLOURS` say what changed: RGB, so that it stands on any page.

    `allowed` tints what the mask gave free, `slight` to `strong` what has changed of the rest. Raises ImageInvalid as `drift` does.
    """
    seen = _compared(before, after, mask)
    small = _small(seen.after.convert("L"), edge)
    picture = Image.merge("RGB", [small.point([70 + value * 9 // 16 for value in range(256)])] * 3)
    free = _small(seen.alpha.point([round((255 - value) * 0.45) for value in range(256)]), edge)
    picture.paste(COLOURS["allowed"], (0, 0), free)
    excess = ImageChops.darker(seen.strongest.point([value * (value > seen.tolerance) for value in range(256)]), seen.counted)
    changed = _small(excess.point([0] + [255] * 255), edge).point([min(220, value * 3) for value in range(256)])
    picture.paste(_heat(_small(excess, edge)), (0, 0), changed)
    return picture


def _compared(before: bytes, after: bytes, mask: bytes) -> _Comparison:
    first, second = opened(before), opened(after)
    size, alignment = _grid(first.size, second.size)
    image_format = identify(after)
    lossy = image_format.lossy or (image_format is WEBP and b"VP8L" not in after[:65_536])
    alpha = _alpha(mask, size)
    counted = alpha.point([0] * 255 + [255])
    if block := _block(lossy, alignment):
        counted = _away_from_edges(counted, block)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(_loaded, first, before, size)
        result = _loaded(second, after, size)
        reference = other.result()
    difference = _difference(reference, result)
    del reference, first
    strongest = _strongest(difference)
    return _Comparison(difference, strongest, alpha, counted, result, COARSE_TOLERANCE if block else TOLERANCE, alignment)


def _grid(first: tuple[int, int], second: tuple[int, int]) -> tuple[tuple[int, int], Literal["same", "scaled", "stretched"]]:
    """Return the pixels on which two pictures are compared, and what that does to them."""
    if first == second:
        return first, "same"
    width, height = min(first, second, key=lambda size: size[0] * size[1])
    factor = 2 if min(width, height) >= _MIN_HALVED else 1
    shape = first[0] * second[1] / (first[1] * second[0])
    return (width // factor, height // factor), "scaled" if 0.99 < shape < 1 / 0.99 else "stretched"


def _loaded(image: ImageFile.ImageFile, data: bytes, size: tuple[int, int]) -> Image.Image:
    """Return the picture decoded, in RGB or RGBA, and of that size; of a much larger JPEG only as many pixels as that takes."""
    with DECODERS:
        image.draft(None, size)
        load_pixels(image, identify(data))
        plain = to_8bit(image)
    return plain if plain.size == size else plain.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _alpha(mask: bytes, size: tuple[int, int]) -> Image.Image:
    """Return a mask's alpha in that size: 255 only if all that falls on a pixel is opaque. A mask without alpha protects everything."""
    image = opened(mask)
    with DECODERS:
        load_pixels(image, identify(mask))
        plain = to_8bit(image)
    alpha = plain.getchannel("A") if plain.mode == "RGBA" else Image.new("L", plain.size, 255)
    return alpha if alpha.size == size else alpha.resize(size, Image.Resampling.BOX)


def _block(lossy: bool, alignment: str) -> int:
    """Return the edge in px of the blocks that bleed into one another, or 0 if each pixel stands for itself."""
    if alignment == "same":
        return 16 if lossy else 0
    return 8 if lossy else 4


def _away_from_edges(protected: Image.Image, block: int) -> Image.Image:
    """Return what is protected without the blocks in which something is not; all of it if nothing would be left."""
    blocks = protected.reduce(block).point([0] * 255 + [255])
    whole = (blocks.width * block, blocks.height * block)
    inner = ImageChops.darker(protected, blocks.resize(whole, Image.Resampling.NEAREST).crop((0, 0, *protected.size)))
    return inner if inner.getbbox() else protected


def _difference(first: Image.Image, second: Image.Image) -> Image.Image:
    mode = "RGBa" if "RGBA" in (first.mode, second.mode) else "RGB"  # premultiplied: what is under full transparency is not seen
    return ImageChops.difference(*(_converted(image, mode) for image in (first, second)))


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if mode == "RGBa" and image.mode != "RGBA":
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def _strongest(difference: Image.Image) -> Image.Image:
    strongest, *others = difference.split()
    for channel in others:
        strongest = ImageChops.lighter(strongest, channel)
    return strongest


def _small(image: Image.Image, edge: int) -> Image.Image:
    size = within(image.size, edge)
    return image if size == image.size else image.resize(size, Image.Resampling.BOX)


def _heat(strength: Image.Image) -> Image.Image:
    """Return L as RGB, from the colour of a slight change to that of a strong one."""
    ends = [tuple(bytes.fromhex(COLOURS[name][1:])) for name in ("slight", "strong")]
    shares = [min(1.0, max(0, value - TOLERANCE) / (_STRONG - TOLERANCE)) for value in range(256)]
    return Image.merge(
        "RGB", [strength.point([round(low + (high - low) * share) for share in shares]) for low, high in zip(*ends, strict=True)]
    )
