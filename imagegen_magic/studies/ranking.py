"""Rankings of images by blind votes between pairs."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from imagegen_magic.engine import api
from imagegen_magic.engine.ledger.sweeps import combinations_of
from imagegen_magic.engine.ledger.votes import JUDGE, PERSON, Vote, add_vote, rater_name, votes_between
from imagegen_magic.engine.settings import Settings, load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import Record, frozen
from imagegen_magic.result import GeneratedImage, pictures_in
from imagegen_magic.studies.bradley_terry import Game, Matrix, fit, probability

MAX_IMAGES = 200  # of one vote
_VIEWS = 7  # of each image, on average, until the votes suffice
_ACROSS = 5  # each fifth pair is not matched
_NORMAL_95 = 1.959964  # 95 % of a standard normal distribution is within this distance of 0


@dataclass(frozen=True, slots=True)
class RankedItem(Record):
    """The result of one image, or of all images with one value of an axis.

    `strength` is on the scale of log odds, 0 for the mean; `low` and `high` bound the 95 % interval. `won`, `tied` and `lost` are numbers
    of votes. The interval of an axis's value holds for these images only: it is much too narrow for the value's effect on others.
    """

    name: str
    strength: float
    low: float
    high: float
    won: int = 0
    tied: int = 0
    lost: int = 0
    picture: int = 0

    @property
    def win_probability(self) -> tuple[float, float, float]:
        """The probability of winning against an image of mean strength, 0..1, with its interval: (probability, low, high)."""
        return probability(self.strength), probability(self.low), probability(self.high)


@dataclass(frozen=True, slots=True)
class Ranking(Record):
    """Images and the values of each axis, strongest first, and the number of votes."""

    pictures: tuple[RankedItem, ...]
    axes: Mapping[str, tuple[RankedItem, ...]]
    votes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", frozen(self.axes))


Choice = GeneratedImage | None
Judge = Callable[[GeneratedImage, GeneratedImage], Choice | Awaitable[Choice]]


async def rank(images: Iterable[GeneratedImage], *, settings: Settings | None = None, judges: bool = False) -> Ranking:
    """Return the ranking of images by all votes of people between them so far, with the values of their sweep's axes.

    With `judges` it counts the votes of judges too.
    """
    ledger = api.ledger(settings or load())
    pictures = list(dict.fromkeys(image.id for image in pictures_in(images) if image.id))
    votes = [vote for vote in await votes_between(ledger, pictures) if judges or vote.kind == PERSON]
    _, combinations = await combinations_of(ledger, pictures)
    return await asyncio.to_thread(ranking, pictures, votes, combinations)


async def judged(
    images: Iterable[GeneratedImage], judge: Judge, *, settings: Settings | None = None, both_ways: bool = False, rater: str = ""
) -> Ranking:
    """Let a function vote between pairs, in addition to the votes so far, until they suffice; returns the ranking.

    `judge` gets the left and the right image and returns the better one, or None for a tie. It is async, or runs in a thread of its own.
    With `both_ways` it is asked in both orders, and a disagreement is a tie. With a name as `rater`, its votes are those of a judge: they
    are a score of their own, and the ranking is by them. Without a name they are stored like a person's. Raises UnsupportedOption for
    another return value.
    """
    ledger, known = api.ledger(settings or load()), {image.id: image for image in pictures_in(images) if image.id}
    pictures, generator = list(known), random.Random()
    name, kind = rater_name(rater), JUDGE if rater else PERSON
    votes = [vote for vote in await votes_between(ledger, pictures) if vote.kind == kind and (not rater or vote.rater == name)]
    sweep, combinations = await combinations_of(ledger, pictures)
    matched = matched_pairs(pictures, combinations)
    while len(votes) < votes_needed(len(pictures)):
        left, right = matched_pair(pictures, votes, matched, generator)
        answers = [await _choice(judge, known[left], known[right])]
        if both_ways:
            answers.append(await _choice(judge, known[right], known[left]))
        votes.append(await add_vote(ledger, _vote(left, right, answers, name, kind), sweep))
    return await asyncio.to_thread(ranking, pictures, votes, combinations)


async def _choice(judge: Judge, left: GeneratedImage, right: GeneratedImage) -> int | None:
    """Return the id of the image that a judge prefers, None for a tie. Raises UnsupportedOption for another return value."""
    answer = judge(left, right) if inspect.iscoroutinefunction(judge) else await asyncio.to_thread(judge, left, right)
    better = await answer if inspect.isawaitable(answer) else answer
    if better is not None and not isinstance(better, GeneratedImage):
        what = f"The judge returned a value of type {type(better).__name__}, which is neither of the two pictures"
        raise UnsupportedOption(what, option="judge", value=better, hint="return the better picture, or None for a tie")
    return None if better is None else better.id


def _vote(left: int, right: int, answers: Sequence[int | None], rater: str, kind: str) -> Vote:
    """Return the vote of answers, first to (left, right), then to (right, left): different ones are a tie."""
    if other := next((each for each in answers if each not in (left, right, None)), None):
        raise ValueError(f"{other} cannot win between {left} and {right}")
    orders = ((left, right), (right, left))
    sides = [_side(answer, *order) for order, answer in zip(orders, answers, strict=False)] if len(answers) > 1 else []
    return Vote(left, right, answers[0] if len(set(answers)) == 1 else None, rater=rater, kind=kind, sides=" ".join(sides))


def _side(answer: int | None, left: int, right: int) -> str:
    return {left: "left", right: "right"}[answer] if answer is not None else "tie"


def votes_needed(pictures: int) -> int:
    """Return how many votes rank so many images: each pair once, but at most seven views of each image on average."""
    return min(pictures * (pictures - 1) // 2, math.ceil(pictures * _VIEWS / 2))


def next_pair(pictures: Sequence[int], votes: Sequence[Vote], generator: random.Random) -> tuple[int, int]:
    """Return the next pair to show, (left, right), of two or more images: the least seen image, and the one it met least often.

    Among the latter, the least seen comes first, then the one with the closest share of wins. `generator` decides the rest and the sides.
    So each pair is shown once before any is shown again.
    """
    seen = Counter(picture for vote in votes for picture in (vote.left, vote.right))
    met = Counter(frozenset((vote.left, vote.right)) for vote in votes)
    draw = {picture: generator.random() for picture in pictures}
    share = _win_shares(pictures, votes, seen)
    first = min(pictures, key=lambda picture: (seen[picture], draw[picture]))

    def order(picture: int) -> tuple[float, ...]:
        return met[frozenset((first, picture))], seen[picture], abs(share[picture] - share[first]), draw[picture]

    second = min((picture for picture in pictures if picture != first), key=order)
    return (first, second) if generator.random() < 0.5 else (second, first)


def matched_pairs(pictures: Sequence[int], combinations: Mapping[int, Mapping[str, str]]) -> dict[tuple[int, int], str]:
    """Return the pairs of images whose combinations differ in exactly one axis, with that axis."""
    found = {}
    for left, right in itertools.combinations(pictures, 2):
        one, other = combinations.get(left, {}), combinations.get(right, {})
        differing = [axis for axis in one if one[axis] != other.get(axis)]
        if len(differing) == 1 and one.keys() == other.keys():
            found[left, right] = differing[0]
    return found


def matched_pair(
    pictures: Sequence[int],
    votes: Sequence[Vote],
    matched: Mapping[tuple[int, int], str],
    generator: random.Random,
    axis: str = "",
    without: Collection[frozenset[int]] = (),
) -> tuple[int, int]:
    """Return the next pair to show, (left, right): four of five are `matched`, by turns of each axis, the least met, then the least seen.

    Such pairs compare the values of an axis, and nothing else differs. Each fifth pair is that of `next_pair`, so that all images are
    compared with each other. With an `axis`, the matched pairs are those that differ in it, which needs fewer votes for its values.
    Matched pairs in `without` are left out.
    """
    choices = [pair for pair in matched if frozenset(pair) not in without] if without else list(matched)
    if not choices or len(votes) % _ACROSS == _ACROSS - 1:
        return next_pair(pictures, votes, generator)
    seen = Counter(picture for vote in votes for picture in (vote.left, vote.right))
    met = Counter(frozenset((vote.left, vote.right)) for vote in votes)

    asked = Counter(matched.get((vote.left, vote.right)) or matched.get((vote.right, vote.left)) for vote in votes)

    def order(pair: tuple[int, int]) -> tuple[float, ...]:
        return matched[pair] != axis, asked[matched[pair]], met[frozenset(pair)], seen[pair[0]] + seen[pair[1]], generator.random()

    first, second = min(choices, key=order)
    return (first, second) if generator.random() < 0.5 else (second, first)


def strengths(pictures: Sequence[int], votes: Sequence[Vote]) -> dict[int, float]:
    """Return the strength of each image that has a vote, on the scale of log odds."""
    voted = {picture for vote in votes for picture in (vote.left, vote.right)}
    index = {picture: position for position, picture in enumerate(picture for picture in pictures if picture in voted)}
    found, _ = fit(len(index), games_of(votes, index))
    return {picture: found[position] for picture, position in index.items()}


def games_of(votes: Iterable[Vote], index: Mapping[int, int]) -> list[Game]:
    """Return votes as games of the Bradley-Terry model; `index` is the position of each image."""
    return [(index[vote.left], index[vote.right], 0.5 if vote.winner is None else float(vote.winner == vote.left)) for vote in votes]


def _win_shares(pictures: Sequence[int], votes: Iterable[Vote], seen: Mapping[int, int]) -> dict[int, float]:
    """Return each image's share of won votes, drawn a little to the middle."""
    won = Counter[int]()
    for vote in votes:
        for picture in (vote.left, vote.right):
            won[picture] += 2 if vote.winner == picture else 1 if vote.winner is None else 0
    return {picture: (won[picture] + 1) / (2 * seen.get(picture, 0) + 2) for picture in pictures}


def ranking(pictures: Sequence[int], votes: Sequence[Vote], combinations: Mapping[int, Mapping[str, str]] | None = None) -> Ranking:
    """Return the ranking of images and, from the combination of each (axis -> value), of each axis's values.

    A value's strength is the mean of its images', so its interval says how well these images are distinguished, not what the value does to
    others. Raises ValueError for a vote on another image.
    """
    index = {picture: position for position, picture in enumerate(pictures)}
    if other := next((vote for vote in votes if vote.left not in index or vote.right not in index), None):
        raise ValueError(f"a vote between {other.left} and {other.right} is not about these pictures")
    scores = _Scores(index, votes, *fit(len(pictures), games_of(votes, index)))
    items = _strongest_first(scores.item(f"@{picture}", {picture}, picture) for picture in pictures)
    axes = {
        axis: _strongest_first(scores.item(value, group) for value, group in values.items())
        for axis, values in _groups(pictures, combinations or {}).items()
        if len(values) > 1
    }
    return Ranking(items, axes, len(votes))


def _groups(pictures: Iterable[int], combinations: Mapping[int, Mapping[str, str]]) -> dict[str, dict[str, set[int]]]:
    """Return the images of each value of each axis."""
    axes: dict[str, dict[str, set[int]]] = {}
    for picture in pictures:
        for axis, value in combinations.get(picture, {}).items():
            axes.setdefault(axis, {}).setdefault(value, set()).add(picture)
    return axes


def _strongest_first(items: Iterable[RankedItem]) -> tuple[RankedItem, ...]:
    return tuple(sorted(items, key=lambda item: -item.strength))


@dataclass(frozen=True, slots=True)
class _Scores:
    """Votes with the strengths and covariance of their images; `index` is each image's position in them."""

    index: Mapping[int, int]
    votes: Sequence[Vote]
    strengths: Sequence[float]
    covariance: Matrix

    def item(self, name: str, group: set[int], picture: int = 0) -> RankedItem:
        """Return the result of a group of images."""
        members = [self.index[picture] for picture in group]
        strength = sum(self.strengths[position] for position in members) / len(members)
        variance = sum(self.covariance[row][column] for row in members for column in members) / len(members) ** 2
        reach = _NORMAL_95 * math.sqrt(max(0.0, variance))
        return RankedItem(name, strength, strength - reach, strength + reach, *self._tally(group), picture)

    def _tally(self, group: set[int]) -> tuple[int, int, int]:
        """Return how many votes against other images a group won, tied and lost."""
        won = tied = lost = 0
        for vote in self.votes:
            if (vote.left in group) != (vote.right in group):
                won += vote.winner in group
                tied += vote.winner is None
                lost += vote.winner is not None and vote.winner not in group
        return won, tied, lost
