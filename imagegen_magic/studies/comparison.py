"""What differs between two pictures: prompts word by word, settings, numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from imagegen_magic.result import GeneratedImage
from imagegen_magic.secret_patterns import without_queries

_ALONE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"  # scripts without spaces: each character a word
_ACCENT = "[\u0300-\u036f]*"
_SIGN = "[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\u0300-\u036f]*"  # what colours or accents the sign before it
_PIECES = re.compile(rf"\s+|[{_ALONE}]{_ACCENT}|(?:[^\W{_ALONE}]{_ACCENT})+|[^\w\s]{_SIGN}(?:\u200d[^\w\s]{_SIGN})*")
_MANY = 600  # pieces, from which on frequent ones are no anchors: each would be compared with each

Pieces = list[tuple[str, bool]]


class Change(NamedTuple):
    """A piece of two texts laid over one another: the `same` in both, `gone` from the first, `new` in the second."""

    kind: Literal["same", "gone", "new"]
    text: str


def changes(left: str, right: str) -> list[Change]:
    """Return two texts as one, word by word; those that are not new are the left text, those that are not gone the right one."""
    return list(_changes(_PIECES.findall(left), _PIECES.findall(right)))


def _changes(one: Sequence[str], other: Sequence[str]) -> Iterator[Change]:
    # a space is no anchor: texts that share but their spaces share nothing
    matcher = difflib.SequenceMatcher(str.isspace, one, other, autojunk=max(len(one), len(other)) > _MANY)
    for tag, start, stop, begin, end in matcher.get_opcodes():
        if tag == "equal":
            yield Change("same", "".join(one[start:stop]))
            continue
        if start < stop:
            yield Change("gone", "".join(one[start:stop]))
        if begin < end:
            yield Change("new", "".join(other[begin:end]))


def words(left: str, right: str) -> tuple[Pieces, Pieces]:
    """Return two texts in pieces, each with whether it differs from the other's; the pieces joined are the texts."""
    found = changes(left, right)
    return _side(found, "gone"), _side(found, "new")


def _side(found: Iterable[Change], own: str) -> Pieces:
    return [(text, kind == own) for kind, text in found if kind in ("same", own)]


def marked(found: Iterable[Change]) -> str:
    """Return changes as plain text: `[-gone-]`, `{+new+}`."""
    signs = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    return "".join(signs[kind].format(text) for kind, text in found)


def settings(image: GeneratedImage) -> dict[str, str]:
    """Return all that a picture was made with but its prompt, in words, by name."""
    said = {name: value for name, value in image.request.asked().items() if name not in ("prompt", "model")}
    gateway = image.provider + (" (sandbox)" if image.sandbox else "")
    pixels = f"{image.width}×{image.height}"
    return {"gateway": gateway, "model": image.model, **in_words(said), "pixels": pixels, "cost": str(image.cost)}


def in_words(said: Mapping[str, Any]) -> dict[str, str]:
    """Return options as a person reads them."""
    return {name.replace("_", " "): _in_words(value) for name, value in said.items()}


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return without_queries(", ".join(f"{key}={one}" for key, one in value.items()))
    return without_queries(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def differing(left: Mapping[str, str], right: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (name, left, right) of what differs; `–` stands where one side says nothing."""
    names = [name for name in dict.fromkeys((*left, *right)) if left.get(name) != right.get(name)]
    return [(name, left.get(name, "–"), right.get(name, "–")) for name in names]
