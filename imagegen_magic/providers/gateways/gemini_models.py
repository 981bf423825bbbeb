"""The models of the Gemini API, with sizes, parameters and prices.

https://ai.google.dev/gemini-api/docs/image-generation and the google-genai package 3.6.1. The prices of gemini-nano-banana-2.1 at 2K and
its long ratios are those that users measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from imagegen_magic.providers.model import Model, Pixels, Rates
from imagegen_magic.providers.parameters import Parameter

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
