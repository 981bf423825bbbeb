"""fal, as its pages "Queue" and "Errors" say: https://fal.ai/docs, and fal-client 1.0.3.

A task's id is the part `owner/app/requests/ID` of the status address in the answer: for polls, results and cancelling the model's
path is left out. Only the path of an answered address is used, so that the key goes to the queue's own host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.errors import ContentRejected, ImageGenError, PictureMissing, TaskFailed
from imagegen_magic.providers import moderation, parameters, responses, urls
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.calls import Call, Elsewhere, Failed, Pending, PollingPolicy, Submission, Succeeded, TaskState
from imagegen_magic.providers.gateways import fal_models
from imagegen_magic.providers.model import Model, Pixels
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

_NAME = r"[\w.-]+(/[\w.-]+)+"
_REQUEST = r"/((?:(?:workflows|comfy)/)?\w[\w.~-]*/\w[\w.~-]*/requests/\w[\w.~-]*)(/response)?(?:/status)?/?$"
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
    task_path, cancel_path, cancel_method, task_id_marks = "/{}/status", "/{}/cancel", "PUT", "/"
    cancel_outcomes: ClassVar[Mapping[str, str]] = {"ok": "cancelled", "cancellation_requested": "running", "already_completed": "finished"}
    field_names: ClassVar[Mapping[str, str]] = fal_models.FIELD_NAMES
    reserved_fields: ClassVar[Mapping[str, str]] = fal_models.RESERVED_FIELDS
    models = fal_models.MODELS

    def unlisted_model(self, name: str) -> Model | None:
        """Return any other endpoint by its name, `owner/app` and perhaps a path."""
        return fal_models.unlisted(name) if re.fullmatch(_NAME, name) else None

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission to the model's endpoint, or to its edit endpoint if there are references."""
        model = self.model(request.model)
        endpoint = fal_models.EDITS.get(model.name, model.name) if request.references else model.name
        values = parameters.placed(model.parameters, request.parameters)
        return Call("POST", f"/{quote(endpoint)}", {**self.payload(request, n), **fal_models.size_fields(model, request), **values})

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the fields but the size; a model that takes one reference takes its address alone."""
        body = super().payload(request, n)
        if self.model(request.model).max_references == 1 and request.references:
            body["image_url"] = body.pop("image_urls")[0]
        return body

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return what one picture costs by fal's list; unknown for models that are not listed."""
        return fal_models.price(self.model(request.model), request, pixels)

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return the warning that a model rewrites the prompt by default."""
        return fal_models.warnings(model, request)

    def read_submission(self, answer: Any) -> Submission:
        """Read the answer to a submission, whose status address names the task."""
        found = _request(answer, "status_url") or _request(answer, "response_url")
        return Submission(found[1]) if found else super().read_submission(answer)

    def read_task(self, answer: Any) -> TaskState:
        """Read the answer to a poll; a finished task's result is the answer to a second call."""
        status = responses.status_in(answer)
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
        images, image, seed, flags = (responses.value_at(answer, name) for name in ("images", "image", "seed", "has_nsfw_concepts"))
        found = self._image_urls([images, image])
        if not found and responses.is_error(answer):
            return Failed(self.read_error(0, answer))
        if not found:
            return Failed(PictureMissing(f"fal says completed and names no picture: {responses.excerpt(answer)}"))
        flagged = any(each is True for each in (flags if isinstance(flags, list) else [flags]))
        text = "fal's safety checker flagged this picture, and may have blackened it" if flagged else ""
        seconds = responses.seconds(responses.value_at(answer, "timings", "inference"))
        return Succeeded(found, seconds=seconds, seeds=(seed,) if type(seed) is int else (), text=text)

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error of an HTTP answer; what was refused with 422 may be charged, by fal's own page."""
        error = moderation.with_categories(super().read_error(status, answer), answer)
        if status == 422:
            error.charge = "unknown"
        return error

    def schema_call(self, name: str) -> Call | None:
        """Return the request for the OpenAPI document of an endpoint; None for what cannot be one."""
        if not re.fullmatch(_NAME, name):
            return None
        return Call("GET", f"https://fal.ai/api/openapi/queue/openapi.json?endpoint_id={quote(name, safe='')}")

    def read_schema(self, name: str, answer: Any) -> Model | None:
        """Read the OpenAPI document of an endpoint; None if it takes no prompt."""
        return fal_models.learnt(name, answer)


def _request(answer: Any, name: str) -> re.Match[str] | None:
    """Return the task's part of an answered address, and what follows it."""
    parts = urls.split(responses.value_at(answer, name))
    return re.search(_REQUEST, parts.path) if parts else None
