"""The dialect of OpenRouter's Image API: pictures and their cost in the answer, and the list of models with their parameters."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from imagegen_magic.formats import MIME_TYPES
from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.providers.gateways.openrouter_models import PRICES, likely_pixels
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.sandbox.dialects.base import SAFETY, Json, Refusal, Submission, choice, number, prompt_of, text
from imagegen_magic.sandbox.dialects.direct import DirectDialect
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from imagegen_magic.sandbox.dialects.base import Handler

_RESOLUTIONS = ("512", "768", "1K", "1.5K", "2K", "4K")
_QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max")
_LONG, _USUAL_PRICE = 3, 0.04  # characters of a word that count as a token, dollars of a picture without a listed price


class OpenRouterDialect(DirectDialect):
    """OpenRouter's Image API (the openrouter package 1.3.84)."""

    def own_routes(self, sandbox: Any) -> Sequence[tuple[str, str, Handler]]:
        """Return the routes of pictures, of the list of models, and of one model's endpoints."""

        async def generate(request: Request) -> Response:
            return await self.respond(sandbox, request)

        async def models(request: Request) -> Response:
            return JSONResponse({"data": [_listed(model) for model in get_provider(self.name).models]})

        async def endpoints(request: Request) -> Response:
            name = f"{request.path_params['author']}/{request.path_params['slug']}"
            return JSONResponse(_endpoints(self.model({"model": name})))

        base = "/api/v1/images"
        return (
            ("POST", base, generate),
            ("GET", f"{base}/models", models),
            ("GET", f"{base}/models/{{author}}/{{slug}}/endpoints", endpoints),
        )

    def model(self, body: Json) -> Model:
        """Return the model that a body names. Raises Refusal."""
        try:
            return super().model(body)
        except Refusal as refusal:
            raise Refusal(refusal.status, refusal.code, f"No endpoints found for {str(body.get('model'))[:80]}.") from None

    def new_id(self) -> str:
        """Return the id of a generation."""
        return f"gen-{uuid.uuid4().hex}"

    def parse(self, body: Json) -> Submission:
        """Return what a body asks for. Raises Refusal."""
        model = self.model(body)
        prompt, count = prompt_of(body, model), number(body, "n", 1, 10, 1)
        quality = choice(body, "quality", _QUALITIES, "auto")
        form = choice(body, "output_format", ("png", "jpeg", "webp"), "png")
        alpha = choice(body, "background", ("auto", "transparent", "opaque"), "auto") == "transparent"
        tier = choice(body, "resolution", _RESOLUTIONS, "1K").lower()
        cost = count * float(PRICES.get(model.name, {}).get(tier, _USUAL_PRICE))
        pixels = _pixels(body, tier)
        file = (MIME_TYPES[form], alpha, None)
        return Submission(model.name, prompt, quality, pixels, count, *file, cost=round(cost, 6), references=_references(body, model))

    def answer(self, task: Task, pictures: Sequence[bytes]) -> Json:
        """Return the pictures as base64, with their cost."""
        prompt = 1 + len(task.prompt) // _LONG
        usage = {"prompt_tokens": prompt, "completion_tokens": 1120, "total_tokens": prompt + 1120, "cost": task.cost, "is_byok": False}
        drawn = [{"b64_json": base64.b64encode(each).decode(), "media_type": task.mime_type} for each in pictures]
        return {"created": int(task.created), "data": drawn, "usage": usage}

    def wrong_key(self) -> Refusal:
        """Return the refusal of a key."""
        return Refusal(401, "invalid_api_key", "No auth credentials found")

    def no_money(self) -> Refusal:
        """Return the refusal of an account without credits."""
        return Refusal(402, "insufficient_balance", "Insufficient credits. Add more using https://openrouter.ai/settings/credits")

    def moderation_refusal(self) -> Refusal:
        """Return the refusal of a prompt, a 403 with reasons."""
        return Refusal(403, "content_policy_violation", f"{SAFETY} (sandbox)")

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return status and body of a refusal: the code is the HTTP status."""
        error: Json = {"code": refusal.status, "message": refusal.message}
        if refusal.code == "content_policy_violation":
            error["metadata"] = {"reasons": ["violence"], "flagged_input": "…", "provider_name": "Sandbox", "model_slug": model or ""}
        return refusal.status, {"error": error, "user_id": "user_sandbox"}


def _pixels(body: Json, tier: str) -> Pixels:
    """Return the pixels of a body: explicit ones, which stand alone, or those of a ratio and a tier. Raises Refusal."""
    size = text(body, "size").lower()
    across, _, down = size.partition("x")
    if across.isdecimal() and down.isdecimal():
        if {"aspect_ratio", "resolution"} & body.keys():
            raise Refusal(400, "invalid_request", f"size {size} conflicts with aspect_ratio or resolution")
        return min(max(16, int(across)), 4096), min(max(16, int(down)), 4096)
    ratio = text(body, "aspect_ratio", "1:1")
    terms = [float(term) for term in ratio.split(":")] if ratio.replace(":", "").replace(".", "").isdecimal() else [1.0, 1.0]
    if len(terms) != 2 or not all(0 < term < 100 for term in terms):
        raise Refusal(400, "invalid_request", f"invalid aspect_ratio {ratio[:20]!r}")
    return likely_pixels(f"{round(terms[0] * 100)}:{round(terms[1] * 100)}", size or tier)


def _references(body: Json, model: Model) -> tuple[str, ...]:
    given: Any = body.get("input_references") or []
    if not isinstance(given, list) or len(given) > model.max_references:
        raise Refusal(400, "invalid_request", f"input_references takes at most {model.max_references} images")
    urls = [each["image_url"].get("url") if isinstance(each, dict) and isinstance(each.get("image_url"), dict) else None for each in given]
    if not all(isinstance(url, str) and url.startswith(("data:image/", "http://", "https://")) for url in urls):
        raise Refusal(400, "invalid_request", "input_references takes objects with image_url.url, an address or a data URL")
    return tuple(str(url) for url in urls)


def _supported(model: Model) -> Json:
    lists = {"quality": model.qualities, "background": model.backgrounds, "output_format": model.formats}
    lists["resolution"] = tuple(each.upper() for each in model.resolutions)
    lists["aspect_ratio"] = (*model.sizes, *(("auto",) if model.auto_size else ()))
    enums = {name: {"type": "enum", "values": list(values)} for name, values in lists.items() if values}
    seed = {"seed": {"type": "boolean"}} if "seed" in model.parameters else {}
    return {**enums, "input_references": {"type": "range", "min": 0, "max": model.max_references}, **seed}


def _listed(model: Model) -> Json:
    return {
        "id": model.name,
        "name": model.name,
        "created": 1_790_000_000,
        "description": "A drawing of the sandbox.",
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["image"]},
        "endpoints": f"/api/v1/images/models/{model.name}/endpoints",
        "supported_parameters": _supported(model),
        "supports_streaming": False,
    }


def _endpoints(model: Model) -> Json:
    price = {"billable": "output_image", "unit": "image", "cost_usd": _USUAL_PRICE}
    endpoint = {
        "provider_name": "Sandbox",
        "provider_slug": "sandbox",
        "provider_tag": None,
        "allowed_passthrough_parameters": [],
        "pricing": [price],
        "supported_parameters": _supported(model),
        "supports_streaming": False,
    }
    return {"id": model.name, "endpoints": [endpoint]}


DIALECT = OpenRouterDialect("openrouter")
