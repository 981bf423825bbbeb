"""The view of a sweep in a cell: a bar with counts, a grid of thumbnails, and at the end one labelled image with a table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from copy import copy
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine import threads
from imagegen_magic.errors import ImageGenError, ImageInvalid
from imagegen_magic.humanize import duration, pluralize, truncate
from imagegen_magic.notebook.context import current_shell, has_kernel
from imagegen_magic.notebook.output import captions, display
from imagegen_magic.notebook.output.display import Bundle, Canvas, preview_bundle, text_bundle
from imagegen_magic.notebook.output.gallery import SHOWN
from imagegen_magic.notebook.output.style import FONT
from imagegen_magic.notebook.output.tables import Cell, Table
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.progress.renderers import NullRenderer, TerminalRenderer, WidgetRenderer
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.notebook.progress.sweep_grid import STYLE, SweepGrid
from imagegen_magic.notebook.progress.view import View
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies.sweeps.result import SweepResult, short, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.studies.scores.table import ScoreColumn

_EDGES = ((24, 384), (100, 264), (400, 140))  # (maximum number of images, pixels of the copies for the grid)
_SMALLEST = 84
_LIVE = 96, 2_000  # of a thumbnail: pixels, bytes
_AT_ONCE = 12  # thumbnails made between two drawings
_TABLE_PICTURES = 40  # rows of the final table with a thumbnail
_TABLE_ROWS = 100
_TABLE_SCORES = 8  # columns of scores
PREVIEW_WIDTH = 1600  # px of the final picture
_GRID_BYTES = 135_000  # of the final picture
_WIDEST = 1000  # CSS pixels of the final picture
_SLOTS = 2  # outputs of every result: the grid and the table, or that there is no image and why
_ERRORS = 8  # groups of errors that are shown
_PROMPT = 160  # characters of a prompt in the final table


def edge(pictures: int) -> int:
    """Return the longest edge, in pixels, of the copies from which the grid of so many images is drawn."""
    return next((edge for most, edge in _EDGES if pictures <= most), _SMALLEST)


class SweepWidget(WidgetRenderer):
    """One bar for all tasks, the grid below it, and a Cancel button."""

    interval = 0.25

    def __init__(self, canvas: Canvas, title: str, grid: SweepGrid) -> None:
        super().__init__(canvas, title)
        self._grid = grid

    def _html(self, progress: JobProgress, now: float) -> list[str]:
        return [STYLE + progress_html.total_html(progress, now), *self._grid.rows(progress, self._thumbnails)]

    async def _draw_thumbnails(self, progress: JobProgress) -> None:
        """Make a few of the missing thumbnails at a time, so that the bar is updated."""
        if not self._grid.pictures:
            return
        fresh = [row.images[0] for task, row in enumerate(progress.rows) if row.images and task not in self._thumbnails]
        for image in fresh[:_AT_ONCE]:
            self._thumbnails[image.task] = [await threads.drawing(thumbnail, image, *_LIVE)]


class SweepView(View):
    """The view of one sweep in one cell; `width` limits the final image, in pixels."""

    def __init__(
        self, job: Job, shell: Any, *, axes: Mapping[str, Sequence[str]], width: int | None = None, background: bool = False
    ) -> None:
        self._width, self._axes = width or PREVIEW_WIDTH, axes
        super().__init__(job, shell, background=background)

    def _widget(self, canvas: Canvas) -> NullRenderer:
        return SweepWidget(canvas, self._title(), SweepGrid(self._axes, self._job.places))

    def _slots(self) -> int:
        return _SLOTS if self._background else 0

    async def _outputs(self) -> AsyncIterator[Bundle]:
        result = self._job.generation
        if not isinstance(result, SweepResult):
            yield display.line(self._nothing())
            for text in await self._errors() if self._background else ():
                yield display.line(text, stands_out=True)
            return
        copies = await _copies(self._progress.images)
        yield await threads.drawing(grid_bundle, result, copies, self._width)
        yield await threads.drawing(table_bundle, result, copies)
        fonts = "" if isinstance(self._renderer, TerminalRenderer) else await threads.drawing(missing_font, result)
        if lines := [*filter(None, [fonts]), *self._grouped(result)]:
            yield display.joined(display.line(text, stands_out=True) for text in lines)

    def _grouped(self, result: SweepResult) -> Iterator[str]:
        """Yield each error once, with its combinations."""
        progress = self._progress
        groups: dict[str, list[tuple[int, ImageGenError]]] = {}
        for task, error in [*progress.task_errors, *((-1, error) for error in progress.other_errors(result.errors))]:
            groups.setdefault(str(_with_rows(error, ())), []).append((task, error))
        for group in list(groups.values())[:_ERRORS]:
            tasks = [task for task, _ in group if task >= 0]
            combinations = summarize((result.places[task] for task in tasks), self._axes) if tasks and self._axes else ""
            count = f"{len(tasks)} of {len(result.places)}" if tasks else ""
            rows = tuple(row for _, error in group for row in error.rows)  # the tasks that can be given up
            yield ": ".join(filter(None, [count, combinations, str(_with_rows(group[0][1], rows))]))
        if len(groups) > _ERRORS:
            yield f"and {pluralize(len(groups) - _ERRORS, 'other error')}: .errors of the result has them all"


def _with_rows(error: ImageGenError, rows: tuple[int, ...]) -> ImageGenError:
    other = copy(error)
    other.rows = rows
    return other


async def _copies(images: Sequence[GeneratedImage]) -> dict[int, bytes]:
    """Return a small copy of each image whose file exists; reused images have none yet, and two threads make them."""
    longest = edge(len(images))
    made = await asyncio.gather(*(threads.drawing(_copy, image, longest) for image in images))
    return {image.id: copy for image, copy in zip(images, made, strict=True) if copy}


def _copy(image: GeneratedImage, longest: int) -> bytes:
    from imagegen_magic.imaging.preview import preview

    try:
        return (image.preview or preview(image.data, longest)).data
    except (OSError, ImageInvalid):
        return b""


def grid_bundle(result: SweepResult, copies: Mapping[int, bytes], width: int = PREVIEW_WIDTH) -> Bundle:
    """Return the labelled grid as one static image of at most 300 kB, drawn from the small copies."""
    sheet = result.sheet(pictures=copies)
    small = sheet.preview(width, _GRID_BYTES)
    wide = min(small.width, _WIDEST)
    return preview_bundle(small, truncate(sheet.alt, 400), (wide, round(small.height * wide / small.width)))


def mimebundle(result: SweepResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a sweep as the last value of a cell shows it: its grid; in a terminal its line and its paths."""
    shell = current_shell()
    if shell is not None and not has_kernel(shell):
        return {"text/plain": f"{result!r}\n{summary(result)}\n{_paths(result, None)}"}, {}
    longest = edge(len(result))
    return grid_bundle(result, {image.id: copy for image in result.images if (copy := _copy(image, longest))})


def missing_font(result: SweepResult) -> str:
    """Return the note on scripts of the grid that no font of this machine has; empty if there are none."""
    from imagegen_magic.imaging.text import missing_fonts

    return missing_fonts.words(result.sheet().missing_scripts())


def table_bundle(result: SweepResult, copies: Mapping[int, bytes] | None = None, folder: Path | None = None) -> Bundle:
    """Return the table of a sweep: one line, and below it, folded, a row for each image with its thumbnail and scores."""
    text = summary(result)
    scores = _scores(result)
    rows = [_row(result, image, copies or {}, number, scores) for number, image in enumerate(result.images[:_TABLE_ROWS])]
    heads = ("", *result.axes, *(column.name for column in scores), "made by", "pixels", "took", "cost", "file")
    table = Table(heads, rows)
    more = f"<div>and {len(result) - _TABLE_ROWS} more: .rows() of the result has them all</div>" if len(result) > _TABLE_ROWS else ""
    inside = f'<div style="overflow-x:auto">{table.html()}{more}</div>'
    html = f'<details style="{FONT};margin:6px 0 0"><summary style="cursor:pointer">{escape(text)}</summary>{inside}</details>'
    return text_bundle(f"{text}\n{_paths(result, folder)}", html)


def summary(result: SweepResult) -> str:
    """Return a sweep in one line: the images, the reused ones, the cost and the time."""
    of = len(result.places)
    reused = sum(image.reused for image in result.images)
    facts = [
        pluralize(len(result), "picture"),
        f"{of - len({image.task for image in result.images})} missing" if any(result.words) else "",
        f"{pluralize(len(result.impossible), 'combination')} left out" if result.impossible else "",
        f"{reused} reused, nothing spent on {'it' if reused == 1 else 'them'}" if reused else "",
        ", ".join(map(str, result.costs)) if reused < len(result) else "",
        duration(result.seconds),
    ]
    return " · ".join(fact for fact in facts if fact)


def _scores(result: SweepResult) -> Sequence[ScoreColumn]:
    """Return the scores that its images have already, as reused ones may; none if the ledger cannot be read, which the cell reports."""
    try:
        return list(result.scores.columns.values())[:_TABLE_SCORES]
    except ImageGenError:
        return ()


def _row(
    result: SweepResult, image: GeneratedImage, copies: Mapping[int, bytes], number: int, scores: Sequence[ScoreColumn]
) -> list[str | Cell]:
    picture = thumbnail(copies.get(image.id, image), *_LIVE) if number < _TABLE_PICTURES else ""
    return [
        Cell(str(image.id), picture=picture, alt=truncate(image.request.prompt, _PROMPT)),
        *(short(result.place(image).get(axis, "")) for axis in result.axes),
        *(column.text(image) for column in scores),
        captions.made_by(image),
        f"{image.width}×{image.height}",
        "" if image.seconds is None else duration(image.seconds),
        "reused, nothing spent" if image.reused else str(image.cost),
        captions.near(image.file),
    ]


def _paths(result: SweepResult, folder: Path | None) -> str:
    names = [captions.near(image.file, folder) for image in result.images[:SHOWN]]
    more = [f"and {len(result) - len(names)} more in {captions.near(result.images[-1].file.parent, folder)}"]
    return "\n".join(names + (more if len(result) > len(names) else []))
