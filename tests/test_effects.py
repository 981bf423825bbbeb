"""The effect table: equal to statsmodels and scipy, right in simulations, and honest about what it cannot show."""

import dataclasses
import json
import math
import pickle
import random
import re
import subprocess
import sys

import numpy
import oracles
import pytest
from oracles import SUBJECTS, sweep, table

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.studies.effects import distributions
from imagegen_magic.studies.effects.least_squares import InseparableError, fit
from imagegen_magic.studies.effects.records import LEVEL, Row, ScoreRows
from imagegen_magic.studies.effects.table import effects


def comparison(found, axis, value):
    """Return one comparison."""
    (one,) = [each for each in found.comparisons if (each.axis, each.value) == (axis, value)]
    return one


@pytest.fixture(scope="module", params=["stored", pytest.param("computed", marks=pytest.mark.long)])
def reference(request):
    """Values of scipy and statsmodels: those stored in `tests/data`, and with `scripts/test --long` those computed with more designs."""
    if request.param == "computed":
        return oracles.reference(oracles.DESIGNS_COMPUTED)
    return json.loads(oracles.STORED.read_text())


class TestDistributions:
    """The tails of scipy, to 1e-12."""

    def test_t(self, reference):
        """Both tails and the critical value, from the middle to far out."""
        assert [(t, df) for t, df, _ in reference["t"]] == oracles.T
        for t, df, expected in reference["t"]:
            assert distributions.t_tails(t, df) == distributions.t_tails(-t, df)
            assert distributions.t_tails(t, df) == pytest.approx(expected, abs=1e-12, rel=1e-10)
        assert [(p, df) for p, df, _ in reference["t_critical"]] == oracles.T_CRITICAL
        for p, df, expected in reference["t_critical"]:
            assert distributions.t_critical(p, df) == pytest.approx(expected, rel=1e-12)

    def test_f(self, reference):
        """The tail of F, also with many degrees of freedom."""
        assert [(f, df1, df2) for f, df1, df2, _ in reference["f"]] == oracles.F
        for f, df1, df2, expected in reference["f"]:
            assert distributions.f_tail(f, df1, df2) == pytest.approx(expected, abs=1e-12, rel=1e-10)

    def test_power(self, reference):
        """The noncentral t, both tails of the test; a huge effect is found every time."""
        assert [(shift, p, df) for shift, p, df, _ in reference["power"]] == oracles.POWER
        for shift, p, df, expected in reference["power"]:
            assert distributions.power(shift, p, df) == pytest.approx(expected, abs=1e-10)
        assert distributions.power(1e4, 0.05, 60) == 1


def test_the_fit_equals_statsmodels(reference):
    """Estimates, intervals and p of random designs with missing combinations and pictures, to 1e-9."""
    assert len(reference["designs"]) >= 30
    assert any(missing_combinations(oracles.read(design["rows"])) for design in reference["designs"])
    for design in reference["designs"]:
        rows = oracles.read(design["rows"])
        found = table(rows).comparisons
        assert [[one.axis, one.value] for one in found] == [[axis, value] for axis, value, *_ in design["comparisons"]]
        for one, (_, _, estimate, interval, p) in zip(found, design["comparisons"], strict=True):
            assert one.estimate == pytest.approx(estimate, rel=1e-9, abs=1e-9)
            assert one.interval == pytest.approx(tuple(interval), rel=1e-9, abs=1e-9)
            assert one.p == pytest.approx(p, abs=1e-9)
            assert one.count == sum(row.combination[one.axis] == one.value for row in rows if row.value is not None)


def missing_combinations(rows):
    """Return how many combinations of the values of the axes have no picture."""
    axes = {axis: {row.combination[axis] for row in rows} for axis in rows[0].combination}
    return math.prod(map(len, axes.values())) - len({tuple(row.combination.values()) for row in rows if row.value is not None})


def test_holm_and_the_intervals_of_all_comparisons(reference):
    """Adjusted p are those of statsmodels over the comparisons of all scores; the joint interval is Bonferroni's."""
    one, two = map(oracles.read, reference["holm"]["scores"])
    found = effects([ScoreRows("one", tuple(one)), ScoreRows("two", tuple(two))])
    assert len(found.comparisons) == 12
    assert [one.adjusted_p for one in found.comparisons] == pytest.approx(reference["holm"]["adjusted"], rel=1e-12)
    for one in found.comparisons:
        reach = distributions.t_critical(LEVEL / 12, one.df) * one.standard_error
        assert one.family_interval == pytest.approx((one.estimate - reach, one.estimate + reach))


def normal(truth, generator):
    """Return a value around the truth."""
    return truth + generator.gauss(0, 1)


def ordinal(truth, generator):
    """Return 1 to 5."""
    return float(min(5, max(1, round(3 + generator.gauss(0, 1)))))


def spike(truth, generator):
    """Return a share of right characters: 1 more often than not."""
    return 1.0 if generator.random() < 0.6 else generator.random()


def rare(truth, generator):
    """Return 0 or 1: five of a hundred are wrong."""
    return float(generator.random() < 0.95)


KINDS = (normal, ordinal, spike, rare)


@pytest.mark.parametrize("studies", [80, pytest.param(250, marks=pytest.mark.long)])
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_cover_the_truth(kind, repeats, studies):
    """95 % intervals hold 92 to 99 % of the time; where nothing differs, at most 8 % of the studies have anything clear."""
    generator, covered, count, alarms = random.Random(f"{kind.__name__} {repeats}"), 0, 0, 0
    for _ in range(studies):
        shift = {value: generator.gauss(0, 0.8) for value in SUBJECTS} if kind is normal else dict.fromkeys(SUBJECTS, 0.0)
        found = table(sweep(lambda combination, shift=shift: kind(shift[combination["subject"]], generator), repeats))
        one = [each for each in found.comparisons if each.axis != "subject"]
        covered += sum(low <= 0 <= high for low, high in (each.interval for each in one))
        count += len(one)
        alarms += any(each.clear for each in one)
    assert alarms / studies <= 0.08
    assert not count or 0.92 <= covered / count <= (1 if kind is rare else 0.99)


def test_a_bootstrap_in_its_place_would_fail():
    """Percentiles of resampled repeats cover less than 92 % with three of them, as the simulation above shows."""
    generator, covered = numpy.random.default_rng(5), 0
    for _ in range(250):
        values = generator.normal(0, 1, (2, 12, 3))
        drawn = generator.integers(0, 3, (400, 2, 12, 3))
        means = numpy.take_along_axis(numpy.broadcast_to(values, drawn.shape), drawn, 3).mean((2, 3))
        low, high = numpy.percentile(means[:, 1] - means[:, 0], [2.5, 97.5])
        covered += low <= 0 <= high
    assert covered / 250 < 0.92


def fitted_variance(rows):
    """Return the residual variance of the additive fit, without a floor: all values times two are no 0/1 score."""
    return table([Row(row.combination, 2 * row.value) for row in rows]).comparisons[0].deviation ** 2 / 4


def test_few_failures_look_like_none():
    """A 0/1 score with no failure in some repeats has an interval of the floor's width, not of width 0."""
    rows = sweep(lambda combination: 0.0 if combination == {"style": "ink", "quality": "low", "subject": "fox"} else 1.0, 1)
    floor = 2 / (len(rows) + 2) * (1 - 1 / (len(rows) + 2))
    assert 0 < fitted_variance(rows) < floor
    assert comparison(table(rows), "style", "watercolour").deviation ** 2 == pytest.approx(floor)
    assert not any(each.clear for each in table(rows).comparisons)


def test_over_is_the_paired_t(reference):
    """In a balanced sweep it is the paired t of scipy over the axis; the words name what it estimates."""
    expected = reference["paired"]
    found = table(oracles.read(expected["rows"]), over="subject")
    one = comparison(found, "style", "ink")
    assert (one.p, one.blocks, one.df) == (pytest.approx(expected["p"], abs=1e-12), 4, 3)
    assert one.interval == pytest.approx(tuple(expected["interval"]), abs=1e-12)
    assert {each.axis for each in found.comparisons} == {"style", "quality"}
    assert "4 values are few: the interval will be wide." in str(found)
    assert "for other values of subject too" in str(found)


def test_over_needs_three_values():
    """Two differences show no scatter; the axes are listed if there is no such axis."""
    rows = sweep(lambda combination: 1.0)
    with pytest.raises(UnsupportedOption, match="quality has 2 values; a comparison over an axis needs at least 3"):
        table(rows, over="quality")
    with pytest.raises(UnsupportedOption, match="There is no axis stile"):
        table(rows, by="stile")
    with pytest.raises(UnsupportedOption, match="style has no value pastel"):
        table(rows, against={"style": "pastel"})
    with pytest.raises(UnsupportedOption, match="the same axis"):
        table(rows, over="style", by="style")


def test_by_compares_each_value_separately():
    """An effect that reverses is no effect on average, and clear in each part; all comparisons count."""
    generator = random.Random(4)
    rows = sweep(
        lambda combination: generator.gauss((combination["style"] == "ink") * (3 if combination["quality"] == "low" else -3), 0.3),
        repeats=4,
    )
    average = table(rows)
    assert "The axes may not act independently" in str(average)
    found = table(rows, by="quality")
    ink = [one for one in found.comparisons if one.value == "ink"]
    assert [(dict(one.group), one.clear, one.estimate > 0) for one in ink] == [
        ({"quality": "low"}, True, True),
        ({"quality": "high"}, True, False),
    ]
    assert {one.family for one in found.comparisons} == {10}
    assert "quality=low: style, compared with oil" in str(found)


def test_the_baseline_may_be_chosen():
    """The signs turn; by default it is the first value that has a score."""
    generator = random.Random(4)
    rows = sweep(lambda combination: generator.gauss(combination["style"] == "ink", 0.2))
    assert comparison(table(rows), "style", "ink").against == "oil"
    turned = comparison(table(rows, against={"style": "ink"}), "style", "oil")
    assert turned.estimate == pytest.approx(-comparison(table(rows), "style", "ink").estimate)
    lost = [Row(row.combination, None, "failed") if row.combination["style"] == "oil" else row for row in rows]
    assert comparison(table(lost), "style", "watercolour").against == "ink"
    assert "No picture of style=oil has a value" in table(lost, against={"style": "oil"})["text"].problem


def test_repeats_needed():
    """Half a standard deviation needs 8 repeats of 8 combinations; with the correction for 6 comparisons, 13."""
    rows = [Row({"style": style, "subject": subject}, 0.0) for style in "ab" for subject in "rstuwxyz" for _ in range(3)]
    generator = random.Random(1)
    one = table([Row(row.combination, generator.gauss(0, 1)) for row in rows]).comparisons[0]

    planted = dataclasses.replace(one, estimate=0.5 * one.deviation, adjusted_p=1.0, family=1)
    assert planted.standard_error == pytest.approx(planted.deviation / math.sqrt(12))
    assert planted.repeats_needed == 8
    assert dataclasses.replace(planted, family=6).repeats_needed == 13
    assert dataclasses.replace(planted, estimate=0.01 * one.deviation).repeats_needed is None


def test_what_72_pictures_cannot_find_is_shown():
    """Half a standard deviation, with 6 comparisons: the share of sweeps that find it is in the text."""
    generator = random.Random(6)
    found = table(sweep(lambda combination: generator.gauss(0, 1)))
    (note,) = [note for note in found["text"].notes if "half the standard deviation" in note]
    assert 5 <= int(re.search(r"found in (\d+) %", note)[1]) <= 20


class TestTheWords:
    """What is missing and why, what cannot be compared, and how certain the rest is."""

    def test_counts_of_what_is_missing(self):
        """A failure is never 0: it is left out, counted, and a value that lost many pictures is named."""
        generator = random.Random(1)
        rows = [
            Row(row.combination, None, "failed") if row.combination["style"] == "ink" and generator.random() < 0.4 else row
            for row in sweep(lambda combination: generator.gauss(5, 1))
        ]
        found = table(rows)
        lost = sum(row.value is None for row in rows)
        text = str(found)
        assert f"text: {72 - lost} of 72 have a value, {lost} failed" in text
        assert f"{lost} of 24 pictures of style=ink have no value: this compares the pictures that exist." in text
        assert abs(comparison(found, "style", "ink").estimate) < 1

    def test_all_the_same_value(self):
        """There is nothing to compare."""
        found = table(sweep(lambda combination: 1.0))
        assert (found.comparisons, found["text"].problem) == ((), "All 72 have the same value: there is nothing to compare.")

    def test_no_value_at_all(self):
        """A score that failed everywhere."""
        assert table(sweep(lambda combination: 1.0, missing=lambda: "failed"))["text"].problem == "No picture has a value."

    def test_inseparable_axes_are_named(self):
        """Two axes whose values change together; the third is not named."""
        generator = random.Random(1)
        pairs = {"oil": "low", "ink": "high", "watercolour": "high"}
        rows = [
            row for row in sweep(lambda combination: generator.random()) if pairs[row.combination["style"]] == row.combination["quality"]
        ]
        problem = table(rows)["text"].problem
        assert problem.startswith("The effects of style and quality cannot be separated")
        with pytest.raises(InseparableError) as refused:
            fit({"a": ["1", "2"], "b": ["x", "y"]}, {("1", "x"): [1.0, 2.0], ("2", "y"): [3.0]})
        assert refused.value.args == ("a", "b")

    def test_one_picture_of_each_combination(self):
        """Noise and differences between combinations are not distinguished, which the text says."""
        generator = random.Random(1)
        assert "One picture of each combination" in str(table(sweep(lambda combination: generator.random(), 1)))
        assert "cannot show how much pictures scatter" in str(table([Row({"a": "1"}, 1.0), Row({"a": "2"}, 2.0)]))

    def test_repeated_checks(self):
        """Comparing a sweep again and again while it grows finds more than there is."""
        rows = sweep(lambda combination: float(len(combination["style"])))
        assert "The sweep was checked 4 times while it grew; 'clear' is weaker than stated." in str(table(rows, checks=4))
        assert "while it grew" not in str(table(rows))

    def test_verdicts(self):
        """Clear, inconclusive, and what the correction took away; never significant, never "no difference"."""
        generator = random.Random(9)
        words = set()
        for shift in (0, 0.6, 3):
            found = table(sweep(lambda combination, shift=shift: generator.gauss(shift * (combination["style"] == "ink"), 1)))
            words |= {one.verdict for one in found.comparisons}
            assert not re.search("signific|no difference|sure|told", str(found) + found._repr_mimebundle_()["text/html"])
        assert {"clear, also after correcting for 6 comparisons", "inconclusive"} <= words
        single = table([Row({"a": value}, float(value == "2") + generator.gauss(0, 0.1)) for value in "12" for _ in range(5)])
        assert [one.verdict for one in single.comparisons] == ["clear"]

    def test_what_follows_exactly_from_an_axis(self):
        """A price depends on the quality and on nothing else: one is exact, and rounding makes no difference of the others."""
        found = table(sweep(lambda combination: 0.1 + 0.2 if combination["quality"] == "low" else 0.7), name="cost")
        assert [(one.axis, one.clear) for one in found.comparisons if one.clear] == [("quality", True)]
        assert {one.estimate for one in found.comparisons if one.axis != "quality"} == {0}
        assert "+0.4  exactly" in str(found)


@pytest.fixture(scope="module")
def found():
    """One clear effect among inconclusive ones, with a value that is HTML."""
    generator = random.Random(3)
    return table(
        [
            Row({**row.combination, "style": row.combination["style"].replace("ink", "<i>ink</i>")}, row.value)
            for row in sweep(lambda combination: generator.gauss(2 * (combination["style"] == "ink"), 1))
        ]
    )


class TestTheOutput:
    """Rows, a frame, text, and bars that need no colour."""

    def test_rows_and_frame(self, found):
        """Plain values: one record per comparison."""
        rows = found.rows()
        assert json.loads(json.dumps(rows)) == rows
        assert [row["clear"] for row in rows] == [one.clear for one in found.comparisons]
        assert list(found.to_frame()["estimate"]) == [one.estimate for one in found.comparisons]

    def test_bars(self, found):
        """Each bar has its words as a text alternative, a shape for its result, and no style sheet that forced colours or a
        sanitizer would take away."""
        bundle = found._repr_mimebundle_()
        html = bundle["text/html"]
        assert bundle["text/plain"] == str(found)
        assert html.count('role="img"') == html.count("aria-label") == len(found.comparisons)
        assert html.count(">◆<") == sum(one.clear for one in found.comparisons)
        assert html.count(">○<") == sum(not one.clear for one in found.comparisons)
        assert "<i>" not in html
        assert "></th>" not in html
        assert "&lt;i&gt;ink" in html
        assert not re.search("<script|<style|<svg|background", html)
        for one in found.comparisons:
            assert one.verdict in html

    def test_a_notebook_stays_small(self):
        """Hundreds of comparisons take less than 60 kB; the table names the rest."""
        generator = random.Random(3)
        found = effects(
            ScoreRows(f"score {number}", tuple(Row({"axis": f"{'x' * 70} {value % 100}"}, generator.random()) for value in range(300)))
            for number in range(3)
        )
        bundle = found._repr_mimebundle_()
        assert sum(len(part.encode()) for part in bundle.values()) < 60_000
        assert "… and 267 more comparisons: rows() has all." in bundle["text/html"]

    def test_records(self, found):
        """They are frozen and survive pickling."""
        assert pickle.loads(pickle.dumps(found)) == found
        with pytest.raises(AttributeError):
            found.checks = 2


def test_no_library_of_numbers_is_loaded():
    """The table, its text and its HTML come from the standard library."""
    code = (
        "import sys\nfrom imagegen_magic.studies.effects.table import *\n"
        "found = effects([ScoreRows('a', tuple(Row({'x': str(n % 2)}, float(n)) for n in range(9)))])\n"
        "found._repr_mimebundle_()\n"
        "print({'numpy', 'scipy', 'pandas', 'matplotlib', 'PIL'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
