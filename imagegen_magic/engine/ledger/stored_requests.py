"""Requests as the ledger and sidecars store them, including those of a newer version with more options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from imagegen_magic._version import UPDATE
from imagegen_magic.request import ImageRequest


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
    "unchecked": _are_texts,
    "by_row": lambda value: isinstance(value, bool),
}
_TYPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys((field.name for field in fields(ImageRequest)), _is_text),
    **dict.fromkeys(("n", "output_compression"), _is_number),
    "references": _are_texts,
    "unchecked": lambda value: isinstance(value, bool),
    **dict.fromkeys(("parameters", "extra"), lambda value: isinstance(value, Mapping)),
}


def request(stored: Mapping[str, Any]) -> ImageRequest:
    """Return a stored request with the options that this version knows; `unknown` names the others, which stay stored."""
    known = {name: value for name, value in stored.items() if _is_known(name, value)}
    return ImageRequest(**{"prompt": "", **known})


def expected(stored: Any) -> dict[str, Any]:
    """Return the expected results of a stored plan that this version knows; the rest is not compared."""
    found = stored if isinstance(stored, Mapping) else {}
    return {name: value for name, value in found.items() if name in _EXPECTED and _EXPECTED[name](value)}


def unknown(stored: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options of a stored request that this version does not know, or not in that form."""
    return tuple(name for name, value in stored.items() if not _is_known(name, value))


def version_note(requests: Iterable[Mapping[str, Any]]) -> str:
    """Return a note about the options of these stored requests that this version does not know; empty if it knows all."""
    names = sorted({name for stored in requests for name in unknown(stored)})
    if not names:
        return ""
    return f"A newer imagegen_magic stored {', '.join(names)}, which this version keeps and does not use. {UPDATE}"


def _is_known(name: str, value: Any) -> bool:
    return name in _TYPES and _TYPES[name](value)
