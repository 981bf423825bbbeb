"""Answers of OpenAI's image interface, as OpenAI and the services like it write them: pictures, tokens, texts; and an edit as a form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from imagegen_magic.providers import responses
from imagegen_magic.providers.base import in_answer
from imagegen_magic.providers.model import Rates
from imagegen_magic.providers.usage import calculated
from imagegen_magic.result import Cost
from imagegen_magic.secret_patterns import Address

_KINDS = ("image_tokens", "text_tokens")


def pictures_in(answer: Any) -> tuple[str, ...]:
    """Return the addresses of the pictures in an answer: within it, or elsewhere."""
    items = responses.value_at(answer, "data")
    found = (_picture(number, item) for number, item in enumerate(items if isinstance(items, list) else ()))
    return tuple(filter(None, found))


def _picture(number: int, item: Any) -> str:
    if not isinstance(item, Mapping):
        return ""
    if isinstance(item.get("b64_json"), str) and item["b64_json"]:
        return in_answer("data", number, "b64_json")
    return Address(next(responses.image_urls(item.get("url")), ""))


def token_cost(rates: Rates, usage: Any) -> Cost:
    """Return the cost of measured tokens; unknown if there are none. Every output token counts as one of a picture."""
    tokens = usage if isinstance(usage, Mapping) else {}
    given = tokens.get("input_tokens_details")
    inputs = given if isinstance(given, Mapping) else {}
    output, image, text = (responses.count(value) or 0 for value in (tokens.get("output_tokens"), *map(inputs.get, _KINDS)))
    if not output:
        return Cost()
    text = text or max(0, (responses.count(tokens.get("input_tokens")) or 0) - image)
    return calculated(rates, image_output=output, image_input=image, text_input=text)


def revised_prompts(answer: Any) -> str:
    """Return the prompts that the service used instead of the requested one."""
    texts = (item.get("revised_prompt") for item in answer["data"] if isinstance(item, Mapping))
    return "\n".join(dict.fromkeys(text for text in texts if isinstance(text, str) and text))


def form(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of an edit as a form; every picture in it is a file of this machine."""
    pictures = [each["image_url"] for each in body["images"]]
    mask = {"mask": body["mask"]["image_url"]} if body.get("mask") else {}
    texts = form_texts({name: value for name, value in body.items() if name not in ("images", "mask")})
    return {**texts, "image[]": pictures, **mask}


def form_texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of JSON fields as a form has them."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
