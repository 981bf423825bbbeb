"""Effects on votes: intervals that count the noise of the votes themselves, hold for other raters too, and the raters' agreement.

Strengths of votes are not independent: two images that met are estimated together. So the noise of a few votes may move an axis's values
more than it scatters the images, and the residuals alone would make the interval too narrow.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagegen_magic.engine.ledger.sweeps import Combination
from imagegen_magic.engine.ledger.votes import PERSON, Vote
from imagegen_magic.humanize import pluralize
from imagegen_magic.records import Record
from imagegen_magic.studies.bradley_terry import influences
from imagegen_magic.studies.effects.distributions import t_tails
from imagegen_magic.studies.effects.records import Comparison, Row, ScoreEffects, ScoreRows
from imagegen_magic.studies.effects.table import Effects, effects, uncorrected
from imagegen_magic.studies.ranking import games_of, strengths

MIN_SHARED = 20
"""The number of pairs from which agreement is shown: with fewer it scatters too much."""
_MAX_RATERS = 12  # that a note names


def by_rater(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    """Return the votes of each rater by name; a judge's name stands behind the word judge."""
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.rater if vote.kind == PERSON else f"judge {vote.rater}", []).append(vote)
    return found


def effects_of_raters(votes: Mapping[str, Sequence[Vote]], combinations: Mapping[int, Combination]) -> Effects:
    """Return the effects on the pooled strengths, with intervals for new pictures and for other raters.

    The variance of a comparison is that between pictures plus that between raters, minus that of the votes, which both contain; it is
    not below either of the first two. Its degrees of freedom are those of Satterthwaite. With one rater, the effects are that rater's.
    Every image of `combinations` has all its axes.
    """
    pooled = list(itertools.chain(*votes.values()))
    rows = _rows(strengths(list(combinations), pooled), combinations)
    return effects([rows], widen={"votes": RaterVotes(votes, combinations).widened})


@dataclass(frozen=True, slots=True)
class RaterVotes(Record):
    """The votes of each rater on one score, the combination of each image, and what the table was asked for.

    `people` are the votes that those of a judge are compared with.
    """

    votes: Mapping[str, Sequence[Vote]]
    combinations: Mapping[int, Combination]
    design: Mapping[str, Any] = field(default_factory=dict)
    people: Sequence[Vote] = ()

    def widened(self, found: ScoreEffects) -> ScoreEffects:
        """Return the score with intervals that count the noise of the votes and hold for other raters too, and how far raters agree."""
        notes = (*agreement_with_people(self.votes, self.people), *rater_notes(self.votes))
        if not found.comparisons:
            return dataclasses.replace(found, notes=(*found.notes, *notes))
        note = f"{len(self.votes)} raters: this estimates the effect for other raters too."
        if len(self.votes) < 2:
            note = "One rater: this holds for that rater."
        return dataclasses.replace(found, comparisons=self._widened(found.comparisons), notes=(*found.notes, note, *notes))

    def _widened(self, comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
        every = list(itertools.chain(*self.votes.values()))
        noise = self._noise(every)
        counted = [_with_noise(one, *noise.get(_key(one), (0.0, 0.0))) for one in comparisons]
        if len(self.votes) < 2:
            return tuple(counted)
        voted = list(dict.fromkeys(picture for vote in every for picture in (vote.left, vote.right)))
        own = [self._estimates(strengths(voted, each), voted) for each in self.votes.values()]
        return tuple(_with_raters(one, [each.get(_key(one), 0.0) for each in own], noise.get(_key(one), (0.0, 0.0))[0]) for one in counted)

    def _noise(self, votes: Sequence[Vote]) -> dict[tuple[Any, ...], tuple[float, float]]:
        """Return the variance of each comparison that comes from the votes, and the part of it that the residuals show.

        Both are sums over the pairs that met: an estimate is linear in the strengths, the square of its standard error is quadratic.
        """
        pictures = list(dict.fromkeys(picture for vote in votes for picture in (vote.left, vote.right)))
        index = {picture: number for number, picture in enumerate(pictures)}
        found: dict[tuple[Any, ...], tuple[float, float]] = {}
        for influence in influences(len(pictures), games_of(votes, index)):
            for one in self._comparisons(dict(zip(pictures, influence, strict=True))):
                moved, shown = found.get(_key(one), (0.0, 0.0))
                found[_key(one)] = moved + one.estimate**2, shown + one.standard_error**2
        return found

    def _estimates(self, found: Mapping[int, float], pictures: Sequence[int]) -> dict[tuple[Any, ...], float]:
        return {_key(one): one.estimate for one in self._comparisons({picture: found.get(picture, 0.0) for picture in pictures})}

    def _comparisons(self, values: Mapping[int, float]) -> tuple[Comparison, ...]:
        known = {picture: combination for picture, combination in self.combinations.items() if picture in values}
        return uncorrected(_rows(values, known), **self.design)


def _key(one: Comparison) -> tuple[Any, ...]:
    return one.axis, one.value, *one.group.items()


def _rows(values: Mapping[int, float], combinations: Mapping[int, Combination]) -> ScoreRows:
    rows = tuple(Row(combination, values.get(picture)) for picture, combination in combinations.items())
    return ScoreRows("votes", rows, "higher", "log odds")


def _with_noise(one: Comparison, noise: float, shown: float) -> Comparison:
    """Return a comparison with the noise of the votes in place of the part of it that the residuals show; not narrower than before."""
    return _with_error(one, math.sqrt(one.standard_error**2 + max(0.0, noise - shown)), one.df)


def _with_error(one: Comparison, error: float, df: float) -> Comparison:
    return dataclasses.replace(one, standard_error=error, df=df, p=t_tails(one.estimate / error, df)) if error else one


def _with_raters(one: Comparison, estimates: Sequence[float], noise: float) -> Comparison:
    of_pictures, of_raters = one.standard_error**2, statistics.variance(estimates) / len(estimates)
    variance = max(of_pictures + of_raters - noise, of_pictures, of_raters)
    if not variance:
        return one
    df = min(one.df, variance**2 / (of_pictures**2 / one.df + of_raters**2 / (len(estimates) - 1)))
    return dataclasses.replace(_with_error(one, math.sqrt(variance), df), repeats=0.0, deviation=0.0)


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


def rater_notes(votes: Mapping[str, Sequence[Vote]]) -> Iterator[str]:
    """Yield how far raters agree with each other and with themselves, and how often each chose the left image."""
    first = [_first_choices(each) for each in votes.values()]
    if len(first) > 1:
        shared = [pair for pair in first[0] if all(pair in each for each in first)]
        yield _alpha([[each[pair] for each in first] for pair in shared], "all raters", "with each other")
    repeated = {name: _repeated(each) for name, each in votes.items()}
    if counts := [f"{_shown(name)} {same} of {total}" for name, (same, total) in repeated.items() if total]:
        yield f"The same choice when a pair was repeated: {_listed(counts)}."
    if shares := [f"{_shown(name)} {100 * share:.0f} %" for name, each in votes.items() if (share := left_share(each)) is not None]:
        yield f"The left picture was chosen: {_listed(shares)}."


def agreement_with_people(votes: Mapping[str, Sequence[Vote]], people: Sequence[Vote]) -> Iterator[str]:
    """Yield how far a judge agrees with people: each pair's choice of people is that of most of them."""
    judge = [vote for each in votes.values() for vote in each if vote.kind != PERSON]
    if len(votes) > 1 or not judge:
        return
    own, theirs = _first_choices(judge), _majority(people)
    yield _alpha([[own[pair], theirs[pair]] for pair in own if pair in theirs], "the judge and people", "with people")


def _alpha(items: Sequence[Sequence[str]], who: str, whom: str) -> str:
    """Return the sentence about the agreement on pairs, or why it is not shown."""
    count = pluralize(len(items), "pair")
    if len(items) < MIN_SHARED:
        return f"Agreement {whom} is shown from {MIN_SHARED} pairs on that {who} saw; so far: {len(items)}."
    found = agreement(items)
    if found is None:
        return f"Agreement {whom} is undefined: all choices on the {count} that {who} saw are the same."
    return f"Agreement {whom}: Krippendorff's alpha is {found:.2f} on {count} that {who} saw (1: perfect, 0: chance)."


Pair = frozenset[int]


def _choice(vote: Vote) -> str:
    """Return a choice as `first`, `second` or `tie`. Which image of a pair is the first is drawn, but always the same.

    By the ids it would depend on the order of the axis's values, and a common preference would count as chance.
    """
    if vote.winner is None:
        return "tie"
    low, high = sorted((vote.left, vote.right))
    swapped = random.Random(f"{low} {high}").random() < 0.5
    return "first" if (vote.winner == low) != swapped else "second"


def _first_choices(votes: Iterable[Vote]) -> dict[Pair, str]:
    found: dict[Pair, str] = {}
    for vote in votes:
        found.setdefault(frozenset((vote.left, vote.right)), _choice(vote))
    return found


def _majority(votes: Iterable[Vote]) -> dict[Pair, str]:
    counts: dict[Pair, Counter[str]] = {}
    for vote in votes:
        counts.setdefault(frozenset((vote.left, vote.right)), Counter())[_choice(vote)] += 1
    most = {pair: each.most_common(2) for pair, each in counts.items()}
    return {pair: "tie" if len(each) > 1 and each[0][1] == each[1][1] else each[0][0] for pair, each in most.items()}


def _repeated(votes: Iterable[Vote]) -> tuple[int, int]:
    """Return how often a rater made the same choice on a pair again, and how many pairs came again."""
    choices: dict[Pair, list[str]] = {}
    for vote in votes:
        choices.setdefault(frozenset((vote.left, vote.right)), []).append(_choice(vote))
    again = [len(set(each)) == 1 for each in choices.values() if len(each) > 1]
    return sum(again), len(again)


def left_share(votes: Iterable[Vote]) -> float | None:
    """Return the share of choices that were the left image, 0 to 1, ties left out; None without a choice."""
    sides = Counter(side for vote in votes for side in (vote.sides.split() or [_side(vote)]))
    count = sides["left"] + sides["right"]
    return sides["left"] / count if count else None


def _side(vote: Vote) -> str:
    return "tie" if vote.winner is None else "left" if vote.winner == vote.left else "right"


def _shown(name: str) -> str:
    return name or "without a name"


def _listed(words: Sequence[str]) -> str:
    rest = len(words) - _MAX_RATERS
    return ", ".join(words[:_MAX_RATERS]) + (f" and {rest} more" if rest > 0 else "")
