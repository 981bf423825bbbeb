"""What was spent: measured, reserved, estimated or unknown, each currency by itself and never added across."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.ledger.spending import KEYS, ZERO_COST, SpendingGroup, spending_groups
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import Record
from imagegen_magic.result import Cost
from imagegen_magic.studies.history import since as moments

BY = tuple(KEYS)
_ACCEPTED = ("submitted", "made", "saved")


@dataclass(frozen=True, slots=True)
class Spent(Record):
    """What the tasks of one `key` cost in one `unit`; without a unit, those whose cost nobody knows.

    `measured` was told by the gateway, `reserved` set aside by it and not settled, `estimated` from a price list; they are shown apart
    and may be added. `unknown` counts the tasks whose cost is not known, or not wholly; `tasks` and `pictures` all of them. `sandbox`
    marks play money.
    """

    key: str
    unit: str
    sandbox: bool = False
    measured: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)
    unknown: int = 0
    tasks: int = 0
    pictures: int = 0

    @property
    def amount(self) -> Decimal:
        """All that is known of it, in its unit."""
        return self.measured + self.reserved + self.estimated

    def __add__(self, other: Spent) -> Spent:
        """Return both together, under this one's key; raises ValueError where their units differ: those are never added."""
        if (self.unit, self.sandbox) != (other.unit, other.sandbox):
            raise ValueError(f"{self.unit or 'unknown'} and {other.unit or 'unknown'} cannot be added")
        names = ("measured", "reserved", "estimated", "unknown", "tasks", "pictures")
        return Spent(self.key, self.unit, self.sandbox, *(getattr(self, name) + getattr(other, name) for name in names))


async def spent(ledger: Ledger, *, since: str | float | None = None, by: str = "model", sandbox: bool = True) -> list[Spent]:
    """Return what was spent on what was asked for since then, told apart by one of `BY`: one row for each key and unit.

    Days and months come in their order, anything else with the greatest amount first; play money last. `since` is epoch seconds or what
    `moments.since` reads. What was never sent, and failures that were free, cost nothing and are left out; a submission of unknown
    fate, and a failure that may have been charged, is of unknown cost. Raises UnsupportedOption.
    """
    if by not in BY:
        raise UnsupportedOption(f"costs cannot be told apart by {by}", option="by", value=by, allowed=BY)
    start = moments.since(since) if isinstance(since, str) else since

    def work(connection: sqlite3.Connection) -> list[Spent]:
        return [_spent(account) for account in spending_groups(connection, since=start, by=by, sandbox=sandbox) if _may_cost(account)]

    rows = _together(await ledger.run(work, writes=False))
    in_time = by in ("day", "month")
    return sorted(rows, key=lambda row: (row.sandbox, row.key if in_time else "", not row.unit, row.unit, -row.amount, row.key))


def totals(rows: Iterable[Spent]) -> list[Spent]:
    """Return the sum of each unit, play money apart."""
    return _together(replace(row, key="") for row in rows)


def courses(rows: Iterable[Spent]) -> dict[str, list[tuple[float, Decimal]]]:
    """Return, for each unit, what was spent until the end of each day: (its first moment in epoch seconds, the sum so far).

    `rows` are those of `spent(by="day")`; play money and what is unknown is left out.
    """
    found: dict[str, list[tuple[float, Decimal]]] = {}
    for row in sorted(rows, key=lambda row: row.key):
        if row.unit and not row.sandbox:
            course = found.setdefault(row.unit, [])
            before = course[-1][1] if course else Decimal(0)
            course.append((datetime.fromisoformat(row.key).timestamp(), before + row.amount))
    return found


def _may_cost(account: SpendingGroup) -> bool:
    return account.state != "planned" and account.cost != ZERO_COST


def _spent(account: SpendingGroup) -> Spent:
    cost, unknown = _known(account), 0
    if cost.amount is None or cost.unknown:
        unknown = account.tasks
    amounts: dict[str, Decimal] = {} if cost.amount is None else {cost.kind: cost.amount * account.tasks}
    pictures = account.pictures * account.tasks if account.state in _ACCEPTED else 0
    unit = cost.unit if cost.amount is not None else ""
    return Spent(account.key, unit, account.sandbox, **amounts, unknown=unknown, tasks=account.tasks, pictures=pictures)


def _known(account: SpendingGroup) -> Cost:
    """Return what a task cost as far as anybody knows; of an accepted one that tells nothing, what it was expected to."""
    if account.state not in _ACCEPTED and not account.charged:
        return Cost()
    return account.price if account.cost.amount is None else account.cost


def _together(rows: Iterable[Spent]) -> list[Spent]:
    found: dict[tuple[str, str, bool], Spent] = {}
    for row in rows:
        name = (row.key, row.unit, row.sandbox)
        found[name] = found[name] + row if name in found else row
    return list(found.values())
