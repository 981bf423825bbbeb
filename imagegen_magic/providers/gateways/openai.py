"""OpenAI's Image API: /images/generations and /images/edits, as the `openai` package 3.57.0 and OpenAI's OpenAPI document have them.

It is synchronous: the answer carries the picture as base64. There is no task to ask for later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from imagegen_magic.errors import APIError, ContentRejected, ImageGenError, SubmissionUnknown, UnsupportedOption
from imagegen_magic.providers import image_answers, parameters, responses, sizes, urls
from imagegen_magic.providers.base import (
    Call,
    Failed,
    Model,
    Partial,
    Pixels,
    Provider,
    Rates,
    Submission,
    Succeeded,
    in_answer,
    standard_field_names,
)
from imagegen_magic.providers.gateways.openai_models import (
    EXPERIMENTAL,
    MAX_TOGETHER,
    MODELS,
    PARTIAL_TOKENS,
    RATES,
    REFERENCE_TOKENS,
    SNAPSHOTS,
)
from imagegen_magic.providers.gpt_image import output_tokens
from imagegen_magic.providers.usage import calculated
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

_SETTINGS = "https://platform.openai.com/settings/organization"
_RAISE_LIMIT = f"raise the limit at {_SETTINGS}/limits"
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_VERIFY = (
    f"verify the organization at {_SETTINGS}/general; access can take up to 15 minutes. "
    "Without verification, -p fal, -p openrouter, -p azure-openai and the gateways have GPT Image models, each with a key of its own"
)


class OpenAI(Provider):
    """OpenAI itself: GPT Image 2, 2.5 and 2.6."""

    name = "openai"
    title = "OpenAI"
    base_url = "https://api.openai.com/v1"
    key_variable = "OPENAI_API_KEY"
    docs_url = "https://developers.openai.com/api/docs/guides/image-generation"
    chosen_by_key = False
    version_segment = "/v1"
    synchronous = True
    submit_path = "/images/generations"
    edit_path: ClassVar[str] = "/images/edits"
    extra_headers: ClassVar[Mapping[str, str]] = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
    field_names: ClassVar[Mapping[str, str]] = {
        **standard_field_names("model", "prompt", "n", "size", "quality", "background", "moderation"),
        **standard_field_names("output_format", "output_compression"),
        "references": "images",
        "mask": "mask",
    }
    reserved_fields: ClassVar[Mapping[str, str]] = {"image": "references", "stream": "partials", "partial_images": "partials"}
    error_hints: ClassVar[Mapping[str, str]] = {
        "credit_balance_exhausted": f"add credit at {_SETTINGS}/billing",
        "insufficient_quota": f"add credit at {_SETTINGS}/billing",
        **dict.fromkeys(
            ("organization_spend_limit_exceeded", "project_spend_limit_exceeded", "organization_usage_limit_exceeded"), _RAISE_LIMIT
        ),
        "server_is_overloaded": "try again later",
    }
    models: ClassVar[tuple[Model, ...]] = MODELS
    rates: ClassVar[Rates] = RATES  # of every model here; the answer does not name its model

    def template_at(self, base_url: str) -> str:
        """Return what speaks at an address: OpenAI at its own hosts, also in a region, Azure at its own, else a compatible server.

        The sandbox on this machine is OpenAI.
        """
        parts = urls.split(base_url)
        host, path = ((parts.hostname or "").rstrip("."), parts.path.rstrip("/").removesuffix("/v1")) if parts else ("", "")
        if host.endswith(_AZURE):
            return "azure-openai"
        is_sandbox = path == "/openai" and (urls.is_sandbox(host) or urls.is_loopback(host))
        return "" if is_sandbox or host == "openai.com" or host.endswith(".openai.com") else "openai-compatible"

    def unlisted_model(self, name: str) -> Model | None:
        """Return the model of a dated name."""
        known = SNAPSHOTS.get(name.lower())
        return replace(self.model(known), name=name.lower()) if known else None

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission: an edit if there are references, a stream of events if there are partial pictures."""
        partials = _partials(request)
        given = {name: value for name, value in request.parameters.items() if name != "together" and (name != "partials" or partials)}
        values = parameters.placed(self.model(request.model).parameters, given)
        further = {name: value for name, value in self._further_fields(request).items() if name != "resolution"}  # the size has it
        body = {**self.payload(request, n), **values, **further, **({"stream": True} if partials else {})}
        path = self.edit_path if request.references else self.submit_path
        if request.references and self.model(request.model).references_as == "part":
            return Call("POST", path, form=_form(body), events=bool(partials))
        return Call("POST", path, body, events=bool(partials))

    def pictures_per_call(self, model: Model, request: ImageRequest) -> int:
        """Return 1, so that one lost answer loses one picture, unless they are requested together.

        Raises UnsupportedOption for pictures that are requested together and as a stream.
        """
        if not request.parameters.get("together"):
            return 1
        if _partials(request) and (request.n or 1) > 1:
            what = f"{self.name} {model.name} streams one picture of a request only"
            raise UnsupportedOption(what, option="together", value=True, fix={"together": None})
        return MAX_TOGETHER

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one submission, with a ratio as its pixels; pictures stand in it as data: or other addresses."""
        body = super().payload(replace(request, size=self._size(request)), n)
        if request.references:
            body["images"] = [{"image_url": each} for each in request.references]
        if request.mask:
            body["mask"] = {"image_url": request.mask}
        return body

    def _size(self, request: ImageRequest) -> str | None:
        """Return the size as pixels, or auto; an unchecked ratio has the pixels of the other models."""
        tiers = self.model(request.model).sizes.get(request.size or "") or MODELS[0].sizes.get(request.size or "", {})
        pixels = tiers.get(request.resolution or next(iter(tiers), ""))
        return f"{pixels[0]}x{pixels[1]}" if pixels else request.size

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return the price of one picture's tokens; unknown for size or quality auto, and for 2.6, whose tokens are not published."""
        name = SNAPSHOTS.get(request.model or "", request.model or "")
        if pixels is None or request.quality in (None, "auto") or request.quality not in self.model(name).qualities or "2.6" in name:
            return Cost()
        output = output_tokens(str(request.quality), pixels, name) + PARTIAL_TOKENS * _partials(request)
        pictures = len(request.references) * REFERENCE_TOKENS
        price = calculated(self.rates, image_output=output, image_input=pictures, text_input=len(request.prompt) // 4)
        return replace(price, kind="estimated", source=f"{self.rates.document}; tokens estimated")

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return what costs more than it seems, and what OpenAI calls experimental or a preview."""
        return tuple(self._warnings(model, request))

    def _warnings(self, model: Model, request: ImageRequest) -> Iterator[str]:
        partials, count = _partials(request), request.n or 1
        if partials:
            yield f"{partials} first views cost {PARTIAL_TOKENS * partials} output tokens a picture; fewer may come"
        if count > 1 and request.parameters.get("together"):
            yield f"{min(count, MAX_TOGETHER)} pictures are one request: if its answer is lost, all of them are"
        elif request.references and count > 1:
            yield f"{count} pictures are {count} requests: the input tokens of the references are charged {count} times"
        if any(width * height > EXPERIMENTAL for width, height in sizes.expected_pixels(model, request)[:1]):
            yield f"{self.title} calls sizes above 2560x1440 experimental"
        if request.background == "transparent" and SNAPSHOTS.get(model.name, model.name) == "gpt-image-2":
            yield f"a transparent background is a preview on {model.name}"

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the cost of the tokens that an answer or an event reports, by OpenAI's price list."""
        return image_answers.token_cost(self.rates, task.get("usage"))

    def read_submission(self, answer: Any) -> Submission:
        """Read the answer, which is the result; raises the refusal, or SubmissionUnknown if there is no picture in it."""
        if responses.is_error(answer):
            raise self.read_error(0, answer)
        found = image_answers.pictures_in(answer)
        if not found:
            what = f"{self.title} answered without a picture: {responses.excerpt(answer)}"
            raise SubmissionUnknown(what, blame="gateway", hint=f"check the usage page of {self.title} before you run this again")
        cost = self.cost(answer)
        return Submission("", cost, finished=Succeeded(found, cost=cost, text=image_answers.revised_prompts(answer)))

    def read_event(self, name: str, data: Any) -> Partial | Succeeded | Failed | None:
        """Read `image_generation.partial_image` and `.completed`, those of an edit, and an error in the stream."""
        event = data if isinstance(data, Mapping) else {}
        kind = str(event.get("type") or name)
        if kind == "error" or event.get("error"):
            return Failed(self._staged(self._failure(data, "failed"), data))
        if not isinstance(event.get("b64_json"), str):
            return None
        if kind.endswith(".partial_image"):
            return Partial(in_answer("b64_json"), int(responses.number(event.get("partial_image_index")) or 0))
        return Succeeded((in_answer("b64_json"),), cost=self.cost(event)) if kind.endswith(".completed") else None

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error, with the stage and categories of a moderation, and what to do about a missing verification."""
        error = super().read_error(status, answer)
        if isinstance(error, APIError) and "must be verified" in responses.error_details(answer).message:
            return type(error)(error.what, status=error.status, code=error.code, request_id=error.request_id, blame="you", hint=_VERIFY)
        return self._staged(error, answer)

    def _staged(self, error: ImageGenError, answer: Any) -> ImageGenError:
        """Return a moderation's refusal with its stage and categories; it is unknown whether one of the result was charged."""
        details = image_answers.moderation_details(answer)
        if not isinstance(error, ContentRejected) or not details:
            return error
        stage = responses.code_of(details.get("moderation_stage")) or "unknown"
        named = details.get("categories")
        categories = ", ".join(responses.one_line(str(each)) for each in named) if isinstance(named, list) else ""
        where = {"input": "the prompt or a reference", "output": "the finished picture"}.get(stage, "an unknown stage")
        what = f"{error.what} (refused: {where}{f'; categories: {categories}' if categories else ''})"
        return ContentRejected(what, charge="no" if stage == "input" else "unknown")


def _form(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of an edit as a form; every picture in it is a file of this machine."""
    pictures = [each["image_url"] for each in body["images"]]
    mask = {"mask": body["mask"]["image_url"]} if body.get("mask") else {}
    texts = form_texts({name: value for name, value in body.items() if name not in ("images", "mask")})
    return {**texts, "image[]": pictures, **mask}


def form_texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of JSON fields as a form has them."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}


def _partials(request: ImageRequest) -> int:
    return int(request.parameters.get("partials") or 0)
