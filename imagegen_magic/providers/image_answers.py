"""Answers of OpenAI's image interface, as OpenAI and the services like it write them: pictures, tokens, moderation."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from imagegen_magic.providers import responses
from imagegen_magic.providers.base import in_answer
from imagegen_magic.providers.model import Rates
from imagegen_magic.result import Cost
from imagegen_magic.secret_patterns import Address

_MILLION = 1_000_000


def pictures_in(answer: Any) -> tuple[str, ...]:
    """Return the addresses of the pictures in an answer: within it, or elsewhere."""
    items = answer.get("data") if isinstance(answer, Mapping) else None
    found = (_picture(number, item) for number, item in enumerate(items if isinstance(items, list) else ()))
    return tuple(filter(None, found))


def _picture(number: int, item: Any) -> str:
    if not isinstance(item, Mapping):
        return ""
    if isinstance(item.get("b64_json"), str) and item["b64_json"]:
        return in_answer("data", number, "b64_json")
    return Address(next(responses.image_urls(item.get("url")), ""))


def token_cost(rates: Rates, usage: Any) -> Cost:
    """Return the cost of measured tokens at dated rates; unknown if there are none.

    Output tokens count as those of a picture, unless the usage names those of text and the rates have a price for them.
    """
    tokens = usage if isinstance(usage, Mapping) else {}
    output, given = _count(tokens.get("output_tokens")), tokens.get("input_tokens_details")
    if not output:
        return Cost()
    inputs = given if isinstance(given, Mapping) else {}
    image = _count(inputs.get("image_tokens"))
    text = _count(inputs.get("text_tokens")) or max(0, _count(tokens.get("input_tokens")) - image)
    amount = dollars(rates, text=text, image=image, output=output)
    source = f"calculated from {output:,} output tokens at ${rates.image_output} per million and {text + image:,} input tokens"
    return Cost(amount, "USD", "calculated", f"{source}, {rates.checked}", rates.checked)


def dollars(rates: Rates, *, text: int, image: int, output: int) -> Decimal:
    """Return the price of so many input tokens of text and of pictures, and of output tokens."""
    parts = ((rates.text_input, text), (rates.image_input, image), (rates.image_output, output))
    return sum((rate * tokens for rate, tokens in parts if rate is not None), Decimal(0)) / _MILLION


def _count(value: Any) -> int:
    return max(0, int(responses.number(value) or 0))


def revised_prompts(answer: Any) -> str:
    """Return the prompts that the service used instead of the requested one."""
    texts = (item.get("revised_prompt") for item in answer["data"] if isinstance(item, Mapping))
    return "\n".join(dict.fromkeys(text for text in texts if isinstance(text, str) and text))


def moderation_details(answer: Any) -> Mapping[str, Any]:
    """Return the stage and the categories of a moderation, as the answer has them; empty if it has none."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    levels = (error, answer)
    found = (level.get("moderation_details") for level in levels if isinstance(level, Mapping))
    return next((details for details in found if isinstance(details, Mapping)), {})
