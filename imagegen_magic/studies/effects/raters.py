"""Effects on votes of several raters: intervals that hold for other raters of the same kind too, and their agreement."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from imagegen_magic.engine.ledger.sweeps import Combination
from imagegen_magic.engine.ledger.votes import Vote
from imagegen_magic.studies.bradley_terry import Matrix, fit
from imagegen_magic.studies.effects.distributions import t_tails
from imagegen_magic.studies.effects.least_squares import Level, weights
from imagegen_magic.studies.effects.records import Comparison, Row, ScoreRows
from imagegen_magic.studies.effects.table import Effects, corrected, effects
from imagegen_magic.studies.ranking import games_of


def effects_of_raters(votes: Mapping[str, Sequence[Vote]], combinations: Mapping[int, Combination]) -> Effects:
    """Return the effects on the pooled strengths, with intervals for new pictures and for other raters.

    The variance of a comparison is that between pictures plus that between raters, minus that of the votes, which both contain; it is
    not below either of the first two. Its degrees of freedom are those of Satterthwaite. With one rater, the effects are that rater's.
    Every image of `combinations` has all its axes.
    """
    pictures = list(combinations)
    pooled, covariance = _fitted([vote for each in votes.values() for vote in each], pictures)
    found = _effects(pooled, combinations)
    if len(votes) < 2 or not found.comparisons:
        return found
    own = [_estimates(_effects(_fitted(each, pictures)[0], combinations)) for each in votes.values()]
    noise = _vote_variances(found, combinations, covariance)
    widened = [
        _widened(one, [each.get((one.axis, one.value), 0.0) for each in own], noise[one.axis, one.value]) for one in found.comparisons
    ]
    (score,) = found.scores
    note = f"{len(votes)} raters: this estimates the effect for other raters too."
    return Effects((dataclasses.replace(score, comparisons=tuple(corrected(widened)), notes=(*score.notes, note)),))


def _fitted(votes: Iterable[Vote], pictures: Sequence[int]) -> tuple[dict[int, float], Matrix]:
    strengths, covariance = fit(len(pictures), games_of(votes, {picture: number for number, picture in enumerate(pictures)}))
    return dict(zip(pictures, strengths, strict=True)), covariance


def _effects(strengths: Mapping[int, float], combinations: Mapping[int, Combination]) -> Effects:
    rows = tuple(Row(combination, strengths[picture]) for picture, combination in combinations.items())
    return effects([ScoreRows("votes", rows, "higher", "log odds")])


def _estimates(found: Effects) -> dict[Level, float]:
    return {(one.axis, one.value): one.estimate for one in found.comparisons}


def _vote_variances(found: Effects, combinations: Mapping[int, Combination], covariance: Matrix) -> dict[Level, float]:
    """Return the variance of each comparison that comes from the number of votes, by the covariance of the strengths."""
    axes: dict[str, list[str]] = {}
    for one in found.comparisons:
        axes.setdefault(one.axis, [one.against]).append(one.value)
    cells = [tuple(combination[axis] for axis in axes) for combination in combinations.values()]
    variances = {}
    for level, weight in weights(axes, Counter(cells)).items():
        each = [weight[cell] for cell in cells]
        variances[level] = math.fsum(
            a * b * value for a, row in zip(each, covariance, strict=True) for b, value in zip(each, row, strict=True)
        )
    return variances


def _widened(one: Comparison, estimates: Sequence[float], noise: float) -> Comparison:
    of_pictures, of_raters = one.standard_error**2, statistics.variance(estimates) / len(estimates)
    variance = max(of_pictures + of_raters - noise, of_pictures, of_raters)
    if not variance:
        return one
    df = min(one.df, variance**2 / (of_pictures**2 / one.df + of_raters**2 / (len(estimates) - 1)))
    error = math.sqrt(variance)
    return dataclasses.replace(one, standard_error=error, df=df, p=t_tails(one.estimate / error, df), repeats=0.0)


def agreement(choices: Iterable[Sequence[str | None]]) -> float | None:
    """Return Krippendorff's alpha for nominal choices: 1 is perfect agreement, 0 that of chance; None if it is undefined.

    Each item has one choice for each rater, None where a rater made none. With fewer than 20 shared items it scatters too much to be shown
    (K. Krippendorff, Content Analysis, 4th edition, chapter 12).
    """
    items = [Counter(choice for choice in item if choice is not None) for item in choices]
    items = [item for item in items if item.total() > 1]
    totals: Counter[str] = sum(items, Counter())
    count = totals.total()
    expected = count**2 - sum(number**2 for number in totals.values())
    if not expected:
        return None
    observed = math.fsum((item.total() ** 2 - sum(number**2 for number in item.values())) / (item.total() - 1) for item in items)
    return 1 - (count - 1) * observed / expected
