"""Budgets: a request is checked in the same transaction that records it, so that two requests at once cannot exceed one together."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, iso, json_of, now
from imagegen_magic.engine.ledger.reservations import Prices, reserved_prices
from imagegen_magic.engine.ledger.spending import SpendingGroup, spending_groups
from imagegen_magic.errors import BudgetExceeded
from imagegen_magic.humanize import seconds_of
from imagegen_magic.result import Cost

PERIODS = ("all", "day", "session", "month")
_IN_WORDS = {"all": "in all", "day": "a day", "session": "of this session", "month": "a month"}


class Budget(NamedTuple):
    """An amount that requests must not exceed: `per` day or month of this machine's calendar, `session`, or in `all` since it was set.

    A session is one open ledger: one kernel or script. A request counts at the time it was made. A budget limits costs in its own unit
    only: dollars and credits are never added.
    """

    amount: Decimal
    unit: str = "USD"
    per: str = "all"
    set_at: float = 0.0

    def __str__(self) -> str:
        return f"{_money(self.amount, self.unit)} {_IN_WORDS.get(self.per, f'a {self.per}')}"


class BudgetStatus(NamedTuple):
    """A budget and its use: `spent`, and `reserved` for running tasks, here or in other kernels.

    `unknown` is the number of tasks of unknown cost, which do not count.
    """

    budget: Budget
    spent: Decimal
    reserved: Decimal
    unknown: int

    @property
    def left(self) -> Decimal:
        """The amount that is left; below 0 if more was spent than estimated."""
        return self.budget.amount - self.spent - self.reserved


def unit_of(text: str) -> str:
    """Return a unit as costs have it: USD for dollars, any other text unchanged."""
    return "USD" if text.strip().casefold() in ("usd", "$", "dollar", "dollars") else text.strip()


async def set_budget(ledger: LedgerFile, amount: Decimal, *, unit: str = "USD", per: str = "all") -> None:
    """Set a budget; it replaces the one of the same unit and period."""

    def work(connection: sqlite3.Connection) -> None:
        _remove_ended_sessions(connection, ledger)
        query = """INSERT INTO budgets (per, unit, amount, session, set_at) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (per, unit, session) DO UPDATE SET amount = excluded.amount, set_at = excluded.set_at"""
        connection.execute(query, (per, unit_of(unit), str(amount), ledger.owner if per == "session" else "", now()))

    await ledger.run(work)


async def remove_budgets(ledger: LedgerFile, *, unit: str | None = None, per: str | None = None) -> list[Budget]:
    """Remove the budgets in force here (of that unit, of that period) and return them."""

    def work(connection: sqlite3.Connection) -> list[Budget]:
        removed = [each for each in _in_force(connection, ledger) if unit in (None, each.unit) and per in (None, each.per)]
        query = "DELETE FROM budgets WHERE per = ? AND unit = ? AND session = ?"
        connection.executemany(query, [(each.per, each.unit, ledger.owner if each.per == "session" else "") for each in removed])
        return removed

    return await ledger.run(work)


async def budget_statuses(ledger: LedgerFile, unknown_price: Decimal | None = None) -> list[BudgetStatus]:
    """Return every budget in force here, with its use."""

    def work(connection: sqlite3.Connection) -> list[BudgetStatus]:
        return [_status(connection, ledger, each, unknown_price) for each in _in_force(connection, ledger)]

    return await ledger.run(work, writes=False)


def budget_check(
    requests: Iterable[tuple[Cost, int]], ledger: LedgerFile, unknown_price: Decimal | None = None
) -> Callable[[sqlite3.Connection], None]:
    """Return a check for `Ledger.add`: it raises BudgetExceeded if these requests would exceed a budget.

    `requests` are prices with numbers of images; the sandbox's are free. `unknown_price` is assumed for an image of unknown price, in
    every budget's unit; without it, a request of unknown price is refused while there is a budget.
    """
    prices = Counter(requests)

    def check(connection: sqlite3.Connection) -> None:
        for each in _in_force(connection, ledger) if prices else ():
            _check(prices, _status(connection, ledger, each, unknown_price), unknown_price)

    return check


def budget_check_again(
    tasks: Mapping[int, tuple[Cost, int]], ledger: LedgerFile, unknown_price: Decimal | None = None
) -> Callable[[sqlite3.Connection], None]:
    """Return a check of submissions that are repeated: row -> price and number of images. It raises as that of `budget_check` does.

    A request counts at the time it was made, so only those count here that a budget does not have yet: of an earlier day or session.
    """

    def check(connection: sqlite3.Connection) -> None:
        for each in _in_force(connection, ledger) if tasks else ():
            counted = _counted_rows(connection, list(tasks), each, ledger)
            if prices := Counter(price for row, price in tasks.items() if row not in counted):
                _check(prices, _status(connection, ledger, each, unknown_price), unknown_price)

    return check


def _counted_rows(connection: sqlite3.Connection, rows: Sequence[int], budget: Budget, ledger: LedgerFile) -> set[int]:
    """Return which of these tasks a budget counts already."""
    query = f"""SELECT tasks.row FROM tasks JOIN jobs ON jobs.id = tasks.job WHERE tasks.row {IN_LIST}
        AND (? IS NULL OR jobs.created >= ?) AND (? IS NULL OR jobs.session = ?)"""
    start = None if (since := _start(budget)) is None else iso(since)
    session = ledger.owner if budget.per == "session" else None
    return {row for (row,) in connection.execute(query, (json_of(list(rows)), start, start, session, session))}


def _in_force(connection: sqlite3.Connection, ledger: LedgerFile) -> list[Budget]:
    found = connection.execute("SELECT * FROM budgets").fetchall()
    here = [row for row in found if row["session"] in ("", ledger.owner)]
    return [Budget(Decimal(row["amount"]), row["unit"], row["per"], seconds_of(row["set_at"])) for row in here]


def _remove_ended_sessions(connection: sqlite3.Connection, ledger: LedgerFile) -> None:
    sessions = [row["session"] for row in connection.execute("SELECT DISTINCT session FROM budgets WHERE session != ''")]
    connection.executemany("DELETE FROM budgets WHERE session = ?", [(name,) for name in sessions if not ledger.is_alive(name)])


def _status(connection: sqlite3.Connection, ledger: LedgerFile, budget: Budget, unknown_price: Decimal | None) -> BudgetStatus:
    session = ledger.owner if budget.per == "session" else None
    spent = reserved = Decimal(0)
    unknown = 0
    for group in _counted(spending_groups(connection, since=_start(budget), session=session), ledger):
        known = group.cost if group.cost.amount is not None else group.price
        amount = _amount_in(budget.unit, known, group.pictures, unknown_price)
        if amount is None:
            unknown += group.tasks
        elif group.in_flight:
            reserved += amount * group.tasks
        else:
            spent += amount * group.tasks
    since = None if (start := _start(budget)) is None else iso(start)
    for cost, pictures, times in reserved_prices(connection, ledger.is_alive, since=since, session=session):
        amount = _amount_in(budget.unit, cost, pictures, unknown_price)
        unknown += times if amount is None else 0
        reserved += (amount or 0) * times
    return BudgetStatus(budget, spent, reserved, unknown)


def _counted(groups: Iterable[SpendingGroup], ledger: LedgerFile) -> Iterator[SpendingGroup]:
    """Leave out what ended processes had planned: it will not be sent."""
    alive: dict[str | None, bool] = {}
    for group in groups:
        if group.state == "planned" and not alive.setdefault(group.owner, ledger.is_alive(group.owner)):
            continue
        yield group


def _start(budget: Budget) -> float | None:
    if budget.per == "session":
        return None
    if budget.per not in ("day", "month"):  # a period of a newer version counts since it was set, which is never too little
        return budget.set_at
    today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    start = today.replace(day=1) if budget.per == "month" else today
    return start.replace(tzinfo=None).timestamp()  # the offset of that day, which may differ from today's


def _amount_in(unit: str, cost: Cost, pictures: int, unknown_price: Decimal | None) -> Decimal | None:
    """Return what a cost counts in a budget of that unit; None if it is unknown or partly unknown."""
    if cost.amount is not None and cost.unit and cost.unit.casefold() != unit.casefold():
        return Decimal(0)
    if cost.amount is not None and not cost.unknown:
        return cost.amount
    return None if unknown_price is None else (cost.amount or Decimal(0)) + unknown_price * pictures


def _check(prices: Prices, status: BudgetStatus, unknown_price: Decimal | None) -> None:
    amounts = [(_amount_in(status.budget.unit, *price, unknown_price), times) for price, times in prices.items()]
    known = [amount * times for amount, times in amounts if amount is not None]
    if len(known) < len(amounts):
        raise _refusal(status, None)
    if any(known) and sum(known) > status.left:
        raise _refusal(status, sum(known, Decimal(0)))


def _refusal(status: BudgetStatus, price: Decimal | None) -> BudgetExceeded:
    budget = status.budget
    used = f"{_money(status.spent, budget.unit)} is spent, {_money(status.reserved, budget.unit)} is reserved for running tasks"
    if price is None:
        what = f"The price of this request is unknown or partly unknown, so the budget of {budget} cannot be checked ({used})"
        hint = "choose options with a known price (a --quality may be enough), or set the price to assume for a picture "
        hint += "(%config ImageGenMagics.unknown_price = 0.20), or remove the budget (%imagegen budget off)"
    else:
        what = f"This request would exceed the budget of {budget}: {used}, and this request costs {_money(price, budget.unit)}"
        hint = f"request less, wait for the running tasks, or change the budget ({_command(budget)}; %imagegen budget off removes it)"
    return BudgetExceeded(what, unit=budget.unit, limit=budget.amount, spent=status.spent, reserved=status.reserved, asked=price, hint=hint)


def _command(budget: Budget) -> str:
    flags = ("" if budget.per == "all" else f" --per {budget.per}") + ("" if budget.unit == "USD" else f" --unit {budget.unit}")
    return f"%imagegen budget AMOUNT{flags}"


def _money(amount: Decimal, unit: str) -> str:
    return str(Cost(amount, unit, "measured"))
