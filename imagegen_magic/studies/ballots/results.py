"""Reads the result file of a ballot, and refuses what this ledger did not give out."""

from __future__ import annotations

import json
from typing import Any

from imagegen_magic.engine.ledger.ballots import BallotVote, StoredBallot, find_ballot
from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.votes import Vote, rater_name

FORMAT = "imagegen ballot 1"
MAX_BYTES = 1_000_000  # of a result file
_CHOICES = ("left", "right", "tie")
_MAX_MILLISECONDS = 10**9


class ForeignBallotError(ValueError):
    """The text is no result of a ballot of this ledger, or was changed; the message is why."""


async def read(ledger: LedgerFile, content: bytes) -> tuple[StoredBallot, list[BallotVote]]:
    """Return the ballot of a result file and its votes; all of one rater. Raises ForeignBallotError."""
    result = _parsed(content)
    number = result.get("ballot")
    ballot = await find_ballot(ledger, number) if isinstance(number, str) else None
    if ballot is None:
        raise ForeignBallotError("its ballot is not one of this ledger")
    given, votes = result.get("rater"), result.get("votes")
    if not isinstance(given, str) or not isinstance(votes, list):
        raise ForeignBallotError("it has no rater or no votes")
    name = rater_name(given) or ballot.name
    found = [_vote(each, ballot, name) for each in votes]
    if len({each.number for each in found}) < len(found):
        raise ForeignBallotError("it has two votes on the same pair")
    return ballot, found


def _parsed(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise ForeignBallotError(f"it is larger than {MAX_BYTES // 1_000_000} MB")
    try:
        result = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ForeignBallotError("it is no result of a ballot") from None
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ForeignBallotError("it is no result of a ballot")
    return result


def _vote(each: Any, ballot: StoredBallot, rater: str) -> BallotVote:
    number = each.get("pair") if isinstance(each, dict) else None
    if type(number) is not int or not 0 <= number < len(ballot.pairs):
        raise ForeignBallotError("it has a vote on a pair that the ballot does not have")
    if (each.get("left"), each.get("right")) != ballot.pairs[number]:
        raise ForeignBallotError(f"the pictures of pair {number + 1} are not those of the ballot")
    if each.get("choice") not in _CHOICES:
        raise ForeignBallotError(f"the choice on pair {number + 1} is not one of {', '.join(_CHOICES)}")
    left, right = (ballot.tokens[token] for token in ballot.pairs[number])
    winner = {"left": left, "right": right}.get(each["choice"])
    took = each.get("milliseconds")
    return BallotVote(ballot.id, number, Vote(left, right, winner, rater=rater), took if _is_duration(took) else None)


def _is_duration(took: Any) -> bool:
    return type(took) is int and 0 <= took < _MAX_MILLISECONDS
