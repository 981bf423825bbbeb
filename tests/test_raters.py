"""Several raters: intervals for other raters and new pictures, and the agreement."""

import itertools
import math
import random

import pytest

from imagegen_magic.engine.ledger.votes import Vote
from imagegen_magic.studies.bradley_terry import fit
from imagegen_magic.studies.effects import raters
from imagegen_magic.studies.effects.records import Row, ScoreRows
from imagegen_magic.studies.effects.table import effects
from imagegen_magic.studies.ranking import games_of, strengths

KNOWN = dict(enumerate({"style": style, "subject": subject} for style in "ab" for subject in "uvwxyz"))
VOTES = 40


def study(count, generator):
    """Return the votes of each rater; tastes for the style and for pictures have a standard deviation of 0.5, the mean effect is 0."""
    shared = {picture: generator.gauss(0, 0.5) for picture in KNOWN}
    found = {}
    for rater in range(count):
        taste = generator.gauss(0, 0.5)
        own = {number: shared[number] + taste * (each["style"] == "b") + generator.gauss(0, 0.5) for number, each in KNOWN.items()}
        pairs = [generator.sample(list(KNOWN), 2) for _ in range(VOTES)]
        votes = [
            Vote(left, right, left if generator.random() < 1 / (1 + math.exp(own[right] - own[left])) else right) for left, right in pairs
        ]
        found[str(rater)] = votes
    return found


@pytest.mark.parametrize("studies", [20, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.parametrize("count", [3, 8])
def test_intervals_hold_for_other_raters(count, studies):
    """At least 90 % hold; the interval of the pooled votes alone, by their Bradley-Terry error, holds much less often."""
    generator, both, pooled = random.Random(count + 20), 0, 0
    for _ in range(studies):
        votes = study(count, generator)
        found = raters.effects_of_raters(votes, KNOWN)
        (one,) = [each for each in found.comparisons if each.axis == "style"]
        both += one.interval[0] <= 0 <= one.interval[1]
        _, covariance = fit(len(KNOWN), games_of(itertools.chain(*votes.values()), {number: number for number in KNOWN}))
        weight = [(1 if each["style"] == "b" else -1) * 2 / len(KNOWN) for each in KNOWN.values()]
        noise = sum(a * b * value for a, row in zip(weight, covariance, strict=True) for b, value in zip(weight, row, strict=True))
        pooled += abs(one.estimate) <= 1.96 * math.sqrt(noise)
    assert both / studies >= 0.9
    assert pooled / studies < 0.8


def test_one_rater():
    """The effects are this rater's: those of the strengths, with intervals that also count the noise of the votes."""
    votes = study(1, random.Random(1))
    found = strengths(list(KNOWN), votes["0"])
    expected = effects([ScoreRows("votes", tuple(Row(KNOWN[number], found[number]) for number in KNOWN), "higher", "log odds")])
    of_rater = raters.effects_of_raters(votes, KNOWN)
    assert [one.estimate for one in of_rater.comparisons] == [one.estimate for one in expected.comparisons]
    for one, plain in zip(of_rater.comparisons, expected.comparisons, strict=True):
        assert plain.standard_error <= one.standard_error < 1.5 * plain.standard_error
        assert (one.df, one.repeats) == (plain.df, plain.repeats)
    assert "One rater: this holds for that rater." in of_rater["votes"].notes


def alpha(items):
    """Return Krippendorff's alpha by its definition: 1 - observed / expected disagreement of all pairs of values."""
    units = [[value for value in item if value is not None] for item in items]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    observed = sum(sum(a != b for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units) / len(values)
    expected = sum(a != b for a, b in itertools.permutations(values, 2)) / (len(values) * (len(values) - 1))
    return 1 - observed / expected


def test_agreement_is_krippendorffs_alpha():
    """Equal to its definition on random choices with gaps; perfect agreement is 1, and one choice alone has none."""
    generator = random.Random(1)
    for _ in range(50):
        items = [[generator.choice(["left", "right", "tie", None]) for _ in range(generator.randint(2, 5))] for _ in range(20)]
        assert raters.agreement(items) == pytest.approx(alpha(items), abs=1e-12)
    assert raters.agreement([["left", "left"], ["right", "right"]]) == 1
    assert raters.agreement([["left", "left"], ["left", "left"]]) is None
    assert raters.agreement([["left", None]]) is None
