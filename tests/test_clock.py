"""The engine's clock: tests may make its pauses short, and real time comes back afterwards."""

import asyncio
import time

import pytest

from imagegen_magic.engine.clock import CLOCK, Clock, set_testing


def test_a_fast_clock_shortens_pauses_in_proportion():
    """At 3,600 times the speed a pause of an hour takes a second, and the clock itself has counted at least that hour."""
    clock = Clock(3600.0)
    began, began_monotonic = clock.time(), clock.monotonic()
    asyncio.run(asyncio.wait_for(clock.sleep(3600), timeout=60))
    assert clock.time() - began >= 3600
    assert clock.monotonic() - began_monotonic >= 3600


def test_a_timeout_follows_the_clock():
    """A deadline an hour away by the clock ends a wait for something that never comes."""

    async def wait_for_nothing(clock):
        async with clock.timeout_at(clock.monotonic() + 3600):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(wait_for_nothing(Clock(36_000.0)), timeout=60))


def test_no_timeout_is_none_or_infinite():
    """None and infinity set no timeout, also through a deadline."""

    async def deadlines(clock):
        async with clock.timeout(None) as never, clock.timeout_at(float("inf")) as nor_this:
            return never.when(), nor_this.when()

    assert asyncio.run(deadlines(Clock())) == (None, None)


def test_testing_mode_ends():
    """After `set_testing(None)` the process's clock shows the wall clock's time again, though testing mode ran ahead of it."""
    set_testing(1e9)
    try:
        before = CLOCK.time()
        asyncio.run(CLOCK.sleep(1e6))
        assert CLOCK.time() >= before + 1e6
    finally:
        set_testing(None)
    before = time.time()
    assert before <= CLOCK.time() <= time.time()
