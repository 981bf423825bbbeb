"""What a job's later lots will cost, before their tasks are recorded: reserved with its first lot, so that no other kernel can spend it."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, cost_text, json_of, now, read_cost
from imagegen_magic.result import Cost

Prices = Counter[tuple[Cost, int]]
"""How often each price of a request occurs, with the number of its images."""


class Lot(NamedTuple):
    """One lot of a job: the number of its `tasks`, and the `prices` of its requests."""

    tasks: int
    prices: Prices


def reserve(connection: sqlite3.Connection, owner: str, lots: Iterable[Lot]) -> list[int]:
    """Reserve lots, in the transaction that checked the budget for all of them; returns the reservations' numbers."""
    query = "INSERT INTO reservations (created, owner, tasks, prices) VALUES (?, ?, ?, ?)"
    return [connection.execute(query, (now(), owner, lot.tasks, _stored(lot.prices))).lastrowid or 0 for lot in lots]


def _stored(prices: Prices) -> str:
    return json_of([[cost_text(cost), pictures, times] for (cost, pictures), times in prices.items()])


def end_reservation(connection: sqlite3.Connection, numbers: Collection[int]) -> None:
    """Remove reservations: their lots are recorded in the same transaction, or will not be sent."""
    connection.execute(f"DELETE FROM reservations WHERE id {IN_LIST}", (json_of(list(numbers)),))


def reserved_prices(
    connection: sqlite3.Connection, is_alive: Callable[[str], bool], *, since: str | None = None, session: str | None = None
) -> Iterator[tuple[Cost, int, int]]:
    """Yield what living processes have reserved since then, or of that session: price, number of images, how often."""
    query = "SELECT owner, prices FROM reservations WHERE (? IS NULL OR created >= ?) AND (? IS NULL OR owner = ?)"
    for owner, prices in connection.execute(query, (since, since, session, session)):
        if is_alive(owner):
            yield from ((read_cost(cost), pictures, times) for cost, pictures, times in json.loads(prices))


def ended_reservations(connection: sqlite3.Connection, is_alive: Callable[[str], bool]) -> tuple[list[int], int]:
    """Return the reservations of ended processes, and how many tasks those never recorded."""
    ended = [row for row in connection.execute("SELECT id, tasks, owner FROM reservations").fetchall() if not is_alive(row["owner"])]
    return [row["id"] for row in ended], sum(row["tasks"] for row in ended)


async def drop_reservations(ledger: LedgerFile, numbers: Collection[int]) -> None:
    """Remove the reservations of lots that will not be sent; if that cannot be written now, it is written later."""
    if numbers:
        await ledger.run(lambda connection: end_reservation(connection, numbers), deferrable=True)
