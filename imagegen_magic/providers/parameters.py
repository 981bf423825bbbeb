"""Named parameters of a model beyond the common options: what each may be, and where it stands in the request.

A model declares its parameters as data: `{"steps": Parameter("integer", minimum=1, maximum=50)}`. A request gives their values by name.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers.describe import shown
from imagegen_magic.records import Record

Kind = Literal["integer", "number", "text", "choice", "flag"]

_MAX_NAMED = 8  # parameters in a message
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class Parameter(Record):
    """What one parameter may be, and `path`, the dotted JSON name that it is sent as ("": its own name).

    `minimum` and `maximum` are inclusive, None if unknown. `default` is what the service takes if nothing is sent. A `counted` parameter
    (a seed) counts up from picture to picture of one request. `common` parameters are shown first.
    """

    kind: Kind
    path: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    default: Any = None
    counted: bool = False
    common: bool = False
    help: str = ""

    @property
    def allowed(self) -> tuple[str, ...]:
        """The values as messages show them; empty if the range is unknown."""
        if self.kind == "flag":
            return ("true", "false")
        if self.choices:
            return self.choices
        low, high = ("" if bound is None else f"{bound:g}" for bound in (self.minimum, self.maximum))
        return ((f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"),) if low or high else ()

    def read(self, value: Any) -> Any:
        """Return a value as it is sent: an int, float, str or bool. Raises ValueError if this parameter cannot be that."""
        match self.kind:
            case "flag":
                return _flag(value)
            case "integer" | "number":
                return self._number(value)
            case "choice":
                return self._choice(str(value).strip())
        if not isinstance(value, str):
            raise ValueError
        return value

    def nearest(self, value: Any) -> Any:
        """Return the legal value closest to this one; None if there is none."""
        if self.kind == "choice":
            return next(iter(difflib.get_close_matches(str(value), self.choices, 1)), None)
        if self.kind not in ("integer", "number"):
            return None
        try:
            number = min(max(float(value), self.minimum or -math.inf), math.inf if self.maximum is None else self.maximum)
            return self.read(round(number) if self.kind == "integer" else number)
        except (TypeError, ValueError, OverflowError):
            return None

    def _number(self, value: Any) -> int | float:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if not math.isfinite(number) or (self.kind == "integer" and number != int(number)):
            raise ValueError
        exact: int | float = int(value) if self.kind == "integer" else number
        if (self.minimum is not None and exact < self.minimum) or (self.maximum is not None and exact > self.maximum):
            raise ValueError
        return exact

    def _choice(self, text: str) -> str:
        found = next((choice for choice in self.choices if choice.lower() == text.lower()), None)
        if found is None:
            raise ValueError
        return found


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() not in _FLAGS:
        raise ValueError
    return _FLAGS[str(value).strip().lower()]


def check(who: str, declared: Mapping[str, Parameter], given: Mapping[str, Any], *, strict: bool = True) -> dict[str, Any]:
    """Return the values as they are sent. Raises UnsupportedOption for a value out of range, and, if `strict`, for an unknown name."""
    checked = {}
    for name, value in given.items():
        parameter = declared.get(name)
        if parameter is None:
            if strict:
                raise _unknown(who, declared, name, value)
            checked[name] = _number_or_text(value)
            continue
        try:
            checked[name] = parameter.read(value)
        except (TypeError, ValueError, OverflowError):
            nearest = parameter.nearest(value)
            what = f"{who} takes no {name} {shown(value)}"
            advice: dict[str, Any] = {"fix": {name: nearest}} if nearest is not None else {}
            raise UnsupportedOption(what, option=name, value=value, allowed=parameter.allowed, **advice) from None
    return checked


def _number_or_text(value: Any) -> Any:
    """Return the number that a text is, as an axis of a sweep writes it; any other value as it is."""
    found = re.fullmatch(r"[+-]?\d{1,20}(\.\d{1,20})?", value, re.ASCII) if isinstance(value, str) else None
    return value if found is None else float(value) if found[1] else int(value)


def _unknown(who: str, declared: Mapping[str, Parameter], name: str, value: Any) -> UnsupportedOption:
    near = difflib.get_close_matches(name, declared, 3) or list(declared)
    hint = f"it has {', '.join(near[:_MAX_NAMED])}" if declared else f"leave {name} out"
    return UnsupportedOption(f"{who} has no parameter {name}", option=name, value=value, hint=hint, fix={name: None})


def placed(declared: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as nested JSON, each at its path."""
    body: dict[str, Any] = {}
    for name, value in values.items():
        parameter = declared.get(name)
        *outer, last = ((parameter.path if parameter else "") or name).split(".")
        level = body
        for each in outer:
            level = level.setdefault(each, {})
        level[last] = value
    return body


def counts_up(declared: Mapping[str, Parameter], name: str) -> bool:
    """Return whether a value counts up from picture to picture: a seed does also where a model does not declare it."""
    found = declared.get(name)
    return name == "seed" if found is None else found.counted


def counted(declared: Mapping[str, Parameter], values: Mapping[str, Any], before: int) -> dict[str, Any]:
    """Return the values for a call after `before` pictures of the same request: what counts up has counted."""
    return {name: value + before if counts_up(declared, name) and type(value) is int else value for name, value in values.items()}


def merged(body: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON body with further values; objects that both have are joined, at every depth."""
    joined = dict(body)
    for name, value in values.items():
        ours = joined.get(name)
        joined[name] = merged(ours, value) if isinstance(ours, Mapping) and isinstance(value, Mapping) else value
    return joined
