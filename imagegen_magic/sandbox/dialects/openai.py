"""The dialect of OpenAI's Image API: the answer carries the pictures, in one JSON or as a stream of events.

By the `openai` package 3.57.0 and OpenAI's OpenAPI document of 2026-08-21. Edits come as JSON or as multipart/form-data.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import uuid
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from starlette.responses import JSONResponse, Response, StreamingResponse

from imagegen_magic.errors import UnknownProvider
from imagegen_magic.formats import MIME_TYPES, PNG, WEB_TYPES
from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.sandbox import fault_responses, requests, synchronous, timing, uploads
from imagegen_magic.sandbox.dialects.base import SAFETY, Dialect, Json, Refusal, Submission, choice, is_absent, number, prompt_of, text
from imagegen_magic.sandbox.faults import REFUSALS
from imagegen_magic.sandbox.request_log import LogEntry
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from imagegen_magic.sandbox.app import Sandbox
    from imagegen_magic.sandbox.dialects.base import Handler

_AUTO: tuple[Pixels, ...] = ((1024, 1024), (1536, 1024), (1024, 1536))
_REFERENCE_TOKENS = 1_500
_PARTIAL_TOKENS = 100
_MAX_PICTURES = 16
_WHOLE_NUMBERS = ("n", "output_compression", "partial_images")  # in a form, where everything is text
_FIELDS = {
    *("model", "prompt", "n", "size", "quality", "complexity", "background", "output_format", "output_compression", "moderation"),
    *("stream", "partial_images", "safety_identifier", "user"),
}
_NO_CREDIT = "Your credit balance is exhausted. Please add credit to continue."
_OVERLOADED = "The server is overloaded. Please try again later."
_WRONG_KEY = "Incorrect API key provided. You can find your API key in the settings of your organization."
_REFUSALS = {  # code of the sandbox's usual refusals -> status, type, code and message here
    "insufficient_balance": (429, "insufficient_quota", "credit_balance_exhausted", _NO_CREDIT),
    "service_unavailable": (503, "server_error", "server_is_overloaded", _OVERLOADED),
    "invalid_api_key": (401, "invalid_request_error", "invalid_api_key", _WRONG_KEY),
}


class Blocked(Refusal):
    """Moderation's refusal at a stage: input or output."""

    def __init__(self, stage: str) -> None:
        super().__init__(400, "moderation_blocked", f"{SAFETY} (sandbox).")
        self.stage = stage


class Pictures(NamedTuple):
    """The names of a submission's references, and that of its mask, "" without one."""

    sources: tuple[str, ...] = ()
    mask: str = ""


class OpenAI(Dialect):
    """OpenAI's dialect: synchronous generations and edits, and the list of models."""

    request_id_header: ClassVar[str] = "x-request-id"

    prefixes: ClassVar[tuple[str, ...]] = ("/v1",)
    """What its paths begin with."""

    def own_routes(self, sandbox: Any) -> Sequence[tuple[str, str, Handler]]:
        """Return the routes below each prefix."""

        async def generate(request: Request) -> Response:
            return await self._submitted(sandbox, request, edit=False)

        async def edit(request: Request) -> Response:
            return await self._submitted(sandbox, request, edit=True)

        async def models(request: Request) -> Response:
            return self._models(request)

        paths = (("POST", "/images/generations", generate), ("POST", "/images/edits", edit), ("GET", "/models", models))
        return [(method, prefix + path, handler) for prefix in self.prefixes for method, path, handler in paths]

    def _models(self, request: Request) -> Response:
        requests.check_key(self, request)
        data = [{"id": name, "object": "model", "created": 1_788_000_000, "owned_by": "openai"} for name in self.model_names()]
        return JSONResponse({"object": "list", "data": data})

    async def _submitted(self, sandbox: Sandbox, request: Request, *, edit: bool) -> Response:
        """Answer a submission, and log it."""
        entry = sandbox.log.submission(LogEntry(self.name, sandbox.clock(), self.key_header[0] in request.headers))
        try:
            response = await self._answered(sandbox, request, entry, edit=edit)
        except Refusal as refusal:
            response = sandbox.refuse(request, refusal)
        entry.status = response.status_code
        return response

    async def _answered(self, sandbox: Sandbox, request: Request, entry: LogEntry, *, edit: bool) -> Response:
        requests.check_key(self, request)
        body, pictures = await self.read(sandbox, request)
        body |= self.in_address(request)
        entry.json, entry.prompt = body, str(body.get("prompt", ""))
        entry.fault = sandbox.fault("submit", self, entry.prompt, entry.prompt)
        if entry.fault in REFUSALS:
            return fault_responses.refuse(str(entry.fault), self, sandbox.clock())
        self.check_fields(body, pictures, edit=edit)
        submission = self.parse(body)
        usage = _usage(submission, len(pictures.sources), body.get("partial_images") or 0)
        task = sandbox.accept(self, replace(submission, cost=_dollars(usage)), entry, *pictures)
        if entry.fault and entry.fault.endswith(("-after-accept", "html-answer")):
            return fault_responses.answer(entry.fault, {})
        return await Answer(sandbox, request, self, task, usage, body).response(entry.fault or "")

    def check_fields(self, body: Json, pictures: Pictures, *, edit: bool) -> None:
        """Refuse a field that there is not, and an edit without pictures or with too many. Raises Refusal."""
        known = _FIELDS | ({"images", "mask"} if edit else set())
        if unknown := next((name for name in body if name not in known), None):
            raise Refusal(400, "unknown_parameter", f"Unknown parameter: '{unknown[:80]}'.")
        if edit and not pictures.sources:
            raise Refusal(400, "missing_required_parameter", "Missing required parameter: 'images'.")
        if len(pictures.sources) > _MAX_PICTURES:
            raise Refusal(400, "array_above_max_length", f"Invalid 'images': array too long. Expected at most {_MAX_PICTURES}.")

    def model_names(self) -> Sequence[str]:
        """Return the names of the models."""
        return [model.name for model in get_provider(self.name).models]

    def answer(self, given: Answer, contents: Sequence[bytes]) -> tuple[Json, dict[str, str]]:
        """Return the answer with the pictures, and its further headers."""
        data = [{"b64_json": encoded(content)} for content in contents]
        return {"created": int(given.sandbox.clock()), "data": data, **given.about(), "usage": given.usage}, {}

    def parse(self, body: Json) -> Submission:
        """Parse a body."""
        model = self.model(body)
        prompt = prompt_of(body, model)
        quality = choice(body, "quality", model.qualities, "auto")
        form = choice(body, "output_format", model.formats, "png")
        alpha = choice(body, "background", model.backgrounds, "auto") == "transparent"
        choice(body, "moderation", model.moderations, "auto")
        choice(body, "complexity", ("low", "medium", "high"), "high")
        compression = None if is_absent(body, "output_compression") else number(body, "output_compression", 0, 100, 100)
        if (alpha and form == "jpeg") or (compression is not None and form not in model.compressible):
            raise Refusal(400, "invalid_value", f"output_format {form} supports no {'transparency' if alpha else 'output_compression'}")
        if number(body, "partial_images", 0, 3, 0) and not body.get("stream"):
            raise Refusal(400, "invalid_value", "partial_images is only supported when stream is true")
        count = number(body, "n", 1, 10, 1)
        return Submission(model.name, prompt, quality, _pixels(body, model, prompt), count, MIME_TYPES[form], alpha, compression)

    def model(self, body: Json) -> Model:
        """Return the model that a body names, also by a dated name; raises Refusal."""
        if is_absent(body, "model"):
            raise Refusal(400, "missing_required_parameter", "Missing required parameter: 'model'.")
        name = text(body, "model")
        try:
            return get_provider(self.name).model(name)
        except UnknownProvider:
            raise Refusal(404, "model_not_found", f"The model '{name}' does not exist or you do not have access to it.") from None

    async def read(self, sandbox: Sandbox, request: Request) -> tuple[Json, Pictures]:
        """Return the body with each picture replaced by its name, and those names. Raises Refusal."""
        raw, content_type = await request.body(), request.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            return await asyncio.to_thread(_of_form, sandbox, uploads.parts(raw, content_type))
        body = requests.json_or_text(raw)
        if not isinstance(body, dict):
            raise Refusal(400, "", "We could not parse the JSON body of your request.")
        return await asyncio.to_thread(_of_json, sandbox, self.prepared(body), request.headers.get("host", ""))

    def prepared(self, body: Json) -> Json:
        """Return a JSON body with its pictures where OpenAI has them."""
        return body

    def in_address(self, request: Request) -> Json:
        """Return the fields of the body that stand in the request's address. Raises Refusal."""
        return {}

    def new_id(self) -> str:
        """Return an id of the sandbox's own: OpenAI has none."""
        return f"img_{uuid.uuid4().hex[:24]}"

    def moderation_refusal(self) -> Refusal:
        """Return moderation's refusal of a prompt."""
        return Blocked("input")

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return HTTP status and body of a refusal, with type, param and code."""
        kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
        usual = (refusal.status, kind, refusal.code, refusal.message)
        status, kind, code, message = _REFUSALS.get(refusal.code, usual)
        error: Json = {"message": message, "type": kind, "param": None, "code": code or None}
        if isinstance(refusal, Blocked):
            error["type"] = "image_generation_user_error"
            error["moderation_details"] = {"moderation_stage": refusal.stage, "categories": ["violence"]}
        return status, {"error": error}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one accepted submission, which comes when its pictures are finished."""

    sandbox: Sandbox
    request: Request
    dialect: OpenAI
    task: Task
    usage: Json
    body: Json

    async def response(self, fault: str) -> Response:
        """Return the response; `fault` is that of the submission. Raises Refusal if the task fails."""
        if self.body.get("stream"):
            damage = synchronous.download_fault(self.sandbox, self.dialect, self.task)
            return StreamingResponse(self._events(damage), media_type="text/event-stream")
        await self._finished()
        damage = synchronous.download_fault(self.sandbox, self.dialect, self.task)
        contents = [] if fault == "no-task-id" else await synchronous.pictures(self.sandbox, self.task, damage)
        answer, headers = self.dialect.answer(self, contents)
        if fault:
            return fault_responses.answer(fault, answer)
        response = fault_responses.body(damage, json.dumps(answer).encode(), "application/json")
        response.headers.update(headers)
        return response

    async def _finished(self, fraction: float = 1.0) -> None:
        """Wait until the task is finished. Raises Refusal if it fails, ConnectionResetError if the client has gone."""
        view = await synchronous.wait(self.sandbox, self.request, self.dialect, self.task, fraction)
        if view is None:
            raise ConnectionResetError("the client has gone")
        if view.stage == "failed":
            failure = Refusal(500, "server_error", "The server had an error while processing your request. Sorry about that!")
            raise Blocked("output") if "failed-by-moderation" in view.shapes else failure

    async def _events(self, damage: str) -> AsyncIterator[bytes]:
        kind, partials = "image_edit" if self.task.sources else "image_generation", self.body.get("partial_images") or 0
        try:
            for index in range(partials):
                await self._finished((index + 1) / (partials + 1))
                content = await synchronous.partial(self.sandbox, self.task, index)
                yield self._event(f"{kind}.partial_image", content, partial_image_index=index)
            await self._finished()
        except Refusal as refusal:
            _, error = self.dialect.error_response(refusal, self.sandbox.clock())
            yield _event("error", {"type": "error", **error})
            return
        for content in () if damage == "cut-stream" else await synchronous.pictures(self.sandbox, self.task, damage):
            event = self._event(f"{kind}.completed", content, usage=self.usage)
            if damage in ("truncated", "dropped-download"):
                yield event[: len(event) // 2]
                if damage == "dropped-download":
                    raise ConnectionResetError("the sandbox broke this connection on purpose")
                return
            yield event

    def _event(self, name: str, content: bytes, **more: Any) -> bytes:
        created = int(self.sandbox.clock())
        return _event(name, {"type": name, "b64_json": encoded(content), "created_at": created, **self.about(), **more})

    def about(self) -> Json:
        """Return what the answer says of its pictures."""
        task, (width, height) = self.task, self.task.pixels
        quality = "low" if task.quality == "auto" else task.quality
        background = "transparent" if task.alpha else "opaque"
        form = task.mime_type.removeprefix("image/")
        return {"background": background, "output_format": form, "quality": quality, "size": f"{width}x{height}"}


def _event(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def encoded(content: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(content).decode()


def _usage(submission: Submission, pictures: int, partials: int) -> Json:
    """Return the tokens that a submission uses; a few characters of a prompt are one."""
    written, shown = max(1, len(submission.prompt) // 4), pictures * _REFERENCE_TOKENS
    made = timing.tokens(submission.quality, submission.pixels, submission.model) * submission.n + _PARTIAL_TOKENS * partials
    return {
        "input_tokens": written + shown,
        "input_tokens_details": {"text_tokens": written, "image_tokens": shown},
        "output_tokens": made,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
        "total_tokens": written + shown + made,
    }


def _dollars(usage: Json) -> float:
    given = usage["input_tokens_details"]
    return float(round((given["text_tokens"] * 5 + given["image_tokens"] * 8 + usage["output_tokens"] * 30) / 1_000_000, 6))


def _pixels(body: Json, model: Model, prompt: str) -> Pixels:
    size = text(body, "size", "auto")
    if size == "auto":
        return _AUTO[zlib.crc32(prompt.encode("utf-8", "replace")) % 3]
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()) or len(size) > 12:
        raise Refusal(400, "invalid_value", f"Invalid value: '{size[:40]}'. Supported values are: 'auto' and WIDTHxHEIGHT.")
    pixels = int(width), int(height)
    if pixels not in _AUTO and (not model.pixel_rule or (wrong := model.pixel_rule.violations(pixels))):
        raise Refusal(400, "invalid_value", f"Invalid size '{size}': {wrong[0] if model.pixel_rule else 'this model has three sizes'}")
    return pixels


# the pictures of a submission


def _of_form(sandbox: Sandbox, parts: Sequence[tuple[str, uploads.Part]]) -> tuple[Json, Pictures]:
    body: Json = {}
    sources: list[str] = []
    mask = ""
    for name, part in parts:
        name = name.removesuffix("[]")
        if part.file_name:
            kept = _stored(sandbox, part.content, part.mime_type)
            sources, mask = (sources, kept) if name.startswith("mask") else ([*sources, kept], mask)
        else:
            body[name] = _value(name, part.content.decode("utf-8", "replace"))
    return _with_pictures(sandbox, body, tuple(sources), mask)


def _value(name: str, text: str) -> Any:
    if name in _WHOLE_NUMBERS and text.isdecimal() and len(text) < 9:
        return int(text)
    return text == "true" if name == "stream" else text


def _of_json(sandbox: Sandbox, body: Json, host: str) -> tuple[Json, Pictures]:
    given = body.get("images") or []
    if not isinstance(given, list):
        raise Refusal(400, "invalid_type", "Invalid type for 'images': expected an array of objects.")
    sources = tuple(_named(sandbox, each, host) for each in given)
    return _with_pictures(sandbox, body, sources, _named(sandbox, body["mask"], host) if body.get("mask") else "")


def _with_pictures(sandbox: Sandbox, body: Json, sources: tuple[str, ...], mask: str) -> tuple[Json, Pictures]:
    if mask and sources:
        _check_mask(sandbox, sources[0], mask)
    shown = {"images": list(sources)} if sources else {}
    return {**body, **shown, **({"mask": mask} if mask else {})}, Pictures(sources, mask)


def _named(sandbox: Sandbox, given: Any, host: str) -> str:
    """Return the name of a picture that stands in JSON as a data: address or another one. Raises Refusal."""
    address = given.get("image_url") if isinstance(given, Mapping) else None
    if not isinstance(address, str):
        raise Refusal(400, "invalid_type", "Expected an object with an image_url.")
    head, _, content = address.partition(";base64,")
    if not address.startswith("data:"):
        (name,), _ = sandbox.references.of(Submission("", "", "", (1, 1), references=(address,)), host)
        return name
    try:
        return _stored(sandbox, base64.b64decode(content, validate=True), head.removeprefix("data:"))
    except binascii.Error:
        raise Refusal(400, "invalid_base64", "The image is no valid base64.") from None


def _stored(sandbox: Sandbox, content: bytes, mime_type: str) -> str:
    """Return the name of a stored picture. Raises Refusal for another type than its bytes, and for what is no picture."""
    if mime_type not in WEB_TYPES:
        supported = "', '".join(WEB_TYPES)
        words = f"unsupported mimetype ('{mime_type[:80]}'). Supported file formats are '{supported}'."
        raise Refusal(400, "unsupported_file_mimetype", f"Invalid file 'image': {words}")
    kept = sandbox.uploads.put(content)
    if kept is None or kept.mime_type not in WEB_TYPES:
        raise Refusal(400, "invalid_image_file", "Invalid image file or mode, please check your image file.")
    return f"upload/{kept.name}"


def _check_mask(sandbox: Sandbox, first: str, mask: str) -> None:
    facts, other = (sandbox.uploads.facts(name.removeprefix("upload/")) for name in (mask, first))
    if facts and (facts.mime_type != PNG.mime_type or not facts.alpha):
        raise Refusal(400, "invalid_image_file", "Invalid mask image format - mask should be in RGBA or LA mode.")
    if facts and other and (facts.width, facts.height) != (other.width, other.height):
        raise Refusal(400, "invalid_image_file", "Invalid mask image format - mask size does not match image size.")


DIALECT = OpenAI("openai")
