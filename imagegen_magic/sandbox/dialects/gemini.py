"""The dialect of the Gemini API: `generateContent` with the model in the path, pictures and refusals in an answer with HTTP 200."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.responses import JSONResponse

from imagegen_magic.formats import HEIC, JPEG, PNG, WEBP
from imagegen_magic.providers.base import Model
from imagegen_magic.providers.gateways.gemini_models import TOKENS
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.sandbox.dialects.base import SAFETY, Json, Refusal, Submission, TaskView, choice, text
from imagegen_magic.sandbox.dialects.direct import DirectDialect
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from imagegen_magic.sandbox.dialects.base import Handler

_BODY = {
    "contents",
    "generationConfig",
    "safetySettings",
    "systemInstruction",
    "tools",
    "toolConfig",
    "cachedContent",
    "store",
    "serviceTier",
}
_STATUSES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
_SPENT = "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing."
_RATE = "You exceeded your current quota, please check your plan and billing details. Please retry in 1s."
_TYPES = (PNG.mime_type, JPEG.mime_type, WEBP.mime_type, HEIC.mime_type, "image/heif")
_REFERENCE_TOKENS = 560


class GeminiDialect(DirectDialect):
    """Google's Gemini API (the google-genai package 3.6.1)."""

    key_header: ClassVar[tuple[str, str]] = ("x-goog-api-key", "{}")

    def own_routes(self, sandbox: Any) -> Sequence[tuple[str, str, Handler]]:
        """Return the routes of models and of their one method."""

        async def generate(request: Request) -> Response:
            model, _, method = request.path_params["call"].partition(":")
            if method != "generateContent":
                raise Refusal(404, "not_found", f"the sandbox has no method {method[:40]!r}")
            return await self.respond(sandbox, request, {"model": model})

        async def models(request: Request) -> Response:
            names = [model.name for model in get_provider(self.name).models]
            return JSONResponse({"models": [_shown(name) for name in names]})

        async def model(request: Request) -> Response:
            return JSONResponse(_shown(self.model({"model": request.path_params["call"]}).name))

        routes: list[tuple[str, str, Handler]] = []
        for version in ("v1beta", "v1"):
            every, one = f"/{version}/models", f"/{version}/models/{{call}}"
            routes += [("POST", one, generate), ("GET", every, models), ("GET", one, model)]
        return routes

    def new_id(self) -> str:
        """Return the id of a response."""
        return uuid.uuid4().hex[:22]

    def prompt_of_body(self, body: Json) -> str:
        """Return the texts of all parts, one a line."""
        texts = (part["text"] for part in _parts(body) if isinstance(part.get("text"), str))
        return "\n".join(texts)

    def parse(self, body: Json) -> Submission:
        """Return what a body asks for. Raises Refusal, for a field that the API does not have too."""
        body = _in_camel_case(body)
        for name in body.keys() - _BODY - {"model"}:
            raise Refusal(400, "invalid_request", f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        model, prompt = self.model(body), self.prompt_of_body(body)
        if not prompt.strip():
            raise Refusal(400, "invalid_request", "GenerateContentRequest.contents: contents is not specified")
        config = _object(_object(body.get("generationConfig")).get("imageConfig"))
        ratio = choice(config, "aspectRatio", tuple(model.sizes), "1:1")
        tier = choice(config, "imageSize", tuple(each.upper() for each in model.resolutions), "1K").lower()
        references = self._references(body, model)
        mime_type = JPEG.mime_type if "pro" in model.name else PNG.mime_type
        cost = TOKENS[model.name][tier] * float(model.rates.image_output) / 1e6 if model.rates and model.rates.image_output else None
        return Submission(model.name, prompt, "", model.sizes[ratio][tier], 1, mime_type, cost=cost, references=references)

    def _references(self, body: Json, model: Model) -> tuple[str, ...]:
        found = [_object(part["inlineData"]) for part in _parts(body) if "inlineData" in part]
        if len(found) > model.max_references:
            raise Refusal(400, "invalid_request", f"at most {model.max_references} images are supported")
        for each in found:
            choice(each, "mimeType", _TYPES, "")
        return tuple(text(each, "data") for each in found)

    def answer(self, task: Task, pictures: Sequence[bytes]) -> Json:
        """Return a candidate with a sentence and the pictures; without one it is NO_IMAGE."""
        words = "Here is your picture." if pictures else "I could not make a picture of this."
        inline = [{"inlineData": {"mimeType": task.mime_type, "data": base64.b64encode(each).decode()}} for each in pictures]
        usage = _usage(task, len(pictures))
        return _response(task.model, {"finishReason": "STOP" if pictures else "NO_IMAGE"}, [{"text": words}, *inline], usage, task.id)

    def wrong_key(self) -> Refusal:
        """Return the refusal of a key, which is a 400."""
        return Refusal(400, "API_KEY_INVALID", "API key not valid. Please pass a valid API key.")

    def no_money(self) -> Refusal:
        """Return the refusal of an account without credits, which is a 429."""
        return Refusal(429, "insufficient_balance", _SPENT)

    def moderation_refusal(self) -> Refusal:
        """Return the refusal of a prompt, which is an answer with HTTP 200."""
        return Refusal(200, "PROHIBITED_CONTENT", SAFETY)

    def failed(self, view: TaskView) -> Refusal:
        """Return the refusal of a picture by moderation, an answer with HTTP 200, or an outage."""
        if "failed-by-moderation" in view.shapes:
            return Refusal(200, "IMAGE_SAFETY", "Unable to show the generated image (sandbox).")
        return Refusal(500, "INTERNAL", "An internal error has occurred (sandbox).")

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return status and body of a refusal: Google's error object, or an answer that has no picture."""
        if refusal.status == 200:
            return 200, _refused(refusal, model or "")
        if refusal.status == 401:
            refusal = self.wrong_key()
        if refusal.status == 402:
            refusal = self.no_money()
        message = _RATE if refusal.code == "rate_limit_exceeded" else refusal.message
        status = _STATUSES.get(refusal.status, "INTERNAL")
        error: Json = {"code": refusal.status, "message": message, "status": status}
        if refusal.code == "API_KEY_INVALID":
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refusal.code, "domain": "googleapis.com"}]
        return refusal.status, {"error": error}


def _refused(refusal: Refusal, model: str) -> Json:
    if refusal.code.startswith("IMAGE_"):
        candidate = {"finishReason": refusal.code, "finishMessage": refusal.message}
        return _response(model, candidate, [], {"promptTokenCount": 8, "totalTokenCount": 8})
    return {"promptFeedback": {"blockReason": refusal.code}, "modelVersion": model, "responseId": "sandbox"}


def _response(model: str, candidate: Json, parts: list[Json], usage: Json, response_id: str = "sandbox") -> Json:
    content: Json = {"content": {"role": "model", "parts": parts}} if parts else {}
    return {"candidates": [{**content, **candidate, "index": 0}], "usageMetadata": usage, "modelVersion": model, "responseId": response_id}


def _usage(task: Task, count: int) -> Json:
    tier = {1024: "1k", 2048: "2k", 4096: "4k"}.get(round((task.pixels[0] * task.pixels[1]) ** 0.5 / 1024) * 1024, "4k")
    words, references = 1 + len(task.prompt) // 4, _REFERENCE_TOKENS * len(task.sources)
    images = TOKENS[task.model][tier] * count
    asked = [{"modality": "TEXT", "tokenCount": words}, *([{"modality": "IMAGE", "tokenCount": references}] if references else [])]
    made = [{"modality": "IMAGE", "tokenCount": images}] if images else []
    return {
        "promptTokenCount": words + references,
        "candidatesTokenCount": images + 6,
        "totalTokenCount": words + references + images + 6,
        "promptTokensDetails": asked,
        "candidatesTokensDetails": [*made, {"modality": "TEXT", "tokenCount": 6}],
    }


def _shown(name: str) -> Json:
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": ["generateContent"]}


def _in_camel_case(value: Any) -> Any:
    """Return a body with its names in camel case: the API, and Google's own client, write them in both ways."""
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): _in_camel_case(inner) for name, inner in value.items()}
    return [_in_camel_case(inner) for inner in value] if isinstance(value, list) else value


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _parts(body: Json) -> list[Json]:
    contents: Any = body.get("contents")
    contents = [contents] if isinstance(contents, dict) else contents
    lists = [_object(each).get("parts") for each in contents] if isinstance(contents, list) else []
    return [part for parts in lists if isinstance(parts, list) for part in parts if isinstance(part, dict)]


DIALECT = GeminiDialect("gemini")
