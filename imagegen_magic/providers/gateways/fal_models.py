"""fal's main image models as dated data: https://fal.ai/models/NAME/llms.txt, and prices of litellm 1.110.2, read 2026-11-30.

Every request names its pixels (`image_size` with width and height); only nano-banana-2 has a ratio and a resolution instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from imagegen_magic.providers import schemas, sizes
from imagegen_magic.providers.base import standard_field_names
from imagegen_magic.providers.gpt_image import SIZES as OPENAI_SIZES
from imagegen_magic.providers.gpt_image import output_tokens
from imagegen_magic.providers.model import Model, PixelRule, Pixels, parse_sizes
from imagegen_magic.providers.parameters import Parameter
from imagegen_magic.request import ImageRequest, Size
from imagegen_magic.result import Cost

CHECKED = "2026-11-30"
SEED = Parameter("integer", minimum=0, counted=True, common=True, help="the same seed and prompt give the same picture")
_PRESET_NAMES = {"1:1": "square_hd", "4:3": "landscape_4_3", "3:4": "portrait_4_3", "16:9": "landscape_16_9", "9:16": "portrait_16_9"}
_OPTIONS = frozenset(
    {"prompt", "image_size", "aspect_ratio", "resolution", "quality", "output_format", "num_images", "image_url", "image_urls"}
    | {"mask_url", "sync_mode"}
)
FIELD_NAMES: Mapping[str, str] = standard_field_names(
    *("prompt", "quality", "background", "moderation", "output_format", "output_compression", "references", "mask")
)
RESERVED_FIELDS: Mapping[str, str] = {
    **dict.fromkeys(("image_size", "aspect_ratio"), "size"),
    "resolution": "resolution",
    "image_url": "references",
    "num_images": "n",
}
"""Further fields that a request may have, each with its option."""
_FORMATS = ("jpeg", "png")
_FREE = PixelRule(step=16, max_edge=14_142, max_ratio=100, min_area=256, max_area=14_142**2)
_PRESETS = parse_sizes(  # the pixels of fal's names square_hd, landscape_4_3 and so on, and three further ratios
    ("1k",),
    {
        "1:1": "1024x1024",
        "4:3": "1024x768",
        "3:4": "768x1024",
        "16:9": "1024x576",
        "9:16": "576x1024",
        "3:2": "1152x768",
        "2:3": "768x1152",
        "21:9": "1344x576",
    },
)
_SEEDREAM_SIZES = parse_sizes(
    ("2k", "4k"),
    {
        "1:1": "2048x2048 4096x4096",
        "4:3": "2304x1728 4096x3072",
        "3:4": "1728x2304 3072x4096",
        "3:2": "2496x1664 4080x2720",
        "2:3": "1664x2496 2720x4080",
        "16:9": "2560x1440 4096x2304",
        "9:16": "1440x2560 2304x4096",
        "21:9": "3024x1296 4032x1728",
    },
)
_BANANA_RATIOS = ("1:1", "21:9", "16:9", "3:2", "4:3", "5:4", "4:5", "3:4", "2:3", "9:16", "4:1", "1:4", "8:1", "1:8")
_BANANA_EDGES = {"1k": 1024, "2k": 2048, "4k": 4096}

PER_MEGAPIXEL: Mapping[str, Decimal] = {
    "fal-ai/flux/schnell": Decimal("0.003"),
    "fal-ai/flux/dev": Decimal("0.025"),
    "fal-ai/flux-pro/v1.1": Decimal("0.04"),
}
"""Dollars of a megapixel, of which a picture has a whole number, rounded up."""
BY_RESOLUTION: Mapping[str, Mapping[str, Decimal]] = {
    "fal-ai/nano-banana-2": {"1k": Decimal("0.08"), "2k": Decimal("0.12"), "4k": Decimal("0.16")}
}
"""Dollars of a picture by its resolution."""
_MEGAPIXEL = 1_048_576
_OPENAI_DOLLARS = 30  # for a million output tokens
IDEOGRAM_BALANCED = Decimal("0.06")
EDITS: Mapping[str, str] = {
    "openai/gpt-image-2.5/flare/text-to-image": "openai/gpt-image-2.5/flare/edit",
    "openai/gpt-image-2.5/sunburst/text-to-image": "openai/gpt-image-2.5/sunburst/edit",
    "fal-ai/nano-banana-2": "fal-ai/nano-banana-2/edit",
    "fal-ai/bytedance/seedream/v4/text-to-image": "fal-ai/bytedance/seedream/v4/edit",
}
"""The endpoint of a model for a request with references."""
REWRITES: Mapping[str, str] = {"fal-ai/ideogram/v3": "expand_prompt"}
"""The parameter with which a model rewrites the prompt unless it is false."""


def _steps(default: int, maximum: int | None = None, minimum: int = 1) -> Parameter:
    return Parameter("integer", "num_inference_steps", minimum, maximum, default=default, common=True, help="steps of denoising")


def _guidance(default: float, minimum: float = 1, maximum: float = 20) -> Parameter:
    return Parameter("number", "guidance_scale", minimum, maximum, default=default, common=True, help="how closely the prompt is followed")


def _flux(name: str, **further: Parameter) -> Model:
    checker = Parameter("flag", default=True, help="the service's own check of the picture")
    return _model(name, default_size="4:3", parameters={"seed": SEED, **further, "enable_safety_checker": checker})


def _model(name: str, **fields: Any) -> Model:
    usual = {"sizes": _PRESETS, "pixel_rule": _FREE, "formats": _FORMATS, "references_as": "data_url"}
    return Model(name=name, **{**usual, "checked": CHECKED, "document": f"https://fal.ai/models/{name}", **fields})


def _openai(variant: str) -> Model:
    return _model(
        f"openai/gpt-image-2.5/{variant}/text-to-image",
        sizes=OPENAI_SIZES,
        pixel_rule=PixelRule(),
        auto_size=True,
        resolutions=("1k", "2k", "4k"),
        qualities=("auto", "low", "medium", "high", "xhigh", "max"),
        default_quality="high",
        formats=("png", "jpeg", "webp"),
        max_references=16,
        mask=True,
        note="at OpenAI's list price, and task-based",
    )


def _likely(ratio: str, edge: int) -> Pixels:
    across, _, down = ratio.partition(":")
    shape = int(across) / int(down)
    return round(edge * math.sqrt(shape) / 16) * 16, round(edge / math.sqrt(shape) / 16) * 16


_ACCELERATION = Parameter("choice", choices=("none", "regular", "high"), default="none", help="faster, with less care")
_TOLERANCE = Parameter("choice", choices=("1", "2", "3", "4", "5", "6"), help="1 is the strictest")
_NEGATIVE = Parameter("text", common=True, help="what the picture must not show")

MODELS: tuple[Model, ...] = (
    _flux("fal-ai/flux/schnell", steps=_steps(4, 12), guidance=_guidance(3.5), acceleration=_ACCELERATION),
    _flux("fal-ai/flux/dev", steps=_steps(28, 50), guidance=_guidance(3.5), acceleration=_ACCELERATION),
    _flux("fal-ai/flux-pro/v1.1", safety_tolerance=_TOLERANCE, enhance_prompt=Parameter("flag", default=False)),
    _openai("flare"),
    _openai("sunburst"),
    _model(
        "fal-ai/qwen-image",
        default_size="4:3",
        formats=("png", "jpeg"),
        parameters={
            "seed": SEED,
            "negative_prompt": _NEGATIVE,
            "steps": _steps(30, minimum=2),
            "guidance": _guidance(2.5, 0),
            "acceleration": _ACCELERATION,
        },
    ),
    _model(
        "fal-ai/bytedance/seedream/v4/text-to-image",
        sizes=_SEEDREAM_SIZES,
        pixel_rule=PixelRule(step=1, max_edge=14_142, max_ratio=16, min_area=960 * 960, max_area=4096 * 4096),
        resolutions=("2k", "4k"),
        formats=(),
        max_references=10,
        prices={"": Decimal("0.03")},
        parameters={"seed": SEED, "enable_safety_checker": Parameter("flag", default=True)},
    ),
    _model(
        "fal-ai/ideogram/v3",
        formats=(),
        parameters={
            "seed": SEED,
            "negative_prompt": _NEGATIVE,
            "rendering_speed": Parameter("choice", choices=("TURBO", "BALANCED", "QUALITY"), default="BALANCED", common=True),
            "style": Parameter("choice", choices=("AUTO", "GENERAL", "REALISTIC", "DESIGN")),
            "expand_prompt": Parameter("flag", default=True, help="whether the service rewrites the prompt"),
        },
    ),
    _model("fal-ai/recraft/v4.1/text-to-image", formats=(), prices={"": Decimal("0.04")}),
    _model(
        "fal-ai/nano-banana-2",
        sizes={ratio: {tier: _likely(ratio, edge) for tier, edge in _BANANA_EDGES.items()} for ratio in _BANANA_RATIOS},
        pixel_rule=None,
        pixels_documented=False,
        auto_size=True,
        auto_resolution=True,
        resolutions=tuple(_BANANA_EDGES),
        default_size="auto",
        formats=("png", "jpeg", "webp"),
        max_references=14,
        parameters={"seed": SEED, "safety_tolerance": _TOLERANCE, "enable_web_search": Parameter("flag", help="costs $0.015 more")},
    ),
)


def unlisted(name: str, **fields: Any) -> Model:
    """Return a model that is not listed; without its schema, everything that is requested is sent unchecked."""
    usual = {"max_references": 16, "mask": True, "checked": "", "formats": (), "parameters": {}}
    known = {"pixels_documented": False, "auto_size": True, "default_size": "auto", "unsent": ("output_format", "quality")}
    return _model(name, strict=False, **{**usual, **known, **fields})


def _dollars(request: ImageRequest, name: str, pixels: Pixels | None) -> Decimal | None:
    """Return the list price of one picture of a request; None if it is unknown."""
    if name in BY_RESOLUTION:
        return BY_RESOLUTION[name].get(request.resolution or "1k")
    if name == "fal-ai/ideogram/v3":
        return IDEOGRAM_BALANCED if request.parameters.get("rendering_speed", "BALANCED") == "BALANCED" else None
    if pixels is None:
        return None
    if name in PER_MEGAPIXEL:
        return PER_MEGAPIXEL[name] * -(-pixels[0] * pixels[1] // _MEGAPIXEL)
    if name in EDITS and request.quality not in (None, "auto"):
        return Decimal(output_tokens(str(request.quality), pixels, "gpt-image-2.5") * _OPENAI_DOLLARS) / 1_000_000
    return None


def learnt(name: str, answer: Any) -> Model | None:
    """Return the model of an endpoint with what its OpenAPI document says; None if it takes no prompt."""
    definitions = schemas.schema_of(answer, "components", "schemas")
    body = schemas.schema_of(answer, "paths", f"/{name}", "post", "requestBody", "content", "application/json", "schema")
    properties = schemas.resolved(body, definitions).get("properties", {})
    if "prompt" not in properties:
        return None
    references = 16 if "image_urls" in properties else 1 if "image_url" in properties else 0
    rule = {} if "image_size" in properties else {"pixel_rule": None}
    return unlisted(name, **schemas.abilities(properties, definitions, _OPTIONS), max_references=references, **rule)


def price(model: Model, request: ImageRequest, pixels: Pixels | None) -> Cost:
    """Return what one picture costs by fal's list, by megapixels, resolution, or OpenAI's count of tokens; unknown for other models."""
    if (amount := _dollars(request, model.name, pixels)) is None:
        return Cost()
    source = f"fal's list price: {model.document}"
    return Cost(amount, "USD", "estimated", source, model.checked, unknown=1 if request.references and model.mask else 0)


def size_fields(model: Model, request: ImageRequest) -> dict[str, Any]:
    """Return the fields of a size: exact pixels, or a ratio where the model takes only those."""
    size = Size.parse(request.size or "auto")
    if not model.strict:
        return _unlisted_size(model, request, size)
    if model.pixel_rule is None:
        return {"aspect_ratio": request.size, "resolution": (request.resolution or "1k").upper()}
    if size.kind == "auto":
        return {"image_size": "auto"}
    width, height = sizes.pixels_at(f"fal {model.name}", model, request) if size.kind == "ratio" else (size.width, size.height)
    return {"image_size": {"width": width, "height": height}}


def _unlisted_size(model: Model, request: ImageRequest, size: Size) -> dict[str, Any]:
    """Return the fields of a size that was requested of a model which is not listed; none for size auto."""
    resolution = {"resolution": request.resolution.upper()} if request.resolution else {}
    if size.kind == "auto":
        return resolution
    if size.kind == "pixels":
        return {"image_size": {"width": size.width, "height": size.height}, **resolution}
    preset = _PRESET_NAMES.get(str(size)) if model.pixel_rule else None
    return {**({"image_size": preset} if preset else {"aspect_ratio": str(size)}), **resolution}


def warnings(model: Model, request: ImageRequest) -> tuple[str, ...]:
    """Return the warning that a model rewrites the prompt by default."""
    switch = REWRITES.get(model.name)
    if switch is None or request.parameters.get(switch) is False:
        return ()
    return (f"{model.name} rewrites the prompt: --set {switch}=false has it drawn as it is",)
