"""Spending reports: measured, calculated, reserved, estimated and unknown costs; currencies are never added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.ledger.spending import KEYS, ZERO_COST, SpendingGroup, spending_groups
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import Record
from imagegen_magic.result import Cost
from imagegen_magic.studies.history.search import parse_since

BY = tuple(KEYS)
_ACCEPTED = ("submitted", "made", "saved")


@dataclass(frozen=True, slots=True)
class Spent(Record):
    """The cost of the tasks of one `key` in one `unit`; without a unit, those of unknown cost.

    `measured` was reported by the gateway, `calculated` are the tokens that it reported at its listed prices, `reserved` is not final
    yet, `estimated` comes from a price list; the four may be added.
    `unknown` counts the tasks whose cost is unknown or partly unknown; `tasks` and `pictures` count all. `sandbox` is play money.
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
    calculated: Decimal = Decimal(0)

    @property
    def amount(self) -> Decimal:
        """The known sum, in its unit."""
        return self.measured + self.calculated + self.reserved + self.estimated

    def __add__(self, other: Spent) -> Spent:
        """Return the sum, with this one's key. Raises ValueError if the units differ."""
        if (self.unit, self.sandbox) != (other.unit, other.sandbox):
            raise ValueError(f"{self.unit or 'unknown'} and {other.unit or 'unknown'} cannot be added")
        names = ("measured", "reserved", "estimated", "unknown", "tasks", "pictures", "calculated")
        return Spent(self.key, self.unit, self.sandbox, *(getattr(self, name) + getattr(other, name) for name in names))


async def spent(ledger: Ledger, *, since: str | float | None = None, by: str = "model", sandbox: bool = True) -> list[Spent]:
    """Return the spending on requests since then, grouped by one of `BY`: one row for each key and unit.

    `since` is epoch seconds or a text for `parse_since`. Days and months are in order of time, other keys by amount, largest first; play
    money comes last. Tasks that were never sent and failures that were free are left out. A submission of unknown outcome and a failure
    that may have been charged have an unknown cost. Raises UnsupportedOption.
    """
    if by not in BY:
        raise UnsupportedOption(f"Costs cannot be grouped by {by}", option="by", value=by, allowed=BY)
    start = parse_since(since) if isinstance(since, str) else since
    groups = await ledger.run(lambda connection: list(spending_groups(connection, since=start, by=by, sandbox=sandbox)), writes=False)
    rows = _merged(_spent(group) for group in groups if group.state != "planned" and group.cost != ZERO_COST)
    in_time = by in ("day", "month")
    return sorted(rows, key=lambda row: (row.sandbox, row.key if in_time else "", not row.unit, row.unit, -row.amount, row.key))


def totals(rows: Iterable[Spent]) -> list[Spent]:
    """Return the sum of each unit, play money separately."""
    return _merged(replace(row, key="") for row in rows)


def _spent(group: SpendingGroup) -> Spent:
    cost, unknown = _known(group), 0
    if cost.amount is None or cost.unknown:
        unknown = group.tasks
    amounts: dict[str, Decimal] = {} if cost.amount is None else {cost.kind: cost.amount * group.tasks}
    pictures = group.pictures * group.tasks if group.state in _ACCEPTED and not group.scoring else 0
    unit = cost.unit if cost.amount is not None else ""
    return Spent(group.key, unit, group.sandbox, **amounts, unknown=unknown, tasks=group.tasks, pictures=pictures)


def _known(group: SpendingGroup) -> Cost:
    """Return the known cost of a task, or the price of one that was accepted and whose gateway reports no cost."""
    if group.state not in _ACCEPTED and not group.charged:
        return Cost()
    return group.price if group.cost.amount is None else group.cost


def _merged(rows: Iterable[Spent]) -> list[Spent]:
    found: dict[tuple[str, str, bool], Spent] = {}
    for row in rows:
        name = (row.key, row.unit, row.sandbox)
        found[name] = found[name] + row if name in found else row
    return list(found.values())
