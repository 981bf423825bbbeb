"""Votes between two images, with who made them (tables `votes` and `vote_raters`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import now, text_of
from imagegen_magic.records import Record

PERSON, JUDGE = "person", "judge"
_MAX_NAME = 80  # characters of a rater's name


@dataclass(frozen=True, slots=True)
class Vote(Record):
    """A choice between two images, by their ledger ids; `winner` is None for a tie. `id` is the vote's own.

    `rater` is empty for the person at the notebook; `kind` is person or judge. `sides` are the answers of a rater that was asked in both
    orders, `left`, `right` or `tie`, separated by a blank.
    """

    left: int
    right: int
    winner: int | None
    id: int = 0
    rater: str = ""
    kind: str = PERSON
    sides: str = ""

    _renamed_fields: ClassVar[Mapping[str, str]] = MappingProxyType({"one": "left", "other": "right"})


def rater_name(text: str) -> str:
    """Return a rater's name on one line, without control characters, of at most 80 characters."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text_of(words[:_MAX_NAME].strip())


async def votes_between(ledger: LedgerFile, pictures: Iterable[int]) -> list[Vote]:
    """Return all votes between two of these images, of people and judges, oldest first."""
    wanted = set(pictures)
    query = """SELECT one, other, winner, id, coalesce(rater, '') AS rater, coalesce(kind, 'person') AS kind, coalesce(sides, '') AS sides
        FROM votes LEFT JOIN vote_raters ON vote_raters.vote = votes.id ORDER BY id"""
    return [Vote(*row) for row in await ledger.fetch(query) if {row["one"], row["other"]} <= wanted]


async def add_vote(ledger: LedgerFile, vote: Vote, sweep: int | None = None) -> Vote:
    """Store a vote durably and return it with its id. Raises ValueError if the winner is neither image, or both are the same."""
    if vote.left == vote.right or vote.winner not in (vote.left, vote.right, None):
        raise ValueError(f"{vote.winner} cannot win between {vote.left} and {vote.right}")
    number = await ledger.run(lambda connection: insert_vote(connection, vote, sweep))
    return Vote(vote.left, vote.right, vote.winner, number, vote.rater, vote.kind, vote.sides)


class OnBallot(NamedTuple):
    """Where a vote of a ballot comes from: the number of its pair, and how long it took if that is known."""

    ballot: str | None = None
    number: int | None = None
    milliseconds: int | None = None


_IN_THE_NOTEBOOK = OnBallot()


def insert_vote(connection: sqlite3.Connection, vote: Vote, sweep: int | None, source: OnBallot = _IN_THE_NOTEBOOK) -> int:
    """Insert a vote in the caller's transaction and return its id."""
    query = "INSERT INTO votes (created, study, one, other, winner) VALUES (?, ?, ?, ?, ?)"
    row = connection.execute(query, (now(), sweep or None, vote.left, vote.right, vote.winner)).lastrowid or 0
    if vote.rater or vote.kind != PERSON or vote.sides or source.ballot:
        query = "INSERT INTO vote_raters (vote, rater, kind, sides, ballot, number, milliseconds) VALUES (?, ?, ?, ?, ?, ?, ?)"
        connection.execute(query, (row, vote.rater, vote.kind, vote.sides, *source))
    return row


async def delete_vote(ledger: LedgerFile, vote: Vote) -> None:
    """Delete a vote, with its rater."""
    await ledger.run(lambda connection: connection.execute("DELETE FROM votes WHERE id = ?", (vote.id,)))
