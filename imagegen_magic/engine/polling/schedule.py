"""When to poll a task next, and which tasks share a request: pure functions without clock or network.

A poll is due when a finished image would, on average, have waited `budget` seconds. With D the duration of such tasks
(log-normal, fitted to recorded durations) and t the last poll, it is the t' that solves E[(t' - D)+ | D > t] = budget.
It lies between the gateway's minimum interval and a reach that grows with the number of recorded durations.
Times are seconds since the submission, unless a docstring names another clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import NamedTuple, TypeVar

MAX_INTERVAL = 20.0  # seconds between two polls: a refusal in the first seconds must not stay unseen for a minute
PRIOR_WEIGHT = 1 / 3  # of an observation: the published median
PRIOR_SPREAD, PRIOR_SPREAD_WEIGHT = 0.35, 2.0  # of ln(seconds); counts as two observations
_MIN_SECONDS, _MAX_SECONDS = 1e-3, 1e6  # recorded durations outside are clipped
_TOLERANCE = 1e-3  # seconds
_STEPS = ((1, 0.1), (10, 1), (60, 5), (180, 10))  # below the first number of seconds, durations are rounded to the second
_SQRT2 = math.sqrt(2)

Task = TypeVar("Task")


class DurationModel(NamedTuple):
    """How long tasks of one class take: a log-normal (`mu`, `sigma` of ln seconds), and how many were observed."""

    mu: float
    sigma: float
    observed: int = 0

    @property
    def reach(self) -> float:
        """Seconds without a poll that the recorded durations justify: few tasks end before. 0 without any."""
        return math.exp(self.mu - 1.5 * self.sigma) * self.observed / (self.observed + 1)


def typical_seconds(quality: str | None, megapixels: float) -> float:
    """Return the published median: low and auto 20 s, medium 46 s, high 115 s, at 4K 195 s.

    Between 2K (4.2 megapixels) and 4K (8.3) the seconds of high lie on a straight line.
    """
    tier = (quality or "auto").lower()
    if tier != "high":
        return 20.0 if tier in ("low", "auto") else 46.0
    share = (megapixels - 4.2) / (8.3 - 4.2)
    return 115.0 + 80.0 * min(1.0, max(0.0, share))


def fit(history: Iterable[float], prior_median: float) -> DurationModel:
    """Fit the durations in `history`; `prior_median` counts as a third of an observation. Both are in seconds.

    Values that are not positive and finite are ignored.
    """
    logs = [math.log(min(max(seconds, _MIN_SECONDS), _MAX_SECONDS)) for seconds in history if 0 < seconds < math.inf]
    prior = math.log(min(max(prior_median, _MIN_SECONDS), _MAX_SECONDS))
    count = len(logs)
    if not count:
        return DurationModel(prior, PRIOR_SPREAD)
    mu = (PRIOR_WEIGHT * prior + math.fsum(logs)) / (PRIOR_WEIGHT + count)
    squares = PRIOR_WEIGHT * (prior - mu) ** 2 + math.fsum((value - mu) ** 2 for value in logs)
    variance = (PRIOR_SPREAD_WEIGHT * PRIOR_SPREAD**2 + squares) / (PRIOR_SPREAD_WEIGHT + count)
    return DurationModel(mu, min(max(math.sqrt(variance), 0.02), 2.0), count)


def next_poll(
    last: float, durations: DurationModel, *, min_interval: float, initial_delay: float = 0.0, budget: float | None = None
) -> float:
    """Return when to poll next; that may be in the past. `last` is the last poll, 0 before any.

    `initial_delay` is the earliest allowed poll, `budget` the mean wait of a finished image (None: `default_budget`).
    """
    earliest = max(last + min_interval, initial_delay)
    latest = last + min(MAX_INTERVAL, max(last / 10, durations.reach))
    if latest <= earliest:
        return earliest
    return _solve(last, earliest, latest, durations, default_budget(min_interval, durations) if budget is None else budget)


def default_budget(min_interval: float, durations: DurationModel) -> float:
    """Return the mean wait of a finished image in seconds.

    The figures keep the mean lag near 1.6 s. Tasks of a few seconds get a two-hundredth of their duration.
    """
    return min(0.045 if min_interval >= 3 else 0.07, math.exp(durations.mu) / 200)


def next_shared_poll(
    now: float, submitted: float, last: float, durations: DurationModel, *, min_interval: float, initial_delay: float = 0.0
) -> float:
    """Return when to poll next if one request serves many tasks, never before `now`.

    All times are on one clock; before any poll `last` is `submitted`. Tasks are polled at common moments, `batch_interval` apart:
    tasks out of step could never share a request. A shared request costs each task little, so half the budget is due.
    """
    budget = default_budget(min_interval, durations) / 2
    bounds = {"min_interval": min_interval, "initial_delay": initial_delay}
    due = submitted + next_poll(last - submitted, durations, budget=budget, **bounds)
    earliest = max(now, last + min_interval, submitted + initial_delay)
    interval = batch_interval(min_interval)
    common = math.floor(max(due, now) / interval) * interval
    return common if common >= earliest else max(earliest, math.ceil(earliest / interval) * interval)


def batch_interval(min_interval: float) -> float:
    """Return the seconds between common polls; a request that leaves a little late does not miss the next one."""
    return 1.02 * min_interval


def _solve(last: float, earliest: float, latest: float, durations: DurationModel, budget: float) -> float:
    """Return the t' in [earliest, latest] where the expected wait, convex in t', reaches `budget`: Newton's steps from the right."""
    mu, sigma = durations.mu, durations.sigma
    start = (math.log(last) - mu) / sigma if last > 0 else -math.inf
    still_open = 0.5 * math.erfc(start / _SQRT2)
    if still_open < 1e-280:  # later than any known duration: due at any moment
        return earliest
    scale = math.exp(mu + sigma * sigma / 2)
    poll = latest
    for _ in range(60):
        end = (math.log(poll) - mu) / sigma
        finished = _between(start, end)  # also the derivative of the wait, both times `still_open`
        excess = poll * finished - scale * _between(start - sigma, end - sigma) - budget * still_open
        if excess <= 0:
            break
        step = excess / finished
        poll -= step
        if poll <= earliest:
            return earliest
        if step < _TOLERANCE:
            break
    return poll


def _between(low: float, high: float) -> float:
    """Return P(low < Z < high) of a standard normal, exact in both tails."""
    if low > 0:
        low, high = -high, -low
    return 0.5 * (math.erfc(-high / _SQRT2) - math.erfc(-low / _SQRT2))


def typical_range(history: Iterable[float]) -> tuple[float, float] | None:
    """Return the usual seconds of a task, (low, high): the middle half of `history`, in round numbers; None with fewer than 3."""
    known = sorted(seconds for seconds in history if 0 < seconds < math.inf)
    if len(known) < 3:
        return None
    last = len(known) - 1
    return _rounded(known[math.floor(0.25 * last)], math.floor), _rounded(known[math.ceil(0.75 * last)], math.ceil)


def _rounded(seconds: float, towards: Callable[[float], int]) -> float:
    """Return `seconds` in tenths, seconds, fives, tens or half minutes."""
    step = next((step for below, step in _STEPS if seconds < below), 30)
    return round(towards(round(seconds / step, 6)) * step, 1)


def make_batches(
    due: Iterable[tuple[Task, float, float]], now: float, *, min_interval: float, size: int, window: float = 2.0
) -> list[list[Task]]:
    """Return the batches of at most `size` tasks to poll now; `due` holds (task, due at, last poll) on one clock.

    There are as many batches as the due tasks need. Their free places go to tasks due within `window` seconds, the earliest
    first. No task is polled less than `min_interval` seconds after its last poll.
    """
    allowed = [(at, task) for task, at, last in due if at <= now + window and now - last >= min_interval]
    allowed.sort(key=itemgetter(0))
    batches = math.ceil(sum(at <= now for at, _ in allowed) / size)
    tasks = [task for _, task in allowed[: batches * size]]
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]
