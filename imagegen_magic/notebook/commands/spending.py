"""`%imagegen cost` and `%imagegen budget`: what was spent, and the limits on it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic import readers
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.endpoints import select_endpoint
from imagegen_magic.engine.ledger import budget as budgets
from imagegen_magic.engine.ledger.budget import BudgetStatus
from imagegen_magic.humanize import pluralize, truncate
from imagegen_magic.notebook.output.charts import DayChart, by_day
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Piece, Table, show_note
from imagegen_magic.result import Cost
from imagegen_magic.studies.history import spending
from imagegen_magic.studies.history.spending import Spent

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import Ledger
    from imagegen_magic.notebook.context import NotebookContext

_LIMIT = 50  # rows of a table
_NEVER_ADDED = (
    "Currencies are never added. Measured: reported by the service. Calculated: the tokens that it reported, at its listed prices. "
    "Reserved: held by it for running tasks. Estimated: from a price list."
)


def cost(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show what was spent: tables, and for each currency a chart over time and bars of the services."""
    ledger = api.ledger(context.settings())
    since, by = flags.get("--since"), flags.get("--by", "model")
    rows = loop.run(spending.spent(ledger, since=since, by=by))
    if not rows:
        print("Nothing was spent" + (f" since {since}." if since else " yet."))
        return
    groups = ("", [row for row in rows if not row.sandbox]), ("Sandbox, not charged", [row for row in rows if row.sandbox])
    tables = [_table(group, by, title) for title, group in groups if group]
    display(Page(*tables, *loop.run(_charts(ledger, since)), Note(_NEVER_ADDED)))


async def _charts(ledger: Ledger, since: str | None) -> list[Piece]:
    """Return the charts of each currency, by day, and by service if there are several; play money has none."""
    days, services = [await spending.spent(ledger, since=since, by=by, sandbox=False) for by in ("day", "provider")]
    pieces: list[Piece] = []
    for unit in sorted({row.unit for row in days if row.unit}):
        pieces.append(_by_day(unit, [row for row in days if row.unit == unit]))
        if len(some := [row for row in services if row.unit == unit]) > 1:
            pieces.append(_by_service(unit, some))
    return pieces


def _by_day(unit: str, rows: Sequence[Spent]) -> DayChart:
    def amount(value: Decimal) -> str:
        return _money(value, unit)

    values = by_day((row.key, row.amount) for row in rows)
    return DayChart(f"Spent in {unit}", values, amount, lambda value: f"{amount(value)} spent")


def _by_service(unit: str, rows: Sequence[Spent]) -> Table:
    whole = sum((row.amount for row in rows), Decimal(0)) or Decimal(1)
    shares = [(row, float(row.amount / whole)) for row in rows]
    cells: list[list[str | Cell]] = [[row.key, Cell(f"{_money(row.amount, unit)}, {share:.0%}", bar=share)] for row, share in shares]
    return Table(("service", f"spent in {unit}"), cells)


def _table(rows: Sequence[Spent], by: str, title: str) -> Table:
    heads = (by, "currency", "measured", "calculated", "reserved", "estimated", "cost unknown", "pictures")
    shown = [_row(row, truncate(row.key)) for row in rows[:_LIMIT]]
    if len(rows) > _LIMIT:
        shown.append([f"and {len(rows) - _LIMIT} more, included in the total", *[""] * (len(heads) - 1)])
    if len(rows) > 1:
        shown += [_row(row, "total") for row in spending.totals(rows)]
    return Table(heads, shown, title=title)


def _row(row: Spent, key: str) -> list[str]:
    amounts = [_money(amount, row.unit) if amount else "–" for amount in (row.measured, row.calculated, row.reserved, row.estimated)]
    unknown = pluralize(row.unknown, "task") if row.unknown else "–"
    return [key, row.unit or "–", *amounts, unknown, str(row.pictures)]


def _money(amount: Decimal, unit: str) -> str:
    return str(Cost(amount, unit, "measured"))


def balance(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Ask a gateway what the account has."""
    settings = context.settings()
    name = arguments[0] if arguments else None
    found = loop.run(api.balance(name, settings=settings))
    print(f"{select_endpoint(settings, provider=name).label}: {found}.")


def budget(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Set a budget, remove budgets, or show each with what is left."""
    settings = context.settings()
    ledger, unknown_price = api.ledger(settings), settings.without_errors.get("unknown_price")
    if not arguments and flags:
        raise UsageError("The subcommand is %imagegen budget AMOUNT [--per day|session|month] [--unit USD]; alone, it shows what is left.")
    per, unit = _per(flags.get("--per")), _unit(flags.get("--unit"))
    if arguments and arguments[0].casefold() == "off":
        removed = loop.run(budgets.remove_budgets(ledger, unit=unit, per=per))
        show_note(f"Removed: {', '.join(map(str, removed))}." if removed else "There was no such budget.")
        return
    if arguments:
        loop.run(budgets.set_budget(ledger, _amount(arguments[0]), unit=unit or "USD", per=per or "all"))
    _show(loop.run(budgets.budget_statuses(ledger, unknown_price)), unknown_price)


def _per(text: str | None) -> str | None:
    if text is not None and text.casefold() not in budgets.PERIODS:
        raise UsageError(f"--per takes day, session or month, not {text!r}; without it the budget is for all spending from now on.")
    return None if text is None else text.casefold()


def _unit(text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise UsageError("--unit takes a currency as shown by %imagegen cost: USD, credits, …")
    return None if text is None else budgets.unit_of(text)


def _amount(text: str) -> Decimal:
    try:
        return readers.amount(text.removeprefix("$"))
    except ValueError:
        raise UsageError(f"A budget is an amount such as 5 or 0.50, or off; not {text!r}.") from None


def _show(found: Sequence[BudgetStatus], unknown_price: Decimal | None) -> None:
    if not found:
        show_note("No budget is set: %imagegen budget 5 --per day sets one of 5 dollars.")
        return
    rows = [[str(status.budget), *_amounts_of(status)] for status in found]
    display(Page(Table(("budget", "spent", "reserved", "left", "not counted"), rows), Note(_rule(found, unknown_price))))


def _amounts_of(status: BudgetStatus) -> list[str]:
    amounts = [_money(amount, status.budget.unit) for amount in (status.spent, status.reserved)]
    over = f"{_money(-status.left, status.budget.unit)} over" if status.left < 0 else _money(status.left, status.budget.unit)
    return [*amounts, over, f"{status.unknown} of unknown cost" if status.unknown else "–"]


def _rule(found: Sequence[BudgetStatus], unknown_price: Decimal | None) -> str:
    units = list(dict.fromkeys(status.budget.unit for status in found))
    rule = (
        f"A request that would exceed it is refused before it is sent. Only prices in {' or '.join(units)} count; the sandbox never does. "
    )
    if unknown_price is None:
        return rule + "A request of unknown price is refused, unless %config ImageGenMagics.unknown_price sets what such a picture counts."
    return rule + f"A picture of unknown price counts as {unknown_price} (unknown_price)."
