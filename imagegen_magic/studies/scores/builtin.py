"""The scorers that come with the package: they need Pillow alone, and `text_is` the extra `scores`.

Most describe and have no better direction: a sharper picture is not a better one.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies.scores.scorer import Scorer, make
from imagegen_magic.studies.scores.text import text_is

if TYPE_CHECKING:
    from PIL.Image import Image

_VERSION = "1"
_TOLERANCE = 32  # levels of 255 in each channel
_CALL = re.compile(r"""(\w+)\(\s*(?:"([^"]*)"|'([^']*)'|([^"'()]*))\s*\)""")


def _pixels(name: str) -> Scorer:
    def measure(image: GeneratedImage) -> float:
        from imagegen_magic.imaging import measures

        measured: float = getattr(measures, name)(image.open().convert("RGB"))
        return measured

    return make(measure, name=name, version=_VERSION)


def _bytes_per_pixel(image: GeneratedImage) -> float:
    """Return the size of the file divided by the number of pixels."""
    return len(image.data) / (image.width * image.height)


def _alike(image: GeneratedImage, reference: Image | None) -> float | None:
    """Return how similar an image is to its first reference, 0 to 1, by difference hashes; None without a reference."""
    from imagegen_magic.imaging import measures

    if reference is None:
        return None
    return measures.likeness(*(measures.difference_hash(each) for each in (image.open(), reference)))


def _variety(images: Sequence[GeneratedImage]) -> float | None:
    """Return how different the repeats of a combination are, 0 to 1: the mean share of unequal bits; None for a single image."""
    from imagegen_magic.imaging import measures

    hashes = [measures.difference_hash(image.open()) for image in images]
    pairs = [1 - measures.likeness(*pair) for pair in itertools.combinations(hashes, 2)]
    return sum(pairs) / len(pairs) if pairs else None


def colour_share(colour: str) -> Scorer:
    """Return a scorer of the share of pixels that have about a colour (`#ff8800`, `orange`), 0 to 1.

    Raises UnsupportedOption for no colour.
    """
    from imagegen_magic.imaging import measures

    try:
        wanted = measures.colour(colour)
    except ValueError:
        hint = "give a name or #rrggbb"
        raise UnsupportedOption(f"{colour} is no colour", option="colour_share", value=colour, hint=hint) from None

    def measure(image: GeneratedImage) -> float:
        return measures.colour_share(image.open().convert("RGB"), wanted, _TOLERANCE)

    return make(measure, name=f"colour_share {colour}", version=f"{_VERSION} {wanted}", range=(0, 1))


_PIXEL_SCORERS = ("brightness", "contrast", "sharpness", "colourfulness", "noise", "clipped", "blockiness")


bytes_per_pixel = make(_bytes_per_pixel, name="bytes_per_pixel", version=_VERSION)
alike = make(_alike, name="alike", version=_VERSION, range=(0, 1))
variety = make(_variety, name="variety", version=_VERSION, range=(0, 1), of="combination")


@functools.cache
def simple() -> dict[str, Scorer]:
    """Return the built-in scorers that take no argument, by name."""
    return {**{name: _pixels(name) for name in _PIXEL_SCORERS}, **{each.name: each for each in (bytes_per_pixel, alike, variety)}}


_WITH_ARGUMENT: dict[str, Callable[[str], Scorer]] = {"colour_share": colour_share, "text_is": text_is}
NAMES = (*_PIXEL_SCORERS, "bytes_per_pixel", "alike", "variety", *(f'{name}("…")' for name in _WITH_ARGUMENT))
"""The names of all built-in scorers, for help and completion."""


def builtin(name: str) -> Scorer | None:
    """Return the built-in scorer of that name, such as `sharpness` or `colour_share("#f80")`; None if there is none.

    Raises UnsupportedOption for a wrong argument.
    """
    if found := simple().get(name):
        return found
    if (call := _CALL.fullmatch(name.strip())) and (make := _WITH_ARGUMENT.get(call[1])):
        return make(next((each for each in call.groups()[1:] if each is not None), ""))
    return None
