"""OpenAI's image models as dated data: the `openai` package 3.57.0, OpenAI's OpenAPI document of 2026-08-21, its price pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from imagegen_magic.providers import sizes, urls
from imagegen_magic.providers.base import standard_field_names
from imagegen_magic.providers.gpt_image import SIZES, output_tokens
from imagegen_magic.providers.model import Model, PixelRule, Pixels, Rates, parse_sizes
from imagegen_magic.providers.parameters import Parameter
from imagegen_magic.providers.usage import calculated
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
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
_SETTINGS = "https://platform.openai.com/settings/organization"
_RAISE_LIMIT = f"raise the limit at {_SETTINGS}/limits"
VERIFY: Final = (
    f"verify the organization at {_SETTINGS}/general; access can take up to 15 minutes. "
    "Without verification, -p fal, -p openrouter, -p azure-openai and the gateways have GPT Image models, each with a key of its own"
)
FIELD_NAMES: Final = {
    **standard_field_names("model", "prompt", "n", "size", "quality", "background", "moderation"),
    **standard_field_names("output_format", "output_compression"),
    "references": "images",
    "mask": "mask",
}
HINTS: Final = {
    "credit_balance_exhausted": f"add credit at {_SETTINGS}/billing",
    "insufficient_quota": f"add credit at {_SETTINGS}/billing",
    **dict.fromkeys(
        ("organization_spend_limit_exceeded", "project_spend_limit_exceeded", "organization_usage_limit_exceeded"), _RAISE_LIMIT
    ),
    "server_is_overloaded": "try again later",
}
"""Who can do what about an error, by its code."""
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


def price(model: Model, request: ImageRequest, pixels: Pixels | None, rates: Rates) -> Cost:
    """Return the price of one picture's tokens; unknown for size or quality auto, and for 2.6, whose tokens are not published."""
    name = SNAPSHOTS.get(request.model or "", request.model or "")
    if pixels is None or request.quality in (None, "auto") or request.quality not in model.qualities or "2.6" in name:
        return Cost()
    output = output_tokens(str(request.quality), pixels, name) + PARTIAL_TOKENS * partials(request)
    pictures = len(request.references) * REFERENCE_TOKENS
    found = calculated(rates, image_output=output, image_input=pictures, text_input=len(request.prompt) // 4)
    return replace(found, kind="estimated", source=f"{rates.document}; tokens estimated")


def warnings(title: str, model: Model, request: ImageRequest) -> Iterator[str]:
    """Yield what costs more than it seems, and what the service of this title calls experimental or a preview."""
    views, count = partials(request), request.n or 1
    if views:
        yield f"{views} first views cost {PARTIAL_TOKENS * views} output tokens a picture; fewer may come"
    if count > 1 and request.parameters.get("together"):
        yield f"{min(count, MAX_TOGETHER)} pictures are one request: if its answer is lost, all of them are"
    elif request.references and count > 1:
        yield f"{count} pictures are {count} requests: the input tokens of the references are charged {count} times"
    if any(width * height > EXPERIMENTAL for width, height in sizes.expected_pixels(model, request)[:1]):
        yield f"{title} calls sizes above 2560x1440 experimental"
    if request.background == "transparent" and SNAPSHOTS.get(model.name, model.name) == "gpt-image-2":
        yield f"a transparent background is a preview on {model.name}"


def partials(request: ImageRequest) -> int:
    """Return the number of first views that a request is for."""
    return int(request.parameters.get("partials") or 0)


def service_at(base_url: str) -> str:
    """Return what speaks at an address: "" for OpenAI, at its own hosts, also in a region, Azure at its own, else a compatible server.

    The sandbox on this machine is OpenAI.
    """
    parts = urls.split(base_url)
    host, path = ((parts.hostname or "").rstrip("."), parts.path.rstrip("/").removesuffix("/v1")) if parts else ("", "")
    if host.endswith(_AZURE):
        return "azure-openai"
    is_sandbox = path == "/openai" and (urls.is_sandbox(host) or urls.is_loopback(host))
    return "" if is_sandbox or host == "openai.com" or host.endswith(".openai.com") else "openai-compatible"
