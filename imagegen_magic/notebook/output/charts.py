"""Small charts of values by day, as HTML that a sanitizer leaves whole: columns, and the same values as words and as a table.

Colours have a contrast of 3 to 1 on white and on JupyterLab's dark page. Bars within a table's cell belong in `tables`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from html import escape
from typing import NamedTuple

from imagegen_magic.humanize import pluralize
from imagegen_magic.notebook.output.style import HEADING, QUIET
from imagegen_magic.notebook.output.tables import BLUE

MIN_DAYS = 3
"""With values of fewer days there is no chart."""
_MAX_COLUMNS = 60
_STEPS = (1, 7, 28, 91, 364)  # days of a column
_HEIGHT, _WIDTH, _MIN_WIDTH, _COLUMN = 72, 640, 220, 26  # CSS pixels
_CHART = f"display:flex;align-items:flex-end;justify-content:space-between;height:{_HEIGHT}px;margin:6px 0 2px;border-bottom:1px solid #888"
_COLUMN_STYLE = f"flex:1 1 0;max-width:{_COLUMN - 2}px;margin-right:1px;background:{BLUE}"
_ENDS = f"display:flex;justify-content:space-between;{QUIET}"


class DayChart(NamedTuple):
    """Values by day: `title` names them, `amount` writes one of them, and `total` their sum as the beginning of a sentence.

    There is at least one value, and none is negative. With many days a column stands for several.
    """

    title: str
    values: Mapping[date, Decimal]
    amount: Callable[[Decimal], str]
    total: Callable[[Decimal], str]

    def html(self) -> str:
        """Return the chart, or the text alone if it has few days, which words say as well."""
        words = f'<div style="{QUIET}">{escape(self.text())}</div>'
        if len(self.values) < MIN_DAYS:
            return f'<div style="margin:4px 0 8px">{words}</div>'
        columns = self._columns()
        top = max(columns.values()) or Decimal(1)
        drawn = "".join(self._column(day, value, top) for day, value in columns.items())
        label = f"Column chart: {self._title()}, {pluralize(len(columns), 'column')}. {self.text()}"
        width = min(_WIDTH, max(_MIN_WIDTH, _COLUMN * len(columns)))
        chart = f'<div role="img" aria-label="{escape(label)}" style="{_CHART}">{drawn}</div>'
        ends = f'<div style="{_ENDS}"><span>{min(self.values)}</span><span>{max(self.values)}</span></div>'
        title = f'<div style="{HEADING}">{escape(self._title())}</div>'
        drawing = f'<div style="max-width:{width}px">{chart}{ends}</div>'
        return f'<div style="margin:4px 0 12px">{title}{words}{drawing}{self._table(columns)}</div>'

    def text(self) -> str:
        """Return the sum, the days, and the highest value, in words."""
        first, last, days = min(self.values), max(self.values), len(self.values)
        total = self.total(sum(self.values.values(), Decimal(0)))
        if days == 1:
            return f"{total} on {first}."
        highest = max(self.values, key=lambda day: self.values[day])
        return f"{total} from {first} to {last}, on {days} days. Most on {highest}: {self.amount(self.values[highest])}."

    def _title(self) -> str:
        return f"{self.title} per {'day' if self._step() == 1 else f'{self._step()} days'}"

    def _step(self) -> int:
        span = (max(self.values) - min(self.values)).days + 1
        return next((step for step in _STEPS if span <= step * _MAX_COLUMNS), math.ceil(span / _MAX_COLUMNS))

    def _columns(self) -> dict[date, Decimal]:
        """Return the sum of each column by its first day; days without a value count 0."""
        first, last, step = min(self.values), max(self.values), self._step()
        found = {first + timedelta(days): Decimal(0) for days in range(0, (last - first).days + 1, step)}
        for day, value in self.values.items():
            found[first + timedelta((day - first).days // step * step)] += value
        return found

    def _column(self, day: date, value: Decimal, top: Decimal) -> str:
        """Return a column; whatever is above 0 is visible."""
        height = max(3, round(float(value / top) * 100, 1)) if value else 0
        return f'<div title="{day}: {escape(self.amount(value))}" style="{_COLUMN_STYLE};height:{height:g}%"></div>'

    def _table(self, columns: Mapping[date, Decimal]) -> str:
        """Return the values as a table that unfolds; columns of 0 are left out."""
        rows = "".join(f"<tr><td>{day}</td><td>{escape(self.amount(value))}</td></tr>" for day, value in columns.items() if value)
        return f'<details><summary style="{QUIET}">Values</summary><table>{rows}</table></details>'


def by_day(values: Iterable[tuple[str, Decimal]]) -> dict[date, Decimal]:
    """Return values by day, whose keys are ISO dates."""
    return {date.fromisoformat(day): value for day, value in values}
