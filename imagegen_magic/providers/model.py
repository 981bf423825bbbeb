"""One model's abilities, as dated data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from imagegen_magic.records import FrozenDict, Record, frozen

Pixels = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PixelRule(Record):
    """What explicit pixels must obey: edges in multiples of `step` up to `longest`, long:short at most `ratio`, an area within bounds."""

    step: int = 16
    longest: int = 3840
    ratio: float = 3.0
    least_area: int = 655_360
    most_area: int = 8_294_400

    def broken(self, pixels: Pixels) -> list[str]:
        """Return which parts of the rule these pixels break, in words; empty where they obey."""
        long, short = max(pixels), min(pixels)
        verdicts = {
            f"both edges must be multiples of {self.step}": not (long % self.step or short % self.step),
            f"no edge may exceed {self.longest}": long <= self.longest,
            f"long to short may not exceed {self.ratio:g}:1": long <= short * self.ratio,
            f"there must be at least {self.least_area} pixels": long * short >= self.least_area,
            f"there may be at most {self.most_area} pixels": long * short <= self.most_area,
        }
        return [words for words, obeyed in verdicts.items() if not obeyed]

    def nearest(self, pixels: Pixels) -> Pixels | None:
        """Return the legal pixels closest to these, by shape first and then by area; None where the rule allows none near."""
        legal = [pair for pair in self._around(pixels) if not self.broken(pair)]
        return min(legal, key=lambda pair: distance(pair, pixels), default=None)

    def _around(self, pixels: Pixels) -> Iterator[Pixels]:
        shape = min(max(pixels[0] / pixels[1], 1 / self.ratio), self.ratio)
        within = min(max(pixels[0] * pixels[1], self.least_area), self.most_area)
        area = min(within, self.longest**2 * min(shape, 1 / shape))
        middle = (math.sqrt(area * shape), math.sqrt(area / shape))
        across, down = (range(max(1, int(edge / self.step) - 3), int(edge / self.step) + 5) for edge in middle)
        for width in across:
            for height in down:
                yield width * self.step, height * self.step

    def __str__(self) -> str:
        edges = f"both edges multiples of {self.step} up to {self.longest}"
        return f"{edges}, at most {self.ratio:g}:1, {self.least_area} to {self.most_area} pixels"


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """One model's abilities as dated data.

    `sizes` maps ratio -> tier (lower case) -> (width, height) in pixels; a pair that is missing cannot be had, and with
    `pixels_promised` false the page names the pair but not its pixels, so that they are only a likely value.
    `also` lists further pixels that the gateway may answer with for a (ratio, tier). An empty tuple of values means
    that the gateway has no such field; the first of `resolutions`, `backgrounds`, `moderations` and `formats` is the
    default. `resolutions` empty: `sizes` has one nameless tier, written "1k". `auto_resolution`: a tier applies to size
    `auto` too. `odd_pixels` are allowed beside the rule. `reference_types` are file name endings, `reference_bytes` the
    most a reference may weigh. `retired` is the ISO date of its end upstream; `checked` the ISO date on which
    `document` was read.
    """

    name: str
    sizes: Mapping[str, Mapping[str, Pixels]]
    also: Mapping[tuple[str, str], tuple[Pixels, ...]] = field(default_factory=FrozenDict)
    pixels_promised: bool = True
    auto_size: bool = False
    auto_resolution: bool = False
    default_size: str = "1:1"
    pixel_rule: PixelRule | None = None
    odd_pixels: tuple[Pixels, ...] = ()
    resolutions: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    backgrounds: tuple[str, ...] = ()
    moderations: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    compressible: tuple[str, ...] = ()
    max_n: int = 1
    max_references: int = 0
    reference_types: tuple[str, ...] = ()
    reference_bytes: int | None = None
    mask: bool = False
    callback: bool = False
    max_prompt: int | None = None
    retired: str | None = None
    checked: str
    document: str
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", frozen(self.sizes))
        object.__setattr__(self, "also", frozen(self.also))


def table(tiers: tuple[str, ...], rows: Mapping[str, str]) -> dict[str, dict[str, Pixels]]:
    """Read a page's table of sizes: ratio -> one `WIDTHxHEIGHT` a tier, `-` where the page has none."""
    return {
        ratio: {tier: _pixels(cell) for tier, cell in zip(tiers, row.split(), strict=True) if cell != "-"} for ratio, row in rows.items()
    }


def _pixels(text: str) -> Pixels:
    width, _, height = text.partition("x")
    return int(width), int(height)


def distance(one: Pixels, other: Pixels) -> tuple[float, float]:
    """Return how far two sizes are apart: in shape, then in area, both as logarithms."""
    shape = abs(math.log(one[0] / one[1]) - math.log(other[0] / other[1]))
    return round(shape, 6), abs(math.log(one[0] * one[1]) - math.log(other[0] * other[1]))


def tier_by_area(pixels: Pixels) -> str:
    """Return the tier that explicit pixels amount to: `1k` up to 1.6 megapixels, `2k` up to 4.2, else `4k`."""
    area = pixels[0] * pixels[1]
    return "1k" if area <= 1_600_000 else "2k" if area <= 4_200_000 else "4k"
