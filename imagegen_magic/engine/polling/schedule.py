"""When to look at a task next, and which tasks to look at together: pure functions, no clock and no network.

A look is due when a finished picture would, on average, have waited `budget` seconds since the last look. With D the
duration of such tasks (log-normal, fitted to the remembered ones) and t the last look, it is the t' that solves
E[(t' - D)+ | D > t] = budget, held between the gateway's least interval and a reach that grows with what is known.
All times are seconds since the task was submitted, unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import NamedTuple, TypeVar

LONGEST = 20.0  # seconds between two looks, however sure we are: a refusal in the first seconds must not stay unseen for a minute
PRIOR_WEIGHT = 1 / 3  # of an observation: the published median
PRIOR_SPREAD, PRIOR_SPREAD_WEIGHT = 0.35, 2.0  # of ln(seconds); counts as two observations
_SHORTEST, _MOST = 1e-3, 1e6  # seconds; what is remembered beyond is taken as this
_TOLERANCE = 1e-3  # seconds
_STEPS = ((1, 0.1), (10, 1), (60, 5), (180, 10))  # below so many seconds a person says multiples of the second number
_SQRT2 = math.sqrt(2)

Task = TypeVar("Task")


class DurationModel(NamedTuple):
    """How long tasks of one class take: a log-normal (`mu`, `sigma` of ln seconds), and how many were `seen`."""

    mu: float
    sigma: float
    seen: int = 0

    @property
    def reach(self) -> float:
        """Seconds without a look that the remembered durations justify: before that hardly any task ended. 0 without any."""
        return math.exp(self.mu - 1.5 * self.sigma) * self.seen / (self.seen + 1)


def typical_seconds(quality: str | None, megapixels: float) -> float:
    """Return the published median: low and auto 20 s, medium 46 s, high 115 s, at 4K 195 s.

    Between 2K (4.2 megapixels) and 4K (8.3) the seconds of high lie on a straight line.
    """
    word = (quality or "auto").lower()
    if word != "high":
        return 20.0 if word in ("low", "auto") else 46.0
    share = (megapixels - 4.2) / (8.3 - 4.2)
    return 115.0 + 80.0 * min(1.0, max(0.0, share))


def fit(history: Iterable[float], prior_median: float) -> DurationModel:
    """Return the durations that `history` (seconds) suggests, `prior_median` (seconds) lending a third of an observation.

    What is not a positive finite number is left out.
    """
    logs = [math.log(min(max(seconds, _SHORTEST), _MOST)) for seconds in history if 0 < seconds < math.inf]
    prior = math.log(min(max(prior_median, _SHORTEST), _MOST))
    count = len(logs)
    if not count:
        return DurationModel(prior, PRIOR_SPREAD)
    mu = (PRIOR_WEIGHT * prior + math.fsum(logs)) / (PRIOR_WEIGHT + count)
    squares = PRIOR_WEIGHT * (prior - mu) ** 2 + math.fsum((value - mu) ** 2 for value in logs)
    variance = (PRIOR_SPREAD_WEIGHT * PRIOR_SPREAD**2 + squares) / (PRIOR_SPREAD_WEIGHT + count)
    return DurationModel(mu, min(max(math.sqrt(variance), 0.02), 2.0), count)


def next_poll(
    elapsed: float, last: float, durations: DurationModel, *, least: float, first: float = 0.0, budget: float | None = None
) -> float:
    """Return when to look next, never before now: `elapsed` is now and `last` the last look, 0 before any.

    `least` is the shortest allowed interval, `first` the earliest allowed look, `budget` the seconds that a finished
    picture may on average have waited (None: what suits `least` and these durations).
    """
    soonest = max(last + least, first)
    latest = last + min(LONGEST, max(last / 10, durations.reach))
    if latest <= soonest:
        return max(elapsed, soonest)
    if budget is None:
        budget = usual_budget(least, durations)
    return max(elapsed, _solve(last, soonest, latest, durations, budget))


def usual_budget(least: float, durations: DurationModel) -> float:
    """Return the seconds that a finished picture may on average have waited when looked at.

    The figures keep the mean lag near 1.6 s; for tasks of a few seconds it is a two-hundredth of what they take.
    """
    return min(0.045 if least >= 3 else 0.07, math.exp(durations.mu) / 200)


def next_shared_poll(now: float, submitted: float, last: float, durations: DurationModel, *, least: float, first: float = 0.0) -> float:
    """Return when to look next where one query serves many tasks; all times on one clock, `last` being `submitted` before any look.

    All tasks look on common beats, a little slower than `least`: tasks out of step could never share a query again.
    A shared query costs each task little, so half the budget is due.
    """
    elapsed, looked = now - submitted, last - submitted
    budget = usual_budget(least, durations) / 2
    due = submitted + next_poll(elapsed, looked, durations, least=least, first=first, budget=budget)
    soonest = max(now, last + least, submitted + first)
    every = batch_interval(least)
    on_beat = math.floor(due / every) * every
    return on_beat if on_beat >= soonest else max(soonest, math.ceil(soonest / every) * every)


def batch_interval(least: float) -> float:
    """Return the seconds between common looks: `least` and what a query may leave late without missing the next beat."""
    return 1.02 * least


def _solve(last: float, soonest: float, latest: float, durations: DurationModel, budget: float) -> float:
    """Return the t' in [soonest, latest] where the expected wait, convex in t', reaches `budget`: Newton's steps from the right."""
    mu, sigma = durations.mu, durations.sigma
    start = (math.log(last) - mu) / sigma if last > 0 else -math.inf
    still_open = 0.5 * math.erfc(start / _SQRT2)
    if still_open < 1e-280:  # later than anything known: due any moment
        return soonest
    scale = math.exp(mu + sigma * sigma / 2)
    look = latest
    for _ in range(60):
        end = (math.log(look) - mu) / sigma
        finished = _between(start, end)  # also the derivative of the wait, both times `still_open`
        excess = look * finished - scale * _between(start - sigma, end - sigma) - budget * still_open
        if excess <= 0:
            break
        step = excess / finished
        look -= step
        if look <= soonest:
            return soonest
        if step < _TOLERANCE:
            break
    return look


def _between(low: float, high: float) -> float:
    """Return P(low < Z < high) of a standard normal, exact in both tails."""
    if low > 0:
        low, high = -high, -low
    return 0.5 * (math.erfc(-high / _SQRT2) - math.erfc(-low / _SQRT2))


def typical_range(history: Iterable[float]) -> tuple[float, float] | None:
    """Return the seconds such a task usually takes, (low, high): the middle half of `history`, in round numbers; None with fewer than 3."""
    known = sorted(seconds for seconds in history if 0 < seconds < math.inf)
    if len(known) < 3:
        return None
    last = len(known) - 1
    return _rounded(known[math.floor(0.25 * last)], math.floor), _rounded(known[math.ceil(0.75 * last)], math.ceil)


def _rounded(seconds: float, towards: Callable[[float], int]) -> float:
    """Return `seconds` as a person says it: in tenths, seconds, fives, tens or half minutes."""
    step = next((step for below, step in _STEPS if seconds < below), 30)
    return round(towards(round(seconds / step, 6)) * step, 1)


def make_batches(
    due: Iterable[tuple[Task, float, float]], now: float, *, least: float, batch: int, window: float = 2.0
) -> list[list[Task]]:
    """Return the lots of at most `batch` tasks to look at now, one query each; `due` holds (task, due at, last look at) on one clock.

    There are as many lots as the due tasks need; what room they leave is for tasks due within `window` seconds, the
    earliest first. No task is looked at less than `least` seconds after its last look.
    """
    free = [(at, task) for task, at, last in due if at <= now + window and now - last >= least]
    free.sort(key=itemgetter(0))
    lots = math.ceil(sum(at <= now for at, _ in free) / batch)
    tasks = [task for _, task in free[: lots * batch]]
    return [tasks[start : start + batch] for start in range(0, len(tasks), batch)]
