"""One reader for each type of value in an option, a setting or a call: it returns the value, or raises ValueError with what it takes."""

from __future__ import annotations

import json
import keyword
import math
import numbers
import operator
import os
import re
from decimal import Decimal, InvalidOperation
from typing import Any

PROGRESS = ("auto", "widgets", "text")
MIN_PREVIEW, MAX_PREVIEW = 16, 1024  # pixels; a larger picture would swell the notebook
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}
_SCHEDULER = re.compile(r"(?:tcp|tls|ucx|wss?)://[^\s@?#]+")  # without user, password or query
_WHOLE = re.compile(r"([+-]?[0-9]{1,20})\.0*")


def text(value: Any) -> str:
    """Return a text. Raises ValueError, with what is expected, as every reader does."""
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def folder(value: Any) -> str:
    """Return the path of a folder as text."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise ValueError("the path of a folder, as text")
    return path


def save_dir(value: Any) -> str:
    """Return the path of a folder, or its address in a store: without a user, a password and a query, which would be credentials."""
    from imagegen_magic.paths import StorePath, is_address, is_plain_address

    path = folder(value.address if isinstance(value, StorePath) else value)
    if is_address(path) and not is_plain_address(path):
        raise ValueError("an address without user, password and query (s3://bucket/prefix: the store's own library finds credentials)")
    return path


def without_credentials(value: Any) -> Any:
    """Return an address without what may be a user, a password or a signature, for a message; any other value as it is."""
    if not isinstance(value, str) or "://" not in value:
        return value
    return re.sub(r"://[^/\s]*@", "://…@", re.sub(r"[?#].*", "?…", value))


def flag(value: Any) -> bool:
    """Return yes or no: a truth value, 1 or 0, or their usual words."""
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("1 or 0")
    return text in _TRUE


def whole(value: Any) -> int:
    """Return a whole number; `2`, `"2"`, `2.0` and numpy's are one, `True` and 2.7 are none."""
    number = None if _is_truth(value) else _whole(value)
    if number is None:
        raise ValueError("a whole number")
    return number


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        match = _WHOLE.fullmatch(value.strip())
        try:
            return int(match[1] if match else value)
        except ValueError:
            return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def count(value: Any) -> int:
    """Return a number of things, 1 or more."""
    return _within(value, 1, None, "a whole number, 1 or more")


def compression(value: Any) -> int:
    """Return a compression, 0 to 100."""
    return _within(value, 0, 100, "a whole number from 0 to 100")


def partials(value: Any) -> int:
    """Return how many first views of a picture are requested, 0 to 3."""
    return _within(value, 0, 3, "a whole number from 0 to 3")


def preview(value: Any) -> int:
    """Return the longest edge of a picture in the notebook, in pixels."""
    accepted = f"pixels from {MIN_PREVIEW} to {MAX_PREVIEW} (the original on disk keeps its own size)"
    return _within(value, MIN_PREVIEW, MAX_PREVIEW, accepted)


def workers(value: Any) -> Any:
    """Return a number of processes, or the address or client of a Dask scheduler."""
    if type(value).__module__.startswith("distributed.") and hasattr(value, "scheduler"):
        return value
    if isinstance(value, str) and _SCHEDULER.fullmatch(value.strip()):
        return value.strip()
    accepted = (
        "a number of processes from 0 (this process) to 256, the address of a Dask scheduler such as tcp://10.0.0.5:8786, or its Client"
    )
    return _within(value, 0, 256, accepted)


def _within(value: Any, minimum: int, maximum: int | None, accepted: str) -> int:
    try:
        number = whole(value)
    except ValueError:
        raise ValueError(accepted) from None
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(accepted)
    return number


def seconds(value: Any) -> float:
    """Return a time in seconds, finite and above 0."""
    number = _real(value)
    if number is None or not 0 < number < math.inf:
        raise ValueError("seconds, a number above 0")
    return number


def share(value: Any) -> float:
    """Return a number from 0 to 1."""
    number = _real(value)
    if number is None or not 0 <= number <= 1:
        raise ValueError("a number from 0 to 1")
    return number


def amount(value: Any) -> Decimal:
    """Return an amount of money, exactly as it is written."""
    number = _real(value)
    if number is None or not 0 <= number < math.inf:
        raise ValueError("an amount, 0 or more")
    try:
        return Decimal(str(value).strip())
    except InvalidOperation:  # a number that only Python's own float reads
        raise ValueError("an amount, 0 or more") from None


NUMBERS = (whole, count, compression, partials, preview, seconds, share, amount)
"""The readers of numbers."""


def _real(value: Any) -> float | None:
    if _is_truth(value) or not isinstance(value, str | Decimal | numbers.Real):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ == "bool_"  # numpy's, which is no bool and has an index


def variable(value: str) -> str:
    """Return the name of a Python variable."""
    if not value.isidentifier() or keyword.iskeyword(value):
        raise ValueError("the name of a variable")
    return value


def axis(value: str) -> tuple[str, str]:
    """Return the name of a sweep's axis, and its values as one text."""
    name, equals, values = value.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise ValueError("AXIS=V1,V2,…")
    return name.strip(), values


def progress(value: Any) -> str:
    """Return how a cell shows its progress: `auto`, `widgets` or `text`."""
    if value not in PROGRESS:
        raise ValueError(f"{', '.join(PROGRESS[:-1])} or {PROGRESS[-1]}")
    return str(value)


def pair(value: str) -> tuple[str, Any]:
    """Return a key and its value, which is JSON if it can be read as such, else text."""
    key, equals, content = value.partition("=")
    if not equals or not key.strip():
        raise ValueError("KEY=VALUE")
    try:
        return key.strip(), json.loads(content, parse_constant=_refuse_constant)
    except ValueError:
        return key.strip(), content


def _refuse_constant(word: str) -> Any:
    raise ValueError(word)  # NaN and Infinity are not JSON: a gateway could not read them
