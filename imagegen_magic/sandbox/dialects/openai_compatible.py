"""The dialect of servers like OpenAI's: no key, any model, any field, pictures in the answer or at addresses, and LiteLLM's cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from imagegen_magic.formats import MIME_TYPES, PNG
from imagegen_magic.providers.base import Pixels
from imagegen_magic.sandbox import requests
from imagegen_magic.sandbox.dialects.base import Json, Refusal, Submission, number, text
from imagegen_magic.sandbox.dialects.openai import Answer, OpenAI, Pictures, encoded

_USUAL = "512x512"
_MAX_EDGE = 4096
_DOLLARS = 0.0025  # of a picture, as LiteLLM would report it


class OpenAICompatible(OpenAI):
    """A server's dialect; its errors are a `detail`."""

    needs_key: ClassVar[bool] = False

    def check_fields(self, body: Json, pictures: Pictures, *, edit: bool) -> None:
        """Take every field. Raises Refusal for an edit without pictures."""
        if edit and not pictures.sources:
            raise Refusal(422, "", "image: field required")

    def model_names(self) -> Sequence[str]:
        """Return models of several kinds."""
        return ["flux-1-schnell", "qwen-image", "qwen3-embedding"]

    def prepared(self, body: Json) -> Json:
        """Return a body with LocalAI's references, which are base64, as data: addresses."""
        given = body.get("ref_images")
        if not isinstance(given, list):
            return body
        return {**body, "ref_images": len(given), "images": [{"image_url": f"data:image/png;base64,{each}"} for each in given]}

    def parse(self, body: Json) -> Submission:
        """Parse a body: it reads the prompt, the size, the number of pictures and their format."""
        prompt = text(body, "prompt")
        if not prompt.strip():
            raise Refusal(422, "", "prompt: field required")
        file = (_count(body), MIME_TYPES.get(text(body, "output_format", "png"), PNG.mime_type))
        return Submission(text(body, "model", "flux-1-schnell"), prompt, "low", _pixels(text(body, "size", _USUAL)), *file)

    def answer(self, given: Answer, contents: Sequence[bytes]) -> tuple[Json, dict[str, str]]:
        """Return the pictures as base64 if the request names that, else their addresses; no tokens are counted."""
        data = [{"b64_json": encoded(content)} for content in contents]
        if given.body.get("response_format") != "b64_json":
            view = given.sandbox.view(given.task, requests.origin_of(given.request))
            data = [{"url": address} for address in view.addresses]
        return {"created": int(given.sandbox.clock()), "data": data}, {"x-litellm-response-cost": f"{_DOLLARS * given.task.n:g}"}

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return HTTP status and a `detail`."""
        return refusal.status, {"detail": refusal.message}


def _count(body: Json) -> int:
    count = body.get("n")
    return number({"n": int(count)} if isinstance(count, str) and count.isdecimal() else body, "n", 1, 10, 1)


def _pixels(size: str) -> Pixels:
    match = re.fullmatch(r"(\d{2,4})[x*](\d{2,4})", size)
    pixels = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < min(pixels) <= max(pixels) <= _MAX_EDGE:
        raise Refusal(422, "", f"size: '{size[:40]}' is no size")
    return pixels


DIALECT = OpenAICompatible("openai-compatible")
