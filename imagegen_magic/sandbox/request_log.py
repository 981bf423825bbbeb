"""The log of a sandbox's requests, without keys."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, fields
from typing import Any

_COUNTED = (
    "submissions",
    "accepted",
    "repeated",
    "looks",
    "batch_looks",
    "downloads",
    "downloads_with_key",
    "uploads",
    "lists",
    "balances",
)


@dataclass(slots=True)
class LogEntry:
    """One request to submit: its gateway, body and outcome.

    `status` is the HTTP status of the answer, None before that; `accepted` says that a task was made, `repeated`
    that this Idempotency-Key had been accepted before; `json` is the body, or its text if it is no JSON.
    """

    provider: str
    at: float
    had_key: bool
    idempotency_key: str = ""
    prompt: str = ""
    json: Any = None
    task_id: str | None = None
    accepted: bool = False
    repeated: bool = False
    fault: str | None = None
    status: int | None = None


_FIELDS = [each.name for each in fields(LogEntry)]


@dataclass(slots=True)
class RequestLog:
    """The last submissions, and counts of every kind of request for each gateway."""

    entries: deque[LogEntry] = field(default_factory=lambda: deque(maxlen=20_000))
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, provider: str, what: str) -> None:
        """Count one request."""
        self.counts[provider, what] += 1

    def submission(self, entry: LogEntry) -> LogEntry:
        """Log a submission."""
        self.entries.append(entry)
        self.count(entry.provider, "submissions")
        return entry

    def accept(self, entry: LogEntry, task_id: str, *, repeated: bool) -> None:
        """Log that it was accepted."""
        entry.task_id, entry.accepted, entry.repeated = task_id, not repeated, repeated
        self.count(entry.provider, "repeated" if repeated else "accepted")

    def shown(self, prompt: str | None = None) -> dict[str, Any]:
        """Return it as JSON values: totals, `providers` (counts of each) and `submissions`, all or those of one prompt."""
        per: dict[str, dict[str, int]] = {}
        for (provider, what), number in self.counts.items():
            per.setdefault(provider, dict.fromkeys(_COUNTED, 0))[what] = number
        totals = {what: sum(counts[what] for counts in per.values()) for what in _COUNTED}
        del totals["submissions"]  # that name is the list
        entries = (entry for entry in self.entries if prompt is None or entry.prompt == prompt)
        return {"submissions": [{name: getattr(entry, name) for name in _FIELDS} for entry in entries], "providers": per, **totals}
