"""Votes between two images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import now
from imagegen_magic.records import Record


@dataclass(frozen=True, slots=True)
class Vote(Record):
    """A choice between two images, by their ledger ids; `winner` is None for a tie. `id` is the vote's own."""

    left: int
    right: int
    winner: int | None
    id: int = 0

    _renamed_fields: ClassVar[Mapping[str, str]] = MappingProxyType({"one": "left", "other": "right"})


async def votes_between(ledger: LedgerFile, pictures: Iterable[int]) -> list[Vote]:
    """Return all votes between two of these images, oldest first."""
    wanted = set(pictures)
    rows = await ledger.fetch("SELECT one, other, winner, id FROM votes ORDER BY id")
    return [Vote(*row) for row in rows if {row["one"], row["other"]} <= wanted]


async def add_vote(ledger: LedgerFile, vote: Vote, sweep: int | None = None) -> Vote:
    """Store a vote durably and return it with its id. Raises ValueError if the winner is neither image, or both are the same."""
    if vote.left == vote.right or vote.winner not in (vote.left, vote.right, None):
        raise ValueError(f"{vote.winner} cannot win between {vote.left} and {vote.right}")
    query = "INSERT INTO votes (created, study, one, other, winner) VALUES (?, ?, ?, ?, ?)"
    values = (now(), sweep or None, vote.left, vote.right, vote.winner)
    number = await ledger.run(lambda connection: connection.execute(query, values).lastrowid)
    return Vote(vote.left, vote.right, vote.winner, number or 0)


async def delete_vote(ledger: LedgerFile, vote: Vote) -> None:
    """Delete a vote."""
    await ledger.run(lambda connection: connection.execute("DELETE FROM votes WHERE id = ?", (vote.id,)))
