"""Values of any type in messages, and as JSON."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any

from imagegen_magic import readers
from imagegen_magic.providers import urls

_MAX_LENGTH = 80  # characters of a value
_MAX_DIGITS = 20  # of a number that is shown in full
_MAX_ELEMENTS = 8  # of a list or mapping


def shown(value: object) -> str:
    """Return a value for a message: one line of at most 80 characters, an address without its user name and password."""
    text = f"'{urls.without_user(value)[: _MAX_LENGTH + 1]}'" if isinstance(value, str) else _plain(value)
    text = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 2]}…"


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool | float | PurePath):
        return str(value)
    if isinstance(value, Decimal | Fraction):
        return repr(value)
    if (number := whole(value)) is not None:
        return str(number) if abs(number) < 10**_MAX_DIGITS else f"a number of {math.ceil(number.bit_length() * 0.30103)} digits"
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    return _collection(value) if isinstance(value, list | tuple | Mapping) else f"an object of type {type(value).__name__}"


def _collection(value: list[Any] | tuple[Any, ...] | Mapping[Any, Any]) -> str:
    opening, closing = ("[", "]") if isinstance(value, list) else ("(", ")") if isinstance(value, tuple) else ("{", "}")
    first = itertools.islice(value, _MAX_ELEMENTS)
    elements = [f"{_element(item)}: {_element(value[item])}" if isinstance(value, Mapping) else _element(item) for item in first]
    end = ", …" if len(value) > _MAX_ELEMENTS else "," if isinstance(value, tuple) and len(value) == 1 else ""
    return opening + ", ".join(elements) + end + closing


def _element(value: object) -> str:
    """Return an element of a collection; a collection within it is left out."""
    return "…" if isinstance(value, list | tuple | Mapping) else f"'{value[:40]}'" if isinstance(value, str) else _plain(value)


def whole(value: object) -> int | None:
    """Return a whole number (also of numpy, and 2.0), None for anything else, including text, True and False."""
    try:
        return None if isinstance(value, str) else readers.whole(value)
    except ValueError:
        return None


def is_encodable(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8: it has no lone surrogate."""
    return not any("\ud800" <= mark <= "\udfff" for mark in text)


def is_json(value: Any) -> bool:
    """Return whether a value can be written as UTF-8 JSON: no lone surrogate, no NaN."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item)
