"""The grid of a running sweep as HTML: a thumbnail for each combination, or for many combinations a square in the colour of its stage."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from html import escape

from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.result import Stage
from imagegen_magic.studies.sweeps.result import short

MAX_PICTURES = 60  # cells with thumbnails; above, squares
MOST_SQUARES = 4_000  # above, only counts
_MOST_ROWS = 60  # rows of squares; above, a single row
_LABEL = 28  # characters of a label; the title has the whole
_IN_A_CELL = 4  # thumbnails of one combination

STYLE = """<style>
.imagegen-mosaic{display:flex;gap:6px;align-items:center;margin:0 0 4px;font-family:var(--jp-ui-font-family,sans-serif);
 font-size:var(--jp-ui-font-size1,13px);line-height:1.3;color:var(--jp-ui-font-color1,inherit)}
.imagegen-mosaic b{flex:none;font-weight:400;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.imagegen-mosaic span{flex:none;min-width:64px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;
 color:var(--jp-ui-font-color2,inherit)}
.imagegen-mosaic i{flex:none;position:relative;display:block;width:64px;height:64px;box-sizing:border-box;overflow:hidden;border-radius:3px;
 border:1px solid var(--jp-border-color2,rgba(127,127,127,.4))}
.imagegen-mosaic i img{display:block;width:100%;height:100%;object-fit:contain;background:var(--jp-layout-color2,rgba(127,127,127,.12))}
.imagegen-mosaic u{flex:none;display:flex;gap:2px;text-decoration:none}
.imagegen-squares{display:flex;flex:1;flex-wrap:wrap;gap:2px}
.imagegen-squares i{width:10px;height:10px;border-radius:2px}
.imagegen-mosaic em{flex:none;min-width:7em;font-style:normal;color:var(--jp-ui-font-color2,inherit);font-variant-numeric:tabular-nums}
.imagegen-mosaic i.w{background:var(--jp-layout-color3,rgba(127,127,127,.3))}
.imagegen-mosaic i.f{background:repeating-linear-gradient(135deg,var(--jp-layout-color3,rgba(127,127,127,.3)) 0 3px,transparent 3px 6px)}
.imagegen-mosaic i.d{background:var(--jp-brand-color1,#1976d2);border-color:transparent}
.imagegen-mosaic i.x{border:1px dashed var(--jp-error-color1,#d32f2f);background:none}
</style>"""

_CLASSES = {"planned": "", "fetching": "f", "saved": "d", "failed": "x", "left": "x"}  # of the colours; others are `w`, waiting


class SweepGrid:
    """The grid of one job: `axes` with their values, and the combination of each task in the order of the job.

    An axis of at most `columns` values is across the top.
    """

    def __init__(self, axes: Mapping[str, Sequence[str]], combinations: Sequence[Mapping[str, str]], columns: int = 10) -> None:
        self.pictures = len(combinations) <= MAX_PICTURES
        self._axes = axes
        self._across = _across(axes, columns) if self.pictures else ""
        down = [name for name in axes if name != self._across] if self.pictures else list(axes)[:1]
        self._rows = list(itertools.product(*(axes[name] for name in down)))
        if not self.pictures and len(self._rows) > _MOST_ROWS:
            down, self._rows = [], [()]
        self._cells: dict[tuple[tuple[str, ...], str], list[int]] = {}
        for task, combination in enumerate(combinations):
            key = tuple(combination[name] for name in down), combination.get(self._across, "")
            self._cells.setdefault(key, []).append(task)
        self.tasks = len(combinations)
        longest = max(min(_LABEL, len(" · ".join(row))) for row in self._rows)
        self._label_width = min(11.0, 0.6 * longest + 0.6) if longest else 0.0  # em

    def rows(self, progress: JobProgress, thumbnails: Mapping[int, Sequence[str]]) -> list[str]:
        """Return the rows as they are now; `thumbnails` are data URLs by task."""
        if self.tasks > MOST_SQUARES:
            return []
        if self.pictures:
            return [*self._head(), *(self._picture_row(row, progress, thumbnails) for row in self._rows)]
        return [self._square_row(row, progress) for row in self._rows]

    def _head(self) -> list[str]:
        if not self._across:
            return []
        widths = {value: self._widest(value) * 66 - 2 for value in self._axes[self._across]}
        labels = {value: escape(short(value)) for value in widths}
        names = "".join(f'<span style="width:{widths[value]}px" title="{labels[value]}">{labels[value]}</span>' for value in widths)
        return [self._line("", names)]

    def _widest(self, value: str) -> int:
        return max(min(_IN_A_CELL, len(self._cells.get((row, value), ()))) for row in self._rows) or 1

    def _picture_row(self, row: tuple[str, ...], progress: JobProgress, thumbnails: Mapping[int, Sequence[str]]) -> str:
        cells = []
        for value in self._axes.get(self._across, ("",)):
            tasks = self._cells.get((row, value), ())
            frames = "".join(_frame(task, progress, thumbnails.get(task, ())) for task in tasks[:_IN_A_CELL])
            cells.append(f'<u style="width:{self._widest(value) * 66 - 2}px">{frames}</u>')
        return self._line(" · ".join(row), "".join(cells))

    def _square_row(self, row: tuple[str, ...], progress: JobProgress) -> str:
        tasks = self._cells.get((row, ""), ())
        stages = [progress.rows[task].stage for task in tasks]
        squares = "".join(map(_square, stages))
        failed = stages.count("failed") + stages.count("left")
        text = f"{stages.count('saved')} of {len(stages)}" + (f", {failed} failed" if failed else "")
        return self._line(" · ".join(row), f'<em>{text}</em><div class="imagegen-squares" aria-hidden="true">{squares}</div>')

    def _line(self, label: str, cells: str) -> str:
        shown = label if len(label) <= _LABEL else f"{label[: _LABEL - 1].rstrip()}…"
        width = f'style="width:{self._label_width:.1f}em"'
        return f'<div class="imagegen-mosaic"><b {width} title="{escape(short(label))}">{escape(shown)}</b>{cells}</div>'


def _across(axes: Mapping[str, Sequence[str]], columns: int) -> str:
    """Return the axis across the top: the longest one that fits the page."""
    fitting = [name for name in axes if len(axes[name]) <= columns]
    return max(fitting, key=lambda name: len(axes[name]), default="")


def _frame(task: int, progress: JobProgress, thumbnails: Sequence[str]) -> str:
    row = progress.rows[task]
    if not thumbnails:
        return _square(row.stage)
    prompt = row.images[0].request.prompt[:200] if row.images else ""
    return f'<i><img src="{escape(thumbnails[0])}" alt="{escape(prompt)}"></i>'


def _square(stage: Stage) -> str:
    return f'<i class="{_CLASSES.get(stage, "w")}"></i>'
