"""The size and resolution of a request on one model: which it has, and the nearest one to what it does not have."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers.describe import shown
from imagegen_magic.providers.model import Model, Pixels, distance, tier_by_area
from imagegen_magic.request import ImageRequest, Size

Advice = dict[str, Any]  # what a refusal proposes: arguments of UnsupportedOption

_MAX_TERM = 64  # of a ratio: an edge in pixels is longer
_SHAPES: dict[str, Pixels] = {"square": (1, 1), "landscape": (3, 2), "portrait": (2, 3), "wide": (16, 9), "tall": (9, 16)}


class SizeValidator(NamedTuple):
    """The size and resolution of one request, checked against one model; `who` names both in the refusals."""

    who: str
    model: Model
    request: ImageRequest

    def size(self) -> Size:
        """Return the requested size, else the model's default; raises UnsupportedOption."""
        requested = self.request.size
        if requested is None:
            return Size.parse(self.model.default_size)
        try:
            size = Size.parse(str(requested))
        except ValueError:
            raise self._unreadable() from None
        {"auto": self._check_auto, "ratio": self._check_ratio, "pixels": self._check_pixels}[size.kind](size)
        return size

    def resolution(self, size: Size) -> str | None:
        """Return the requested tier, else the first one of the size; None if no tier applies. Raises UnsupportedOption."""
        requested, tiers = self.request.resolution, self._tiers(size)
        if requested is None:
            return tiers[0] if tiers else None
        if not tiers:
            raise self._no_tier(size)
        tier = requested.strip().lower() if isinstance(requested, str) else ""
        if tier in tiers:
            return tier
        near = min(tiers, key=lambda each: abs(_tier_number(each) - _tier_number(tier or shown(requested))))
        advice = {"fix": {"resolution": near}, "detail": self._pixels(str(size), near) if size.kind == "ratio" else ""}
        raise self._no_resolution(f"has no resolution {shown(requested)} at {size}", advice, tiers)

    # sizes

    def _no_size(self, what: str, advice: Advice, allowed: tuple[str, ...] = ()) -> UnsupportedOption:
        """Return the refusal of the requested size; `allowed` are the sizes that the model has, if no others are given."""
        allowed = allowed or self._sizes()
        return UnsupportedOption(f"{self.who} {what}", option="size", value=self.request.size, allowed=allowed, **advice)

    def _unreadable(self) -> UnsupportedOption:
        """Return the refusal of a text that is no size, with the size that it probably means."""
        text, what = str(self.request.size).strip().lower(), f"does not know the size {shown(self.request.size)}"
        if text in self.model.resolutions:
            hint = f"give a tier as resolution {text}, and the shape as size"
            return self._no_size(what, {"hint": hint, "fix": {"size": None, "resolution": text}})
        return self._no_size(what, self._nearest(_two_numbers(text) or _SHAPES.get(text)))

    def _check_auto(self, size: Size) -> None:
        if not self.model.auto_size:
            usual = Size.parse(self.model.default_size)
            raise self._no_size("has no size auto", self._nearest_ratio((usual.width, usual.height), shape_only=True))

    def _check_ratio(self, size: Size) -> None:
        if str(size) in self.model.sizes:
            return
        pixels, advice = (size.width, size.height), self._nearest_ratio((size.width, size.height), shape_only=True)
        exact = self._nearest_pixels(pixels)
        if exact and exact["fix"]["size"] == _times(pixels):
            advice = {**exact, "hint": "write pixels with an x between them"}
        raise self._no_size(f"has no ratio {size}", advice)

    def _check_pixels(self, size: Size) -> None:
        rule, pixels = self.model.pixel_rule, (size.width, size.height)
        if pixels in self.model.extra_sizes:
            return
        if rule is None:
            raise self._no_size(f"takes no pixels such as {size}, only ratios", self._nearest_ratio(pixels))
        if violations := rule.violations(pixels):
            advice = self._meant_as_ratio(pixels) if _is_ratio(pixels) else self._nearest(pixels)
            raise self._no_size(f"cannot make {size}: {', '.join(violations)}", advice, (str(rule),))

    def _meant_as_ratio(self, pixels: Pixels) -> Advice:
        ratio = f"{pixels[0]}:{pixels[1]}"
        example = f", --size {ratio}" if ratio in self.model.sizes else ""
        return {**self._nearest_ratio(pixels, shape_only=True), "hint": f"write a ratio with a colon{example}"}

    def _sizes(self) -> tuple[str, ...]:
        """Return the values of `size` as a message lists them."""
        example = next(iter(next(iter(self.model.sizes.values())).values()))
        pixels = (f"pixels like {_times(example)}",) if self.model.pixel_rule else ()
        return (*(("auto",) if self.model.auto_size else ()), *self.model.sizes, *pixels)

    # the nearest size

    def _nearest(self, wanted: Pixels | None) -> Advice:
        if wanted is None:
            return {}
        return self._nearest_pixels(wanted) or self._nearest_ratio(wanted, shape_only=_is_ratio(wanted))

    def _nearest_pixels(self, wanted: Pixels) -> Advice:
        """Return the nearest legal pixels; none for the terms of a ratio, with a resolution, and if the model takes no pixels."""
        rule = self.model.pixel_rule
        if rule is None or _is_ratio(wanted) or self.request.resolution is not None:
            return {}
        legal = [pair for pair in (rule.nearest(wanted), *self.model.extra_sizes) if pair]
        return {"fix": {"size": _times(min(legal, key=lambda pair: distance(pair, wanted)))}} if legal else {}

    def _nearest_ratio(self, wanted: Pixels, *, shape_only: bool = False) -> Advice:
        """Return the nearest ratio and tier; with `shape_only` or a requested tier, of that tier (else the first) if it has any."""
        tier = str(self.request.resolution or "").strip().lower()
        pairs = [(ratio, name, pixels) for ratio, tiers in self.model.sizes.items() for name, pixels in tiers.items()]
        if shape_only or tier:
            first = tier if tier in self.model.resolutions else next(iter(self.model.resolutions), "1k")
            pairs = [pair for pair in pairs if pair[1] == first] or pairs
        ratio, name, _ = min(pairs, key=lambda pair: _ratio_distance(pair[0], pair[2], wanted))
        return self._ratio_advice(ratio, name)

    def _ratio_advice(self, ratio: str, tier: str) -> Advice:
        resolution = {"resolution": tier} if self.model.resolutions else {}
        return {"fix": {"size": ratio, **resolution}, "detail": self._pixels(ratio, tier)}

    def _pixels(self, ratio: str, tier: str) -> str:
        return _times(self.model.sizes[ratio][tier]) if self.model.pixels_documented else ""

    # resolutions

    def _tiers(self, size: Size) -> tuple[str, ...]:
        if size.kind == "ratio":
            return tuple(tier for tier in self.model.resolutions if tier in self.model.sizes[str(size)])
        return self.model.resolutions if size.kind == "auto" and self.model.auto_resolution else ()

    def _no_resolution(self, what: str, advice: Advice, allowed: tuple[str, ...] = ()) -> UnsupportedOption:
        return UnsupportedOption(f"{self.who} {what}", option="resolution", value=self.request.resolution, allowed=allowed, **advice)

    def _no_tier(self, size: Size) -> UnsupportedOption:
        without: Advice = {"fix": {"resolution": None}}
        if not self.model.resolutions:
            return self._no_resolution("has no option resolution", without)
        ratio, tier = next(iter(self.model.sizes)), str(self.request.resolution).strip().lower()
        is_default = self.request.size is None and tier in self.model.sizes[ratio]
        advice = self._ratio_advice(ratio, tier) if is_default else without
        hint = "give a ratio with a resolution, or leave one of the two out"
        return self._no_resolution(f"has no resolution with size {size}", {**advice, "hint": hint})


def expected_pixels(model: Model, request: ImageRequest) -> tuple[Pixels, ...]:
    """Return the (width, height) that a gateway may answer with, the nominal one first; empty if its page does not say."""
    size = Size.parse(request.size or "")
    if size.kind == "pixels":
        return ((size.width, size.height),)
    if size.kind == "auto" or not model.pixels_documented:
        return ()
    tier = request.resolution or next(iter(model.sizes[str(size)]))
    return (model.sizes[str(size)][tier], *model.alternate_pixels.get((str(size), tier), ()), *model.budget_pixels(str(size), tier))


def pixels_at(who: str, model: Model, request: ImageRequest) -> Pixels:
    """Return the pixels that a ratio is sent as. Raises UnsupportedOption for a resolution at which the model's data have none."""
    tiers = model.sizes.get(str(request.size), {})
    tier = request.resolution or next(iter(tiers), "")
    if tier not in tiers:
        advice: dict[str, Any] = {"allowed": tuple(tiers), "hint": "give the size in pixels"}
        raise UnsupportedOption(f"{who} has no resolution {tier} of size {request.size}", option="resolution", value=tier, **advice)
    return tiers[tier]


def as_pixels(tiers: Mapping[str, Pixels], request: ImageRequest) -> str:
    """Return the requested size with a ratio as its pixels among `tiers`; any other size as it is."""
    pixels = tiers.get(request.resolution or next(iter(tiers), ""))
    return f"{pixels[0]}x{pixels[1]}" if pixels else request.size or ""


def refuse_lone_resolution(who: str, request: ImageRequest) -> None:
    """Raise UnsupportedOption for a resolution that no size carries, at a service that has no field for it."""
    if request.resolution and not re.fullmatch(r"\d+:\d+", str(request.size)):
        what, hint = f"{who} takes a resolution only with a ratio", "give --size 1:1, or pixels"
        raise UnsupportedOption(what, option="resolution", value=request.resolution, hint=hint)


def tier_of(request: ImageRequest) -> str:
    """Return the tier of a request's pixels: the requested one, else the one that they amount to."""
    size = Size.parse(request.size or "")
    if request.resolution or size.kind == "auto":
        return request.resolution or "auto"
    return tier_by_area((size.width, size.height)) if size.kind == "pixels" else "1k"


def warnings(model: Model, request: ImageRequest) -> Iterator[str]:
    """Yield what the model's data say about a request that may surprise."""
    size, tier = str(request.size), request.resolution or ""
    if model.retired:
        yield f"{model.name} ends upstream on {model.retired}: from then on the service may refuse it or answer with another model"
    if size == "auto":
        yield "size auto: the service chooses, so the pixels are not known before"
    if size not in model.sizes:
        return
    if not model.pixels_documented:
        advice = ": give pixels to have them exactly" if model.pixel_rule else ""
        yield f"the page does not say how many pixels {size}{f' at {tier}' if tier else ''} has{advice}"
        return
    tiers = model.sizes[size]
    for smaller in model.resolutions[: model.resolutions.index(tier)] if tier in model.resolutions else ():
        if smaller in tiers and math.prod(tiers[smaller]) >= math.prod(tiers[tier]):
            comparison = "no larger than" if math.prod(tiers[smaller]) == math.prod(tiers[tier]) else "smaller than"
            yield f"{tier} at {size} is {comparison} {smaller} here: {_times(tiers[tier])} against {_times(tiers[smaller])}"
    for pixels in model.alternate_pixels.get((size, tier), ()):
        yield f"{size} at {tier} may come as {_times(pixels)} instead of {_times(tiers[tier])}"


def _times(pixels: Pixels) -> str:
    return f"{pixels[0]}x{pixels[1]}"


def _is_ratio(pixels: Pixels) -> bool:
    """Return whether two numbers are terms of a ratio rather than pixels."""
    return max(pixels) <= _MAX_TERM


def _two_numbers(text: str) -> Pixels | None:
    """Return the two numbers in a text (191 and 100 for 1.91:1), an only edge twice; None if there are no such numbers."""
    found = re.findall(r"[0-9]{1,6}(?:\.[0-9]{1,2})?", text)
    if len(found) == 1 and float(found[0]) > _MAX_TERM:
        found *= 2
    if len(found) != 2 or not all(map(float, found)):
        return None
    scale = 100 if "." in "".join(found) else 1
    return round(float(found[0]) * scale), round(float(found[1]) * scale)


def _ratio_distance(ratio: str, pixels: Pixels, wanted: Pixels) -> tuple[float, float]:
    across, down = (int(term) for term in ratio.split(":"))
    return distance((across, down), wanted)[0], distance(pixels, wanted)[1]


def _tier_number(text: str) -> float:
    """Return the number of a tier: 2 for `2k`, and for 2048 pixels."""
    found = re.search(r"\d{1,6}(\.\d{1,6})?", text)
    number = float(found[0]) if found else 0.0
    return number if number < 256 else number / 1024
