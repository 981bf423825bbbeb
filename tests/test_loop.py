"""The one background loop: a bridge that waits, is interrupted, cleans up once, and starts again after a fork."""

import asyncio
import contextlib
import os
import signal
import threading

import pytest
from waiting import until

from imagegen_magic.engine import loop


async def _double(number):
    await asyncio.sleep(0)
    return number * 2


def _press_stop_soon():
    threading.Timer(0.05, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()


def test_run_returns_the_result():
    """A coroutine's value comes back to synchronous code."""
    assert loop.run(_double(21)) == 42


def test_run_raises_what_was_raised():
    """An error inside comes out as it was, even when it is a TimeoutError."""

    async def fail():
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        loop.run(fail())


def test_run_refuses_to_wait_for_itself():
    """On the engine's own thread `run` would never return, so it raises an error."""

    async def nested():
        inner = _double(1)
        try:
            return loop.run(inner)
        finally:
            inner.close()

    with pytest.raises(RuntimeError, match="await"):
        loop.run(nested())


def test_an_interrupt_cancels_once_and_waits_for_the_clean_up():
    """Ctrl-C in the wait lets the coroutine put its affairs in order, and then is raised as it came."""
    steps = []

    async def careful():
        try:
            _press_stop_soon()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            steps.append("cleaned up")
            raise

    with pytest.raises(KeyboardInterrupt):
        loop.run(careful())
    assert steps == ["cleaned up"]


def test_a_second_interrupt_stops_waiting_for_the_clean_up(monkeypatch):
    """Who presses stop twice gets the prompt back at once."""

    monkeypatch.setattr(loop, "_GRACE", 1000.0)  # no limit but the second interrupt
    ended = threading.Event()

    async def stubborn():
        _press_stop_soon()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            _press_stop_soon()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        loop.run(stubborn())
    assert not ended.is_set()


def test_cancelling_is_idempotent_and_thread_safe():
    """Many cancellations from many threads are one."""
    cancellations, begun = [], threading.Event()

    async def count():
        begun.set()
        for _ in range(3):
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                cancellations.append(1)
        return "ended"

    handle = loop.submit(count())
    begun.wait(10)
    threads = [threading.Thread(target=handle.cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert handle.result(timeout=5) == "ended"
    assert len(cancellations) == 1
    for thread in threads:
        thread.join()


def test_a_handle_is_done_only_after_the_clean_up():
    """`done()` means that nothing runs any longer."""
    begun, ended = threading.Event(), threading.Event()

    async def slow_to_end():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            ended.set()

    handle = loop.submit(slow_to_end())
    assert begun.wait(60)
    handle.cancel()
    until(handle.done)
    assert ended.is_set()
    assert handle.cancelled()


def test_what_must_not_be_torn_is_finished_before_a_cancellation_gets_through():
    """A submission that is on the wire is brought to its end and recorded."""
    recorded, begun = [], threading.Event()

    async def submission():
        begun.set()
        await asyncio.sleep(0.05)
        recorded.append("task id")

    handle = loop.submit(loop.uninterrupted(submission()))
    assert begun.wait(60)
    handle.cancel()
    until(handle.done)
    assert recorded == ["task id"]
    assert handle.cancelled()


def test_stopping_the_engine_lets_everything_clean_up_and_closes_what_asked_for_it():
    """At the interpreter's end tasks are cancelled, what must not be interrupted ends, closers run, and the next use starts a new loop."""
    steps, begun = [], threading.Semaphore(0)

    async def waiting():
        begun.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise

    async def recording():
        begun.release()
        await asyncio.sleep(0.05)
        steps.append("recorded")

    async def close():
        steps.append("closed")

    loop.submit(waiting())
    loop.submit(loop.uninterrupted(recording()))
    loop.at_stop(close)
    assert begun.acquire(timeout=60)
    assert begun.acquire(timeout=60)
    loop.stop()
    assert steps == ["cancelled", "recorded", "closed"]
    assert loop.run(_double(2)) == 4


def test_another_loop_can_await_the_engine_and_its_cancellation_waits_for_the_clean_up():
    """`bridge` works on any running loop."""
    cleaned = threading.Event()

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    async def user():
        assert await loop.await_on_engine(_double(4)) == 8
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.await_on_engine(slow()), 0.1)
        return cleaned.is_set()

    assert asyncio.run(user())


def test_bridging_on_the_engine_itself_is_a_plain_await():
    """No detour where none is needed."""

    async def inside():
        return await loop.await_on_engine(_double(5))

    assert loop.run(inside()) == 10


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_gets_an_engine_of_its_own():
    """After a fork the parent's thread is not there; the child starts one."""
    assert loop.run(_double(1)) == 2
    child = os.fork()
    if child == 0:
        try:
            os._exit(7 if loop.run(_double(3)) == 6 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
