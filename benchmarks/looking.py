"""What the looking rule costs and brings against fixed intervals: a seeded simulation, the same that the tests hold.

Tasks of four classes take log-normal times (published medians and 95th percentiles). Lag is the time from finished to
seen, without the network's; requests are counted against a look every 3 s. Run: `python benchmarks/looking.py`
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

Plan = Callable[[float], float]  # last look -> next look, both seconds since submission


@dataclass(frozen=True)
class Outcome:
    """Mean lag in seconds of each class, and requests as a share of those of a look every 3 s."""

    lags: tuple[float, ...]
    requests: float

    @property
    def lag(self) -> float:
        """Mean over the classes."""
        return sum(self.lags) / len(self.lags)


class Crowd(NamedTuple):
    """Mean lag in seconds, the number of batch queries, and that of single looks every 3 s."""

    lag: float
    queries: float
    fixed: float


def draw(rng: random.Random, median: float, p95: float) -> float:
    """Return one duration in seconds."""
    return rng.lognormvariate(math.log(median), math.log(p95 / median) / 1.645)


def looks(duration: float, plan: Plan) -> Iterator[float]:
    """Yield the times of all looks at one task, the last being the one that sees it finished."""
    look = 0.0
    while look < duration:
        look = plan(look)
        yield look


def simulate(plans: Callable[[random.Random, float, float], Plan], *, tasks: int, seed: int = 2) -> Outcome:
    """Return what `plans(rng, median, p95)`, called again for every task, lead to over `tasks` of each class."""
    lags, requests, fixed = [], 0, 0
    for median, p95 in CLASSES:
        rng, lag = random.Random(f"{seed} {median}"), 0.0
        for _ in range(tasks):
            duration = draw(rng, median, p95)
            seen = list(looks(duration, plans(random.Random(rng.random()), median, p95)))
            lag += seen[-1] - duration
            requests += len(seen)
            fixed += math.ceil(duration / 3)
        lags.append(lag / tasks)
    return Outcome(tuple(lags), requests / fixed)


def every(seconds: float, first: float = 0.0) -> Callable[..., Plan]:
    """Return the plan of a fixed interval."""
    return lambda *_: lambda last: max(last + seconds, first)


def rule(remembered: int, *, least: float = 3.0, first: float = 3.0, prior: float | None = None) -> Callable[..., Plan]:
    """Return the looking rule's plan with so many durations remembered; the prior is the class's own median where None."""

    def plans(rng: random.Random, median: float, p95: float) -> Plan:
        return partial(_plan, fit([draw(rng, median, p95) for _ in range(remembered)], prior or median), least, first)

    return plans


def _plan(durations: DurationModel, least: float, first: float, last: float) -> float:
    return next_poll(last, last, durations, least=least, first=first)


def learning(tasks: int, runs: int, *, least: float = 3.0, seed: int = 2) -> Outcome:
    """Return what the rule leads to over the first `tasks` of a class, remembering only the middle of the last two looks of each."""
    lags, requests, fixed = [], 0, 0
    for median, p95 in CLASSES:
        lag, rng = 0.0, random.Random(f"{seed} {median}")
        for _ in range(runs):
            remembered: list[float] = []
            for _ in range(tasks):
                duration = draw(rng, median, p95)
                plan = partial(_plan, fit(remembered, median), least, least)
                seen = [0.0, *looks(duration, plan)]
                remembered.append((seen[-2] + seen[-1]) / 2)
                lag += seen[-1] - duration
                requests += len(seen) - 1
                fixed += math.ceil(duration / 3)
        lags.append(lag / tasks / runs)
    return Outcome(tuple(lags), requests / fixed)


def crowd(tasks: int, median: float, p95: float, *, remembered: int = 20, batch: int = 50, first: float = 3.0, seed: int = 2) -> Crowd:
    """Return what looking together leads to for tasks submitted eight a second, each query leaving up to 4 ms late."""
    rng = random.Random(f"{seed} {median}")
    durations = fit([draw(rng, median, p95) for _ in range(remembered)], median)
    submitted = [number / 8 for number in range(tasks)]
    ends = [start + draw(rng, median, p95) for start in submitted]
    window, shared = 2 * batch_interval(3.0), {"least": 3.0, "first": first}
    last = list(submitted)
    due = {task: next_shared_poll(start, start, start, durations, **shared) for task, start in enumerate(submitted)}
    queries, lag = 0, 0.0
    while due:
        now = min(due.values()) + rng.uniform(0, 0.004)
        for lot in make_batches([(task, at, last[task]) for task, at in due.items()], now, least=3.0, batch=batch, window=window):
            queries += 1
            for task in lot:
                last[task] = now
                due[task] = next_shared_poll(now, submitted[task], now, durations, **shared)
                if ends[task] <= now:
                    lag += now - ends[task]
                    del due[task]
    return Crowd(lag / tasks, queries, sum(math.ceil((end - start) / 3) for start, end in zip(submitted, ends, strict=True)))


def crowds(runs: int, *args: float) -> Crowd:
    """Return the mean of many crowds, each with a history of its own."""
    each = [crowd(int(args[0]), *args[1:], seed=seed) for seed in range(runs)]
    return Crowd(*(sum(values) / runs for values in zip(*each, strict=True)))


def microseconds() -> float:
    """Return what one decision costs: the mean over the looks at tasks of all classes."""
    known = [fit([median * share for share in (0.7, 0.9, 1.0, 1.2, 1.5)] * 4, median) for median, _ in CLASSES]
    asked = [(durations, last) for durations in known for last in range(0, 300, 3)]
    start = time.perf_counter()
    for durations, last in asked:
        next_poll(last, last, durations, least=3.0)
    return (time.perf_counter() - start) / len(asked) * 1e6


def main(tasks: int = 3000) -> None:
    """Print the table."""
    rows = [
        ("fixed 3 s", simulate(every(3), tasks=tasks), ""),
        ("15 s, then 3 s", simulate(every(3, 15), tasks=tasks), ""),
        ("15 s, then 5 s", simulate(every(5, 15), tasks=tasks), ""),
        ("fixed 5 s", simulate(every(5), tasks=tasks), ""),
        ("the rule, nothing remembered", simulate(rule(0), tasks=tasks), "goal: no worse than 15 s, then 3 s"),
        ("  nothing, and a wrong prior (46 s)", simulate(rule(0, prior=46), tasks=tasks), ""),
        ("the rule, 5 durations", simulate(rule(5), tasks=tasks), ""),
        ("the rule, 20 durations", simulate(rule(20), tasks=tasks), "goal: lag <= 1.65, each <= 1.7, requests <= 50 %"),
        ("  first look after 10 s", simulate(rule(20, first=10), tasks=tasks), "same goal"),
        ("  least 2 s", simulate(rule(20, least=2, first=2), tasks=tasks), ""),
        ("the first 20 tasks, learning", learning(20, tasks // 20), ""),
    ]
    print(f"{'':36} {'lag':>6} {'requests':>9}   lag of each class (medians {', '.join(f'{median:.0f}' for median, _ in CLASSES)} s)")
    for name, outcome, goal in rows:
        each = "  ".join(f"{lag:4.2f}" for lag in outcome.lags)
        print(f"{name:36} {outcome.lag:4.2f} s {outcome.requests:8.1%}   {each}   {goal}")
    print("\ntogether, 50 tasks a query:")
    for count, runs, goal in ((100, 24, "goal: lag <= 1.6, requests <= 2 %"), (1000, 1, "")):
        for median, p95 in CLASSES[2:]:
            many = crowds(runs, count, median, p95)
            share = f"{many.queries:.0f} queries for {many.fixed:.0f} single looks every 3 s, {many.queries / many.fixed:5.2%}"
            print(f"  {count:5} tasks of {median:.0f} s: lag {many.lag:4.2f} s, {share}   {goal}")
    print(f"\none decision: {microseconds():.1f} microseconds")


if __name__ == "__main__":
    main()
