"""Which pairs each rater is asked: shared ones, own ones, and a few again with the sides swapped."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Mapping, Sequence

from imagegen_magic.engine.ledger.ballots import StoredBallot
from imagegen_magic.engine.ledger.votes import Vote
from imagegen_magic.studies.effects.raters import MIN_SHARED
from imagegen_magic.studies.ranking import matched_pair, matched_pairs

REPEATED = 4
"""Pairs of each ballot that come again, swapped."""

Pair = tuple[int, int]


def plan(
    pictures: Sequence[int],
    combinations: Mapping[int, Mapping[str, str]],
    sweep: int,
    raters: int,
    pairs: int,
    generator: random.Random | None = None,
) -> list[StoredBallot]:
    """Return a ballot for each rater with so many pairs, and up to four of them again; 20 pairs are the same in all.

    With few images there are fewer pairs. Each ballot has its own tokens, order and sides.
    """
    generator = generator or random.SystemRandom()
    count = min(pairs, len(pictures) * (len(pictures) - 1) // 2)
    matched = matched_pairs(pictures, combinations)
    asked: list[Vote] = []
    shared: list[Pair] = []
    for _ in range(min(MIN_SHARED, count)):
        shared.append(_next(pictures, asked, shared, matched, generator))
    ballots = []
    for _ in range(raters):
        chosen = list(shared)
        while len(chosen) < count:
            chosen.append(_next(pictures, asked, chosen, matched, generator))
        ballots.append(_ballot(_ordered(chosen, generator), sweep))
    return ballots


def _next(
    pictures: Sequence[int], asked: list[Vote], chosen: Sequence[Pair], matched: Mapping[Pair, str], generator: random.Random
) -> Pair:
    """Return a pair that this ballot has not, and add it to what all ballots ask."""
    has = {frozenset(pair) for pair in chosen}
    pair = matched_pair(pictures, asked, matched, generator, without=has)
    if frozenset(pair) in has:
        pair = generator.choice([each for each in itertools.combinations(pictures, 2) if frozenset(each) not in has])
    asked.append(Vote(*pair, None))
    return pair


def _ordered(chosen: Sequence[Pair], generator: random.Random) -> list[Pair]:
    """Return pairs in a random order with random sides; some of the first half come again in the second half, swapped."""
    order = [pair if generator.random() < 0.5 else pair[::-1] for pair in generator.sample(list(chosen), len(chosen))]
    half = len(order) // 2
    late = order[half:] + [pair[::-1] for pair in generator.sample(order[:half], min(REPEATED, half))]
    return order[:half] + generator.sample(late, len(late))


def _ballot(order: Sequence[Pair], sweep: int) -> StoredBallot:
    tokens = {picture: secrets.token_hex(8) for picture in dict.fromkeys(itertools.chain(*order))}
    pairs = [(tokens[left], tokens[right]) for left, right in order]
    number = secrets.token_hex(16)
    return StoredBallot(number, sweep, f"rater {number[:6]}", {token: picture for picture, token in tokens.items()}, pairs)
