"""OpenAI's image models as dated data: the `openai` package 3.57.0, OpenAI's OpenAPI document of 2026-08-21, its price pages."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from imagegen_magic.providers.gpt_image import SIZES
from imagegen_magic.providers.model import Model, PixelRule, Rates, parse_sizes
from imagegen_magic.providers.parameters import Parameter

PARTIAL_TOKENS: Final = 100  # output tokens that each partial picture costs
REFERENCE_TOKENS: Final = 1_500  # input tokens of a reference of about 1024x1024, as users measured them
EXPERIMENTAL: Final = 2560 * 1440  # pixels; OpenAI calls larger pictures experimental

RATES: Final = Rates(
    checked="2026-11-30",
    document="OpenAI's price list",
    text_input=Decimal(5),
    image_input=Decimal(8),
    image_output=Decimal(30),
    cached_text=Decimal("1.25"),
    cached_image=Decimal(2),
)
_LEVELS = ("low", "medium", "high")
_THREE_SIZES = parse_sizes(("1k",), {"1:1": "1024x1024", "3:2": "1536x1024", "2:3": "1024x1536"})
MAX_TOGETHER: Final = 10
_PARAMETERS = {
    "complexity": Parameter("choice", choices=_LEVELS, common=True, help="effort of planning the picture, apart from its quality"),
    "partials": Parameter(
        "integer",
        path="partial_images",
        minimum=0,
        maximum=3,
        default=0,
        common=True,
        help=f"partial pictures while it is being made; each costs {PARTIAL_TOKENS} output tokens",
    ),
    "together": Parameter("flag", default=False, help=f"up to {MAX_TOGETHER} pictures in one request, which are lost together"),
}


def _model(name: str, **differences: Any) -> Model:
    """Return a model; the defaults have a price that is known before, unlike OpenAI's own, which are auto."""
    common = Model(
        name=name,
        sizes=SIZES,
        auto_size=True,
        pixel_rule=PixelRule(),
        resolutions=("1k", "2k", "4k"),
        qualities=("auto", *_LEVELS),
        default_quality="medium",
        backgrounds=("auto", "opaque", "transparent"),
        moderations=("auto", "low"),
        formats=("png", "jpeg", "webp"),
        compressible=("jpeg", "webp"),
        max_references=16,
        reference_types=("png", "jpg", "jpeg", "webp"),
        reference_bytes=49_999_999,
        mask=True,
        mask_bytes=3_999_999,
        max_prompt=32_000,
        parameters=_PARAMETERS,
        rates=RATES,
        references_as="data_url",
        added="2026-11-30",
        checked="2026-11-30",
        document="https://github.com/openai/openai-python, version 3.57.0, and OpenAI's OpenAPI document",
    )
    return replace(common, **differences)


_2_5 = {"qualities": ("auto", *_LEVELS, "xhigh", "max")}
_2_6 = {
    "sizes": _THREE_SIZES,
    "pixel_rule": None,
    "resolutions": (),
    "note": "its tokens by quality are not published, so its price is known afterwards only; --unchecked sends further sizes and qualities",
}
MODELS: Final = (  # the first is the default: the newest whose sizes, qualities and prices are certain
    _model("gpt-image-2.5-flare", **_2_5),
    _model("gpt-image-2.5-sunburst", **_2_5),
    _model("gpt-image-2.6-flare", **_2_6),
    _model("gpt-image-2.6-sunburst", **_2_6),
    _model("gpt-image-2", note="a transparent background is a preview"),
)
SNAPSHOTS: Final = {
    "gpt-image-2.5-flare-2026-09-08": "gpt-image-2.5-flare",
    "gpt-image-2.5-sunburst-2026-09-08": "gpt-image-2.5-sunburst",
    "gpt-image-2-2026-04-21": "gpt-image-2",
}
"""The dated names of models, each with the model that it is."""
