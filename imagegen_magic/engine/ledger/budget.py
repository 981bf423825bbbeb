"""Budgets: what a request may cost is asked in the very transaction that records it, so that no two together pass what each may."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from imagegen_magic.engine.ledger import process_locks
from imagegen_magic.engine.ledger.ledger import Ledger, iso
from imagegen_magic.engine.ledger.spending import SpendingGroup, spending_groups
from imagegen_magic.errors import BudgetExceeded
from imagegen_magic.result import Cost

PERIODS = ("all", "day", "session", "month")
_WORDS = {"all": "in all", "day": "a day", "session": "of this session", "month": "a month"}


class Budget(NamedTuple):
    """An amount that is not to be passed: `per` day or month of this machine's calendar, `session`, or in `all` since it was set.

    A session is an open ledger, which is a kernel's (or script's) life; what counts is when a request was made, not when its picture
    came. It limits what is priced in its own unit and nothing else: dollars and credits are never added.
    """

    amount: Decimal
    unit: str = "USD"
    per: str = "all"
    set_at: float = 0.0

    def __str__(self) -> str:
        return f"{_money(self.amount, self.unit)} {_WORDS.get(self.per, f'a {self.per}')}"


class BudgetStatus(NamedTuple):
    """A budget with what counts against it: `spent`, and `reserved` for what is in flight, here or in other kernels.

    `unknown` counts the tasks of unknown cost that nothing could be counted for.
    """

    budget: Budget
    spent: Decimal
    reserved: Decimal
    unknown: int

    @property
    def left(self) -> Decimal:
        """What may still be asked for; below 0 where more was spent than expected."""
        return self.budget.amount - self.spent - self.reserved


def unit_of(text: str) -> str:
    """Return a unit as costs have it: USD for dollars, anything else as it stands."""
    return "USD" if text.strip().casefold() in ("usd", "$", "dollar", "dollars") else text.strip()


async def set_budget(ledger: Ledger, amount: Decimal, *, unit: str = "USD", per: str = "all") -> None:
    """Set a budget, in place of the one of that unit and period; counted by `Budget`'s rules."""

    def work(connection: sqlite3.Connection) -> None:
        _forget_the_dead(connection, ledger)
        query = """INSERT INTO budgets (per, unit, amount, session, set_at) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (per, unit, session) DO UPDATE SET amount = excluded.amount, set_at = excluded.set_at"""
        connection.execute(query, (per, unit_of(unit), str(amount), ledger.owner if per == "session" else "", iso(time.time())))

    await ledger.run(work)


async def remove_budgets(ledger: Ledger, *, unit: str | None = None, per: str | None = None) -> list[Budget]:
    """Take away the budgets in force here (of that unit, of that period) and return them."""

    def work(connection: sqlite3.Connection) -> list[Budget]:
        lifted = [each for each in _in_force(connection, ledger) if unit in (None, each.unit) and per in (None, each.per)]
        query = "DELETE FROM budgets WHERE per = ? AND unit = ? AND session = ?"
        connection.executemany(query, [(each.per, each.unit, ledger.owner if each.per == "session" else "") for each in lifted])
        return lifted

    return await ledger.run(work)


async def budget_statuses(ledger: Ledger, unknown_price: Decimal | None = None) -> list[BudgetStatus]:
    """Return every budget in force here, with what counts against it."""

    def work(connection: sqlite3.Connection) -> list[BudgetStatus]:
        return [_standing(connection, ledger, each, unknown_price) for each in _in_force(connection, ledger)]

    return await ledger.run(work, writes=False)


def budget_check(
    wanted: Iterable[tuple[Cost, int]], ledger: Ledger, unknown_price: Decimal | None = None
) -> Callable[[sqlite3.Connection], None]:
    """Return what `Ledger.add` is to ask first: it raises BudgetExceeded where these requests would pass a budget.

    `wanted` are their prices with their numbers of pictures; the sandbox's are free. `unknown_price` is what a picture of unknown price
    counts as, in every budget's unit. Without it a request of unknown price is refused while there is a budget.
    """
    requests = list(wanted)

    def allow(connection: sqlite3.Connection) -> None:
        for each in _in_force(connection, ledger) if requests else ():
            _allow(requests, _standing(connection, ledger, each, unknown_price), unknown_price)

    return allow


def _in_force(connection: sqlite3.Connection, ledger: Ledger) -> list[Budget]:
    found = connection.execute("SELECT * FROM budgets").fetchall()
    here = [row for row in found if row["session"] in ("", ledger.owner)]
    return [Budget(Decimal(row["amount"]), row["unit"], row["per"], datetime.fromisoformat(row["set_at"]).timestamp()) for row in here]


def _forget_the_dead(connection: sqlite3.Connection, ledger: Ledger) -> None:
    """Take away the budgets of sessions that ended."""
    sessions = [row["session"] for row in connection.execute("SELECT DISTINCT session FROM budgets WHERE session != ''")]
    connection.executemany("DELETE FROM budgets WHERE session = ?", [(name,) for name in sessions if not _is_alive(ledger, name)])


def _is_alive(ledger: Ledger, owner: str | None) -> bool:
    return process_locks.alive(ledger.path.parent / "owners", owner)


def _standing(connection: sqlite3.Connection, ledger: Ledger, budget: Budget, unknown_price: Decimal | None) -> BudgetStatus:
    session = ledger.owner if budget.per == "session" else None
    spent = reserved = Decimal(0)
    unknown = 0
    for account in _counted(spending_groups(connection, since=_since(budget), session=session), ledger):
        counts = _counts(account, budget.unit, unknown_price)
        if counts is None:
            unknown += account.tasks
        elif account.in_flight:
            reserved += counts * account.tasks
        else:
            spent += counts * account.tasks
    return BudgetStatus(budget, spent, reserved, unknown)


def _counted(found: Iterable[SpendingGroup], ledger: Ledger) -> Iterator[SpendingGroup]:
    """Leave out what dead processes had planned: nobody sends it any more."""
    alive: dict[str | None, bool] = {}
    for account in found:
        if account.state == "planned" and not alive.setdefault(account.owner, _is_alive(ledger, account.owner)):
            continue
        yield account


def _since(budget: Budget) -> float | None:
    if budget.per == "session":
        return None
    if budget.per not in ("day", "month"):  # a period of a newer version: counted since it was set, which is never too little
        return budget.set_at
    today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    start = today.replace(day=1) if budget.per == "month" else today
    return start.replace(tzinfo=None).timestamp()  # read anew, as the first of the month may have had another offset


def _counts(account: SpendingGroup, unit: str, unknown_price: Decimal | None) -> Decimal | None:
    """Return what one of these tasks counts as; None where nobody can say."""
    known = account.cost if account.cost.amount is not None else account.price
    return _in_unit(known, account.pictures, unit, unknown_price)


def _in_unit(cost: Cost, pictures: int, unit: str, unknown_price: Decimal | None) -> Decimal | None:
    """Return what a cost counts as in a budget of that unit; None where that is not known, or not wholly."""
    if cost.amount is not None and cost.unit and cost.unit.casefold() != unit.casefold():
        return Decimal(0)
    if cost.amount is not None and not cost.unknown:
        return cost.amount
    return None if unknown_price is None else (cost.amount or Decimal(0)) + unknown_price * pictures


def _allow(requests: Sequence[tuple[Cost, int]], standing: BudgetStatus, unknown_price: Decimal | None) -> None:
    budget = standing.budget
    counted = [_in_unit(cost, pictures, budget.unit, unknown_price) for cost, pictures in requests]
    known = [each for each in counted if each is not None]
    if len(known) < len(counted):
        raise _refusal(standing, None)
    if any(known) and sum(known) > standing.left:
        raise _refusal(standing, sum(known, Decimal(0)))


def _refusal(standing: BudgetStatus, asked: Decimal | None) -> BudgetExceeded:
    budget = standing.budget
    words = {name: _money(amount, budget.unit) for name, amount in (("spent", standing.spent), ("reserved", standing.reserved))}
    used = f"{words['spent']} spent, {words['reserved']} reserved for what is in flight"
    if asked is None:
        what = f"The price of this request is not (wholly) known, so nobody can say whether it keeps the budget of {budget} ({used})"
        step = "ask for what has a known price (a --quality may be enough), or say what a picture of unknown price counts as "
        step += "(%config ImageGenMagics.unknown_price = 0.20), or lift the budget (%imagegen budget off)"
    else:
        what = f"The budget of {budget} would be passed: {used}, and this request is to cost {_money(asked, budget.unit)}"
        step = f"ask for less, wait for what is in flight, or change the budget ({_command(budget)}; %imagegen budget off lifts it)"
    return BudgetExceeded(
        what, unit=budget.unit, limit=budget.amount, spent=standing.spent, reserved=standing.reserved, asked=asked, hint=step
    )


def _command(budget: Budget) -> str:
    flags = ("" if budget.per == "all" else f" --per {budget.per}") + ("" if budget.unit == "USD" else f" --unit {budget.unit}")
    return f"%imagegen budget AMOUNT{flags}"


def _money(amount: Decimal, unit: str) -> str:
    return str(Cost(amount, unit, "measured"))
