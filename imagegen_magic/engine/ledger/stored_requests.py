"""Requests as the ledger and sidecars hold them, also those of a newer version that knows more options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from imagegen_magic.request import ImageRequest

UPDATE = "pip install -U imagegen_magic"


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and bool(value) and value > 0


def _are_pixels(value: Any) -> bool:
    pairs = value if isinstance(value, list | tuple) else ((),)
    return all(isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_positive, pair)) for pair in pairs)


_EXPECTED: dict[str, Callable[[Any], bool]] = {
    "pixels": _are_pixels,
    "mime_type": _is_text,
    "alpha": lambda value: value is None or isinstance(value, bool),
    "pictures": _is_positive,
    "tasks": _is_positive,
}
_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys((field.name for field in fields(ImageRequest)), _is_text),
    **dict.fromkeys(("n", "output_compression"), _is_number),
    "references": _are_texts,
    "extra": lambda value: isinstance(value, Mapping),
}


def request(told: Mapping[str, Any]) -> ImageRequest:
    """Return a stored request as far as this version knows its options; `unknown` names the others, which stay where they are stored."""
    known = {name: value for name, value in told.items() if _is_known(name, value)}
    return ImageRequest(**{"prompt": "", **known})


def expected(told: Any) -> dict[str, Any]:
    """Return what a stored plan expected, as far as this version knows its form; the rest is not compared."""
    found = told if isinstance(told, Mapping) else {}
    return {name: value for name, value in found.items() if name in _EXPECTED and _EXPECTED[name](value)}


def unknown(told: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options of a stored request that this version does not know, or does not know in that form."""
    return tuple(name for name, value in told.items() if not _is_known(name, value))


def remark(requests: Iterable[Mapping[str, Any]]) -> str:
    """Return the line about what of these stored requests this version does not know; empty where it knows all of it."""
    names = sorted({name for told in requests for name in unknown(told)})
    if not names:
        return ""
    which = f"{', '.join(names)}, which this version does not know"
    return f"A newer imagegen_magic stored {which}: it is kept, and not used here. {UPDATE}"


def _is_known(name: str, value: Any) -> bool:
    return name in _KINDS and _KINDS[name](value)
