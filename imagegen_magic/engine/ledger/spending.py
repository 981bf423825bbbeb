"""What the tasks of the ledger and the calls of paid scorers cost: one source for budgets and for spending reports."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from imagegen_magic.engine.ledger.records import iso, read_cost
from imagegen_magic.result import Cost

ZERO_COST = Cost(Decimal(0), "", "measured")
_RUNNING = ("planned", "submitting", "submitted")


class SpendingGroup(NamedTuple):
    """A number of `tasks` with the same `key` (the value that they are grouped by), state, cost and price.

    `cost` is the known cost of one task: unknown, or `ZERO_COST` if it was certainly free. `price` is its estimate, for tasks without a
    known cost. `pictures` is how many images one task makes. `owner` is its process if it was not sent yet. `charged` is True if it
    failed and was certainly charged. `scoring` marks calls of a paid scorer, which make no image.
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
    scoring: bool = False

    @property
    def in_flight(self) -> bool:
        """Whether its cost is not final yet."""
        return self.state in _RUNNING or (self.state == "made" and self.cost.kind not in ("measured", "calculated"))


KEYS = {
    "model": "jobs.model || ' (' || jobs.provider || ')'",
    "provider": "jobs.provider",
    "quality": "jobs.quality",
    "prompt": "iif(jobs.asked = '{}', '(deleted)', jobs.prompt)",
    "day": "strftime('%Y-%m-%d', jobs.created, 'localtime')",
    "month": "strftime('%Y-%m', jobs.created, 'localtime')",
}
"""What spending can be grouped by, as SQL expressions."""
_SCORING_KEYS = {
    **dict.fromkeys(KEYS, "scorers.name || ' (scorer)'"),
    "provider": "'scorers'",
    "day": KEYS["day"].replace("jobs", "score_calls"),
    "month": KEYS["month"].replace("jobs", "score_calls"),
}

_QUERY = """
    SELECT {key} AS key, jobs.sandbox, tasks.state, tasks.cost, tasks.count AS pictures,
        CASE instr(tasks.cost, '"amount"') WHEN 0 THEN jobs.price ELSE '{{}}' END AS price,
        CASE instr(tasks.cost, '"amount"') WHEN 0 THEN (SELECT sum(count) FROM tasks AS sister WHERE sister.job = jobs.id) END AS whole,
        CASE tasks.state WHEN 'failed'
            THEN (SELECT charge FROM errors WHERE errors.task = tasks.row AND errors.message = tasks.error) END AS charge,
        CASE tasks.state WHEN 'planned' THEN tasks.owner END AS owner,
        count(*) AS tasks
    FROM jobs JOIN tasks ON tasks.job = jobs.id
    WHERE tasks.state != 'dropped' AND {conditions}
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""


_SCORING = """
    SELECT {key} AS key, score_calls.state, score_calls.cost, score_calls.price, count(*) AS calls,
        CASE score_calls.state WHEN 'calling' THEN score_calls.owner END AS owner
    FROM score_calls JOIN scorers ON scorers.id = score_calls.scorer
    WHERE (? IS NULL OR score_calls.created >= ?) AND (? IS NULL OR score_calls.session = ?)
    GROUP BY 1, 2, 3, 4, 6"""
_SCORING_STATES = {"calling": "submitting", "answered": "saved", "failed": "failed", "unknown": "unknown"}


def spending_groups(
    connection: sqlite3.Connection, *, since: float | None = None, session: str | None = None, by: str = "", sandbox: bool = False
) -> Iterator[SpendingGroup]:
    """Yield the tasks and paid scorers' calls since then (epoch seconds) or of that session, grouped by one of `KEYS`.

    Dropped tasks are left out, and the sandbox's unless `sandbox`.
    """
    conditions = ["(? OR NOT jobs.sandbox)"]
    values: list[object] = [sandbox]
    if since is not None:
        conditions.append("jobs.created >= ?")
        values.append(iso(since))
    if session is not None:
        conditions.append("jobs.session = ?")
        values.append(session)
    query = _QUERY.format(key=KEYS[by] if by else "''", conditions=" AND ".join(conditions))
    yield from map(_group, connection.execute(query, values))
    start = None if since is None else iso(since)
    query = _SCORING.format(key=_SCORING_KEYS[by] if by else "''")
    yield from map(_scoring_group, connection.execute(query, (start, start, session, session)))


def _group(row: sqlite3.Row) -> SpendingGroup:
    price = prorate(read_cost(row["price"]), row["pictures"], row["whole"] or 1)
    price = replace(price, unknown=1 if price.unknown else 0)  # a partly unknown price stays so for each task
    cost = ZERO_COST if row["charge"] == "no" else read_cost(row["cost"])
    facts = row["key"], bool(row["sandbox"]), row["state"], cost, price, row["pictures"], row["tasks"], row["owner"]
    return SpendingGroup(*facts, charged=row["charge"] == "yes")


def _scoring_group(row: sqlite3.Row) -> SpendingGroup:
    cost, price = read_cost(row["cost"]), read_cost(row["price"])
    return SpendingGroup(row["key"], False, _SCORING_STATES[row["state"]], cost, price, 1, row["calls"], row["owner"], scoring=True)


def prorate(price: Cost, pictures: int, of: int) -> Cost:
    """Return the price of `pictures` of a request's images if all `of` them cost `price`."""
    return price if price.amount is None or pictures == of else replace(price, amount=price.amount * pictures / of)
