"""The engine's clock: the time, pauses and timeouts of polling, retries and downloads come from here, so that tests can make them short."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AbstractAsyncContextManager


class Clock:
    """Time that passes `speed` times as fast as real time: pauses and timeouts shorten with it, and their order and ratios stay.

    All arguments and results are seconds of this clock. A subclass may replace any method; Poller takes one as `clock`.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.set_speed(speed)

    def set_speed(self, speed: float) -> None:
        """Let time pass `speed` times as fast from now on; 1 is real time, without any offset."""
        self._speed = speed
        self._time, self._monotonic = time.time(), time.monotonic()

    def time(self) -> float:
        """Return epoch seconds."""
        return time.time() if self._speed == 1 else self._time + self._elapsed()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment, which never go back while the speed stays the same."""
        return time.monotonic() if self._speed == 1 else self._monotonic + self._elapsed()

    def _elapsed(self) -> float:
        return (time.monotonic() - self._monotonic) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds`; not at all if that is 0 or less."""
        await asyncio.sleep(seconds / self._speed)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """Return a context manager that raises TimeoutError after `seconds`; never if None or infinite."""
        return asyncio.timeout(None if seconds is None or math.isinf(seconds) else seconds / self._speed)

    def timeout_at(self, deadline: float) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """Return a context manager that raises TimeoutError at a moment of `monotonic()`."""
        return self.timeout(deadline - self.monotonic())


CLOCK = Clock()
"""The clock of this process; `EngineContext.clock` is this one."""


def set_testing(speed: float | None = 50.0) -> None:
    """Let the engine's time in this process pass `speed` times as fast; None restores real time.

    In a fixture: `clock.set_testing()`, and `clock.set_testing(None)` afterwards. It may be called at any time, also while tasks run.

    Shortened: intervals between polls, pauses before retries (Retry-After too), `timeout` of a request. `time()` runs ahead of the
    wall clock by as much, also in the ledger (`submitted_at`) and in `Progress.submitted`. Unchanged: real sockets, connect and read
    timeouts of HTTP, locks between processes, the sandbox's own delays, other processes.
    """
    CLOCK.set_speed(1.0 if speed is None else speed)
