"""The poll schedule: soon after a task finished, seldom before, and never more often than the gateway allows."""

from __future__ import annotations

import importlib.util
import math
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_magic.engine.polling.schedule import (
    MAX_INTERVAL,
    DurationModel,
    batch_interval,
    default_budget,
    fit,
    make_batches,
    next_poll,
    next_shared_poll,
    typical_range,
    typical_seconds,
)


def _simulation() -> ModuleType:
    path = Path(__file__).parent.parent / "benchmarks" / "poll_schedule.py"
    spec = importlib.util.spec_from_file_location("benchmarks_poll_schedule", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sim = _simulation()

seconds = st.floats(min_value=0.01, max_value=5000)
intervals = st.floats(min_value=0.01, max_value=30)
anything = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40)
known = st.builds(fit, anything, seconds)


@pytest.mark.slow
class TestGoals:
    """A seeded simulation over four classes of tasks."""

    @pytest.mark.parametrize("initial_delay", [3, 10])
    def test_twenty_recorded_durations_halve_the_requests_without_more_lag(self, initial_delay: float) -> None:
        """At most 1.65 s of lag with half of the requests of a poll every 3 s, and no class above 1.7 s."""
        outcome = sim.simulate(sim.scheduled(20, initial_delay=initial_delay), tasks=1200)
        assert outcome.lag <= 1.65
        assert outcome.requests <= 0.5
        assert max(outcome.lags) <= 1.7

    def test_without_history_never_worse_than_a_fixed_interval(self) -> None:
        """Neither more lag nor more requests than a first poll after 15 s and then one every 3 s."""
        ours, fixed = sim.simulate(sim.scheduled(0), tasks=600), sim.simulate(sim.every(3, 15), tasks=600)
        assert ours.lag <= fixed.lag
        assert ours.requests <= fixed.requests

    def test_a_wrong_published_median_costs_no_lag(self) -> None:
        """No history and a wrong median: the lag of each class stays below that of a fixed 3 s and a tenth."""
        outcome = sim.simulate(sim.scheduled(0, prior=600), tasks=500)
        assert all(lag <= max(1.7, 0.06 * median) for lag, (median, _) in zip(outcome.lags, sim.CLASSES, strict=True))

    def test_durations_estimated_from_polls_are_as_good(self) -> None:
        """The middle of the last two polls is recorded: the first 20 tasks already need about half of the requests."""
        outcome = sim.learning(20, 40)
        assert outcome.lag <= 1.7
        assert outcome.requests <= 0.55

    def test_a_shorter_minimum_interval_shortens_the_lag(self) -> None:
        """2 s instead of 3 s, with fewer requests than a fixed 3 s."""
        outcome = sim.simulate(sim.scheduled(20, min_interval=2, initial_delay=2), tasks=600)
        assert outcome.lag <= 1.45
        assert outcome.requests <= 0.6

    @pytest.mark.parametrize(("median", "p95"), sim.CLASSES[2:])
    def test_a_hundred_tasks_share_their_polls(self, median: float, p95: float) -> None:
        """100 long tasks need at most 2 % of the requests of single polls every 3 s, with at most 1.6 s of lag."""
        many = sim.mean_shared(12, 100, median, p95)
        assert many.requests / many.fixed <= 0.02
        assert many.lag <= 1.6

    def test_a_thousand_tasks_need_about_eight_hundred_requests(self) -> None:
        """Batches stay full with many tasks."""
        many = sim.shared(1000, 195.0, 280.0)
        assert many.requests <= 850
        assert many.lag <= 1.7


class TestShortTasks:
    """Tasks of a fraction of a second, as in the sandbox."""

    @pytest.mark.parametrize("recorded", [0, 1, 2, 5, 20, 60])
    @pytest.mark.parametrize("prior", [0.2, 20.0, 195.0])
    def test_seen_within_a_minimum_interval(self, recorded: int, prior: float) -> None:
        """Tasks of 0.2 s with polls every 0.05 s: at most 0.05 s of lag and one poll per interval, for any prior."""
        rng = random.Random(5)
        lag = polls = 0.0
        for _ in range(200):
            durations = fit([rng.uniform(0.18, 0.22) for _ in range(recorded)], prior)
            duration = rng.uniform(0.18, 0.22)
            seen = list(sim.polls(duration, lambda last, known=durations: next_poll(last, known, min_interval=0.05, initial_delay=0.05)))
            lag += (seen[-1] - duration) / 200
            polls += len(seen) / 200
        assert lag <= 0.05
        assert polls <= 5

    def test_a_refusal_in_the_first_seconds_is_seen_within_twenty(self) -> None:
        """The first poll comes within 20 s, also if such tasks take long."""
        assert next_poll(0, fit([300.0] * 50, 195), min_interval=3) <= MAX_INTERVAL


class TestNextPoll:
    """Properties of the schedule of one task."""

    def test_it_is_the_published_equation(self) -> None:
        """Between its bounds the poll is where E[(t' - D)+ | D > t] equals the budget, by numerical integration."""
        durations = DurationModel(math.log(115), 0.2, observed=40)
        poll = next_poll(70, durations, min_interval=1, budget=0.05)
        grid = [70 + (poll - 70) * (step + 0.5) / 4000 for step in range(4000)]

        def density(x: float) -> float:
            return math.exp(-((math.log(x) - durations.mu) ** 2) / (2 * 0.04)) / (x * 0.2 * math.sqrt(2 * math.pi))

        wait = sum((poll - x) * density(x) for x in grid) * (poll - 70) / 4000
        still_open = 0.5 * math.erfc((math.log(70) - durations.mu) / 0.2 / math.sqrt(2))
        assert 71 < poll < 90
        assert wait / still_open == pytest.approx(0.05, abs=1e-4)

    @given(known, st.floats(0, 5000), intervals, st.floats(0, 60))
    def test_never_too_early_never_too_late(self, durations: DurationModel, last: float, interval: float, first: float) -> None:
        """Never before the minimum interval or the initial delay has passed; never later than these or 20 s."""
        poll = next_poll(last, durations, min_interval=interval, initial_delay=first)
        earliest = max(last + interval, first)
        assert math.isfinite(poll)
        assert earliest <= poll <= max(earliest, last + MAX_INTERVAL)

    @given(known, st.floats(0, 5000), st.floats(0, 500), intervals, st.floats(0, 60))
    def test_monotone_in_time(self, durations: DurationModel, last: float, later: float, interval: float, first: float) -> None:
        """A later last poll never makes the next one earlier."""
        before = next_poll(last, durations, min_interval=interval, initial_delay=first)
        after = next_poll(last + later, durations, min_interval=interval, initial_delay=first)
        assert after >= before - 0.01

    @given(known, st.floats(0, 2000), intervals, st.floats(0.001, 1), st.floats(0, 1))
    def test_monotone_in_the_budget(self, durations: DurationModel, last: float, interval: float, budget: float, more: float) -> None:
        """A larger budget never makes the poll earlier."""
        stricter = next_poll(last, durations, min_interval=interval, budget=budget)
        assert next_poll(last, durations, min_interval=interval, budget=budget + more) >= stricter - 0.01

    @given(seconds, st.floats(0, 3000))
    def test_without_history_at_most_a_tenth_of_the_time_goes_unseen(self, prior: float, last: float) -> None:
        """A published median alone never stretches an interval beyond a tenth of the elapsed time."""
        assert next_poll(last, fit([], prior), min_interval=0.05) <= last + max(0.05, last / 10) + 1e-9

    def test_an_overdue_task_is_polled_at_the_minimum_interval(self) -> None:
        """Beyond all recorded durations a task may finish at any moment."""
        assert next_poll(4000, fit([20.0] * 200, 20), min_interval=3) == 4003

    def test_the_budget_fits_the_gateway_and_the_task(self) -> None:
        """Smaller for short tasks, larger for a shorter minimum interval."""
        long, short = fit([], 100), fit([0.2] * 20, 0.2)
        assert default_budget(2, long) > default_budget(3, long) > default_budget(3, short)


class TestFit:
    """The model fitted to recorded durations."""

    def test_without_history_the_published_median(self) -> None:
        """The prior alone: its median and a spread of 0.35, none observed."""
        assert fit([], 46) == DurationModel(math.log(46), 0.35)

    def test_the_prior_counts_as_a_third_of_an_observation(self) -> None:
        """One duration moves the median by three quarters on the logarithmic scale."""
        assert fit([80], 20).mu == pytest.approx(math.log(20) + 0.75 * math.log(4))

    def test_the_spread_counts_as_two_observations(self) -> None:
        """Equal durations at the prior shrink the spread as two observations of 0.35 among them would."""
        assert fit([20] * 6, 20).sigma == pytest.approx(0.35 / 2)

    def test_invalid_durations_are_ignored(self) -> None:
        """Zeros, negative numbers, infinities and NaN."""
        assert fit([0, -3, math.inf, math.nan, 30], 20) == fit([30], 20)

    @given(anything, st.floats(allow_nan=False, allow_infinity=False, min_value=0))
    def test_finite_for_any_history(self, history: list[float], prior: float) -> None:
        """Tiny, huge, equal and absurd durations give a usable fit."""
        durations = fit(history, prior)
        assert math.isfinite(durations.mu)
        assert 0.02 <= durations.sigma <= 2
        assert 0 <= durations.reach < math.inf


class TestTypicalSeconds:
    """The published medians."""

    @pytest.mark.parametrize(
        ("quality", "megapixels", "expected"),
        [
            ("low", 1.0, 20),
            ("auto", 1.0, 20),
            (None, 8.3, 20),
            ("medium", 1.5, 46),
            ("high", 1.0, 115),
            ("HIGH", 4.2, 115),
            ("high", 8.3, 195),
        ],
    )
    def test_published(self, quality: str | None, megapixels: float, expected: float) -> None:
        """Each class's median; auto is like low."""
        assert typical_seconds(quality, megapixels) == pytest.approx(expected)

    def test_an_unknown_quality_counts_as_medium(self) -> None:
        """No figure is published for it."""
        assert typical_seconds("ultra", 1) == 46


class TestTypicalRange:
    """The usual duration that progress shows."""

    def test_none_without_enough_history(self) -> None:
        """Three valid durations are needed."""
        assert typical_range([40, 50]) is None
        assert typical_range([40, 50, 0, math.nan]) is None

    @pytest.mark.parametrize(
        ("history", "expected"),
        [
            ([41, 44, 52, 58, 47], (40, 55)),
            ([3.2, 4.1, 5.7, 6.6, 4.4], (4, 6)),
            ([0.21, 0.2, 0.24], (0.2, 0.3)),
            ([112, 118, 131, 125, 105], (110, 130)),
            ([190, 230, 250, 201, 210], (180, 240)),
            ([40, 40, 40], (40, 40)),
        ],
    )
    def test_round_numbers_around_the_middle_half(self, history: list[float], expected: tuple[float, float]) -> None:
        """Tenths below a second, seconds below ten, then fives, tens, half minutes."""
        assert typical_range(history) == expected

    def test_an_outlier_moves_neither_end(self) -> None:
        """One stuck task of 900 s."""
        assert typical_range([42, 44, 46, 48, 50, 52, 54, 900]) == (40, 55)

    @given(st.lists(seconds, min_size=3, max_size=60))
    def test_the_middle_half_lies_within(self, history: list[float]) -> None:
        """Low below high, and at least half of the durations between them."""
        low, high = typical_range(history) or (0, 0)
        assert low <= high
        assert 2 * sum(low - 1e-6 <= value <= high + 1e-6 for value in history) >= len(history)


tasks_due = st.lists(st.tuples(st.floats(0, 100), st.floats(-50, 50)), max_size=150)


class TestBatches:
    """One request for many tasks."""

    def test_tasks_due_soon_share_the_request(self) -> None:
        """A due task shares its request with those due within the window, the earliest first."""
        due = [("a", 10.0, 5.0), ("late", 13.0, 5.0), ("c", 11.9, 5.0), ("b", 10.5, 5.0)]
        assert make_batches(due, 10.0, min_interval=3, size=50) == [["a", "b", "c"]]

    def test_no_request_if_no_task_is_due(self) -> None:
        """A task due soon causes no request by itself."""
        assert make_batches([("a", 10.5, 5.0)], 10.0, min_interval=3, size=50) == []

    def test_as_many_requests_as_the_due_tasks_need(self) -> None:
        """51 due and 40 due soon are two requests; 5 due and 60 due soon are one full request."""
        many = [(f"d{number}", 9.0, 0.0) for number in range(51)] + [(f"s{number}", 11.0, 0.0) for number in range(40)]
        assert [len(batch) for batch in make_batches(many, 10.0, min_interval=3, size=50)] == [50, 41]
        few = [(f"d{number}", 9.0, 0.0) for number in range(5)] + [(f"s{number}", 11.0, 0.0) for number in range(60)]
        batches = make_batches(few, 10.0, min_interval=3, size=50)
        assert [len(batch) for batch in batches] == [50]
        assert {f"d{number}" for number in range(5)} <= set(batches[0])

    def test_the_minimum_interval_applies_in_a_batch(self) -> None:
        """A task polled less than the minimum interval ago is left out, due or not."""
        assert make_batches([("a", 9.0, 0.0), ("b", 9.0, 8.0), ("c", 11.0, 7.5)], 10.0, min_interval=3, size=50) == [["a"]]

    @given(tasks_due, st.floats(0, 100), intervals, st.integers(1, 60), st.floats(0, 10))
    def test_properties(self, pairs: list[tuple[float, float]], now: float, interval: float, size: int, window: float) -> None:
        """Each task at most once, no batch too large, each due and allowed task in one, none too early."""
        due = [(number, at, last) for number, (at, last) in enumerate(pairs)]
        batches = make_batches(due, now, min_interval=interval, size=size, window=window)
        taken = [task for batch in batches for task in batch]
        assert len(taken) == len(set(taken))
        assert all(0 < len(batch) <= size for batch in batches)
        assert all(pairs[task][0] <= now + window and now - pairs[task][1] >= interval for task in taken)
        must = {task for task, at, last in due if at <= now and now - last >= interval}
        assert must <= set(taken)
        assert len(batches) == math.ceil(len(must) / size)


class TestSharedPolls:
    """Tasks that can share a request are polled at common moments."""

    @given(known, st.floats(1.6e9, 1.9e9), st.floats(0, 2000), intervals, st.floats(0, 60), st.floats(0, 30))
    def test_never_too_early(
        self, durations: DurationModel, submitted: float, waited: float, interval: float, first: float, slow: float
    ) -> None:
        """Never before it is allowed, never in the past, and at most one interval after a single poll would be."""
        last = submitted + waited
        poll = next_shared_poll(last + slow, submitted, last, durations, min_interval=interval, initial_delay=first)
        earliest = max(last + interval, last + slow, submitted + first)
        assert earliest <= poll <= max(earliest, last + MAX_INTERVAL) + batch_interval(interval) + 1e-6

    def test_tasks_out_of_step_are_aligned(self) -> None:
        """Three tasks that were last polled within one interval are due at the same moment."""
        durations = fit([100.0] * 60, 100)
        start = 1.7e9 // batch_interval(3) * batch_interval(3)
        lasts = [start + 100 + late for late in (2.0, 3.0, 4.0)]
        polls = {next_shared_poll(last, start, last, durations, min_interval=3) for last in lasts}
        assert len(polls) == 1
        assert polls.pop() / batch_interval(3) % 1 == pytest.approx(0, abs=1e-3)
