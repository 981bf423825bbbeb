"""Attempts that are repeated after a pause, with exponential backoff and jitter."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from imagegen_magic.engine.clock import Clock
from imagegen_magic.errors import ImageGenError
from imagegen_magic.records import PortableError

T = TypeVar("T")

_FIRST_PAUSE, _MAX_PAUSE = 0.5, 20.0  # seconds: the upper bounds of the first pause and of any


class Retryable(PortableError):
    """Not accepted for certain, and worth a retry; `error` is final if retries fail, `pause` the Retry-After value in seconds."""

    def __init__(self, error: ImageGenError, note: str = "", pause: float | None = None) -> None:
        super().__init__(note or error.what)
        self.error, self.note, self.pause = error, note, pause


class RetryDetails(NamedTuple):
    """A failed attempt: its number from 1, its error, the error's Retry-After value (0 if none) and the pause that follows, in seconds."""

    attempt: int
    error: Exception
    retry_after: float
    pause: float


def backoff(attempt: int) -> float:
    """Return a random pause in seconds, whose upper bound doubles with each attempt."""
    return random.uniform(0, min(_MAX_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempt - 1, 10)))


async def attempts(
    call: Callable[[], Awaitable[T]],
    retryable: type[Exception] | tuple[type[Exception], ...],
    *,
    is_enough: Callable[[RetryDetails], bool],
    before_pause: Callable[[RetryDetails], None],
    clock: Clock,
) -> T:
    """Return the result of the first attempt that succeeds. Raises the last attempt's error as it came, once `is_enough` returns True.

    An error's `pause` is its Retry-After value in seconds: a pause is never shorter, and 0 is no reason to retry without one.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await call()
        except retryable as error:
            retry_after = getattr(error, "pause", None) or 0.0
            details = RetryDetails(attempt, error, retry_after, max(retry_after, backoff(attempt)))
            if is_enough(details):
                raise
        before_pause(details)
        await clock.sleep(details.pause)
