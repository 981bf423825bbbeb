"""Faults on request: what can go wrong between client and gateway, by name.

A fault is armed (`POST /_sandbox/faults`, `--fault KIND[:TIMES]`), or asked for in a prompt: `[[fault: KIND]]` or
`[[fault: KIND:TIMES]]`. Its phase is when it strikes: at the submission, at a poll, at a batch poll, at a download, or (armed only,
for there is no prompt yet) at an upload.
A fault of phase `task` stays with its task; every other one affects a single request.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Literal

from imagegen_magic.records import PortableError

Phase = Literal["submit", "repeat", "task", "look", "batch", "download", "upload"]

_DIRECTIVE = re.compile(r"\[\[\s*fault\s*:\s*([\w-]+)\s*(?::\s*(\d+)\s*)?\]\]")
_MOST_DIGITS = 9


class UnknownFault(PortableError, ValueError):
    """No fault has that name, or strikes in that way."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One fault: its name, when it strikes, what then happens, and how often a directive without a number means (None: always).

    `by_prompt`: a directive's times are counted for the prompt, whatever the Idempotency-Key.
    """

    name: str
    phase: Phase
    meaning: str
    usual: int | None = None
    by_prompt: bool = False


_ALL = (
    FaultKind("drop-after-accept", "submit", "the task is accepted, then the connection breaks"),
    FaultKind("hang-after-accept", "submit", "the task is accepted, and no answer ever comes"),
    FaultKind("500-after-accept", "submit", "the task is accepted, the answer is HTTP 500"),
    FaultKind("502-after-accept", "submit", "the task is accepted, the answer is HTTP 502"),
    FaultKind("504-after-accept", "submit", "the task is accepted, the answer is HTTP 504"),
    FaultKind("truncated-json", "submit", "the task is accepted, the answer's JSON ends in the middle"),
    FaultKind("html-answer", "submit", "the task is accepted, the answer is a page of HTML with HTTP 200"),
    FaultKind("no-task-id", "submit", "the task is accepted, the answer names no task"),
    FaultKind("drop-before-accept", "submit", "the connection breaks, and no task is accepted", usual=1),
    FaultKind("idempotency-unavailable", "submit", "HTTP 503: the store of Idempotency-Keys is down, not accepted", usual=1),
    FaultKind("repeat-in-progress", "repeat", "HTTP 409 with Retry-After: the first request with this key is still executed", usual=1),
    FaultKind("repeat-indeterminate", "repeat", "HTTP 409: the service does not know what came of the first request"),
    FaultKind("data-object", "submit", "the answer's data is an object with an id, as newer revisions of apimart's page have it"),
    FaultKind("rate-limited", "submit", "HTTP 429 with Retry-After, not accepted", usual=1),
    FaultKind("unavailable", "submit", "HTTP 503, not accepted", usual=1),
    FaultKind("unauthorized", "submit", "HTTP 401, not accepted"),
    FaultKind("no-balance", "submit", "HTTP 402, not accepted"),
    FaultKind("moderation", "submit", "refused by moderation, in the service's own shape"),
    FaultKind("unverified", "submit", "HTTP 403: the organization is not verified (OpenAI's dialect), not accepted"),
    FaultKind("html-error-page", "submit", "HTTP 403 with a page of HTML from something in between, not accepted"),
    FaultKind("reference-gone", "submit", "HTTP 400: the address of a reference cannot be fetched, not accepted", usual=1, by_prompt=True),
    FaultKind("mask-ignored", "task", "the whole picture is painted again, whatever the mask protects"),
    FaultKind("failed", "task", "the task fails"),
    FaultKind("failed-by-moderation", "task", "the task fails because moderation rejects the result"),
    FaultKind("unknown-word", "task", "the status is a word that no page mentions, until the task finishes"),
    FaultKind("no-address", "task", "the task is completed and names no picture"),
    FaultKind("url-string", "task", "each url is a string (apimart's older revisions)"),
    FaultKind("url-list", "task", "one entry whose url lists every picture"),
    FaultKind("several-entries", "task", "one entry a picture, each with a list of one url"),
    FaultKind("fewer-pictures", "task", "one picture fewer than asked"),
    FaultKind("task-forgotten", "task", "the service answers 404 for the task"),
    FaultKind("never-finishes", "task", "the task stays on its way for ever"),
    FaultKind("held", "task", "the task stays on its way until the faults are disarmed"),
    FaultKind("look-500", "look", "the poll is answered HTTP 500", usual=1),
    FaultKind("look-rate-limited", "look", "the poll is answered HTTP 429 with Retry-After", usual=1),
    FaultKind("look-garbage", "look", "the poll is answered with HTML", usual=1),
    FaultKind("batch-400", "batch", "the batch query is answered HTTP 400"),
    FaultKind("batch-garbage", "batch", "the batch query is answered with HTML"),
    FaultKind("expired", "download", "HTTP 410 until the task is asked for a new address", usual=1),
    FaultKind("expired-403", "download", "HTTP 403 until the task is asked for a new address", usual=1),
    FaultKind("download-500", "download", "the download is answered HTTP 500", usual=1),
    FaultKind("truncated", "download", "fewer bytes than Content-Length promises"),
    FaultKind("dropped-download", "download", "the connection breaks in the middle of the bytes"),
    FaultKind("cut-stream", "download", "a stream of events ends before the one with the picture"),
    FaultKind("truncated-jpeg", "download", "a JPEG that ends in the middle, without Content-Length"),
    FaultKind("corrupt", "download", "bytes in the middle of the file are overwritten"),
    FaultKind("oversized", "download", "80 MiB, as Content-Length says"),
    FaultKind("oversized-undeclared", "download", "80 MiB without a Content-Length"),
    FaultKind("non-image", "download", "a page of HTML instead of a picture"),
    FaultKind("bomb", "download", "a PNG of a few kilobytes that decodes to 100 megapixels"),
    FaultKind("slow", "download", "the bytes trickle over some seconds"),
    FaultKind("redirect", "download", "HTTP 302 to another address of the same picture"),
    FaultKind("redirect-loopback", "download", "HTTP 302 to a port of 127.0.0.1"),
    FaultKind("redirect-link-local", "download", "HTTP 302 to 169.254.169.254"),
    FaultKind("wrong-size", "download", "another aspect ratio than asked"),
    FaultKind("wrong-format", "download", "another format than asked"),
    FaultKind("upload-refused", "upload", "HTTP 400: the file is not taken"),
    FaultKind("upload-500", "upload", "the upload is answered HTTP 500", usual=1),
    FaultKind("upload-429", "upload", "the upload is answered HTTP 429 with Retry-After", usual=1),
)

KINDS: dict[str, FaultKind] = {kind.name: kind for kind in _ALL}

REFUSALS = frozenset(
    {"rate-limited", "unavailable", "unauthorized", "no-balance", "moderation", "html-error-page", "reference-gone"}
    | {"drop-before-accept", "idempotency-unavailable", "unverified"}
)
"""The faults of a submission that leave no task behind."""


@dataclass(slots=True)
class ArmedFault:
    """A fault that waits for its moment: how often it will still strike (None: always), at which gateway, for which prompts."""

    kind: str
    times: int | None = 1
    provider: str | None = None
    match: str | None = None

    def fits(self, phase: Phase, provider: str, prompt: str) -> bool:
        """Return whether this fault may strike here."""
        return (
            self.times != 0
            and KINDS[self.kind].phase == phase
            and self.provider in (None, provider)
            and (self.match is None or self.match in prompt)
        )

    def strike(self) -> str:
        """Use up one time, and name the fault."""
        if self.times is not None:
            self.times -= 1
        return self.kind


@lru_cache(maxsize=4096)
def directives(prompt: str) -> tuple[tuple[str, int | None], ...]:
    """Return the (kind, times) that a prompt asks for; raises UnknownFault."""
    found = _DIRECTIVE.findall(prompt) if "[[" in prompt else ()
    return tuple((name, _number(times) if times else known(name).usual) for name, times in found if known(name))


def _number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise UnknownFault(f"no fault strikes {digits[:_MOST_DIGITS]}… times, give at most {_MOST_DIGITS} digits")
    return int(digits)


def known(name: str) -> FaultKind:
    """Return the fault of that name; raises UnknownFault."""
    if name not in KINDS:
        raise UnknownFault(f"no fault is called {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]


@dataclass(slots=True)
class Faults:
    """The faults that are armed, and how often each directive has struck."""

    armed: list[ArmedFault] = field(default_factory=list)
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)

    def arm(self, kind: str, times: int | None = 1, provider: str | None = None, match: str | None = None) -> None:
        """Arm a fault; raises UnknownFault, also for values of another type than these."""
        if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 0):
            raise UnknownFault("times must be a whole number, or null for always")
        if not all(words is None or isinstance(words, str) for words in (provider, match)):
            raise UnknownFault("provider and match must be text, or null for any")
        self.armed.append(ArmedFault(known(kind).name, times, provider, match))

    def arm_text(self, text: str) -> None:
        """Arm a fault as the command line writes it, KIND or KIND:TIMES; raises UnknownFault, ValueError."""
        kind, _, times = text.partition(":")
        self.arm(kind.strip(), int(times) if times else 1)

    def clear(self) -> None:
        """Disarm every fault."""
        self.armed.clear()

    def shown(self) -> list[dict[str, Any]]:
        """Return what is armed, as JSON values."""
        return [asdict(armed) for armed in self.armed if armed.times != 0]

    def take(self, phase: Phase, provider: str, prompt: str, owner: str) -> str | None:
        """Return the fault that strikes here, if any, and use it up; `owner` is whose directives are counted."""
        for name, times in directives(prompt):
            whose = prompt if KINDS[name].by_prompt else owner
            if KINDS[name].phase == phase and (times is None or self.struck[whose, name] < times):
                self.struck[whose, name] += 1
                return name
        return next((armed.strike() for armed in self.armed if armed.fits(phase, provider, prompt)), None)

    def clinging(self, provider: str, prompt: str, already: Iterable[str]) -> set[str]:
        """Return the armed faults that a task catches now, without those that it has already."""
        bound = set(already)
        fresh: set[str] = set()
        for armed in self.armed:
            if armed.kind not in bound | fresh and armed.fits("task", provider, prompt):
                fresh.add(armed.strike())
        return fresh
