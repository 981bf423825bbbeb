"""Numbers, sizes, durations and times as people read them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

_AGES = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3600, "hour"), (60, "minute"))


def pluralize(number: int, noun: str) -> str:
    """Return a count with its noun: `1 picture`, `2 pictures`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def alternatives(names: Sequence[str]) -> str:
    """Return names as a choice: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def gateway_name(name: str, sandbox: bool) -> str:
    """Return the name of a gateway or model, and whether the sandbox stands in for it: `evolink (sandbox)`."""
    return f"{name} (sandbox)" if sandbox else name


def truncate(text: str, max_length: int = 60) -> str:
    """Return a text on one line of at most `max_length` characters; an ellipsis shows that it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= max_length else line[: max_length - 1].rstrip() + "…"


def file_size(size: int) -> str:
    """Return a number of bytes: `12 kB`, `1.4 MB`, `2.3 GB`."""
    if size >= 1_000_000_000:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{max(1, round(size / 1000))} kB"


def compared_sizes(size: int, limit: int) -> tuple[str, str]:
    """Return a number of bytes and the limit that it exceeds, with as few digits as show the difference."""
    unit, name = (1e6, "MB") if limit >= 1e6 else (1e3, "kB")
    for digits in range(4):
        pair = f"{size / unit:.{digits}f}", f"{limit / unit:.{digits}f}"
        if pair[0] != pair[1]:
            return f"{pair[0]} {name}", f"{pair[1]} {name}"
    return f"{size} bytes", f"{limit} bytes"


def duration(seconds: float) -> str:
    """Return a duration: `12 s`, `2 min 5 s`."""
    rounded = max(0, round(seconds))
    return f"{rounded} s" if rounded < 120 else f"{rounded // 60} min {rounded % 60} s"


def ago(seconds: float) -> str:
    """Return an age: `just now`, `3 days ago`."""
    return next((f"{pluralize(int(seconds // size), noun)} ago" for size, noun in _AGES if seconds >= size), "just now")


def iso_time(seconds: float, timespec: str = "seconds") -> str:
    """Return epoch seconds as an ISO 8601 time in UTC; such texts sort by time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec)


def seconds_of(text: str) -> float:
    """Return an ISO 8601 time as epoch seconds. Raises ValueError if it is none."""
    return datetime.fromisoformat(text).timestamp()


def local_day(seconds: float) -> str:
    """Return the day of epoch seconds here: `2026-11-30`."""
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


def local_minute(seconds: float) -> str:
    """Return day and time of epoch seconds here: `2026-11-30 14:05`."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
