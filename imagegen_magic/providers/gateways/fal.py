"""fal, as its pages "Queue" and "Errors" say: https://fal.ai/docs, and fal-client 1.0.3.

A task's id is the part `owner/app/requests/ID` of the status address in the answer: for polls, results and cancelling the model's
path is left out. Only the path of an answered address is used, so that the key goes to the queue's own host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.errors import ContentRejected, ImageGenError, InsufficientBalance, PictureMissing, TaskFailed
from imagegen_magic.providers import parameters, responses, schemas, urls
from imagegen_magic.providers.base import (
    Call,
    Elsewhere,
    Failed,
    Model,
    Pending,
    Pixels,
    PollingPolicy,
    Provider,
    Submission,
    Succeeded,
    TaskState,
)
from imagegen_magic.providers.gateways.fal_models import EDITS, MODELS, REWRITES, dollars, unlisted
from imagegen_magic.providers.validation import no_callback
from imagegen_magic.request import ImageRequest, Size
from imagegen_magic.result import Cost

_NAME = r"[\w.-]+(/[\w.-]+)+"
_REQUEST = r"/((?:(?:workflows|comfy)/)?\w[\w.~-]*/\w[\w.~-]*/requests/\w[\w.~-]*)(/response)?(?:/status)?/?$"
_PRESETS = {"1:1": "square_hd", "4:3": "landscape_4_3", "3:4": "portrait_4_3", "16:9": "landscape_16_9", "9:16": "portrait_16_9"}
_OPTIONS = frozenset(
    {"prompt", "image_size", "aspect_ratio", "resolution", "quality", "output_format", "num_images", "image_url", "image_urls"}
    | {"mask_url", "sync_mode"}
)
_FREE = re.compile(r"runner_|(request|startup)_timeout|internal_error")  # errors of HTTP 5xx, which fal never charges


class Fal(Provider):
    """fal's queue: any of its image models; one picture a task; a request with references goes to the model's edit endpoint."""

    name, title = "fal", "fal"
    base_url, key_variable = "https://queue.fal.run", "FAL_KEY"
    docs_url = "https://fal.ai/docs"
    key_header: ClassVar[tuple[str, str]] = ("Authorization", "Key {}")
    key_hosts: ClassVar[tuple[str, ...]] = ("fal.ai",)
    chosen_by_key = False
    polling = PollingPolicy(min_interval=1.0, initial_delay=1.0)
    field_names: ClassVar[Mapping[str, str]] = {
        **{name: name for name in ("prompt", "quality", "background", "moderation", "output_format", "output_compression")},
        "references": "image_urls",
        "mask": "mask_url",
    }
    reserved_fields: ClassVar[Mapping[str, str]] = {
        "image_size": "size",
        "aspect_ratio": "size",
        "resolution": "resolution",
        "image_url": "references",
        "num_images": "n",
    }
    models = MODELS

    def unlisted_model(self, name: str) -> Model | None:
        """Return any other endpoint by its name, `owner/app` and perhaps a path."""
        return unlisted(name) if re.fullmatch(_NAME, name) else None

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission to the model's endpoint, or to its edit endpoint if there are references."""
        model = self.model(request.model)
        endpoint = EDITS.get(model.name, model.name) if request.references else model.name
        if request.callback_url:
            raise no_callback(f"{self.name} {model.name}", request.callback_url)
        values = parameters.placed(model.parameters, request.parameters)
        return Call("POST", f"/{quote(endpoint)}", {**self.payload(request, n), **_size(model, request), **values})

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the fields but the size; a model that takes one reference takes its address alone."""
        body = super().payload(request, n)
        if self.model(request.model).max_references == 1 and request.references:
            body["image_url"] = body.pop("image_urls")[0]
        return body

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return what one picture costs by fal's list, by megapixels, resolution, or OpenAI's count of tokens; unknown for other models."""
        model = self.model(request.model)
        if (amount := dollars(request, model.name, pixels)) is None:
            return Cost()
        source = f"fal's list price: {model.document}"
        return Cost(amount, "USD", "estimated", source, model.checked, unknown=1 if request.references and model.mask else 0)

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return the warning that a model rewrites the prompt by default."""
        switch = REWRITES.get(model.name)
        if switch is None or request.parameters.get(switch) is False:
            return ()
        return (f"{model.name} rewrites the prompt: --set {switch}=false has it drawn as it is",)

    def read_submission(self, answer: Any) -> Submission:
        """Read the answer to a submission, whose status address names the task."""
        found = next(filter(None, (_request(answer, name) for name in ("status_url", "response_url"))), None)
        return Submission(found[1]) if found else super().read_submission(answer)

    def task_call(self, task_id: str) -> Call:
        """Return the poll of one task."""
        return Call("GET", f"/{quote(task_id, safe='/')}/status")

    def read_task(self, answer: Any) -> TaskState:
        """Read the answer to a poll; a finished task's result is the answer to a second call."""
        status = responses.status_of(answer.get("status")) if isinstance(answer, Mapping) else ""
        if status == "in_queue":
            position = responses.number(answer.get("queue_position"))
            return Pending(status if position is None else f"in_queue, position {position:.0f}", queued=True)
        if status == "in_progress":
            return Pending(status)
        if status == "completed" and answer.get("error"):
            return Failed(self._failed(answer))
        if status == "completed" and (found := _request(answer, "response_url") or _request(answer, "status_url")):
            return Elsewhere(Call("GET", f"/{found[1]}{found[2] or ''}"))
        raise self._unreadable(answer)

    def _failed(self, answer: Mapping[str, Any]) -> ImageGenError:
        details = responses.ErrorDetails(responses.message_of(answer["error"]), responses.code_of(answer.get("error_type")))
        if details.is_moderation():
            return ContentRejected(f"fal refused the content: {details.reason}", charge="unknown")
        what = f"fal could not make it: {details.reason}{f' [{details.code}]' if details.code not in details.reason else ''}"
        return TaskFailed(what, charge="no", hint="", retry=True) if _FREE.match(details.code) else TaskFailed(what)

    def read_result(self, answer: Any) -> TaskState:
        """Read a finished task's result: the pictures' addresses and the seed."""
        result = answer if isinstance(answer, Mapping) else {}
        found = tuple(self._image_urls([result.get("images"), result.get("image")]))
        if not found and responses.is_error(answer):
            return Failed(self.read_error(0, answer))
        if not found:
            return Failed(PictureMissing(f"fal says completed and names no picture: {responses.excerpt(answer)}"))
        timings, seed, flags = (result.get(name) for name in ("timings", "seed", "has_nsfw_concepts"))
        seconds = responses.seconds(timings.get("inference")) if isinstance(timings, Mapping) else None
        flagged = "fal's safety checker flagged this picture, and may have blackened it" if _any(flags) else ""
        seeds = (seed,) if isinstance(seed, int) and not isinstance(seed, bool) else ()
        return Succeeded(found, seconds=seconds, seeds=seeds, text=flagged)

    def cancel_call(self, task_id: str) -> Call:
        """Return the request that cancels a task."""
        return Call("PUT", f"/{quote(task_id, safe='/')}/cancel")

    def read_cancel(self, answer: Any) -> str:
        """Read the answer to `cancel_call`: what was removed from the queue is cancelled, what runs is only asked to stop."""
        status = responses.status_of(answer.get("status")) if isinstance(answer, Mapping) else ""
        return {"ok": "cancelled", "cancellation_requested": "running", "already_completed": "finished"}.get(status, "unknown")

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error of an HTTP answer; what was refused with 422 may be charged, by fal's own page."""
        error = super().read_error(status, answer)
        if isinstance(error, ContentRejected) and (categories := _categories(answer)):
            error = ContentRejected(f"{error.what} ({', '.join(categories)})")
        if status == 422:
            error.charge = "unknown"
        return error

    def _refusal(self, details: responses.ErrorDetails, status: int) -> ImageGenError | None:
        if status == 403 and re.search(r"(?i)exhausted balance|top up your balance", details.message):
            return self._error(InsufficientBalance, status, details)
        return super()._refusal(details, status)

    def schema_call(self, name: str) -> Call | None:
        """Return the request for the OpenAPI document of an endpoint; None for what cannot be one."""
        if not re.fullmatch(_NAME, name):
            return None
        return Call("GET", f"https://fal.ai/api/openapi/queue/openapi.json?endpoint_id={quote(name, safe='')}")

    def read_schema(self, name: str, answer: Any) -> Model | None:
        """Read the OpenAPI document of an endpoint; None if it takes no prompt."""
        definitions = schemas.schema_of(answer, "components", "schemas")
        body = schemas.schema_of(answer, "paths", f"/{name}", "post", "requestBody", "content", "application/json", "schema")
        properties = schemas.resolved(body, definitions).get("properties", {})
        if "prompt" not in properties:
            return None
        formats = schemas.resolved(properties.get("output_format"), definitions).get("enum", ())
        qualities = schemas.resolved(properties.get("quality"), definitions).get("enum", ())
        references = 16 if "image_urls" in properties else 1 if "image_url" in properties else 0
        learnt = schemas.parameters_of(properties, definitions, _OPTIONS)
        known: dict[str, Any] = {"formats": tuple(formats), "qualities": tuple(qualities), "max_references": references}
        return unlisted(name, learnt, **known, **({} if "image_size" in properties else {"pixel_rule": None}))


def _size(model: Model, request: ImageRequest) -> dict[str, Any]:
    """Return the fields of a size: exact pixels, or a ratio where the model takes only those."""
    size = Size.parse(request.size or "auto")
    if not model.strict:
        return _unlisted_size(model, request, size)
    if model.pixel_rule is None:
        return {"aspect_ratio": request.size, "resolution": (request.resolution or "1k").upper()}
    if size.kind == "auto":
        return {"image_size": "auto"}
    tiers = model.sizes.get(str(size), {})
    width, height = tiers[request.resolution or next(iter(tiers))] if size.kind == "ratio" else (size.width, size.height)
    return {"image_size": {"width": width, "height": height}}


def _unlisted_size(model: Model, request: ImageRequest, size: Size) -> dict[str, Any]:
    """Return the fields of a size that was requested of a model which is not listed; none for size auto."""
    resolution = {"resolution": request.resolution.upper()} if request.resolution else {}
    if size.kind == "auto":
        return resolution
    if size.kind == "pixels":
        return {"image_size": {"width": size.width, "height": size.height}, **resolution}
    preset = _PRESETS.get(str(size)) if model.pixel_rule else None
    return {**({"image_size": preset} if preset else {"aspect_ratio": str(size)}), **resolution}


def _request(answer: Any, name: str) -> re.Match[str] | None:
    """Return the task's part of an answered address, and what follows it."""
    address = answer.get(name) if isinstance(answer, Mapping) else None
    parts = urls.split(address)
    return re.search(_REQUEST, parts.path) if parts else None


def _categories(answer: Any) -> list[str]:
    """Return the categories of a refusal, wherever an item of `detail` has them."""
    details = answer.get("detail") if isinstance(answer, Mapping) else None
    items = [each for each in details if isinstance(each, Mapping)] if isinstance(details, list) else []
    levels = [level for each in items for level in (each, each.get("ctx")) if isinstance(level, Mapping)]
    named = [name for level in levels if isinstance(level.get("categories"), list) for name in level["categories"]]
    return [responses.one_line(name) for name in named if isinstance(name, str)]


def _any(flags: Any) -> bool:
    return any(each is True for each in flags) if isinstance(flags, list) else flags is True
