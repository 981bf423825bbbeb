"""Waits without a limit of their own (pytest's timeout ends a test that hangs), and time that jumps instead of passing."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any, TypeVar

from imagegen_magic.engine.clock import Clock

T = TypeVar("T")


def until(condition: Callable[[], Any]) -> None:
    """Return as soon as `condition()` is true."""
    while not condition():
        time.sleep(0.002)


class Overlay:
    """`module` with some of its names replaced, for the one module of ours in which it is set.

    Replacing `asyncio.sleep` itself would change every other task of the process too.
    """

    def __init__(self, module: ModuleType, **replaced: Any) -> None:
        self._module = module
        vars(self).update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class JumpingClock(Clock):
    """A clock that stands still while anything runs, and jumps to the next timer when all tasks wait.

    `run` runs a coroutine on a loop of that time. It is for coroutines without sockets and threads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0  # seconds since this clock was made

    def time(self) -> float:
        """Return epoch seconds of a fixed day."""
        return 1_800_000_000.0 + self.now

    def monotonic(self) -> float:
        """Return seconds since this clock was made."""
        return self.now

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result; pauses take no real time."""
        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(coroutine)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: JumpingClock) -> None:
        self._clock = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._clock.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: JumpingClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("every task waits, and no timer is set")
        self._clock.now += max(timeout, 0.0)
        return super().select(0)
