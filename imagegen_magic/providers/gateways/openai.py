"""OpenAI's Image API: /images/generations and /images/edits, as the `openai` package 3.57.0 and OpenAI's OpenAPI document have them.

It is synchronous: the answer carries the picture as base64. There is no task to ask for later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from imagegen_magic.errors import APIError, ImageGenError, SubmissionUnknown, UnsupportedOption
from imagegen_magic.providers import image_answers, moderation, parameters, responses, sizes
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.calls import Call, Failed, Partial, Submission, Succeeded, in_answer
from imagegen_magic.providers.gateways import openai_models
from imagegen_magic.providers.model import Model, Pixels, Rates
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost


class OpenAI(Provider):
    """OpenAI itself: GPT Image 2, 2.5 and 2.6."""

    name, title = "openai", "OpenAI"
    base_url, key_variable = "https://api.openai.com/v1", "OPENAI_API_KEY"
    docs_url = "https://developers.openai.com/api/docs/guides/image-generation"
    chosen_by_key, synchronous = False, True
    version_segment = "/v1"
    submit_path, edit_path = "/images/generations", "/images/edits"
    extra_headers: ClassVar[Mapping[str, str]] = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
    field_names: ClassVar[Mapping[str, str]] = openai_models.FIELD_NAMES
    reserved_fields: ClassVar[Mapping[str, str]] = {"image": "references", "stream": "partials", "partial_images": "partials"}
    error_hints: ClassVar[Mapping[str, str]] = openai_models.HINTS
    models: ClassVar[tuple[Model, ...]] = openai_models.MODELS
    rates: ClassVar[Rates] = openai_models.RATES  # of every model here; the answer does not name its model

    def template_at(self, base_url: str) -> str:
        """Return what speaks at an address: OpenAI at its own hosts, Azure at its own, else a compatible server."""
        return openai_models.service_at(base_url)

    def unlisted_model(self, name: str) -> Model | None:
        """Return the model of a dated name."""
        known = openai_models.SNAPSHOTS.get(name.lower())
        return replace(self.model(known), name=name.lower()) if known else None

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission: an edit if there are references, a stream of events if there are partial pictures."""
        partials = openai_models.partials(request)
        given = {name: value for name, value in request.parameters.items() if name != "together" and (name != "partials" or partials)}
        values = parameters.placed(self.model(request.model).parameters, given)
        further = {name: value for name, value in self._further_fields(request).items() if name != "resolution"}  # the size has it
        body = {**self.payload(request, n), **values, **further, **({"stream": True} if partials else {})}
        path = self.edit_path if request.references else self.submit_path
        if request.references and self.model(request.model).references_as == "part":
            return Call("POST", path, form=image_answers.form(body), events=bool(partials))
        return Call("POST", path, body, events=bool(partials))

    def pictures_per_call(self, model: Model, request: ImageRequest) -> int:
        """Return 1, so that one lost answer loses one picture, unless they are requested together.

        Raises UnsupportedOption for pictures that are requested together and as a stream.
        """
        if not request.parameters.get("together"):
            return 1
        if openai_models.partials(request) and (request.n or 1) > 1:
            what = f"{self.name} {model.name} streams one picture of a request only"
            raise UnsupportedOption(what, option="together", value=True, fix={"together": None})
        return openai_models.MAX_TOGETHER

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one submission, with a ratio as its pixels; pictures stand in it as data: or other addresses."""
        body = super().payload(replace(request, size=self._size(request)), n)
        if request.references:
            body["images"] = [{"image_url": each} for each in request.references]
        if request.mask:
            body["mask"] = {"image_url": request.mask}
        return body

    def _size(self, request: ImageRequest) -> str:
        """Return the size as pixels, or auto; an unchecked ratio has the pixels of the other models."""
        tiers = self.model(request.model).sizes.get(request.size or "") or openai_models.MODELS[0].sizes.get(request.size or "", {})
        return sizes.as_pixels(tiers, request)

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return the price of one picture's tokens; unknown for size or quality auto, and for 2.6, whose tokens are not published."""
        return openai_models.price(self.model(request.model), request, pixels, self.rates)

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return what costs more than it seems, and what OpenAI calls experimental or a preview."""
        return tuple(openai_models.warnings(self.title, model, request))

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
            return Failed(moderation.with_stage(self._failure(data, "failed"), data))
        if not isinstance(event.get("b64_json"), str):
            return None
        if kind.endswith(".partial_image"):
            return Partial(in_answer("b64_json"), int(responses.number(event.get("partial_image_index")) or 0))
        return Succeeded((in_answer("b64_json"),), cost=self.cost(event)) if kind.endswith(".completed") else None

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error, with the stage and categories of a moderation, and what to do about a missing verification."""
        error = super().read_error(status, answer)
        if isinstance(error, APIError) and "must be verified" in responses.error_details(answer).message:
            hint = openai_models.VERIFY
            return type(error)(error.what, status=error.status, code=error.code, request_id=error.request_id, blame="you", hint=hint)
        return moderation.with_stage(error, answer)
