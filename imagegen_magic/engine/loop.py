"""The one background event loop, and the one bridge to it from synchronous code and from other loops.

The loop runs in a daemon thread, so that a kernel's own loop, which is blocked while a cell runs, never delays an image. After a fork
the child gets a loop of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import concurrent.futures.thread
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import ProcessBound

T = TypeVar("T")

_STEP = 0.2  # seconds; an interrupt is seen at once on POSIX, and at the next step elsewhere
_GRACE = 5.0  # seconds that a cancelled coroutine gets for its clean-up
_UNINTERRUPTED = "imagegen-uninterrupted"


class Handle(ProcessBound, concurrent.futures.Future[T], Generic[T]):
    """A coroutine on the engine's loop; it is done only when its clean-up is."""

    def __init__(self) -> None:
        super().__init__()
        self._task: asyncio.Task[T] | None = None
        self._cancelled_once = False

    def cancel(self) -> bool:
        """Ask the coroutine to stop, once: a second cancellation would abort its clean-up. Thread-safe."""
        if self.done() or self._cancelled_once:
            return False
        self._cancelled_once = True
        engine = _engine()
        if not engine.loop.is_closed():
            engine.loop.call_soon_threadsafe(self._cancel_task)
        return True

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _start(self, awaitable: Awaitable[T]) -> None:
        self._task = _task(awaitable)
        self._task.add_done_callback(self._finish)
        if self._cancelled_once:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
        elif error := task.exception():
            self.set_exception(error)
        else:
            self.set_result(task.result())


def _task(awaitable: Awaitable[T]) -> asyncio.Task[T]:
    # a coroutine becomes the task itself: cancelled before its first step, a wrapped one would never be awaited
    return asyncio.create_task(awaitable if asyncio.iscoroutine(awaitable) else _as_coroutine(awaitable))


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


class _Engine:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.closers: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.thread = threading.Thread(target=self._run, name="imagegen-engine", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def stop(self) -> None:
        """Cancel the running tasks, let them clean up for a bounded time, and end the thread."""
        if self.pid != os.getpid() or self.loop.is_closed():
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(), self.loop)
        concurrent.futures.wait([ending], timeout=_GRACE + 1)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=1)

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            if task.get_name() != _UNINTERRUPTED:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE)
        for close in reversed(self.closers):
            await close()
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()


# before concurrent.futures stops its threads, which the clean-up still needs; atexit would run after that
_at_exit: Callable[[Callable[[], None]], Any] = getattr(threading, "_register_atexit", atexit.register)
_current: _Engine | None = None
_starting = threading.Lock()


def _engine() -> _Engine:
    global _current
    with _starting:
        if _current is None or _current.pid != os.getpid() or _current.loop.is_closed():
            _current = _Engine()
            _at_exit(_current.stop)
        return _current


def _after_fork() -> None:
    global _current, _starting
    _current, _starting = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def stop() -> None:
    """End the engine's loop; the next use starts a new one."""
    global _current
    engine, _current = _current, None
    if engine is not None:
        engine.stop()


def here() -> bool:
    """Return whether this code runs on the engine's loop."""
    return _current is not None and threading.current_thread() is _current.thread


def at_stop(close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Have `close` awaited when the engine's loop ends."""
    _engine().closers.append(close)


def call(function: Callable[[], None]) -> None:
    """Call something on the engine's loop, soon."""
    _engine().loop.call_soon_threadsafe(function)


def submit(awaitable: Awaitable[T]) -> Handle[T]:
    """Start a coroutine on the engine's loop and return at once."""
    handle: Handle[T] = Handle()
    _engine().loop.call_soon_threadsafe(handle._start, awaitable)
    return handle


def run(awaitable: Awaitable[T]) -> T:
    """Wait from synchronous code for a coroutine on the engine's loop, and return its result.

    An interrupt cancels it once, waits a bounded time for its clean-up, and then is raised as it came.
    Raises RuntimeError on the engine's own thread, UnsupportedOption for what cannot be awaited.
    """
    if not inspect.isawaitable(awaitable):
        raise _not_awaitable(awaitable)
    if here():
        raise RuntimeError("run() would wait for itself on the engine's thread: use await")
    handle = submit(awaitable)
    try:
        wait(handle)
    except BaseException:
        handle.cancel()
        concurrent.futures.wait([handle], timeout=_GRACE)
        raise
    return handle.result()


def _not_awaitable(value: object) -> UnsupportedOption:
    step = "give it what generate() or sweep() returns"
    if isinstance(value, AsyncIterator):
        step = "go through stream() with async for, in a coroutine, and give that to run()"
    return UnsupportedOption(f"run() cannot wait for a value of type {type(value).__name__}", option="run", value=value, hint=step)


def wait(future: concurrent.futures.Future[Any], timeout: float | None = None) -> None:
    """Wait from synchronous code in steps short enough for an interrupt; raises TimeoutError after `timeout` seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while not future.done():
        left = _STEP if deadline is None else min(_STEP, deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError(f"not finished after {timeout:g} s")
        concurrent.futures.wait([future], timeout=left)


async def await_on_engine(awaitable: Awaitable[T]) -> T:
    """Await something on the engine's loop from any running loop; cancelling waits for its clean-up."""
    if here():
        return await awaitable
    handle = submit(awaitable)
    finished = asyncio.wrap_future(handle)
    try:
        return await asyncio.shield(finished)
    except asyncio.CancelledError:
        handle.cancel()
        await asyncio.wait([finished], timeout=_GRACE)
        raise


async def uninterrupted(awaitable: Awaitable[T]) -> T:
    """Await something that a cancellation must not interrupt: the cancellation waits for it, for a bounded time."""
    inner = _task(awaitable)
    inner.set_name(_UNINTERRUPTED)
    try:
        return await asyncio.shield(inner)
    except asyncio.CancelledError:
        inner.add_done_callback(lambda task: task.cancelled() or task.exception())  # marks its exception as retrieved
        await asyncio.wait([inner], timeout=_GRACE - 1)
        raise
