"""What the refusal of a moderation says beyond its message: the stage, and the categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagegen_magic.errors import ContentRejected, ImageGenError
from imagegen_magic.providers import responses

_STAGES = {"input": "the prompt or a reference", "output": "the finished picture"}


def with_categories(error: ImageGenError, answer: Any) -> ImageGenError:
    """Return the refusal of a moderation with the categories that an item of the answer's `detail` names; any other error as it is."""
    items = responses.objects(responses.value_at(answer, "detail"))
    named = [name for each in items for path in ((), ("ctx",)) for name in _categories(responses.value_at(each, *path))]
    return ContentRejected(f"{error.what} ({', '.join(named)})") if named and isinstance(error, ContentRejected) else error


def with_stage(error: ImageGenError, answer: Any) -> ImageGenError:
    """Return the refusal of a moderation with the answer's `moderation_details`; it is unknown whether one of the result was charged."""
    found = (responses.value_at(answer, *path, "moderation_details") for path in (("error",), ()))
    details = next((each for each in found if isinstance(each, Mapping)), {})
    if not details or not isinstance(error, ContentRejected):
        return error
    stage, named = responses.code_of(details.get("moderation_stage")) or "unknown", ", ".join(_categories(details))
    what = f"{error.what} (refused: {_STAGES.get(stage, 'an unknown stage')}{f'; categories: {named}' if named else ''})"
    return ContentRejected(what, charge="no" if stage == "input" else "unknown")


def _categories(level: Any) -> list[str]:
    return [responses.one_line(name) for name in responses.texts(responses.value_at(level, "categories"))]
