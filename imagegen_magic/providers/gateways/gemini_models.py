"""The models of the Gemini API, with sizes, parameters and prices.

https://ai.google.dev/gemini-api/docs/image-generation and the google-genai package 3.6.1. The prices of gemini-nano-banana-2.1 at 2K and
its long ratios are those that users measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from imagegen_magic.errors import Charge
from imagegen_magic.providers import responses
from imagegen_magic.providers.model import Model, Pixels, Rates
from imagegen_magic.providers.parameters import Parameter
from imagegen_magic.providers.usage import calculated
from imagegen_magic.result import Cost

DOCUMENT = "https://ai.google.dev/gemini-api/docs/image-generation"
PRICES = "https://ai.google.dev/gemini-api/docs/pricing"
CHECKED = "2026-11-30"
_RATIOS = {  # at 1K; 2K and 4K have two and four times the edges
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
_LONG_RATIOS = {"1:4": (512, 2064), "4:1": (2064, 512), "1:8": (352, 2928), "8:1": (2928, 352)}
_SCALES = {"1k": 1, "2k": 2, "4k": 4}
_PARAMETERS = {
    "seed": Parameter("integer", "generationConfig.seed", -(2**31), 2**31 - 1, counted=True, common=True, help="a best effort"),
    "temperature": Parameter("number", "generationConfig.temperature", 0, 2),
    "top_p": Parameter("number", "generationConfig.topP", 0, 1),
}
_THINKING = Parameter("choice", "generationConfig.thinkingConfig.thinkingLevel", choices=("minimal", "medium", "high"), default="medium")
TOKENS = {  # image output tokens of one picture by tier
    "gemini-nano-banana-2.1": {"1k": 1120, "2k": 1680, "4k": 3780},
    "gemini-3-pro-image": {"1k": 1120, "2k": 1120, "4k": 2000},
}


def _sizes(ratios: Mapping[str, Pixels]) -> dict[str, dict[str, Pixels]]:
    return {ratio: {tier: (width * scale, height * scale) for tier, scale in _SCALES.items()} for ratio, (width, height) in ratios.items()}


def _model(name: str, ratios: Mapping[str, Pixels], rates: Rates, **further: Any) -> Model:
    return Model(
        name=name,
        sizes=_sizes(ratios),
        resolutions=tuple(_SCALES),
        max_references=14,
        reference_types=("jpeg", "jpg", "png", "webp"),
        reference_bytes=7_000_000,
        references_as="base64",
        rates=rates,
        added="2026-11-30",
        checked=CHECKED,
        document=DOCUMENT,
        **further,
    )


def _rates(text: str, text_output: str, image_output: str) -> Rates:
    return Rates(CHECKED, PRICES, Decimal(text), Decimal(text), Decimal(image_output), Decimal(text_output))


MODELS = (
    _model(
        "gemini-nano-banana-2.1",
        {**_RATIOS, **_LONG_RATIOS},
        _rates("1.50", "7.50", "30"),
        parameters={**_PARAMETERS, "thinking": _THINKING},
    ),
    _model("gemini-3-pro-image", _RATIOS, _rates("2", "12", "120"), parameters=_PARAMETERS),
)


def price(model: Model, tier: str) -> Cost:
    """Return the listed price of a picture's output tokens."""
    return replace(calculated(model.rates, image_output=TOKENS[model.name][tier]), kind="estimated", source=PRICES)


def cost(answer: Mapping[str, Any], models: Sequence[Model]) -> Cost:
    """Return the dollars of the tokens that an answer counts, at the prices of its model."""
    usage: Any = answer.get("usageMetadata")
    if not isinstance(usage, Mapping):
        return Cost()
    asked, made = (_by_kind(usage, side) for side in ("prompt", "candidates"))
    if "candidatesTokensDetails" not in usage:
        made = {"IMAGE": made.get("TEXT", 0)}  # uncounted by kind: all of it at the price of pictures
    return calculated(
        next((model.rates for model in models if str(answer.get("modelVersion")).startswith(model.name)), None),
        image_output=made.get("IMAGE", 0),
        text_output=made.get("TEXT", 0) + (responses.count(usage.get("thoughtsTokenCount")) or 0),
        text_input=asked.get("TEXT", 0),
        image_input=asked.get("IMAGE", 0),
    )


def _by_kind(usage: Mapping[str, Any], side: str) -> dict[str, int]:
    """Return token counts by kind (`TEXT`, `IMAGE`); all of them as text if the answer does not count by kind."""
    kinds = responses.objects(usage.get(f"{side}TokensDetails"))
    counted = {str(each.get("modality")): responses.count(each.get("tokenCount")) or 0 for each in kinds}
    return counted or {"TEXT": responses.count(usage.get(f"{side}TokenCount")) or 0}


def charge(answer: Mapping[str, Any]) -> Charge:
    """Return whether an answer without a picture was charged: for what it wrote surely, for a blocked prompt perhaps."""
    counts = (f"{side}TokenCount" for side in ("prompt", "candidates", "thoughts"))
    prompt, *written = (responses.count(responses.value_at(answer, "usageMetadata", name)) for name in counts)
    return "yes" if any(written) else "unknown" if prompt else "no"
