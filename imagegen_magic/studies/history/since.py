"""Moments as people say them: `7d`, `12h`, `2w`, a date."""

from __future__ import annotations

import re
import time
from datetime import datetime

from imagegen_magic.errors import UnsupportedOption

_AGO = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(min|h|d|w|m|y)", re.IGNORECASE)
_SECONDS = {"min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "m": 30 * 86_400, "y": 365 * 86_400}


def since(text: str) -> float:
    """Return the moment that `7d` (12h, 2w, 1m for 30 days, 1y) or an ISO date or time says, in epoch seconds.

    A date is its first moment on this machine's calendar. Raises UnsupportedOption.
    """
    said = text.strip()
    if ago := _AGO.fullmatch(said):
        return time.time() - float(ago[1]) * _SECONDS[ago[2].lower()]
    try:
        return datetime.fromisoformat(said).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UnsupportedOption(
            f"--since {said or '(nothing)'} is no moment",
            option="since",
            value=text,
            hint="give 12h, 7d, 2w, or a date like 2026-11-20",
        ) from None
