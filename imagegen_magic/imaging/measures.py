"""What can be measured of an image with Pillow alone; at a fixed size, so that more pixels of the same drawing change nothing.

Each function takes an RGB image and returns a float.
"""

from __future__ import annotations

import itertools
import math
import statistics

from PIL import Image, ImageChops, ImageColor, ImageFilter, ImageStat

_EDGE = 256  # pixels of the longer edge at which is measured
_LAPLACIAN = (0, 1, 0, 1, -4, 1, 0, 1, 0)
_NOISE = (1, -2, 1, -2, 4, -2, 1, -2, 1)
_BLOCK = 8  # pixels of a JPEG's block
_CROP = 1024  # pixels of the middle in which blocks are searched
_HASH = 8  # rows and columns of a difference hash


def fixed(image: Image.Image) -> Image.Image:
    """Return the image in RGB with its longer edge of 256 pixels."""
    scale = _EDGE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def brightness(image: Image.Image) -> float:
    """Return the mean luma, 0 to 1."""
    return ImageStat.Stat(_grey(image)).mean[0] / 255


def contrast(image: Image.Image) -> float:
    """Return the standard deviation of the luma, 0 to 0.5."""
    return ImageStat.Stat(_grey(image)).stddev[0] / 255


def clipped(image: Image.Image) -> float:
    """Return the share of pixels that are black or white, 0 to 1."""
    counts = _grey(image).histogram()
    return (counts[0] + counts[255]) / sum(counts)


def sharpness(image: Image.Image) -> float:
    """Return the variance of the Laplacian of the luma (Pech-Pacheco et al., 2000), at 256 pixels."""
    return _energy(_grey(image), _LAPLACIAN)


def noise(image: Image.Image) -> float:
    """Return the standard deviation of the noise in units of luma, 0 to 255 (Immerkær, 1996), at 256 pixels."""
    return math.sqrt(math.pi / 2) / 6 * _mean_of_filtered(_grey(image), _NOISE)


def colourfulness(image: Image.Image) -> float:
    """Return the colourfulness by Hasler and Süsstrunk (2003): about 0 for grey, 109 for extremely colourful; at 256 pixels."""
    pixels = fixed(image).tobytes()
    red, green, blue = pixels[::3], pixels[1::3], pixels[2::3]
    red_green: list[float] = [r - g for r, g in zip(red, green, strict=True)]
    yellow_blue = [(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)]
    opponents = red_green, yellow_blue
    means = [sum(values) / len(values) for values in opponents]
    variances = [sum(value * value for value in values) / len(values) - mean * mean for values, mean in zip(opponents, means, strict=True)]
    return math.sqrt(max(0.0, sum(variances))) + 0.3 * math.hypot(*means)


def blockiness(image: Image.Image) -> float:
    """Return how much larger a step between two 8×8 blocks of a JPEG is than its neighbours, by median: 1 without blocks.

    Measured at the image's own size, since scaling removes blocks; in its middle.
    """
    left, top = (max(0, (edge - _CROP) // 2) // _BLOCK * _BLOCK for edge in image.size)
    grey = image.convert("L").crop((left, top, min(image.width, left + _CROP), min(image.height, top + _CROP)))
    even = 0.05  # of a level of luma: even areas have no steps at all
    ratios = []
    for turned in (grey, grey.transpose(Image.Transpose.TRANSPOSE)):
        steps = _column_steps(turned)
        for border in range(_BLOCK - 1, len(steps) - 1, _BLOCK):
            ratios.append((steps[border] + even) / ((steps[border - 1] + steps[border + 1]) / 2 + even))
    return max(1.0, statistics.median(ratios)) if ratios else 1.0


def _column_steps(grey: Image.Image) -> list[float]:
    """Return the mean step between each column and the next."""
    if grey.width < 2:
        return []
    steps = ImageChops.difference(grey.crop((0, 0, grey.width - 1, grey.height)), grey.crop((1, 0, grey.width, grey.height)))
    means = steps.convert("F").resize((grey.width - 1, 1), Image.Resampling.BOX)
    return [float(means.getpixel((column, 0))) for column in range(grey.width - 1)]  # type: ignore[arg-type]


def colour(text: str) -> tuple[int, int, int]:
    """Return the red, green and blue of a colour's name or `#rrggbb`, each 0 to 255. Raises ValueError."""
    return ImageColor.getrgb(text)[:3]


def colour_share(image: Image.Image, wanted: tuple[int, int, int], tolerance: int) -> float:
    """Return the share of pixels whose red, green and blue each differ from a colour by at most `tolerance`, 0 to 1; at 256 pixels."""
    small = fixed(image)
    distances = ImageChops.difference(small, Image.new("RGB", small.size, wanted)).split()
    farthest = ImageChops.lighter(ImageChops.lighter(*distances[:2]), distances[2])
    return sum(farthest.histogram()[: tolerance + 1]) / (small.width * small.height)


def difference_hash(image: Image.Image) -> int:
    """Return the difference hash of 64 bits: whether each of 8×8 areas is brighter than the one on its left."""
    small = image.convert("L").resize((_HASH + 1, _HASH), Image.Resampling.BOX).tobytes()
    rows = (small[start : start + _HASH + 1] for start in range(0, len(small), _HASH + 1))
    bits = (right > left for row in rows for left, right in itertools.pairwise(row))
    return sum(bit << position for position, bit in enumerate(bits))


def likeness(left: int, right: int) -> float:
    """Return the share of equal bits of two difference hashes, 0 to 1; about 0.5 for unrelated images."""
    return 1 - (left ^ right).bit_count() / _HASH**2


def _grey(image: Image.Image) -> Image.Image:
    return fixed(image).convert("L")


def _filtered(grey: Image.Image, kernel: tuple[int, ...]) -> tuple[Image.Image, Image.Image]:
    """Return the positive and the negative part of a filtered image, without its margin; each clipped at 255."""
    inside = (1, 1, grey.width - 1, grey.height - 1)
    if grey.width < 3 or grey.height < 3:
        return Image.new("L", (1, 1)), Image.new("L", (1, 1))
    signs = (kernel, tuple(-weight for weight in kernel))
    positive, negative = (grey.filter(ImageFilter.Kernel((3, 3), each, scale=1)).crop(inside) for each in signs)
    return positive, negative


def _mean_of_filtered(grey: Image.Image, kernel: tuple[int, ...]) -> float:
    return sum(ImageStat.Stat(part).mean[0] for part in _filtered(grey, kernel))


def _energy(grey: Image.Image, kernel: tuple[int, ...]) -> float:
    """Return the variance of a filtered image."""
    positive, negative = (ImageStat.Stat(part) for part in _filtered(grey, kernel))
    squares = (positive.sum2[0] + negative.sum2[0]) / positive.count[0]
    mean: float = positive.mean[0] - negative.mean[0]
    return squares - mean * mean
