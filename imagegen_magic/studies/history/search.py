"""Search of earlier images: by words of their prompts, model, time, stars and tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar

from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.ledger import history
from imagegen_magic.engine.ledger.annotations import Annotation, annotations_of, normalize_tag
from imagegen_magic.engine.ledger.history import Criteria
from imagegen_magic.engine.ledger.ledger import Ledger, PictureRow
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import Record

_NONE = Annotation()
_AGO = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(min|h|d|w|m|y)", re.IGNORECASE)
MAX_COUNTED = 5_000
"""The number of images that `per_day` counts at most."""
_SHOWN_DAYS = 90
_SECONDS = {"min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "m": 30 * 86_400, "y": 365 * 86_400}


@dataclass(frozen=True, slots=True)
class HistoryEntry(Record):
    """One image of the history with its annotation."""

    picture: PictureRow
    annotation: Annotation = _NONE

    _renamed_fields: ClassVar[Mapping[str, str]] = MappingProxyType({"mark": "annotation"})


async def search(
    ledger: Ledger,
    words: str = "",
    *,
    model: str | None = None,
    since: str | float | None = None,
    stars: int | None = None,
    tag: str | None = None,
    limit: int | None = 20,
) -> list[HistoryEntry]:
    """Return the saved images that match, newest first.

    All `words` must be in the prompt or name, in any order and case; the last word may be a prefix, "quoted words" are a phrase. They
    have no operators. `model` is the name of a model or gateway, `since` epoch seconds or a text for `parse_since`, `stars` the minimum.
    Raises UnsupportedOption for an invalid `since`, ValueError for an invalid `tag`.
    """
    rows = await history.search(ledger, _criteria(words, model, since, stars, tag)._replace(limit=limit))
    annotations = await annotations_of(ledger, [row.id for row in rows])
    return [HistoryEntry(row, annotations.get(row.id, _NONE)) for row in rows]


async def per_day(
    ledger: Ledger,
    words: str = "",
    *,
    model: str | None = None,
    since: str | float | None = None,
    stars: int | None = None,
    tag: str | None = None,
) -> dict[str, int]:
    """Return how many saved images match on each day that has any, by ISO date; by default of the last 90 days, of at most 5,000 images.

    The arguments are those of `search`.
    """
    criteria = _criteria(words, model, since, stars, tag)
    after = CLOCK.time() - _SHOWN_DAYS * _SECONDS["d"] if criteria.after is None else criteria.after
    return dict(await history.count_by_day(ledger, criteria._replace(after=after, limit=MAX_COUNTED)))


def _criteria(words: str, model: str | None, since: str | float | None, stars: int | None, tag: str | None) -> Criteria:
    after = parse_since(since) if isinstance(since, str) else since
    return Criteria(words, model, after, stars, None if tag is None else normalize_tag(tag))


def parse_since(text: str) -> float:
    """Return the moment `7d` ago (12h, 2w, 1m for 30 days, 1y), or that of an ISO date or time, in epoch seconds.

    A date is its first moment on this machine's calendar. Raises UnsupportedOption.
    """
    moment = text.strip()
    if ago := _AGO.fullmatch(moment):
        return CLOCK.time() - float(ago[1]) * _SECONDS[ago[2].lower()]
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError, OSError):
        what = f"--since {moment or '(nothing)'} is not a time"
        hint = "give 12h, 7d, 2w, or a date like 2026-11-20"
        raise UnsupportedOption(what, option="since", value=text, hint=hint) from None
