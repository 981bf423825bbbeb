"""Choosing between pictures two at a time without knowing which is which, and the ranking that many such choices give.

The ranking is the Bradley-Terry model: picture i is chosen over picture j with the probability 1 / (1 + exp(s_j - s_i)), s being their
strengths (R. A. Bradley and M. E. Terry, Rank analysis of incomplete block designs, Biometrika 39, 1952). A tie counts as half a choice for
each. A weak prior, normal with a deviation of 3 (a choice of 20 to 1), keeps strengths finite where one picture won every time. They are
found by Newton's method; the intervals are those of the observed information, for each strength's distance from their mean.
"""

from __future__ import annotations

import asyncio
import json
import math
import operator
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from imagegen_magic.engine import api
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.settings import Settings, load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import Record, frozen
from imagegen_magic.result import GeneratedImage, pictures_in

MOST = 200  # pictures of one vote
_SEEN = 7  # times each picture is seen, in the mean, until a vote is thought to be enough
_PRIOR = 1 / 9  # the precision of the prior: a deviation of 3
_NORMAL = 1.959964  # of a standard normal distribution, 95 % lie within so much
_STEPS = 100
_TOLERANCE = 1e-7

Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class Vote(Record):
    """One choice between two pictures, by their ids; no `winner` is a tie. `id` is the ledger's."""

    one: int
    other: int
    winner: int | None
    id: int = 0


@dataclass(frozen=True, slots=True)
class RankedItem(Record):
    """How a picture, or all pictures of one value of an axis, came out.

    `strength` is on the scale of log odds, 0 for the mean; `low` and `high` bound the 95 % interval. `won`, `tied` and `lost` count. Of an
    axis's value all of it is about these very pictures: as an interval for what the value does to other pictures it is much too narrow.
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
    def chance(self) -> tuple[float, float, float]:
        """How likely it is chosen over one of mean strength, with the bounds of the interval, 0..1: (chance, low, high)."""
        return _logistic(self.strength), _logistic(self.low), _logistic(self.high)


@dataclass(frozen=True, slots=True)
class Ranking(Record):
    """Pictures from the strongest to the weakest, the values of each axis likewise, and how many votes that stands on."""

    pictures: tuple[RankedItem, ...]
    axes: Mapping[str, tuple[RankedItem, ...]]
    votes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", frozen(self.axes))


async def rank(images: Iterable[GeneratedImage], *, settings: Settings | None = None) -> Ranking:
    """Return how pictures came out in all votes given between them so far, and the values of their sweep's axes."""
    book = api.ledger(settings or load())
    pictures = list(dict.fromkeys(image.id for image in pictures_in(images) if image.id))
    given = await votes(book, pictures)
    _, found = await places(book, pictures)
    return await asyncio.to_thread(ranking, pictures, given, found)


async def judged(
    images: Iterable[GeneratedImage],
    judge: Callable[[GeneratedImage, GeneratedImage], GeneratedImage | None],
    *,
    settings: Settings | None = None,
) -> Ranking:
    """Let a function choose between pairs until there are votes enough, going on from those already given, and return the ranking.

    `judge` gets the left picture and the right one and returns the better one, or None for a tie; it runs in a thread of its own. What
    it chooses is kept as what a person chooses. Raises ValueError where it returns something else.
    """
    book, known = api.ledger(settings or load()), {image.id: image for image in pictures_in(images) if image.id}
    pictures, chance = list(known), random.Random()
    given = await votes(book, pictures)
    study, found = await places(book, pictures)
    while len(given) < enough(len(pictures)):
        left, right = next_pair(pictures, given, chance)
        better = await asyncio.to_thread(judge, known[left], known[right])
        if better is not None and not isinstance(better, GeneratedImage):
            raise _no_choice(better)
        given.append(await record(book, Vote(left, right, None if better is None else better.id), study))
    return await asyncio.to_thread(ranking, pictures, given, found)


def _no_choice(value: object) -> UnsupportedOption:
    what = f"The judge returned a value of type {type(value).__name__}, which is neither of the two pictures"
    return UnsupportedOption(what, option="judge", value=value, hint="return the better picture, or None for a tie")


async def votes(ledger: Ledger, pictures: Iterable[int]) -> list[Vote]:
    """Return all votes ever given between these pictures, in their order."""
    wanted = set(pictures)

    def work(connection: sqlite3.Connection) -> list[Vote]:
        rows = connection.execute("SELECT id, one, other, winner FROM votes ORDER BY id")
        return [Vote(row["one"], row["other"], row["winner"], row["id"]) for row in rows if {row["one"], row["other"]} <= wanted]

    return await ledger.run(work, writes=False)


async def record(ledger: Ledger, vote: Vote, study: int | None = None) -> Vote:
    """Keep a vote, durably, and return it with its id. Raises ValueError where the winner is neither of the two, or both are one."""
    if vote.one == vote.other or vote.winner not in (vote.one, vote.other, None):
        raise ValueError(f"{vote.winner} cannot win between {vote.one} and {vote.other}")
    values = (time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), study or None, vote.one, vote.other, vote.winner)

    def work(connection: sqlite3.Connection) -> int:
        query = "INSERT INTO votes (created, study, one, other, winner) VALUES (?, ?, ?, ?, ?)"
        return connection.execute(query, values).lastrowid or 0

    return Vote(vote.one, vote.other, vote.winner, await ledger.run(work))


async def take_back(ledger: Ledger, vote: Vote) -> None:
    """Remove a vote."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM votes WHERE id = ?", (vote.id,))

    await ledger.run(work)


async def places(ledger: Ledger, pictures: Sequence[int], study: int = 0) -> tuple[int, dict[int, dict[str, str]]]:
    """Return the sweep that these pictures are of (the latest that has any, where none is said; 0 for none) and each one's place in it."""
    wanted = set(pictures)

    def work(connection: sqlite3.Connection) -> tuple[int, dict[int, dict[str, str]]]:
        query = "SELECT task FROM pictures WHERE id = ?"
        tasks = {number: row["task"] for number in wanted if (row := connection.execute(query, (number,)).fetchone())}
        query = "SELECT study, place FROM members WHERE task = ?"
        found = {task: {row["study"]: row["place"] for row in connection.execute(query, (task,))} for task in set(tasks.values())}
        number = study or max((number for studies in found.values() for number in studies), default=0)
        return number, {picture: json.loads(found[task].get(number, "{}")) for picture, task in tasks.items()}

    return await ledger.run(work, writes=False)


def enough(pictures: int) -> int:
    """Return how many votes rank so many pictures: every pair once, but no more than seven looks at each picture."""
    return min(pictures * (pictures - 1) // 2, math.ceil(pictures * _SEEN / 2))


def next_pair(pictures: Sequence[int], given: Sequence[Vote], chance: random.Random) -> tuple[int, int]:
    """Return the pair to be shown next, (left, right): the picture seen least, against the one it met least.

    Of those the one that was seen least, then the one closest by what both won so far; then, and which side each is on, `chance` decides.
    So every pair is shown once before any is shown again. Needs two pictures at least.
    """
    seen = Counter(each for vote in given for each in (vote.one, vote.other))
    met = Counter(frozenset((vote.one, vote.other)) for vote in given)
    luck = {picture: chance.random() for picture in pictures}
    score = _scores(pictures, given, seen)
    first = min(pictures, key=lambda each: (seen[each], luck[each]))

    def order(each: int) -> tuple[float, ...]:
        return met[frozenset((first, each))], seen[each], abs(score[each] - score[first]), luck[each]

    second = min((each for each in pictures if each != first), key=order)
    return (first, second) if chance.random() < 0.5 else (second, first)


def _scores(pictures: Sequence[int], given: Iterable[Vote], seen: Mapping[int, int]) -> dict[int, float]:
    """Return the share of its votes that each picture won, drawn a little to the middle."""
    won = Counter[int]()
    for vote in given:
        for each in (vote.one, vote.other):
            won[each] += 2 if vote.winner == each else 1 if vote.winner is None else 0
    return {each: (won[each] + 1) / (2 * seen.get(each, 0) + 2) for each in pictures}


def ranking(pictures: Sequence[int], given: Sequence[Vote], places: Mapping[int, Mapping[str, str]] | None = None) -> Ranking:
    """Return how the pictures came out, and each value of the axes in `places` (of each picture: axis -> value).

    A value's strength is the mean of its pictures', so its interval says how well these pictures are told apart, not what others of that
    value would do. Raises ValueError for a vote on another picture.
    """
    number = {picture: place for place, picture in enumerate(pictures)}
    if stranger := next((vote for vote in given if vote.one not in number or vote.other not in number), None):
        raise ValueError(f"a vote between {stranger.one} and {stranger.other} says nothing of these pictures")
    strengths, covariance = fit(len(pictures), [_as_game(vote, number) for vote in given])
    standings = [
        _standing(f"@{picture}", strengths, covariance, [place], *_tally(given, {picture}), picture=picture)
        for picture, place in number.items()
    ]
    found = tuple(sorted(standings, key=lambda one: -one.strength))
    return Ranking(found, _by_axis(number, given, places or {}, strengths, covariance), len(given))


def _as_game(vote: Vote, number: Mapping[int, int]) -> tuple[int, int, float]:
    return number[vote.one], number[vote.other], 0.5 if vote.winner is None else float(vote.winner == vote.one)


def _tally(given: Iterable[Vote], group: set[int]) -> tuple[int, int, int]:
    """Return what a group won, tied and lost against the others; within it, nobody wins."""
    won = tied = lost = 0
    for vote in given:
        if (vote.one in group) != (vote.other in group):
            won += vote.winner in group
            tied += vote.winner is None
            lost += vote.winner is not None and vote.winner not in group
    return won, tied, lost


def _by_axis(
    number: Mapping[int, int],
    given: Sequence[Vote],
    places: Mapping[int, Mapping[str, str]],
    strengths: Sequence[float],
    covariance: Matrix,
) -> dict[str, tuple[RankedItem, ...]]:
    axes: dict[str, dict[str, set[int]]] = {}
    for picture in number:
        for axis, value in places.get(picture, {}).items():
            axes.setdefault(axis, {}).setdefault(value, set()).add(picture)
    return {
        axis: tuple(
            sorted(
                (
                    _standing(value, strengths, covariance, [number[each] for each in group], *_tally(given, group))
                    for value, group in values.items()
                ),
                key=lambda one: -one.strength,
            )
        )
        for axis, values in axes.items()
        if len(values) > 1
    }


def _standing(
    name: str, strengths: Sequence[float], covariance: Matrix, members: Sequence[int], won: int, tied: int, lost: int, picture: int = 0
) -> RankedItem:
    strength = sum(strengths[each] for each in members) / len(members)
    variance = sum(covariance[one][other] for one in members for other in members) / len(members) ** 2
    reach = _NORMAL * math.sqrt(max(0.0, variance))
    return RankedItem(name, strength, strength - reach, strength + reach, won, tied, lost, picture)


def fit(count: int, games: Sequence[tuple[int, int, float]]) -> tuple[list[float], Matrix]:
    """Return the strengths of `count` players, their mean 0, and their covariance; a game is (one, other, what one got of it: 0..1).

    The most probable strengths under the prior; the covariance is the inverse of the observed information, without what the prior alone
    says of their common level.
    """
    pairs = _paired(games)
    strengths = [0.0] * count
    for _ in range(_STEPS):
        gradient, information = _derivatives(count, pairs, strengths)
        step = _solved(_cholesky(information), gradient)
        before, size = _plausibility(pairs, strengths), 1.0
        while size > 1e-6 and _plausibility(pairs, moved := _added(strengths, step, size)) < before:
            size /= 2
        strengths = moved
        if max(map(abs, step), default=0.0) * size < _TOLERANCE:
            break
    mean = sum(strengths) / count if count else 0.0
    return [each - mean for each in strengths], _covariance(count, _derivatives(count, pairs, strengths)[1])


def _paired(games: Iterable[tuple[int, int, float]]) -> list[tuple[int, int, float, float]]:
    """Return (one, other, what one got, how many games) for each pair that met."""
    found: dict[tuple[int, int], list[float]] = {}
    for one, other, got in games:
        swapped = one > other
        entry = found.setdefault((other, one) if swapped else (one, other), [0.0, 0.0])
        entry[0] += 1 - got if swapped else got
        entry[1] += 1
    return [(one, other, got, met) for (one, other), (got, met) in sorted(found.items())]


def _plausibility(pairs: Iterable[tuple[int, int, float, float]], strengths: Sequence[float]) -> float:
    """Return the logarithm of the posterior, but for a constant."""
    total = -_PRIOR / 2 * sum(each * each for each in strengths)
    for one, other, got, met in pairs:
        ahead = strengths[one] - strengths[other]
        total += got * ahead - met * (max(0.0, ahead) + math.log1p(math.exp(-abs(ahead))))
    return total


def _derivatives(count: int, pairs: Iterable[tuple[int, int, float, float]], strengths: Sequence[float]) -> tuple[list[float], Matrix]:
    """Return the gradient of the log posterior and its information, the negative second derivative."""
    gradient = [-_PRIOR * each for each in strengths]
    information = [[0.0] * count for _ in range(count)]
    for each in range(count):
        information[each][each] = _PRIOR
    for one, other, got, met in pairs:
        likely = _logistic(strengths[one] - strengths[other])
        gradient[one] += got - met * likely
        gradient[other] -= got - met * likely
        weight = met * likely * (1 - likely)
        information[one][one] += weight
        information[other][other] += weight
        information[one][other] -= weight
        information[other][one] -= weight
    return gradient, information


def _covariance(count: int, information: Matrix) -> Matrix:
    """Return the inverse of the information for distances from the mean: the prior's variance of the common level is taken out."""
    factor = _cholesky(information)
    level = 1 / (_PRIOR * count) if count else 0.0
    columns = [_solved(factor, [float(row == column) for row in range(count)]) for column in range(count)]
    return [[value - level for value in column] for column in columns]


def _cholesky(matrix: Matrix) -> Matrix:
    """Return the lower triangle whose square is this positive definite matrix."""
    lower: Matrix = []
    for row, values in enumerate(matrix):
        line: list[float] = []
        for column in range(row):
            above = lower[column]
            line.append((values[column] - sum(map(operator.mul, line, above))) / above[column])
        line.append(math.sqrt(values[row] - sum(each * each for each in line)))
        lower.append(line)
    return lower


def _solved(lower: Matrix, right: Sequence[float]) -> list[float]:
    """Return x where L Lᵀ x = right."""
    forward: list[float] = []
    for line, value in zip(lower, right, strict=True):
        forward.append((value - sum(map(operator.mul, line, forward))) / line[-1])
    found = [0.0] * len(lower)
    for row in range(len(lower) - 1, -1, -1):
        found[row] = forward[row] / lower[row][row]
        for column in range(row):
            forward[column] -= lower[row][column] * found[row]
    return found


def _added(strengths: Sequence[float], step: Sequence[float], size: float) -> list[float]:
    return [each + size * change for each, change in zip(strengths, step, strict=True)]


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))
