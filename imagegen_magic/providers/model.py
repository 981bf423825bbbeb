"""One model's abilities, as dated data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from imagegen_magic.deprecated import renamed_fields, renamed_functions
from imagegen_magic.providers.parameters import Parameter
from imagegen_magic.records import FrozenDict, Record, frozen

Pixels = tuple[int, int]

VALUE_LISTS = {
    "size": "sizes",
    "resolution": "resolutions",
    "quality": "qualities",
    "background": "backgrounds",
    "moderation": "moderations",
    "output_format": "formats",
}
"""The options with a list of values, and the attribute of `Model` that lists them."""

__getattr__ = renamed_functions(__name__, table="parse_sizes")  # of 0.1.0


@renamed_fields(broken="violations", longest="max_edge", ratio="max_ratio", least_area="min_area", most_area="max_area")
@dataclass(frozen=True, slots=True)
class PixelRule(Record):
    """What explicit pixels must obey; long and short are the two edges, areas are in pixels."""

    step: int = 16
    max_edge: int = 3840
    max_ratio: float = 3.0
    min_area: int = 655_360
    max_area: int = 8_294_400

    def violations(self, pixels: Pixels) -> list[str]:
        """Return which parts of the rule these pixels break, as text; empty if they obey."""
        long, short = max(pixels), min(pixels)
        rules = {
            f"both edges must be multiples of {self.step}": not (long % self.step or short % self.step),
            f"no edge may exceed {self.max_edge}": long <= self.max_edge,
            f"long to short may not exceed {self.max_ratio:g}:1": long <= short * self.max_ratio,
            f"there must be at least {self.min_area} pixels": long * short >= self.min_area,
            f"there may be at most {self.max_area} pixels": long * short <= self.max_area,
        }
        return [words for words, obeyed in rules.items() if not obeyed]

    def nearest(self, pixels: Pixels) -> Pixels | None:
        """Return the legal pixels closest to these, by shape first and then by area; None if the rule allows none nearby."""
        legal = [pair for pair in self._around(pixels) if not self.violations(pair)]
        return min(legal, key=lambda pair: distance(pair, pixels), default=None)

    def _around(self, pixels: Pixels) -> Iterator[Pixels]:
        shape = min(max(pixels[0] / pixels[1], 1 / self.max_ratio), self.max_ratio)
        within = min(max(pixels[0] * pixels[1], self.min_area), self.max_area)
        area = min(within, self.max_edge**2 * min(shape, 1 / shape))
        middle = (math.sqrt(area * shape), math.sqrt(area / shape))
        across, down = (range(max(1, int(edge / self.step) - 3), int(edge / self.step) + 5) for edge in middle)
        for width in across:
            for height in down:
                yield width * self.step, height * self.step

    def __str__(self) -> str:
        edges = f"both edges multiples of {self.step} up to {self.max_edge}"
        return f"{edges}, at most {self.max_ratio:g}:1, {self.min_area} to {self.max_area} pixels"


@dataclass(frozen=True, slots=True)
class Rates(Record):
    """Dollars for a million tokens, as dated data; None: there are no such tokens."""

    checked: str
    document: str
    text_input: Decimal | None = None
    image_input: Decimal | None = None
    image_output: Decimal | None = None
    text_output: Decimal | None = None
    cached_text: Decimal | None = None
    cached_image: Decimal | None = None


ReferencesAs = Literal["address", "data_url", "base64", "part"]


@renamed_fields(also="alternate_pixels", odd_pixels="extra_sizes", pixels_promised="pixels_documented")
@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """One model's abilities as dated data.

    `sizes` maps ratio -> tier (lower case) -> (width, height) in pixels; a missing pair is not possible. With `pixels_documented`
    false the page names the pair but not its pixels, so that they are only a likely value. `alternate_pixels` lists further pixels that the
    gateway may answer with for a (ratio, tier); with `pixel_budgets` (tier -> area) those of the ratio with about that area are as
    requested too. An empty tuple of values means that the gateway has no such field; the first of `resolutions`, `backgrounds`,
    `moderations` and `formats` is the default; those of the options in `unsent` have no default: without a request for one, the field is
    not sent. `resolutions` empty: `sizes` has one nameless tier, written "1k". `auto_resolution`: a tier applies to size `auto` too.
    `extra_sizes` are allowed in addition to the rule. `reference_types` are file name endings, `reference_bytes` the most a reference may
    weigh, `mask_bytes` the most a mask may. `prices` are dollars of one picture by quality, before the gateway's own list. `retired` is
    the ISO date of its end upstream; `added` that of the version which first had this model at this gateway, "" for the first version: a
    request that names only the model goes where it always went. `checked` is the ISO date on which `document` was read.

    `parameters` are its further parameters by name, `rates` its token prices. A model that is not `strict` is known in part: what its
    data do not have is sent unchecked, and the plan says so. `references_as` is how a picture of this machine travels: as an uploaded
    file's address, or within the request as data: address, as base64 alone, or as a part of a form. `mask_paints` is which part of a mask
    is repainted: the transparent or the white one.

    `newer` are values by option that the page `newer_document` allows, but not yet `document`: they are refused, and the refusal names
    that page.
    """

    name: str
    sizes: Mapping[str, Mapping[str, Pixels]]
    alternate_pixels: Mapping[tuple[str, str], tuple[Pixels, ...]] = field(default_factory=FrozenDict)
    pixel_budgets: Mapping[str, int] = field(default_factory=FrozenDict)
    pixels_documented: bool = True
    auto_size: bool = False
    auto_resolution: bool = False
    default_size: str = "1:1"
    pixel_rule: PixelRule | None = None
    extra_sizes: tuple[Pixels, ...] = ()
    resolutions: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    backgrounds: tuple[str, ...] = ()
    moderations: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    unsent: tuple[str, ...] = ()
    compressible: tuple[str, ...] = ()
    max_n: int = 1
    max_references: int = 0
    reference_types: tuple[str, ...] = ()
    reference_bytes: int | None = None
    prices: Mapping[str, Decimal] = field(default_factory=FrozenDict)
    mask: bool = False
    mask_bytes: int | None = None
    callback: bool = False
    max_prompt: int | None = None
    retired: str | None = None
    added: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=FrozenDict)
    rates: Rates | None = None
    strict: bool = True
    references_as: ReferencesAs = "address"
    mask_paints: Literal["transparent", "white"] = "transparent"
    checked: str
    document: str
    note: str = ""
    newer: Mapping[str, tuple[str, ...]] = field(default_factory=FrozenDict)
    newer_document: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", frozen(self.sizes))
        object.__setattr__(self, "alternate_pixels", frozen(self.alternate_pixels))
        object.__setattr__(self, "pixel_budgets", frozen(self.pixel_budgets))
        object.__setattr__(self, "prices", frozen(self.prices))
        object.__setattr__(self, "parameters", frozen(self.parameters))
        object.__setattr__(self, "newer", frozen(self.newer))

    @property
    def label(self) -> str:
        """Its name, and until when its upstream has it, if that is known."""
        return self.name + (f" (upstream until {self.retired})" if self.retired else "")

    @property
    def source(self) -> str:
        """Where these data come from, and when that was read."""
        return f"{self.document}, read {self.checked}" if self.checked else self.document

    def budget_pixels(self, ratio: str, tier: str) -> tuple[Pixels, ...]:
        """Return the pixels of a ratio with the tier's budget, both edges multiples of 16; empty if it has none, or an edge is too long."""
        if tier not in self.pixel_budgets:
            return ()
        across, _, down = ratio.partition(":")
        shape = int(across) / int(down)
        edges = (math.sqrt(self.pixel_budgets[tier] * shape), math.sqrt(self.pixel_budgets[tier] / shape))
        width, height = (round(edge / 16) * 16 for edge in edges)
        return ((width, height),) if max(width, height) <= 3840 else ()


def parse_sizes(tiers: tuple[str, ...], rows: Mapping[str, str]) -> dict[str, dict[str, Pixels]]:
    """Read a page's table of sizes: ratio -> one `WIDTHxHEIGHT` a tier, `-` if the page has none."""
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
