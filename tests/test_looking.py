"""When to look at a task: soon after it finished, seldom before, and never more often than the gateway allows."""

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
    LONGEST,
    DurationModel,
    batch_interval,
    fit,
    make_batches,
    next_poll,
    next_shared_poll,
    typical_range,
    typical_seconds,
    usual_budget,
)


def _simulation() -> ModuleType:
    path = Path(__file__).parent.parent / "benchmarks" / "looking.py"
    spec = importlib.util.spec_from_file_location("benchmarks_looking", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sim = _simulation()

seconds = st.floats(min_value=0.01, max_value=5000)
leasts = st.floats(min_value=0.01, max_value=30)
anything = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40)
known = st.builds(fit, anything, seconds)


class TestGoals:
    """A seeded simulation over four classes of tasks."""

    def test_after_twenty_durations_looks_are_halved_and_pictures_seen_as_soon(self) -> None:
        """With 20 durations remembered: at most 1.65 s of lag at half of the requests of a look every 3 s, no class above 1.7 s."""
        outcome = sim.simulate(sim.rule(20), tasks=1200)
        assert outcome.lag <= 1.65
        assert outcome.requests <= 0.5
        assert max(outcome.lags) <= 1.7

    def test_the_goals_hold_where_a_page_asks_for_a_first_look_after_ten_seconds(self) -> None:
        """A later first look costs no goal."""
        outcome = sim.simulate(sim.rule(20, first=10), tasks=1200)
        assert outcome.lag <= 1.65
        assert outcome.requests <= 0.5
        assert max(outcome.lags) <= 1.7

    def test_with_nothing_remembered_never_worse_than_a_fixed_plan(self) -> None:
        """Without history neither more lag nor more requests than 15 s, then every 3 s."""
        ours, fixed = sim.simulate(sim.rule(0), tasks=600), sim.simulate(sim.every(3, 15), tasks=600)
        assert ours.lag <= fixed.lag
        assert ours.requests <= fixed.requests

    def test_a_wrong_published_median_costs_no_lag(self) -> None:
        """Nothing remembered and a median that is far off: no class is seen later than by a fixed 3 s and a tenth."""
        outcome = sim.simulate(sim.rule(0, prior=600), tasks=500)
        assert all(lag <= max(1.7, 0.06 * median) for lag, (median, _) in zip(outcome.lags, sim.CLASSES, strict=True))

    def test_learning_from_its_own_looks_reaches_the_same(self) -> None:
        """Remembering only the middle of the last two looks, the first 20 tasks already need about half of the requests."""
        outcome = sim.learning(20, 40)
        assert outcome.lag <= 1.7
        assert outcome.requests <= 0.55

    def test_two_seconds_where_the_page_allows_it(self) -> None:
        """A shorter least interval shortens the lag, without more requests than a fixed 3 s needs by far."""
        outcome = sim.simulate(sim.rule(20, least=2, first=2), tasks=600)
        assert outcome.lag <= 1.45
        assert outcome.requests <= 0.6

    @pytest.mark.parametrize(("median", "p95"), sim.CLASSES[2:])
    def test_a_hundred_tasks_share_their_looks(self, median: float, p95: float) -> None:
        """100 long tasks together need at most 2 % of the single looks every 3 s, at no more than 1.6 s of lag."""
        many = sim.crowds(12, 100, median, p95)
        assert many.queries / many.fixed <= 0.02
        assert many.lag <= 1.6

    def test_a_thousand_tasks_need_about_eight_hundred_queries(self) -> None:
        """The batch does not dissolve in a crowd."""
        many = sim.crowd(1000, 195.0, 280.0)
        assert many.queries <= 850
        assert many.lag <= 1.7


class TestShortTasks:
    """Tasks of a fraction of a second, as in the sandbox: looks come often enough to see them."""

    @pytest.mark.parametrize("remembered", [0, 1, 2, 5, 20, 60])
    @pytest.mark.parametrize("prior", [0.2, 20.0, 195.0])
    def test_seen_within_a_least_interval(self, remembered: int, prior: float) -> None:
        """0.2 s tasks with least 0.05 s are seen at most 0.05 s later, and with at most a look per interval, whatever the prior."""
        rng = random.Random(5)
        lag = looks = 0.0
        for _ in range(200):
            durations = fit([rng.uniform(0.18, 0.22) for _ in range(remembered)], prior)
            duration = rng.uniform(0.18, 0.22)
            seen = list(sim.looks(duration, lambda last, known=durations: next_poll(last, last, known, least=0.05, first=0.05)))
            lag += (seen[-1] - duration) / 200
            looks += len(seen) / 200
        assert lag <= 0.05
        assert looks <= 5

    def test_a_refusal_in_the_first_seconds_is_seen_within_twenty(self) -> None:
        """However long such tasks usually take, the first look comes within 20 s."""
        assert next_poll(0, 0, fit([300.0] * 50, 195), least=3) <= LONGEST


class TestNextLook:
    """The rule's own properties."""

    def test_it_is_the_published_equation(self) -> None:
        """Between its bounds the look is where E[(t' - D)+ | D > t] equals the budget, by numerical integration."""
        durations = DurationModel(math.log(115), 0.2, seen=40)
        look = next_poll(70, 70, durations, least=1, budget=0.05)
        grid = [70 + (look - 70) * (step + 0.5) / 4000 for step in range(4000)]

        def density(x: float) -> float:
            return math.exp(-((math.log(x) - durations.mu) ** 2) / (2 * 0.04)) / (x * 0.2 * math.sqrt(2 * math.pi))

        wait = sum((look - x) * density(x) for x in grid) * (look - 70) / 4000
        still_open = 0.5 * math.erfc((math.log(70) - durations.mu) / 0.2 / math.sqrt(2))
        assert 71 < look < 90
        assert wait / still_open == pytest.approx(0.05, abs=1e-4)

    @given(known, st.floats(0, 5000), leasts, st.floats(0, 60), st.floats(0, 30))
    def test_never_too_early_never_too_late(self, durations: DurationModel, last: float, least: float, first: float, slow: float) -> None:
        """Never sooner than `least` after the last look, before `first` or in the past; never later than 20 s or what those ask for."""
        look = next_poll(last + slow, last, durations, least=least, first=first)
        soonest = max(last + least, first, last + slow)
        assert math.isfinite(look)
        assert soonest <= look <= max(soonest, last + LONGEST)

    @given(known, st.floats(0, 5000), st.floats(0, 500), leasts, st.floats(0, 60))
    def test_monotone_in_time(self, durations: DurationModel, last: float, later: float, least: float, first: float) -> None:
        """A later last look never brings the next one forward."""
        before = next_poll(last, last, durations, least=least, first=first)
        after = next_poll(last + later, last + later, durations, least=least, first=first)
        assert after >= before - 0.01

    @given(known, st.floats(0, 2000), leasts, st.floats(0.001, 1), st.floats(0, 1))
    def test_monotone_in_the_budget(self, durations: DurationModel, last: float, least: float, budget: float, more: float) -> None:
        """Who may wait longer is looked at later."""
        stricter = next_poll(last, last, durations, least=least, budget=budget)
        assert next_poll(last, last, durations, least=least, budget=budget + more) >= stricter - 0.01

    @given(seconds, st.floats(0, 3000))
    def test_without_history_at_most_a_tenth_of_the_time_goes_unseen(self, prior: float, last: float) -> None:
        """A published median alone never stretches an interval beyond a tenth of the elapsed time."""
        assert next_poll(last, last, fit([], prior), least=0.05) <= last + max(0.05, last / 10) + 1e-9

    def test_long_overdue_is_looked_at_at_the_least_interval(self) -> None:
        """Far beyond everything remembered a picture may come any moment."""
        assert next_poll(4000, 4000, fit([20.0] * 200, 20), least=3) == 4003

    def test_the_budget_fits_the_gateway_and_the_task(self) -> None:
        """Smaller for short tasks; larger where a shorter interval leaves room."""
        long, short = fit([], 100), fit([0.2] * 20, 0.2)
        assert usual_budget(2, long) > usual_budget(3, long) > usual_budget(3, short)


class TestFit:
    """What the remembered durations suggest."""

    def test_nothing_remembered_is_the_published_median(self) -> None:
        """The prior alone: its median and a spread of 0.35, nothing seen."""
        assert fit([], 46) == DurationModel(math.log(46), 0.35)

    def test_the_prior_counts_as_a_third_of_an_observation(self) -> None:
        """One duration moves the median three quarters of the way, on the logarithmic scale."""
        assert fit([80], 20).mu == pytest.approx(math.log(20) + 0.75 * math.log(4))

    def test_the_spread_counts_as_two_observations(self) -> None:
        """Equal durations at the prior shrink the spread as two observations of 0.35 among them would."""
        assert fit([20] * 6, 20).sigma == pytest.approx(0.35 / 2)

    def test_what_is_no_duration_is_left_out(self) -> None:
        """Zeros, negative numbers, infinities and not-a-number teach nothing."""
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

    def test_an_unknown_quality_lies_in_the_middle(self) -> None:
        """A word nobody published a figure for is taken as medium."""
        assert typical_seconds("ultra", 1) == 46


class TestUsual:
    """What a person is told to expect."""

    def test_nothing_is_said_without_enough_history(self) -> None:
        """Two durations are no habit, and what is no duration does not count."""
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

    def test_one_stuck_task_does_not_change_the_habit(self) -> None:
        """An outlier moves neither end far."""
        assert typical_range([42, 44, 46, 48, 50, 52, 54, 900]) == (40, 55)

    @given(st.lists(seconds, min_size=3, max_size=60))
    def test_the_middle_half_lies_within(self, history: list[float]) -> None:
        """Low below high, and at least half of the durations between them."""
        low, high = typical_range(history) or (0, 0)
        assert low <= high
        assert 2 * sum(low - 1e-6 <= value <= high + 1e-6 for value in history) >= len(history)


tasks_due = st.lists(st.tuples(st.floats(0, 100), st.floats(-50, 50)), max_size=150)


class TestTogether:
    """One query for many tasks."""

    def test_what_is_soon_due_comes_along(self) -> None:
        """A due task takes along those due within the window, the earliest first, and no other."""
        due = [("a", 10.0, 5.0), ("late", 13.0, 5.0), ("c", 11.9, 5.0), ("b", 10.5, 5.0)]
        assert make_batches(due, 10.0, least=3, batch=50) == [["a", "b", "c"]]

    def test_nothing_due_nothing_asked(self) -> None:
        """Who is only soon due waits for somebody who is."""
        assert make_batches([("a", 10.5, 5.0)], 10.0, least=3, batch=50) == []

    def test_no_query_only_for_company(self) -> None:
        """Fifty-one due and forty soon due are two queries; five due and sixty soon due are one, full."""
        many = [(f"d{number}", 9.0, 0.0) for number in range(51)] + [(f"s{number}", 11.0, 0.0) for number in range(40)]
        assert [len(lot) for lot in make_batches(many, 10.0, least=3, batch=50)] == [50, 41]
        few = [(f"d{number}", 9.0, 0.0) for number in range(5)] + [(f"s{number}", 11.0, 0.0) for number in range(60)]
        lots = make_batches(few, 10.0, least=3, batch=50)
        assert [len(lot) for lot in lots] == [50]
        assert {f"d{number}" for number in range(5)} <= set(lots[0])

    def test_never_looked_at_again_too_early(self) -> None:
        """A task whose last look is less than the least interval ago stays out, due or not."""
        assert make_batches([("a", 9.0, 0.0), ("b", 9.0, 8.0), ("c", 11.0, 7.5)], 10.0, least=3, batch=50) == [["a"]]

    @given(tasks_due, st.floats(0, 100), leasts, st.integers(1, 60), st.floats(0, 10))
    def test_properties(self, pairs: list[tuple[float, float]], now: float, least: float, batch: int, window: float) -> None:
        """Each task at most once, lots within the batch, each due and allowed task in one, none too early or too far ahead."""
        due = [(number, at, last) for number, (at, last) in enumerate(pairs)]
        lots = make_batches(due, now, least=least, batch=batch, window=window)
        taken = [task for lot in lots for task in lot]
        assert len(taken) == len(set(taken))
        assert all(0 < len(lot) <= batch for lot in lots)
        assert all(pairs[task][0] <= now + window and now - pairs[task][1] >= least for task in taken)
        must = {task for task, at, last in due if at <= now and now - last >= least}
        assert must <= set(taken)
        assert len(lots) == math.ceil(len(must) / batch)


class TestSharedLooks:
    """Tasks of a gateway with a batch query keep step."""

    @given(known, st.floats(1.6e9, 1.9e9), st.floats(0, 2000), leasts, st.floats(0, 60), st.floats(0, 30))
    def test_never_too_early(
        self, durations: DurationModel, submitted: float, waited: float, least: float, first: float, slow: float
    ) -> None:
        """On the beat or not: never sooner than allowed, never in the past, and within a beat of when a single look would be."""
        last = submitted + waited
        look = next_shared_poll(last + slow, submitted, last, durations, least=least, first=first)
        soonest = max(last + least, last + slow, submitted + first)
        assert soonest <= look <= max(soonest, last + LONGEST) + batch_interval(least) + 1e-6

    def test_tasks_out_of_step_fall_into_it(self) -> None:
        """Three dense tasks, last looked at within one beat of each other, are due at the same moment."""
        durations = fit([100.0] * 60, 100)
        start = 1.7e9 // batch_interval(3) * batch_interval(3)
        lasts = [start + 100 + late for late in (2.0, 3.0, 4.0)]
        looks = {next_shared_poll(last, start, last, durations, least=3) for last in lasts}
        assert len(looks) == 1
        assert looks.pop() / batch_interval(3) % 1 == pytest.approx(0, abs=1e-3)
