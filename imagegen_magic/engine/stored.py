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
