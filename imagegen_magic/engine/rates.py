"""How fast submissions of one key go out: those in flight, those of a minute, open tasks, and the pauses that the service asks for."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

from imagegen_magic.engine.clock import Clock
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.net.retry import Retryable
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.slots import Slots
from imagegen_magic.providers.base import Provider

LIVE = 2_000  # tasks of one job that are live at once: submitted, waited for, fetched
_FETCH_SECONDS = 4.0  # in which a slow connection fetches a large picture
_MINUTE = 60.0
_ARRIVAL = 5.0  # seconds after which a submission without an answer has arrived; from then on, or from its answer, its minute counts
_SHORTEST = 0.001  # seconds of a pause, so that a rounded one does not spin


class Limits(NamedTuple):
    """The bounds of one key: submissions in flight, submissions a minute, and open tasks; None is no bound."""

    at_once: int
    per_minute: int | None = None
    open_tasks: int | None = None


def limits_of(endpoint: Endpoint, settings: Settings) -> Limits:
    """Return the bounds that the settings name, else those that the service's page states; the sandbox has only the settings' own."""
    provider = endpoint.provider
    stated = (None, None) if endpoint.sandbox else (provider.submits_per_minute, provider.open_tasks)
    per_minute, open_tasks = settings.get("submits_per_minute"), settings.get("open_tasks")
    return Limits(settings.get("submits_at_once"), per_minute or stated[0], open_tasks or stated[1])


def window_of(providers: Iterable[Provider]) -> int:
    """Return how many tasks of a job are live at once, so that a slow connection fetches all of them while the services keep them."""
    return min((LIVE, *{int(provider.keeps_seconds / _FETCH_SECONDS) for provider in providers}))


class SubmissionLimiter:
    """The submissions of one key (service, address, key) on one event loop; all jobs of this process share it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_flight, self._open = Slots(), Slots()
        self._numbers = itertools.count()
        self._counted: dict[int, float] = {}  # submission -> when its minute begins
        self._paused_until = -math.inf
        self._refusal: Retryable | None = None  # which began the pause

    @property
    def open_tasks(self) -> int:
        """How many tasks are submitted, or about to be, and not finished at the service."""
        return self._open.taken

    def open_task(self, limit: int | None, rank: float = 0.0) -> contextlib.AbstractAsyncContextManager[None]:
        """Return the context of a task from before its submission until the service has finished it."""
        return self._open.slot(limit, rank)

    def in_flight(self, at_once: int, rank: float = 0.0) -> contextlib.AbstractAsyncContextManager[None]:
        """Return the context of a submission with all its attempts; small ranks come first."""
        return self._in_flight.slot(at_once, rank)

    @contextlib.asynccontextmanager
    async def turn(self, per_minute: int | None, patience: float, report: Callable[[str], None]) -> AsyncIterator[None]:
        """Wait for the service's pause and for the rate; the attempt is made inside the context.

        Its Retry-After value pauses all submissions of this key. `report` gets the reason of a pause. Raises Retryable, with the refusal
        that began the pause, if the service asks to wait for more than `patience` seconds.
        """
        while (wait := max(self._pause_left(), self._rate_wait(per_minute))) > 0:
            if self._refusal is not None and (left := self._pause_left()) > 0:
                if left > patience:
                    raise Retryable(copy.copy(self._refusal.error), self._refusal.note, left)
                report(f"{self._refusal.note}, again in {math.ceil(left)} s")
            await self._clock.sleep(max(wait, _SHORTEST))
        number = next(self._numbers)
        if per_minute is not None:
            self._counted[number] = self._clock.monotonic() + _ARRIVAL
        try:
            yield
        except Retryable as refusal:
            self._answered(number)
            self._pause(refusal)
            raise
        except Exception:
            self._answered(number)
            raise
        self._answered(number)

    def _pause_left(self) -> float:
        return self._paused_until - self._clock.monotonic()

    def _pause(self, refusal: Retryable) -> None:
        until = self._clock.monotonic() + (refusal.pause or 0.0)
        if refusal.pause and until > self._paused_until:
            self._paused_until, self._refusal = until, refusal

    def _rate_wait(self, per_minute: int | None) -> float:
        """Return the seconds until one more submission makes at most `per_minute` of any minute, as the service sees them arrive."""
        if per_minute is None:
            return 0.0
        now = self._clock.monotonic()
        self._counted = {number: begins for number, begins in self._counted.items() if begins + _MINUTE > now}
        if len(self._counted) < per_minute:
            return 0.0
        return sorted(self._counted.values())[-per_minute] + _MINUTE - now

    def _answered(self, number: int) -> None:
        if number in self._counted:  # it has arrived, so its minute began no later than now
            self._counted[number] = min(self._counted[number], self._clock.monotonic())
