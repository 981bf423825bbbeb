"""Image models at OpenRouter: a few as dated data, and how the service describes the others.

`GET /images/models` (the openrouter package 1.3.84) lists for each model its parameters as enum, range or boolean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from imagegen_magic.providers import responses
from imagegen_magic.providers.model import Model, Pixels
from imagegen_magic.providers.parameters import Parameter

DOCUMENT = "https://openrouter.ai/api/v1/images/models"
CHECKED = "2026-11-30"
PRICES = {  # dollars of one picture by tier; OpenRouter asks the models' own list prices
    "google/gemini-nano-banana-2.1": {"1k": Decimal("0.0336"), "2k": Decimal("0.0504"), "4k": Decimal("0.1134")},
    "google/gemini-3-pro-image": {"1k": Decimal("0.134"), "2k": Decimal("0.134"), "4k": Decimal("0.24")},
}
_AREAS = {"512": 512, "768": 768, "1k": 1024, "1.5k": 1536, "2k": 2048, "4k": 4096}  # edge of a square in pixels
_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_LONG_RATIOS = ("1:4", "4:1", "1:8", "8:1")
_OPTIONS = {"aspect_ratio", "resolution", "size", "quality", "background", "output_format", "output_compression", "n", "input_references"}
_SEED = Parameter("integer", minimum=0, maximum=2**31 - 1, counted=True, common=True, help="not every provider obeys it")


def likely_pixels(ratio: str, tier: str) -> Pixels:
    """Return about what a ratio and a tier amount to, in pixels."""
    across, down = (int(term) for term in ratio.split(":"))
    edge = _AREAS.get(tier, 1024)
    return round(edge * (across / down) ** 0.5 / 16) * 16, round(edge * (down / across) ** 0.5 / 16) * 16


def described(name: str, ratios: Sequence[str], tiers: Sequence[str], *, checked: str = "", **further: Any) -> Model:
    """Return a model of these ratios and tiers, whose pixels each provider chooses; an option is sent only if it is requested."""
    usable = tuple(ratio for ratio in ratios if re.fullmatch(r"[1-9]\d{0,2}:[1-9]\d{0,2}", ratio)) or ("1:1",)
    names = tuple(sorted((tier.lower() for tier in tiers), key=lambda tier: tier != "1k"))
    return Model(
        name=name,
        sizes={ratio: {tier: likely_pixels(ratio, tier) for tier in names or ("1k",)} for ratio in usable},
        pixels_documented=False,
        auto_size="auto" in ratios or not ratios,
        auto_resolution=bool(names),
        default_size=("1:1" if "1:1" in usable else usable[0]) if ratios else "auto",
        resolutions=names,
        unsent=("quality", "background", "output_format"),
        references_as="data_url",
        added=CHECKED,
        checked=checked,
        document=DOCUMENT,
        **further,
    )


def learnt(name: str, supported: Mapping[str, Any], **further: Any) -> Model:
    """Return the model of a name with the parameters that the service describes.

    Several pictures are several requests, whatever `n` may be: a response that is lost loses one picture.
    """
    formats = tuple(value for value in _values(supported, "output_format") if value != "svg")
    compressible = tuple(value for value in formats if value != "png") if "output_compression" in supported else ()
    return described(
        name,
        _values(supported, "aspect_ratio"),
        _values(supported, "resolution"),
        qualities=_values(supported, "quality"),
        backgrounds=_values(supported, "background"),
        formats=formats,
        compressible=compressible,
        max_references=_most(supported, "input_references") or (1 if "input_references" in supported else 0),
        parameters={key: found for key, value in supported.items() if key not in _OPTIONS and (found := _parameter(key, value))},
        **further,
    )


def joined(described_by: Sequence[Any]) -> dict[str, Any]:
    """Return what any of several endpoints supports: all values of an enum, the widest range."""
    found: dict[str, Any] = {}
    for supported in described_by:
        for key, value in supported.items() if isinstance(supported, Mapping) else ():
            found[key] = _wider(found[key], value) if key in found else value
    return found


def _wider(one: Any, other: Any) -> Any:
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)) or one.get("type") != other.get("type"):
        return one
    if one.get("type") == "enum":
        return {"type": "enum", "values": list(dict.fromkeys([*_texts(one), *_texts(other)]))}
    bounds = {end: [each for value in (one, other) if (each := responses.number(value.get(end))) is not None] for end in ("min", "max")}
    return {**one, "min": min(bounds["min"], default=None), "max": max(bounds["max"], default=None)}


def _texts(descriptor: Any) -> list[str]:
    values = descriptor.get("values") if isinstance(descriptor, Mapping) else None
    return [value for value in values if isinstance(value, str) and value] if isinstance(values, list) else []


def _values(supported: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(value.lower() for value in _texts(supported.get(key)))


def _most(supported: Mapping[str, Any], key: str) -> int | None:
    descriptor = supported.get(key)
    return responses.count(descriptor.get("max")) if isinstance(descriptor, Mapping) else None


def _parameter(key: str, descriptor: Any) -> Parameter | None:
    """Return a parameter beyond the options; None for one whose values are not described."""
    if key == "seed":
        return _SEED
    if values := tuple(_texts(descriptor)):
        return Parameter("choice", choices=values)
    if not isinstance(descriptor, Mapping) or descriptor.get("type") != "range":
        return None
    low, high = (responses.number(descriptor.get(end)) for end in ("min", "max"))
    return Parameter("number", minimum=low, maximum=high)


def supported(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a model or an endpoint supports, as the service describes it."""
    supported = row.get("supported_parameters")
    return supported if isinstance(supported, Mapping) else {}


def picture_price(pricing: Any) -> Decimal | None:
    """Return the dollars of one picture; None if it depends on its pixels, its tokens or a variant."""
    output = [line for line in responses.objects(pricing) if line.get("billable") == "output_image"]
    if len(output) != 1 or output[0].get("unit") != "image" or output[0].get("variant"):
        return None
    return responses.amount(output[0].get("cost_usd"))


_GOOGLE: dict[str, Any] = {"max_references": 14, "checked": CHECKED, "strict": False}
_OTHER: dict[str, Any] = {"max_references": 1, "checked": CHECKED, "strict": False, "parameters": {"seed": _SEED}}
MODELS = (
    described("google/gemini-nano-banana-2.1", (*_RATIOS, *_LONG_RATIOS), ("1K", "2K", "4K"), **_GOOGLE),
    described("google/gemini-3-pro-image", _RATIOS, ("1K", "2K", "4K"), **_GOOGLE),
    described(
        "openai/gpt-image-2.5-sunburst",
        ("1:1", "3:2", "2:3", "auto"),
        (),
        qualities=("auto", "low", "medium", "high", "xhigh", "max"),
        backgrounds=("auto", "opaque", "transparent"),
        formats=("png", "jpeg", "webp"),
        compressible=("jpeg", "webp"),
        max_references=16,
        checked=CHECKED,
        strict=False,
    ),
    described("black-forest-labs/flux-3-image", _RATIOS, (), **_OTHER),
    described("bytedance-seed/seedream-4.5", _RATIOS, ("1K", "2K", "4K"), **_OTHER),
)
