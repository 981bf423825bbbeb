"""`%imagegen conformance`: how often each gateway and model delivered what was requested, how fast, and at which price."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.humanize import duration
from imagegen_magic.notebook.output.tables import BLUE, ORANGE, Cell, Note, Page, Table
from imagegen_magic.result import Cost
from imagegen_magic.studies.conformance import Conformance, Share, conformance_of

if TYPE_CHECKING:
    from imagegen_magic.notebook.context import NotebookContext

_MEANING = (
    "Pixels, format and alpha: images that came as requested. Count: tasks with all their images. Seconds: median, and what 90 % stayed "
    "within. Charged against estimated: tasks that have both."
)


def report(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the report, the sandbox's runs apart."""
    by = flags.get("--by", "model")
    rows = loop.run(conformance_of(api.ledger(context.settings()), by=by, since=flags.get("--since")))
    if not rows:
        print("No task has ended yet.")
        return
    display(Page(*_tables(rows, by), Note(_MEANING)))


def _tables(rows: tuple[Conformance, ...], by: str) -> Iterator[Table]:
    heads = (by, "tasks", "pixels", "format", "alpha", "count", "failed", "unknown", "seconds", "charged / estimated")
    for title, sandbox in (("", False), ("Sandbox", True)):
        if some := [row for row in rows if row.sandbox is sandbox]:
            yield Table(heads, list(map(_cells, some)), title=title)


def _cells(row: Conformance) -> list[str | Cell]:
    as_requested = [_share(each, BLUE) for each in (row.pixels, row.format, row.alpha, row.count)]
    ended = [_share(each, ORANGE) for each in (row.failed, row.unknown)]
    return [row.key, str(row.tasks), *as_requested, *ended, _seconds(row), _money(row)]


def _share(share: Share, colour: str) -> Cell:
    return Cell(str(share), bar=share.fraction, colour=colour)


def _seconds(row: Conformance) -> str:
    return "–" if row.median is None or row.p90 is None else f"{duration(row.median)}, {duration(row.p90)}"


def _money(row: Conformance) -> str:
    if row.charged is None:
        return "–"
    return " / ".join(str(Cost(amount, row.unit, "measured")) for amount in (row.charged, row.estimated))
