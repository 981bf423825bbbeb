"""What the tasks of the ledger cost, as far as anybody knows: the one reading of it, for budgets and for looking back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from imagegen_magic.engine.ledger.ledger import iso, read_cost
from imagegen_magic.errors import charge_in
from imagegen_magic.result import Cost

ZERO_COST = Cost(Decimal(0), "", "measured")
_UNDER_WAY = ("planned", "submitting", "submitted")


class SpendingGroup(NamedTuple):
    """Tasks that are alike: so many `tasks` of the same `key` (what they are told apart by), state, cost and price.

    `cost` is what one of them is known to cost, unknown where nobody knows, `ZERO_COST` where it certainly cost nothing; `price` what one
    was expected to cost, told where nothing else is known; `pictures` how many pictures one was to make; `owner` who has it, where it
    was not sent yet; `charged` whether it came to nothing here and was certainly charged all the same.
    """

    key: str
    sandbox: bool
    state: str
    cost: Cost
    price: Cost
    pictures: int
    tasks: int
    owner: str | None
    charged: bool = False

    @property
    def in_flight(self) -> bool:
        """Whether what it costs is not settled yet."""
        return self.state in _UNDER_WAY or (self.state == "made" and self.cost.kind != "measured")


KEYS = {
    "model": "jobs.model || ' (' || jobs.provider || ')'",
    "provider": "jobs.provider",
    "quality": "jobs.quality",
    "prompt": "jobs.prompt",
    "day": "strftime('%Y-%m-%d', jobs.created, 'localtime')",
    "month": "strftime('%Y-%m', jobs.created, 'localtime')",
}
"""What accounts can be told apart by."""

_QUERY = """
    SELECT {key} AS key, jobs.sandbox, tasks.state, tasks.cost, tasks.count AS pictures,
        CASE instr(tasks.cost, '"amount"') WHEN 0 THEN jobs.price ELSE '{{}}' END AS price,
        CASE instr(tasks.cost, '"amount"') WHEN 0 THEN (SELECT sum(count) FROM tasks AS sister WHERE sister.job = jobs.id) END AS whole,
        CASE tasks.state WHEN 'failed' THEN tasks.error END AS error, CASE tasks.state WHEN 'planned' THEN tasks.owner END AS owner,
        count(*) AS tasks
    FROM jobs JOIN tasks ON tasks.job = jobs.id
    WHERE tasks.state != 'dropped' AND {which}
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""


def spending_groups(
    connection: sqlite3.Connection, *, since: float | None = None, session: str | None = None, by: str = "", sandbox: bool = False
) -> Iterator[SpendingGroup]:
    """Yield the tasks that were asked for since then (epoch seconds) or by that session, told apart by one of `KEYS`.

    What was never sent is not among them, and play money only with `sandbox`.
    """
    which = ["(? OR NOT jobs.sandbox)"]
    values: list[object] = [sandbox]
    if since is not None:
        which.append("jobs.created >= ?")
        values.append(iso(since))
    if session is not None:
        which.append("jobs.session = ?")
        values.append(session)
    query = _QUERY.format(key=KEYS[by] if by else "''", which=" AND ".join(which))
    return map(_account, connection.execute(query, values))


def _account(row: sqlite3.Row) -> SpendingGroup:
    price = _share(read_cost(row["price"]), row["pictures"], row["whole"] or 1)
    charge = charge_in(row["error"] or "") if row["state"] == "failed" else ""
    cost = ZERO_COST if charge == "no" else read_cost(row["cost"])
    alike = row["key"], bool(row["sandbox"]), row["state"], cost, price, row["pictures"], row["tasks"], row["owner"]
    return SpendingGroup(*alike, charged=charge == "yes")


def _share(price: Cost, pictures: int, of: int) -> Cost:
    """Return what one of a request's tasks was expected to cost; what of it is unknown stays unknown."""
    return replace(prorate(price, pictures, of), unknown=1 if price.unknown else 0)


def prorate(price: Cost, pictures: int, of: int) -> Cost:
    """Return what so many of a request's pictures are expected to cost, where all `of` them cost `price`."""
    return price if price.amount is None or pictures == of else replace(price, amount=price.amount * pictures / of)
