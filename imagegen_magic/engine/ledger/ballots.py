"""Ballots that were given out, and the votes that came back (tables `ballots` and `vote_raters`)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, json_of, now
from imagegen_magic.engine.ledger.votes import OnBallot, Vote, insert_vote


class StoredBallot(NamedTuple):
    """A ballot: its random id, the number of the sweep (0: none), and the name of a rater who gives none.

    `tokens` has the image id of each random token, `pairs` the tokens of (left, right) of each pair in their order.
    """

    id: str
    sweep: int
    name: str
    tokens: Mapping[str, int]
    pairs: Sequence[tuple[str, str]]


class BallotVote(NamedTuple):
    """A vote on pair `number` of a ballot."""

    ballot: str
    number: int
    vote: Vote
    milliseconds: int | None = None


class Added(NamedTuple):
    """What an import did: how many votes were new, known, known with another choice, or about deleted images."""

    new: int = 0
    known: int = 0
    other_choice: int = 0
    deleted: int = 0


async def add_ballots(ledger: LedgerFile, ballots: Iterable[StoredBallot]) -> None:
    """Store ballots durably, before their files are written."""
    rows = [(each.id, now(), each.sweep or None, each.name, json_of(dict(each.tokens)), json_of(list(each.pairs))) for each in ballots]
    query = "INSERT INTO ballots (id, created, sweep, name, tokens, pairs) VALUES (?, ?, ?, ?, ?, ?)"
    await ledger.run(lambda connection: connection.executemany(query, rows))


async def find_ballot(ledger: LedgerFile, number: str) -> StoredBallot | None:
    """Return the ballot of that id; None if this ledger has none."""
    rows = await ledger.fetch("SELECT id, sweep, name, tokens, pairs FROM ballots WHERE id = ?", (number,))
    if not rows:
        return None
    row = rows[0]
    pairs = [(left, right) for left, right in json.loads(row["pairs"])]
    return StoredBallot(row["id"], row["sweep"] or 0, row["name"], json.loads(row["tokens"]), pairs)


async def add_ballot_votes(ledger: LedgerFile, ballots: Sequence[tuple[StoredBallot, Sequence[BallotVote]]]) -> list[Added]:
    """Store the votes of each ballot in one transaction, those that are not stored yet; a known one stays as it is."""

    def work(connection: sqlite3.Connection) -> list[Added]:
        return [_add(connection, ballot, votes) for ballot, votes in ballots]

    return await ledger.run(work)


def _add(connection: sqlite3.Connection, ballot: StoredBallot, votes: Sequence[BallotVote]) -> Added:
    query = f"SELECT picture FROM deletions WHERE picture {IN_LIST}"
    deleted = {number for (number,) in connection.execute(query, (json_of(list(ballot.tokens.values())),))}
    query = "SELECT number, winner, rater FROM vote_raters JOIN votes ON votes.id = vote_raters.vote WHERE ballot = ?"
    stored = connection.execute(query, (ballot.id,)).fetchall()
    known, rater = {row["number"]: row["winner"] for row in stored}, stored[0]["rater"] if stored else None
    sweep = connection.execute("SELECT id FROM studies WHERE id = ?", (ballot.sweep,)).fetchone()
    seen = [each for each in votes if each.number in known]
    gone = [each for each in votes if each.number not in known and {each.vote.left, each.vote.right} & deleted]
    fresh = [each for each in votes if each not in seen and each not in gone]
    for each in fresh:
        vote = each.vote if rater is None else replace(each.vote, rater=rater)  # a ballot has one rater
        insert_vote(connection, vote, sweep["id"] if sweep else None, OnBallot(ballot.id, each.number, each.milliseconds))
    other = sum(known[each.number] != each.vote.winner for each in seen)
    return Added(len(fresh), len(seen) - other, other, len(gone))
