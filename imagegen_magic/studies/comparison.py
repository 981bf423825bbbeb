"""Differences between two images: their prompts word by word, their settings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from imagegen_magic.humanize import gateway_name
from imagegen_magic.result import GeneratedImage
from imagegen_magic.secret_patterns import without_queries

_ALONE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"  # scripts without spaces: each character is a word
_ACCENT = "[\u0300-\u036f]*"
_MODIFIER = "[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\u0300-\u036f]*"  # colours or accents the character before it
_TOKENS = re.compile(rf"\s+|[{_ALONE}]{_ACCENT}|(?:[^\W{_ALONE}]{_ACCENT})+|[^\w\s]{_MODIFIER}(?:\u200d[^\w\s]{_MODIFIER})*")
_MANY_TOKENS = 600  # with more, frequent tokens are no anchors: each would be compared with each

Tokens = list[tuple[str, bool]]


class Change(NamedTuple):
    """A part of a word diff: the `same` in both texts, `removed` from the first, or `added` in the second."""

    kind: Literal["same", "removed", "added"]
    text: str


def changes(left: str, right: str) -> list[Change]:
    """Return the word diff of two texts; without the added parts it is the left text, without the removed ones the right text."""
    return list(_changes(_TOKENS.findall(left), _TOKENS.findall(right)))


def _changes(left: Sequence[str], right: Sequence[str]) -> Iterator[Change]:
    # a space is no anchor: texts that share only their spaces share nothing
    matcher = difflib.SequenceMatcher(str.isspace, left, right, autojunk=max(len(left), len(right)) > _MANY_TOKENS)
    for tag, start, stop, begin, end in matcher.get_opcodes():
        if tag == "equal":
            yield Change("same", "".join(left[start:stop]))
            continue
        if start < stop:
            yield Change("removed", "".join(left[start:stop]))
        if begin < end:
            yield Change("added", "".join(right[begin:end]))


def word_diff(left: str, right: str) -> tuple[Tokens, Tokens]:
    """Return both texts as tokens, each with whether it differs from the other text; joined, the tokens are the text."""
    found = changes(left, right)
    return _side(found, "removed"), _side(found, "added")


def _side(found: Iterable[Change], own: str) -> Tokens:
    return [(text, kind == own) for kind, text in found if kind in ("same", own)]


def as_text(found: Iterable[Change]) -> str:
    """Return a word diff as plain text: `[-removed-]`, `{+added+}`."""
    marks = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return "".join(marks[kind].format(text) for kind, text in found)


def settings(image: GeneratedImage) -> dict[str, str]:
    """Return the settings of an image except its prompt, as text, by name."""
    options = {name: value for name, value in image.request.asked().items() if name not in ("prompt", "model")}
    options |= {**options.pop("parameters", {}), **({} if image.seed is None else {"seed": image.seed})}
    service = gateway_name(image.provider, image.sandbox)
    pixels = f"{image.width}×{image.height}"
    return {"service": service, "model": image.model, **as_texts(options), "pixels": pixels, "cost": str(image.cost)}


def as_texts(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options as text, by display name."""
    texts = {}
    for name, value in options.items():
        parts = [f"{key}={each}" for key, each in value.items()] if isinstance(value, Mapping) else value
        texts[name.replace("_", " ")] = without_queries(", ".join(map(str, parts)) if isinstance(parts, list | tuple) else str(parts))
    return texts


def setting_diff(left: Mapping[str, str], right: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (name, left, right) of the settings that differ; `–` for a missing one."""
    names = [name for name in dict.fromkeys((*left, *right)) if left.get(name) != right.get(name)]
    return [(name, left.get(name, "–"), right.get(name, "–")) for name in names]
