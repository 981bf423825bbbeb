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
from imagegen_magic.providers.base import Call, Provider, Submission, Succeeded, in_answer
from imagegen_magic.providers.describe import texts_in
from imagegen_magic.providers.gateways.gemini_models import DOCUMENT, MODELS, PRICES, TOKENS
from imagegen_magic.providers.model import Pixels
from imagegen_magic.providers.usage import calculated
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
    docs_url = DOCUMENT
    other_key_variables: ClassVar[tuple[str, ...]] = ("GOOGLE_API_KEY",)
    version_segment = "/v1beta"
    key_header: ClassVar[tuple[str, str]] = ("x-goog-api-key", "{}")
    synchronous, chosen_by_key = True, False
    field_names: ClassVar[Mapping[str, str]] = {"prompt": "contents", "size": "generationConfig", "references": "contents"}
    error_hints: ClassVar[Mapping[str, str]] = {"resource_exhausted": _QUOTA}
    models = MODELS

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
        model, tier = self.model(request.model), request.resolution or "1k"
        listed = calculated(model.rates, image_output=TOKENS[model.name][tier])
        return replace(listed, kind="estimated", source=PRICES)

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the dollars of the tokens that the answer counts, at the prices of its model."""
        usage: Any = task.get("usageMetadata")
        if not isinstance(usage, Mapping):
            return Cost()
        asked, made = (_by_kind(usage, f"{side}TokensDetails", f"{side}TokenCount") for side in ("prompt", "candidates"))
        if "candidatesTokensDetails" not in usage:
            made = {"IMAGE": made.get("TEXT", 0)}  # uncounted by kind: all of it at the price of pictures
        text_output = made.get("TEXT", 0) + (responses.count(usage.get("thoughtsTokenCount")) or 0)
        rates = next((model.rates for model in self.models if str(task.get("modelVersion")).startswith(model.name)), None)
        return calculated(
            rates,
            image_output=made.get("IMAGE", 0),
            text_output=text_output,
            text_input=asked.get("TEXT", 0),
            image_input=asked.get("IMAGE", 0),
        )

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
        charge = self._charge(answer)
        if _REJECTED.search(reason):
            return ContentRejected(f"{self.title} refused the content: {what}", charge=charge)
        hint = "ask for a picture in the prompt, or run the cell again"
        return TaskFailed(f"{self.title} answered without a picture ({what})", charge=charge, hint=hint)

    def _charge(self, answer: Mapping[str, Any]) -> Any:
        """Return whether an answer without a picture was charged: for what it wrote surely, for a blocked prompt perhaps."""
        usage: Any = answer.get("usageMetadata")
        usage = usage if isinstance(usage, Mapping) else {}
        written = any(responses.count(usage.get(name)) for name in ("candidatesTokenCount", "thoughtsTokenCount"))
        return "yes" if written else "unknown" if responses.count(usage.get("promptTokenCount")) else "no"

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
    for i, candidate in enumerate(_list(answer.get("candidates"))):
        content = candidate.get("content") if isinstance(candidate, Mapping) else None
        for j, part in enumerate(_list(content.get("parts")) if isinstance(content, Mapping) else ()):
            if isinstance(part, Mapping) and part.get("thought") is not True:
                yield i, j, part


def _is_picture(part: Mapping[str, Any]) -> bool:
    inline = part.get("inlineData")
    return isinstance(inline, Mapping) and bool(inline.get("data")) and str(inline.get("mimeType", "image/")).startswith("image/")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _reason(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Return the code and the message of an answer without a picture."""
    feedback: Any = answer.get("promptFeedback")
    if isinstance(feedback, Mapping) and feedback.get("blockReason"):
        return responses.code_of(feedback["blockReason"]), str(feedback.get("blockReasonMessage") or "")
    first = next((each for each in _list(answer.get("candidates")) if isinstance(each, Mapping)), {})
    return responses.code_of(first.get("finishReason")) or "no reason given", str(first.get("finishMessage") or "")


def _by_kind(usage: Mapping[str, Any], details: str, total: str) -> dict[str, int]:
    """Return token counts by kind (`TEXT`, `IMAGE`); all of them as text if the answer does not count by kind."""
    kinds = [each for each in _list(usage.get(details)) if isinstance(each, Mapping)]
    counted = {str(each.get("modality")): responses.count(each.get("tokenCount")) or 0 for each in kinds}
    return counted or {"TEXT": responses.count(usage.get(total)) or 0}
