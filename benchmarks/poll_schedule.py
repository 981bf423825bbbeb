"""The poll schedule against fixed intervals: a seeded simulation, which the tests run too.

Tasks of four classes take log-normal times (published medians and 95th percentiles). Lag is the time from the end of a task to the
poll that sees it, without the network. Requests are a share of those of a poll every 3 s. Run: `python benchmarks/poll_schedule.py`
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from imagegen_magic.engine.polling.schedule import DurationModel, batch_interval, fit, make_batches, next_poll, next_shared_poll

CLASSES = ((20.0, 45.0), (46.0, 90.0), (115.0, 160.0), (195.0, 280.0))  # seconds: median, 95th percentile

Plan = Callable[[float], float]  # last poll -> next poll, both seconds since submission


@dataclass(frozen=True)
class Outcome:
    """Mean lag in seconds of each class, and requests as a share of those of a poll every 3 s."""

    lags: tuple[float, ...]
    requests: float

    @property
    def lag(self) -> float:
        """Mean over the classes."""
        return sum(self.lags) / len(self.lags)


class Shared(NamedTuple):
    """Mean lag in seconds, the number of batch requests, and that of single polls every 3 s."""

    lag: float
    requests: float
    fixed: float


def draw(rng: random.Random, median: float, p95: float) -> float:
    """Return one duration in seconds."""
    return rng.lognormvariate(math.log(median), math.log(p95 / median) / 1.645)


def polls(duration: float, plan: Plan) -> Iterator[float]:
    """Yield the times of all polls of one task; the last one sees it finished."""
    poll = 0.0
    while poll < duration:
        poll = plan(poll)
        yield poll


def simulate(plans: Callable[[random.Random, float, float], Plan], *, tasks: int, seed: int = 2) -> Outcome:
    """Return what `plans(rng, median, p95)`, called again for every task, lead to over `tasks` of each class."""
    lags, requests, fixed = [], 0, 0
    for median, p95 in CLASSES:
        rng, lag = random.Random(f"{seed} {median}"), 0.0
        for _ in range(tasks):
            duration = draw(rng, median, p95)
            seen = list(polls(duration, plans(random.Random(rng.random()), median, p95)))
            lag += seen[-1] - duration
            requests += len(seen)
            fixed += math.ceil(duration / 3)
        lags.append(lag / tasks)
    return Outcome(tuple(lags), requests / fixed)


def every(seconds: float, first: float = 0.0) -> Callable[..., Plan]:
    """Return the plan of a fixed interval."""
    return lambda *_: lambda last: max(last + seconds, first)


def scheduled(recorded: int, *, min_interval: float = 3.0, initial_delay: float = 3.0, prior: float | None = None) -> Callable[..., Plan]:
    """Return the schedule's plan with so many recorded durations; the prior is by default the class's own median."""

    def plans(rng: random.Random, median: float, p95: float) -> Plan:
        return partial(_plan, fit([draw(rng, median, p95) for _ in range(recorded)], prior or median), min_interval, initial_delay)

    return plans


def _plan(durations: DurationModel, min_interval: float, initial_delay: float, last: float) -> float:
    return next_poll(last, durations, min_interval=min_interval, initial_delay=initial_delay)


def learning(tasks: int, runs: int, *, min_interval: float = 3.0, seed: int = 2) -> Outcome:
    """Return the outcome of the first `tasks` of a class if each records the middle of its last two polls."""
    lags, requests, fixed = [], 0, 0
    for median, p95 in CLASSES:
        lag, rng = 0.0, random.Random(f"{seed} {median}")
        for _ in range(runs):
            recorded: list[float] = []
            for _ in range(tasks):
                duration = draw(rng, median, p95)
                plan = partial(_plan, fit(recorded, median), min_interval, min_interval)
                seen = [0.0, *polls(duration, plan)]
                recorded.append((seen[-2] + seen[-1]) / 2)
                lag += seen[-1] - duration
                requests += len(seen) - 1
                fixed += math.ceil(duration / 3)
        lags.append(lag / tasks / runs)
    return Outcome(tuple(lags), requests / fixed)


def shared(
    tasks: int, median: float, p95: float, *, recorded: int = 20, batch: int = 50, initial_delay: float = 3.0, seed: int = 2
) -> Shared:
    """Return the outcome of batch requests for tasks submitted eight a second; each request leaves up to 4 ms late."""
    rng = random.Random(f"{seed} {median}")
    durations = fit([draw(rng, median, p95) for _ in range(recorded)], median)
    submitted = [number / 8 for number in range(tasks)]
    ends = [start + draw(rng, median, p95) for start in submitted]
    window, bounds = 2 * batch_interval(3.0), {"min_interval": 3.0, "initial_delay": initial_delay}
    last = list(submitted)
    due = {task: next_shared_poll(start, start, start, durations, **bounds) for task, start in enumerate(submitted)}
    requests, lag = 0, 0.0
    while due:
        now = min(due.values()) + rng.uniform(0, 0.004)
        waiting = [(task, at, last[task]) for task, at in due.items()]
        for together in make_batches(waiting, now, min_interval=3.0, size=batch, window=window):
            requests += 1
            for task in together:
                last[task] = now
                due[task] = next_shared_poll(now, submitted[task], now, durations, **bounds)
                if ends[task] <= now:
                    lag += now - ends[task]
                    del due[task]
    return Shared(lag / tasks, requests, sum(math.ceil((end - start) / 3) for start, end in zip(submitted, ends, strict=True)))


def mean_shared(runs: int, *args: float) -> Shared:
    """Return the mean of many runs of `shared`, each with a history of its own."""
    each = [shared(int(args[0]), *args[1:], seed=seed) for seed in range(runs)]
    return Shared(*(sum(values) / runs for values in zip(*each, strict=True)))


def microseconds() -> float:
    """Return what one decision costs: the mean over polls of tasks of all classes."""
    known = [fit([median * share for share in (0.7, 0.9, 1.0, 1.2, 1.5)] * 4, median) for median, _ in CLASSES]
    polled = [(durations, last) for durations in known for last in range(0, 300, 3)]
    start = time.perf_counter()
    for durations, last in polled:
        next_poll(last, durations, min_interval=3.0)
    return (time.perf_counter() - start) / len(polled) * 1e6


def main(tasks: int = 3000) -> None:
    """Print the table."""
    rows = [
        ("fixed 3 s", simulate(every(3), tasks=tasks), ""),
        ("15 s, then 3 s", simulate(every(3, 15), tasks=tasks), ""),
        ("15 s, then 5 s", simulate(every(5, 15), tasks=tasks), ""),
        ("fixed 5 s", simulate(every(5), tasks=tasks), ""),
        ("the schedule, nothing recorded", simulate(scheduled(0), tasks=tasks), "goal: no worse than 15 s, then 3 s"),
        ("  nothing, and a wrong prior (46 s)", simulate(scheduled(0, prior=46), tasks=tasks), ""),
        ("the schedule, 5 durations", simulate(scheduled(5), tasks=tasks), ""),
        ("the schedule, 20 durations", simulate(scheduled(20), tasks=tasks), "goal: lag <= 1.65, each <= 1.7, requests <= 50 %"),
        ("  first poll after 10 s", simulate(scheduled(20, initial_delay=10), tasks=tasks), "same goal"),
        ("  minimum interval 2 s", simulate(scheduled(20, min_interval=2, initial_delay=2), tasks=tasks), ""),
        ("the first 20 tasks, learning", learning(20, tasks // 20), ""),
    ]
    print(f"{'':36} {'lag':>6} {'requests':>9}   lag of each class (medians {', '.join(f'{median:.0f}' for median, _ in CLASSES)} s)")
    for name, outcome, goal in rows:
        each = "  ".join(f"{lag:4.2f}" for lag in outcome.lags)
        print(f"{name:36} {outcome.lag:4.2f} s {outcome.requests:8.1%}   {each}   {goal}")
    print("\n50 tasks a request:")
    for count, runs, goal in ((100, 24, "goal: lag <= 1.6, requests <= 2 %"), (1000, 1, "")):
        for median, p95 in CLASSES[2:]:
            many = mean_shared(runs, count, median, p95)
            share = f"{many.requests:.0f} requests for {many.fixed:.0f} single polls every 3 s, {many.requests / many.fixed:5.2%}"
            print(f"  {count:5} tasks of {median:.0f} s: lag {many.lag:4.2f} s, {share}   {goal}")
    print(f"\none decision: {microseconds():.1f} microseconds")


if __name__ == "__main__":
    main()
