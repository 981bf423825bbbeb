"""OpenRouter's Image API: `POST /images`, pictures in the answer, its cost measured; models as the service describes them.

The openrouter package 1.3.84 and https://openrouter.ai/docs/api-reference, read 2026-11-30.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.errors import ImageGenError, TaskFailed
from imagegen_magic.providers import responses
from imagegen_magic.providers.base import Call, Provider, Submission, Succeeded, in_answer, standard_field_names
from imagegen_magic.providers.gateways.openrouter_models import (
    CHECKED,
    DOCUMENT,
    MODELS,
    PRICES,
    described,
    joined,
    learnt,
    picture_price,
    supported,
)
from imagegen_magic.providers.model import Model, Pixels
from imagegen_magic.request import ImageRequest, Size
from imagegen_magic.result import Cost

_FIELDS = ("model", "prompt", "n", "resolution", "quality", "background", "output_format", "output_compression")


class OpenRouter(Provider):
    """OpenRouter's Image API."""

    name, title = "openrouter", "OpenRouter"
    base_url, key_variable = "https://openrouter.ai", "OPENROUTER_API_KEY"
    docs_url = "https://openrouter.ai/docs/api-reference"
    version_segment = "/api/v1"
    synchronous, chosen_by_key = True, False
    submit_path = "/images"
    field_names: ClassVar[Mapping[str, str]] = {**standard_field_names(*_FIELDS), "size": "aspect_ratio", "references": "input_references"}
    reserved_fields: ClassVar[Mapping[str, str]] = {"size": "size", "stream": "partials"}
    refusal_phrases: ClassVar[tuple[str, ...]] = ("overloaded",)
    models = MODELS

    def unlisted_model(self, name: str) -> Model | None:
        """Return a model of any name `author/model`; its options are not known."""
        author, _, slug = name.partition("/")
        return described(name, ("1:1", "auto"), (), max_references=1, strict=False) if author and slug else None

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one submission; explicit pixels are `size`, and size auto is left out."""
        body = super().payload(request, n)
        size = Size.parse(str(body.pop("aspect_ratio")))
        if size.kind != "auto":
            body["aspect_ratio" if size.kind == "ratio" else "size"] = str(size)
        if request.resolution:
            body["resolution"] = request.resolution.upper()
        if request.references:
            body["input_references"] = [{"type": "image_url", "image_url": {"url": str(each)}} for each in request.references]
        return body

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return the listed price of a picture, unknown for models without one."""
        amount = PRICES.get(request.model or "", {}).get(request.resolution or "")
        return Cost() if amount is None else Cost(amount, "USD", "estimated", DOCUMENT, CHECKED)

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the dollars that the answer names; with a key of one's own at the upstream service, what that asks is added."""
        usage: Any = task.get("usage")
        usage = usage if isinstance(usage, Mapping) else {}
        details: Any = usage.get("cost_details")
        upstream = responses.amount(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
        amount, further = responses.amount(usage.get("cost")), upstream if usage.get("is_byok") is True else Decimal(0)
        return Cost() if amount is None or further is None else Cost(amount + further, "USD", "measured", f"{self.title}'s answer")

    def read_submission(self, answer: Any) -> Submission:
        """Return the pictures of the answer. Raises TaskFailed if it has none."""
        pictures = responses.value_at(answer, "data")
        if not isinstance(pictures, list) or "error" in answer:
            return super().read_submission(answer)
        found = tuple(in_answer("data", i, "b64_json") for i, each in enumerate(pictures) if responses.value_at(each, "b64_json"))
        cost = self.cost(answer)
        if not found:
            charge: Any = "unknown" if cost.amount is None else "yes" if cost.amount else "no"
            raise TaskFailed(f"{self.title} answered without a picture: {responses.excerpt(answer)}", charge=charge)
        return Submission("", finished=Succeeded(found, cost=cost))

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error of an HTTP answer, with the words of the upstream service and the reasons of a moderation."""
        error: Any = answer.get("error") if isinstance(answer, Mapping) else None
        metadata = error.get("metadata") if isinstance(error, Mapping) else None
        if not isinstance(metadata, Mapping):
            return super().read_error(status, answer)
        reasons: Any = metadata.get("reasons")
        reasons = f"moderation flagged: {', '.join(map(str, reasons))}" if isinstance(reasons, list) and reasons else ""
        upstream = ": ".join(filter(None, (str(metadata.get("provider_name") or ""), responses.message_of(metadata.get("raw")))))
        words = "; ".join(filter(None, (responses.message_of(error), reasons, upstream)))
        return super().read_error(status, {**answer, "error": {**error, "message": words}})

    def models_call(self) -> Call:
        """Return the request for the list of image models."""
        return Call("GET", "/images/models")

    def read_models(self, answer: Any) -> tuple[Model, ...]:
        """Return the models of the list, without those that cannot be read."""
        rows = responses.objects(responses.value_at(answer, "data"))
        return tuple(learnt(row["id"], supported(row)) for row in rows if isinstance(row.get("id"), str) and row["id"])

    def schema_call(self, name: str) -> Call:
        """Return the request for the endpoints of one model, with their parameters and prices."""
        return Call("GET", f"/images/models/{quote(name, safe='/', errors='replace')}/endpoints")

    def read_schema(self, name: str, answer: Any) -> Model | None:
        """Return a model with what any of its endpoints supports, and the highest price of a picture if all prices are of pictures."""
        rows = responses.objects(responses.value_at(answer, "endpoints"))
        if not rows:
            return None
        prices = [picture_price(row.get("pricing")) for row in rows]
        known = {} if None in prices else {"": max(price for price in prices if price is not None)}
        return learnt(name, joined([supported(row) for row in rows]), prices=known)
