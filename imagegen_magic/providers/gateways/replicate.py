"""Replicate, as its pages "HTTP API" and "Prediction lifecycle" say: https://replicate.com/docs, and replicate 1.0.7.

A task is a prediction. Its input, output and files are deleted an hour after it is completed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.errors import ContentRejected, ImageGenError, PictureMissing, TaskFailed
from imagegen_magic.providers import parameters, responses
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.calls import Call, Failed, ListedTask, Pending, PollingPolicy, Succeeded, TaskState
from imagegen_magic.providers.gateways import replicate_models
from imagegen_magic.providers.model import Model, Pixels
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

_NAME = r"[\w.-]+/[\w.-]+(:[0-9a-f]{8,64})?"
_PERCENT = re.compile(r"(\d{1,3})%\|")
_SENSITIVE = re.compile(r"(?i)flagged as sensitive|\(E005\)|nsfw")
_HOUR = 3600.0


class Replicate(Provider):
    """Replicate's predictions: any of its image models, one picture a task."""

    name, title = "replicate", "Replicate"
    base_url, key_variable = "https://api.replicate.com", "REPLICATE_API_TOKEN"
    version_segment = "/v1"
    docs_url = "https://replicate.com/docs"
    chosen_by_key = False
    polling = PollingPolicy(min_interval=1.0, initial_delay=1.0)
    task_path, cancel_path = "/predictions/{}", "/predictions/{}/cancel"
    cancel_outcomes: ClassVar[Mapping[str, str]] = replicate_models.CANCEL_OUTCOMES
    list_path, list_seconds = "/predictions", _HOUR
    keeps_seconds, submits_per_minute = _HOUR, 600
    input_field = "input"
    field_names: ClassVar[Mapping[str, str]] = replicate_models.FIELD_NAMES
    reserved_fields: ClassVar[Mapping[str, str]] = replicate_models.RESERVED_FIELDS
    models = replicate_models.MODELS

    def unlisted_model(self, name: str) -> Model | None:
        """Return any other model by its name, `owner/name` or `owner/name:version`."""
        return replicate_models.unlisted(name) if re.fullmatch(_NAME, name) else None

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission to the model, or to a version of it."""
        model = self.model(request.model)
        values = parameters.placed(model.parameters, request.parameters)
        fields = {**self.payload(request, n), **replicate_models.size_fields(model, request), **values}
        name, _, version = model.name.partition(":")
        if version:
            return Call("POST", "/predictions", {"version": version, "input": fields})
        return Call("POST", f"/models/{quote(name)}/predictions", {"input": fields})

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the fields but the size; most models call JPEG jpg, and each has its own name for references."""
        return replicate_models.named(request.model or "", super().payload(request, n))

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return what one picture costs by Replicate's page; unknown for most models."""
        return replicate_models.price(request.model or "")

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return the warnings that a model rewrites the prompt, and that a seed is not repeated exactly."""
        return replicate_models.warnings(model, request)

    def read_task(self, answer: Any) -> TaskState:
        """Read the answer to a poll: a prediction."""
        status = responses.status_in(answer)
        if status in ("starting", "processing", "queued"):
            found = _PERCENT.findall(str(answer.get("logs") or ""))
            fraction = responses.fraction(found[-1]) if found else None
            return Pending(status, fraction, queued=status != "processing" and not answer.get("started_at"))
        if status in ("canceled", "cancelled", "aborted", "failed"):
            return Failed(self._ended(answer, status))
        if status != "succeeded":
            raise self._unreadable(answer)
        found_urls = self._image_urls([answer.get("output")])
        if found_urls:
            return self._succeeded(answer, found_urls)
        gone = answer.get("data_removed") is True
        what = "Replicate has deleted the picture, an hour after it was made" if gone else "Replicate says succeeded and names no picture"
        return Failed(PictureMissing(f"{what}: {responses.excerpt(answer)}"))

    def _succeeded(self, task: Mapping[str, Any], found: tuple[str, ...]) -> Succeeded:
        completed = responses.iso_seconds(task.get("completed_at"))
        seconds = responses.seconds(responses.value_at(task, "metrics", "predict_time"))
        expires = None if completed is None else completed + _HOUR
        return replace(super()._succeeded({}, found), expires_at=expires, seconds=seconds)

    def _ended(self, answer: Mapping[str, Any], status: str) -> ImageGenError:
        reason = responses.message_of(answer.get("error")) or "no reason given"
        if status == "aborted" or (status != "failed" and not answer.get("started_at")):
            return TaskFailed(f"Replicate ended it before it began ({status})", charge="no", hint="", retry=True)
        if status != "failed":
            return TaskFailed(f"It was cancelled at Replicate while it ran ({status})")
        if _SENSITIVE.search(reason) or responses.ErrorDetails(reason).is_moderation():
            return ContentRejected(f"Replicate refused the content: {reason}", charge="unknown")
        return TaskFailed(f"Replicate could not make it: {reason}")

    def read_list(self, answer: Any) -> list[ListedTask]:
        """Read the list of the latest predictions: their models, prompts and times. Raises APIError if it is unreadable."""
        results = responses.value_at(answer, "results")
        if not isinstance(results, list):
            raise self._unreadable(answer)
        return [replace(each, size=None) for each in super().read_list(results) if each.prompt is not None]

    def read_cancel(self, answer: Any) -> str:
        """Read the answer to `cancel_call`: one that never began is cancelled and free, another may be charged."""
        never_began = responses.status_in(answer) == "canceled" and not answer.get("started_at")
        return "cancelled" if never_began else super().read_cancel(answer)

    def schema_call(self, name: str) -> Call | None:
        """Return the request for a model, or for a version of it, with its OpenAPI document; None for what cannot be one."""
        if not re.fullmatch(_NAME, name):
            return None
        model, _, version = name.partition(":")
        return Call("GET", f"/models/{quote(model)}{f'/versions/{version}' if version else ''}")

    def read_schema(self, name: str, answer: Any) -> Model | None:
        """Read the OpenAPI document of a model's latest version, or of a version; None if it takes no prompt."""
        return replicate_models.learnt(name, answer)
