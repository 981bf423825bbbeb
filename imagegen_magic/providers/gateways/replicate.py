"""Replicate, as its pages "HTTP API" and "Prediction lifecycle" say: https://replicate.com/docs, and replicate 1.0.7.

A task is a prediction. Its input, output and files are deleted an hour after it is completed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.errors import ContentRejected, ImageGenError, PictureMissing, TaskFailed
from imagegen_magic.providers import parameters, responses, schemas
from imagegen_magic.providers.base import Call, Failed, ListedTask, Model, Pending, Pixels, PollingPolicy, Provider, Succeeded, TaskState
from imagegen_magic.providers.gateways.replicate_models import (
    CUSTOM,
    MODELS,
    PRICE_PAGE,
    PRICES,
    PRICES_CHECKED,
    REFERENCES,
    REWRITES,
    SIZE_FIELD,
    unlisted,
)
from imagegen_magic.providers.validation import no_callback
from imagegen_magic.request import ImageRequest, Size
from imagegen_magic.result import Cost

_NAME = r"[\w.-]+/[\w.-]+(:[0-9a-f]{8,64})?"
_PERCENT = re.compile(r"(\d{1,3})%\|")
_SENSITIVE = re.compile(r"(?i)flagged as sensitive|\(E005\)|nsfw")
_HOUR = 3600.0
_OPTIONS = frozenset(
    {"prompt", "aspect_ratio", "size", "resolution", "width", "height", "output_format", "output_quality", "quality", "background"}
    | {"moderation", "num_outputs", "number_of_images", "image_input", "input_images", "images"}
)


class Replicate(Provider):
    """Replicate's predictions: any of its image models, one picture a task."""

    name, title = "replicate", "Replicate"
    base_url, key_variable = "https://api.replicate.com", "REPLICATE_API_TOKEN"
    version_segment = "/v1"
    docs_url = "https://replicate.com/docs"
    chosen_by_key = False
    polling = PollingPolicy(min_interval=1.0, initial_delay=1.0)
    task_path = "/predictions/{}"
    list_path, list_seconds = "/predictions", _HOUR
    input_field = "input"
    field_names: ClassVar[Mapping[str, str]] = {
        **{name: name for name in ("prompt", "quality", "background", "moderation", "output_format")},
        "output_compression": "output_quality",
        "references": "input_images",
        "mask": "mask",
    }
    reserved_fields: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("aspect_ratio", "width", "height"), "size"),
        **dict.fromkeys(("num_outputs", "number_of_images"), "n"),
        "image_input": "references",
    }
    models = MODELS

    def unlisted_model(self, name: str) -> Model | None:
        """Return any other model by its name, `owner/name` or `owner/name:version`."""
        return unlisted(name) if re.fullmatch(_NAME, name) else None

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission to the model, or to a version of it."""
        model = self.model(request.model)
        if request.callback_url:
            raise no_callback(f"{self.name} {model.name}", request.callback_url)
        values = parameters.placed(model.parameters, request.parameters)
        fields = {**self.payload(request, n), **_size(model, request), **values}
        name, _, version = model.name.partition(":")
        if version:
            return Call("POST", "/predictions", {"version": version, "input": fields})
        return Call("POST", f"/models/{quote(name)}/predictions", {"input": fields})

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the fields but the size; most models call JPEG jpg, and each has its own name for references."""
        body, name = super().payload(request, n), request.model or ""
        if body.get("output_format") == "jpeg" and not name.startswith("openai/"):
            body["output_format"] = "jpg"
        if references := body.pop("input_images", None):
            body[REFERENCES.get(name, "input_images")] = references
        if "output_quality" in body and name.startswith("openai/"):
            body["output_compression"] = body.pop("output_quality")
        return body

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return what one picture costs by Replicate's page; unknown for most models."""
        amount = PRICES.get(request.model or "")
        return Cost() if amount is None else Cost(amount, "USD", "estimated", PRICE_PAGE, PRICES_CHECKED)

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return the warnings that a model rewrites the prompt, and that a seed is not repeated exactly."""
        found = []
        if (switch := REWRITES.get(model.name)) and request.parameters.get(switch[0]) != switch[1]:
            found.append(f"{model.name} may rewrite the prompt: --set {switch[0]}={switch[1]} has it drawn as it is")
        if "go_fast" in model.parameters and "seed" in request.parameters and request.parameters.get("go_fast") is not False:
            found.append("with go_fast the same seed may give another picture: --set go_fast=false makes it repeatable")
        return found

    def read_task(self, answer: Any) -> TaskState:
        """Read the answer to a poll: a prediction."""
        status = responses.status_of(answer.get("status")) if isinstance(answer, Mapping) else ""
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
        completed, metrics = _epoch(task.get("completed_at")), task.get("metrics")
        seconds = responses.seconds(metrics.get("predict_time")) if isinstance(metrics, Mapping) else None
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
        results = answer.get("results") if isinstance(answer, Mapping) else None
        if not isinstance(results, list):
            raise self._unreadable(answer)
        return [listed for each in results if isinstance(each, Mapping) and (listed := _listed(each))]

    def cancel_call(self, task_id: str) -> Call:
        """Return the request that cancels a prediction."""
        return Call("POST", f"/predictions/{quote(task_id, safe='')}/cancel")

    def read_cancel(self, answer: Any) -> str:
        """Read the answer to `cancel_call`: one that never began is cancelled and free, another may be charged."""
        status = responses.status_of(answer.get("status")) if isinstance(answer, Mapping) else ""
        if status == "aborted" or (status == "canceled" and not answer.get("started_at")):
            return "cancelled"
        return {"canceled": "running", "succeeded": "finished", "failed": "finished"}.get(status, "unknown")

    def schema_call(self, name: str) -> Call | None:
        """Return the request for a model, or for a version of it, with its OpenAPI document; None for what cannot be one."""
        if not re.fullmatch(_NAME, name):
            return None
        model, _, version = name.partition(":")
        return Call("GET", f"/models/{quote(model)}{f'/versions/{version}' if version else ''}")

    def read_schema(self, name: str, answer: Any) -> Model | None:
        """Read the OpenAPI document of a model's latest version, or of a version; None if it takes no prompt."""
        document = schemas.schema_of(answer, "latest_version", "openapi_schema") or schemas.schema_of(answer, "openapi_schema")
        definitions = schemas.schema_of(document, "components", "schemas")
        properties = schemas.schema_of(definitions, "Input", "properties")
        if "prompt" not in properties:
            return None
        formats = schemas.resolved(properties.get("output_format"), definitions).get("enum", ())
        named = tuple({"jpg": "jpeg"}.get(each, each) for each in formats if isinstance(each, str))
        qualities = schemas.resolved(properties.get("quality"), definitions).get("enum", ())
        references = 16 if {"input_images", "image_input", "images"} & set(properties) else 0
        learnt = schemas.parameters_of(properties, definitions, _OPTIONS)
        return unlisted(name, learnt, formats=named, qualities=tuple(qualities), max_references=references)


def _size(model: Model, request: ImageRequest) -> dict[str, Any]:
    """Return the fields of a size: exact pixels where the model takes them, else the name of a ratio."""
    size, tier = Size.parse(request.size or "auto"), (request.resolution or "").upper()
    if size.kind == "auto":
        return {"resolution" if not model.strict else "size": tier} if tier else {}
    exact = size.kind == "pixels" or model.pixels_documented
    tiers = model.sizes.get(str(size), {})
    width, height = (size.width, size.height) if size.kind == "pixels" else tiers.get(request.resolution or next(iter(tiers), ""), (0, 0))
    if exact and model.name in CUSTOM:
        return {**CUSTOM[model.name], "width": width, "height": height}
    if exact and model.name in SIZE_FIELD:
        return {SIZE_FIELD[model.name]: f"{width}x{height}"}
    resolution = {"resolution": tier} if tier and not model.strict else {}
    return {**({"width": width, "height": height} if size.kind == "pixels" else {"aspect_ratio": str(size)}), **resolution}


def _listed(prediction: Mapping[str, Any]) -> ListedTask | None:
    """Return a listed prediction; None if it has no id, no time, or its input is deleted."""
    created, given = _epoch(prediction.get("created_at")), prediction.get("input")
    prompt = given.get("prompt") if isinstance(given, Mapping) else None
    if created is None or not isinstance(prompt, str) or not (name := responses.task_id(prediction)):
        return None
    return ListedTask(name, str(prediction.get("model", "")), prompt, None, created)


def _epoch(text: Any) -> float | None:
    """Return a time like 2026-11-30T12:00:00.123Z as epoch seconds, else None."""
    try:
        return responses.epoch_seconds(datetime.fromisoformat(text).timestamp()) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None
