"""Replicate's main image models as dated data: https://replicate.com/OWNER/NAME/api, read 2026-11-30; prices of its page of 2026-10-07."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from imagegen_magic.providers import schemas, sizes
from imagegen_magic.providers.base import standard_field_names
from imagegen_magic.providers.model import Model, PixelRule, parse_sizes
from imagegen_magic.providers.parameters import Parameter
from imagegen_magic.request import ImageRequest, Size
from imagegen_magic.result import Cost

CHECKED = "2026-11-30"
PRICES_CHECKED = "2026-10-07"
PRICE_PAGE = "https://replicate.com/pricing"
PRICES: Mapping[str, Decimal] = {
    "black-forest-labs/flux-schnell": Decimal("0.003"),
    "black-forest-labs/flux-dev": Decimal("0.025"),
    "black-forest-labs/flux-1.1-pro": Decimal("0.04"),
    "ideogram-ai/ideogram-v3-quality": Decimal("0.09"),
}
"""Dollars of one picture; the prices of the other models were not found."""
FIELD_NAMES: Mapping[str, str] = {
    **standard_field_names("prompt", "quality", "background", "moderation", "output_format"),
    "output_compression": "output_quality",
    "references": "input_images",
    "mask": "mask",
}
RESERVED_FIELDS: Mapping[str, str] = {
    **dict.fromkeys(("aspect_ratio", "width", "height"), "size"),
    **dict.fromkeys(("num_outputs", "number_of_images"), "n"),
    "image_input": "references",
}
"""Further fields that a request may have, each with its option."""
CANCEL_OUTCOMES = {"aborted": "cancelled", "canceled": "running", "succeeded": "finished", "failed": "finished"}
CUSTOM: Mapping[str, Mapping[str, str]] = {
    "black-forest-labs/flux-1.1-pro": {"aspect_ratio": "custom"},
    "qwen/qwen-image-2512": {"aspect_ratio": "custom"},
    "bytedance/seedream-4.5": {"size": "custom"},
}
"""What a model is sent beside width and height."""
SIZE_FIELD: Mapping[str, str] = {"recraft-ai/recraft-v4": "size", "ideogram-ai/ideogram-v3-quality": "resolution"}
"""The field of models that take listed pixels as a text like 1024x1024."""
REFERENCES: Mapping[str, str] = {
    "openai/gpt-image-2": "input_images",
    "bytedance/seedream-4.5": "image_input",
    "google/nano-banana-2": "image_input",
}
"""The field of a model's references."""
REWRITES: Mapping[str, tuple[str, str]] = {"ideogram-ai/ideogram-v3-quality": ("magic_prompt_option", "Off")}
"""The parameter with which a model rewrites the prompt, and its value that stops it."""

_OPTIONS = frozenset(
    {"prompt", "aspect_ratio", "size", "resolution", "width", "height", "output_format", "output_quality", "quality", "background"}
    | {"moderation", "num_outputs", "number_of_images", "image_input", "input_images", "images"}
)
_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")
_FLUX_SIZES = parse_sizes(
    ("1k",),
    {
        "1:1": "1024x1024",
        "16:9": "1344x768",
        "21:9": "1536x640",
        "3:2": "1216x832",
        "2:3": "832x1216",
        "4:5": "896x1088",
        "5:4": "1088x896",
        "3:4": "896x1152",
        "4:3": "1152x896",
        "9:16": "768x1344",
        "9:21": "640x1536",
    },
)
_IDEOGRAM_SIZES = parse_sizes(
    ("1k",),
    {
        "1:1": "1024x1024",
        "1:3": "512x1536",
        "3:1": "1536x512",
        "9:16": "736x1312",
        "16:9": "1312x736",
        "10:16": "800x1280",
        "16:10": "1280x800",
        "2:3": "832x1248",
        "3:2": "1248x832",
        "3:4": "864x1152",
        "4:3": "1152x864",
        "4:5": "896x1120",
        "5:4": "1120x896",
    },
)
_RECRAFT_SIZES = parse_sizes(
    ("1k",),
    {
        "1:1": "1024x1024",
        "2:1": "1536x768",
        "1:2": "768x1536",
        "3:2": "1280x832",
        "2:3": "832x1280",
        "4:3": "1216x896",
        "3:4": "896x1216",
        "5:4": "1152x896",
        "4:5": "896x1152",
        "16:9": "1344x768",
        "9:16": "768x1344",
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
    },
)

_SEED = Parameter("integer", minimum=0, maximum=2_147_483_647, counted=True, common=True, help="the same seed, the same picture")
_FAST = Parameter("flag", default=True, help="faster; a seed then may not give the same picture again")
_NEGATIVE = Parameter("text", common=True, help="what the picture must not show")
_FILE: dict[str, Any] = {"formats": ("webp", "jpeg", "png"), "compressible": ("webp", "jpeg")}
_LISTED: dict[str, Any] = {"formats": (), "compressible": ()}


def _steps(default: int, minimum: int, maximum: int) -> Parameter:
    return Parameter("integer", "num_inference_steps", minimum, maximum, default=default, common=True, help="steps of denoising")


def _guidance(default: float) -> Parameter:
    return Parameter("number", minimum=0, maximum=10, default=default, common=True, help="how closely the prompt is followed")


def _model(name: str, **fields: Any) -> Model:
    usual = {**_FILE, "sizes": _FLUX_SIZES, "references_as": "data_url", "checked": CHECKED}
    return Model(name=name, **{**usual, "document": f"https://replicate.com/{name}/api", **fields})


def unlisted(name: str, **fields: Any) -> Model:
    """Return a model that is not listed; without its schema, everything that is requested is sent unchecked."""
    usual = {"max_references": 16, "checked": "", "formats": (), "compressible": (), "parameters": {}}
    return _model(name, strict=False, pixels_documented=False, auto_size=True, default_size="auto", **{**usual, **fields})


MODELS: tuple[Model, ...] = (
    _model("black-forest-labs/flux-schnell", parameters={"seed": _SEED, "steps": _steps(4, 1, 4), "go_fast": _FAST}),
    _model(
        "black-forest-labs/flux-dev",
        parameters={"seed": _SEED, "steps": _steps(28, 1, 50), "guidance": _guidance(3), "go_fast": _FAST},
    ),
    _model(
        "black-forest-labs/flux-1.1-pro",
        pixels_documented=False,
        pixel_rule=PixelRule(step=32, max_edge=1440, max_ratio=1440 / 256, min_area=256**2, max_area=1440**2),
        parameters={
            "seed": _SEED,
            "safety_tolerance": Parameter("integer", minimum=1, maximum=6, default=2, help="1 is the strictest"),
            "prompt_upsampling": Parameter("flag", default=False, help="whether the service rewrites the prompt"),
        },
    ),
    _model(
        "openai/gpt-image-2",
        sizes={ratio: _FLUX_SIZES[ratio] for ratio in ("1:1", "3:2", "2:3")},
        pixels_documented=False,
        auto_size=True,
        qualities=("auto", "low", "medium", "high"),
        backgrounds=("auto", "opaque"),
        moderations=("auto", "low"),
        max_references=16,
        strict=False,
        note="its further sizes are not listed here, and are sent unchecked",
    ),
    _model(
        "qwen/qwen-image-2512",
        sizes={ratio: _FLUX_SIZES[ratio] for ratio in _RATIOS},
        default_size="16:9",
        pixels_documented=False,
        pixel_rule=PixelRule(step=16, max_edge=2048, max_ratio=8, min_area=256**2, max_area=2048**2),
        parameters={
            "seed": _SEED,
            "negative_prompt": _NEGATIVE,
            "steps": _steps(40, 20, 50),
            "guidance": _guidance(4),
            "go_fast": _FAST,
        },
    ),
    _model(
        "bytedance/seedream-4.5",
        **_LISTED,
        sizes=_SEEDREAM_SIZES,
        pixel_rule=PixelRule(step=1, max_edge=4096, max_ratio=4, min_area=1024**2, max_area=4096**2),
        resolutions=("2k", "4k"),
        auto_size=True,
        max_references=14,
        max_prompt=4000,
    ),
    _model(
        "ideogram-ai/ideogram-v3-quality",
        **_LISTED,
        sizes=_IDEOGRAM_SIZES,
        parameters={
            "seed": _SEED,
            "style_type": Parameter("choice", choices=("None", "Auto", "General", "Realistic", "Design"), common=True),
            "magic_prompt_option": Parameter("choice", choices=("Auto", "On", "Off"), default="Auto", help="rewrites the prompt"),
        },
    ),
    _model("recraft-ai/recraft-v4", **_LISTED, sizes=_RECRAFT_SIZES, max_prompt=10_000),
    _model(
        "google/nano-banana-2",
        sizes={ratio: _FLUX_SIZES[ratio] for ratio in (*_RATIOS, "21:9", "4:5", "5:4")},
        pixels_documented=False,
        auto_size=True,
        default_size="auto",
        formats=("jpeg", "png"),
        compressible=(),
        max_references=14,
        strict=False,
        note="its further sizes are not listed here, and are sent unchecked",
    ),
)


def learnt(name: str, answer: Any) -> Model | None:
    """Return the model of a name with what its OpenAPI document says; None if it takes no prompt."""
    document = schemas.schema_of(answer, "latest_version", "openapi_schema") or schemas.schema_of(answer, "openapi_schema")
    definitions = schemas.schema_of(document, "components", "schemas")
    properties = schemas.schema_of(definitions, "Input", "properties")
    if "prompt" not in properties:
        return None
    known = schemas.abilities(properties, definitions, _OPTIONS)
    formats = tuple({"jpg": "jpeg"}.get(each, each) for each in known["formats"])
    references = 16 if {"input_images", "image_input", "images"} & set(properties) else 0
    return unlisted(name, **{**known, "formats": formats}, max_references=references)


def price(name: str) -> Cost:
    """Return what one picture of a model costs by Replicate's page; unknown for most models."""
    return Cost(PRICES[name], "USD", "estimated", PRICE_PAGE, PRICES_CHECKED) if name in PRICES else Cost()


def size_fields(model: Model, request: ImageRequest) -> dict[str, Any]:
    """Return the fields of a size: exact pixels where the model takes them, else the name of a ratio."""
    size, tier = Size.parse(request.size or "auto"), (request.resolution or "").upper()
    if size.kind == "auto":
        return {"resolution" if not model.strict else "size": tier} if tier else {}
    exact = size.kind == "pixels" or model.pixels_documented
    width, height = size.width, size.height
    if size.kind == "ratio" and model.strict:
        width, height = sizes.pixels_at(f"replicate {model.name}", model, request)
    if exact and model.name in CUSTOM:
        return {**CUSTOM[model.name], "width": width, "height": height}
    if exact and model.name in SIZE_FIELD:
        return {SIZE_FIELD[model.name]: f"{width}x{height}"}
    resolution = {"resolution": tier} if tier and not model.strict else {}
    return {**({"width": width, "height": height} if size.kind == "pixels" else {"aspect_ratio": str(size)}), **resolution}


def warnings(model: Model, request: ImageRequest) -> list[str]:
    """Return the warnings that a model rewrites the prompt, and that a seed is not repeated exactly."""
    found = []
    if (switch := REWRITES.get(model.name)) and request.parameters.get(switch[0]) != switch[1]:
        found.append(f"{model.name} may rewrite the prompt: --set {switch[0]}={switch[1]} has it drawn as it is")
    if "go_fast" in model.parameters and "seed" in request.parameters and request.parameters.get("go_fast") is not False:
        found.append("with go_fast the same seed may give another picture: --set go_fast=false makes it repeatable")
    return found


def named(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields by the names that a model has for them; most models call JPEG jpg."""
    body = dict(fields)
    if name.startswith("openai/"):
        return {{"output_quality": "output_compression"}.get(field, field): value for field, value in body.items()}
    if body.get("output_format") == "jpeg":
        body["output_format"] = "jpg"
    if references := body.pop("input_images", None):
        body[REFERENCES.get(name, "input_images")] = references
    return body
