"""Repeated attempts: when they end, how long the pauses are, and what is reported."""

import asyncio

import pytest

from imagegen_magic.engine.clock import Clock
from imagegen_magic.engine.net import retry


class Busy(Exception):
    """An error with a Retry-After value."""

    def __init__(self, pause=None):
        super().__init__("busy")
        self.pause = pause


class Recorded(Clock):
    """A clock whose pauses are recorded and take no time."""

    def __init__(self):
        super().__init__()
        self.pauses = []

    async def sleep(self, seconds):
        """Record a pause."""
        self.pauses.append(seconds)


def _attempts(outcomes, is_enough=lambda failed: False):
    clock, reported, left = Recorded(), [], iter(outcomes)

    async def call():
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    result = asyncio.run(retry.attempts(call, Busy, is_enough=is_enough, before_pause=reported.append, clock=clock))
    return result, clock.pauses, reported


def test_the_first_success_is_returned():
    """Each failure before it is reported with the pause that follows."""
    result, pauses, reported = _attempts([Busy(), Busy(), "done"])
    assert result == "done"
    assert [failed.attempt for failed in reported] == [1, 2]
    assert pauses == [failed.pause for failed in reported]


def test_a_retry_after_value_is_obeyed_and_zero_gets_a_pause():
    """The pause is the longer one of the two; 0 is no reason to retry at once."""
    _, pauses, reported = _attempts([Busy(7.0), Busy(0.0), "done"])
    assert pauses[0] == 7.0
    assert 0 < pauses[1] <= 1.0
    assert [failed.retry_after for failed in reported] == [7.0, 0.0]


def test_the_last_error_is_raised_as_it_came():
    """Without a pause after it."""
    last = Busy()
    with pytest.raises(Busy) as raised:
        _attempts([Busy(), last], is_enough=lambda failed: failed.attempt == 2)
    assert raised.value is last


def test_other_errors_are_not_retried():
    """They are raised by the first attempt."""
    with pytest.raises(ValueError, match="other"):
        _attempts([ValueError("other"), "done"])


def test_pauses_are_random_and_grow_up_to_twenty_seconds():
    """Their upper bounds are 0.5, 1, 2, … seconds."""
    for attempt, bound in ((1, 0.5), (2, 1.0), (4, 4.0), (20, 20.0), (5000, 20.0)):
        pauses = [retry.backoff(attempt) for _ in range(500)]
        assert bound / 2 < max(pauses) <= bound
        assert min(pauses) < bound / 2
