"""Google's Gemini API: pictures of `models/{model}:generateContent`, in the answer itself, among text.

https://ai.google.dev/gemini-api/docs/image-generation, the google-genai package 3.6.1, and prices of 2026-11-30.
A refusal is often an answer with HTTP 200.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from imagegen_magic.errors import AuthenticationError, ContentRejected, ImageGenError, InsufficientBalance, RateLimited, TaskFailed
from imagegen_magic.providers import parameters, responses
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.calls import Call, Submission, Succeeded, in_answer
from imagegen_magic.providers.describe import texts_in
from imagegen_magic.providers.gateways import gemini_models
from imagegen_magic.providers.model import Pixels
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

_REJECTED = re.compile(r"SAFETY|PROHIBITED|RECITATION|BLOCKLIST|SPII|ARMOR|JAILBREAK|ESCALATION")
_KEY = re.compile(r"API_KEY_INVALID|(?i:api key (not valid|not found|expired))")
_SPENT = re.compile(r"PerDay|limit: 0\b|(?i:credit|billing account|prepay|spend)")  # what does not come back within minutes
_DELAY = re.compile(r"(?i)retry in (\d{1,5}(?:\.\d{1,12})?)s")
_QUOTA = "the quota of this model is spent: raise it or set up billing in Google AI Studio, or wait until it renews"


class Gemini(Provider):
    """The Gemini API with a key of Google AI Studio."""

    name, title = "gemini", "Gemini"
    base_url, key_variable = "https://generativelanguage.googleapis.com", "GEMINI_API_KEY"
    docs_url = gemini_models.DOCUMENT
    other_key_variables: ClassVar[tuple[str, ...]] = ("GOOGLE_API_KEY",)
    version_segment = "/v1beta"
    key_header: ClassVar[tuple[str, str]] = ("x-goog-api-key", "{}")
    synchronous, chosen_by_key = True, False
    field_names: ClassVar[Mapping[str, str]] = {"prompt": "contents", "size": "generationConfig", "references": "contents"}
    error_hints: ClassVar[Mapping[str, str]] = {"resource_exhausted": _QUOTA}
    models = gemini_models.MODELS

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the call of one picture; the model stands in the path."""
        body = parameters.merged(self.payload(request, n), parameters.placed(self.model(request.model).parameters, request.parameters))
        return Call("POST", f"/models/{request.model}:generateContent", body)

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return prompt and references as parts, and the size in `imageConfig`."""
        pictures = [{"inlineData": {"mimeType": f"mime:{each}", "data": each}} for each in map(str, request.references)]
        config = {"aspectRatio": request.size, "imageSize": (request.resolution or "1k").upper()}
        return {
            "contents": [{"role": "user", "parts": [{"text": request.prompt}, *pictures]}],
            "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": config},
        }

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return the listed price of a picture's output tokens; the prompt and references add a fraction of a cent."""
        return gemini_models.price(self.model(request.model), request.resolution or "1k")

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the dollars of the tokens that the answer counts, at the prices of its model."""
        return gemini_models.cost(task, self.models)

    def read_submission(self, answer: Any) -> Submission:
        """Return the pictures of the answer. Raises ContentRejected or TaskFailed if it has none."""
        if not isinstance(answer, Mapping) or not ({"candidates", "promptFeedback"} & set(answer)):
            return super().read_submission(answer)
        parts = tuple(_parts(answer))
        found = tuple(in_answer("candidates", i, "content", "parts", j, "inlineData", "data") for i, j, part in parts if _is_picture(part))
        texts = (part["text"].strip() for _, _, part in parts if isinstance(part.get("text"), str))
        text = "\n".join(filter(None, texts))
        if not found:
            raise self._without_picture(answer, text)
        return Submission("", finished=Succeeded(found, cost=self.cost(answer), text=text))

    def _without_picture(self, answer: Mapping[str, Any], text: str) -> ImageGenError:
        reason, message = _reason(answer)
        spoken = "; ".join(filter(None, (responses.one_line(message), responses.one_line(text))))
        what = f"{reason}: {spoken}" if spoken else reason
        charge = gemini_models.charge(answer)
        if _REJECTED.search(reason):
            return ContentRejected(f"{self.title} refused the content: {what}", charge=charge)
        hint = "ask for a picture in the prompt, or run the cell again"
        return TaskFailed(f"{self.title} answered without a picture ({what})", charge=charge, hint=hint)

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error of an HTTP answer; a wrong key is a 400, and 429 is a rate unless a quota is spent for longer."""
        details, shown = responses.error_details(answer), " ".join(texts_in(answer))
        if _KEY.search(shown):
            return self._error(AuthenticationError, status, details)
        if (status or responses.http_code(answer)) != 429:
            return super().read_error(status, answer)
        if _SPENT.search(shown):
            return self._error(InsufficientBalance, 429, replace(details, code="RESOURCE_EXHAUSTED"))
        limited = self._error(RateLimited, 429, details)
        if isinstance(limited, RateLimited) and (delay := _DELAY.search(shown)):
            limited.retry_after = float(delay[1])
        return limited


def _parts(answer: Mapping[str, Any]) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    """Yield candidate, number and part of everything in an answer that is not a thought."""
    for i, candidate in enumerate(_list(answer, "candidates")):
        for j, part in enumerate(_list(candidate, "content", "parts")):
            if isinstance(part, Mapping) and part.get("thought") is not True:
                yield i, j, part


def _is_picture(part: Mapping[str, Any]) -> bool:
    data, kind = (responses.value_at(part, "inlineData", name) for name in ("data", "mimeType"))
    return bool(data) and str("image/" if kind is None else kind).startswith("image/")


def _list(answer: Any, *path: str) -> list[Any]:
    found = responses.value_at(answer, *path)
    return found if isinstance(found, list) else []


def _reason(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Return the code and the message of an answer without a picture."""
    if blocked := responses.value_at(answer, "promptFeedback", "blockReason"):
        return responses.code_of(blocked), str(responses.value_at(answer, "promptFeedback", "blockReasonMessage") or "")
    first = next(iter(responses.objects(answer.get("candidates"))), {})
    return responses.code_of(first.get("finishReason")) or "no reason given", str(first.get("finishMessage") or "")
