"""What a scorer returned, read as values: measured, not applicable, or failed; a failure is never a 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import Any, Literal

from imagegen_magic.records import Record
from imagegen_magic.result import Cost
from imagegen_magic.secret_patterns import redact
from imagegen_magic.studies.scores.scorer import Score

State = Literal["measured", "not applicable", "failed"]
_MAX_TEXT = 2_000  # characters of a reason or an error
_MAX_MEASURES = 50  # of one dict


@dataclass(frozen=True, slots=True)
class Outcome(Record):
    """One value of a scorer for one image: `value` is a finite number if it is measured, else None; `error` is why it failed."""

    state: State
    value: float | None = None
    reason: str = ""
    error: str = ""
    cost: Cost | None = None


def failed(error: BaseException | str) -> Outcome:
    """Return the outcome of an exception, or of a reason in text; neither has anything that looks like a key."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return Outcome("failed", error=redact(text)[:_MAX_TEXT])


def read(returned: Any) -> dict[str, Outcome]:
    """Return the outcomes of what a scorer returned, by the name of the measure, which is empty unless it is a dict.

    A wrong type, NaN and infinity are failures.
    """
    if isinstance(returned, BaseException):
        return {"": failed(returned)}
    if isinstance(returned, Mapping):
        if not 0 < len(returned) <= _MAX_MEASURES:
            return {"": failed(f"it returned a dict of {len(returned)} values; 1 to {_MAX_MEASURES} are possible")}
        return {_measure(name): _read_one(value) for name, value in returned.items()}
    return {"": _read_one(returned)}


def _measure(name: object) -> str:
    return " ".join(str(name).split())[:60]


def _read_one(returned: Any) -> Outcome:
    if isinstance(returned, BaseException):
        return failed(returned)
    if isinstance(returned, Score):
        found = _read_one(returned.value)
        return replace(found, reason=redact(str(returned.reason))[:_MAX_TEXT], cost=returned.cost)
    if returned is None:
        return Outcome("not applicable")
    number = _number(returned)
    if number is None:
        kind = f"a value of type {type(returned).__name__}"
        return failed(f"it returned {kind}; a number, True, False, None, a Score or a dict of these are possible")
    if not math.isfinite(number):
        return failed(f"it returned {number}, which is not a number to compare")
    return Outcome("measured", number + 0.0)  # -0.0 becomes 0.0


def _number(value: Any) -> float | None:
    """Return a number of any kind as a float, infinite if it is too large; None for anything else."""
    if not isinstance(value, Real | Decimal) and type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if not isinstance(value, Real | Decimal):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:  # a signalling NaN
        return math.nan
