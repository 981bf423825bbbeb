"""Requests that are sent although the model's page refuses them: the model is widened by what was refused, and the plan says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers import uploads
from imagegen_magic.providers.describe import shown
from imagegen_magic.providers.model import VALUE_LISTS, Model
from imagegen_magic.providers.validation import RequestValidator
from imagegen_magic.request import ImageRequest, Size

_AREAS = {"1k": 1_048_576, "2k": 4_194_304, "4k": 8_294_400}  # likely pixels of a tier that the page does not have


def resolve_unchecked(
    who: str, model: Model, request: ImageRequest, upload: uploads.UploadRule | None
) -> tuple[ImageRequest, Model, tuple[str, ...]]:
    """Return the resolved request, the model widened by what its data refuses, and a warning for each refusal.

    What costs more than requested (n), keys, private addresses and what no service could read is refused as always.
    """
    warnings: list[str] = []
    while True:
        try:
            resolved = RequestValidator(who, model, request, upload).resolved()
            return replace(resolved, unchecked=bool(warnings)), model, tuple(warnings)
        except UnsupportedOption as refusal:
            wider = _widened(model, request, refusal.option)
            if wider == model:
                raise
            warnings.append(
                f"not checked: {refusal.what if model.checked else option_text(refusal.option, refusal.value)} ({model.source})"
            )
            model = wider


def option_text(option: str, value: object) -> str:
    """Return an option that is sent to a model which nothing is known of, as text."""
    return option if option in ("references", "mask", "prompt") else f"{option} {shown(value)}"


def can_be_sent(model: Model, request: ImageRequest, option: str) -> bool:
    """Return whether the value of an option that the model's page refuses can be sent all the same."""
    return _widened(model, request, option) != model


def _widened(model: Model, request: ImageRequest, option: str) -> Model:
    """Return the model with the requested value of an option; the same model if that value cannot be had by any data."""
    value = getattr(request, option, None)
    if option in VALUE_LISTS and option not in ("size", "resolution"):
        return _with_value(model, VALUE_LISTS[option], value)
    match option:
        case "size":
            return _with_size(model, value)
        case "resolution":
            return _with_resolution(model, request, value)
        case "references":
            return replace(model, max_references=max(model.max_references, len(request.references)))
        case "mask" | "callback_url":
            return replace(model, mask=True) if option == "mask" else replace(model, callback=True)
        case "output_compression":
            return _with_value(model, "compressible", request.output_format or next(iter(model.formats), "png"))
        case "prompt":
            return replace(model, max_prompt=None) if isinstance(value, str) and model.max_prompt else model
    return model


def _with_value(model: Model, field: str, value: Any) -> Model:
    text = value.strip().lower() if isinstance(value, str) else ""
    known = getattr(model, field)
    further: dict[str, Any] = {} if not text or text in known else {field: (*known, text)}
    return replace(model, **further)


def _with_size(model: Model, value: Any) -> Model:
    try:
        size = Size.parse(str(value))
    except ValueError:
        return model
    if size.kind == "auto":
        return replace(model, auto_size=True)
    if size.kind == "pixels":
        pixels = (size.width, size.height)
        return model if pixels in model.extra_sizes else replace(model, extra_sizes=(*model.extra_sizes, pixels))
    tiers = {tier: _likely(str(size), tier) for tier in model.resolutions or ("1k",)}
    return _with_sizes(model, {**model.sizes, str(size): tiers})


def _with_resolution(model: Model, request: ImageRequest, value: Any) -> Model:
    tier, size = str(value).strip().lower(), Size.parse(request.size or model.default_size)
    model = _with_value(model, "resolutions", tier)
    if size.kind == "auto":
        return replace(model, auto_resolution=True)
    if size.kind != "ratio" or tier in model.sizes.get(str(size), {}):
        return model
    return _with_sizes(model, {**model.sizes, str(size): {**model.sizes.get(str(size), {}), tier: _likely(str(size), tier)}})


def _with_sizes(model: Model, sizes: Mapping[str, Mapping[str, tuple[int, int]]]) -> Model:
    """Return the model with further sizes, whose pixels are only likely: what comes is compared by its shape."""
    return replace(model, sizes=sizes, pixels_documented=False)


def _likely(ratio: str, tier: str) -> tuple[int, int]:
    across, down = (int(term) for term in ratio.split(":"))
    area = _AREAS.get(tier, _AREAS["1k"])
    return round(math.sqrt(area * across / down) / 16) * 16, round(math.sqrt(area * down / across) / 16) * 16
