"""The panel's runs: a job with its progress, and its row of widgets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from html import escape
from typing import Any

from imagegen_magic.engine import threads
from imagegen_magic.engine.jobs.job import Job
from imagegen_magic.engine.ledger.sweeps import SweepRecord
from imagegen_magic.errors import ImageGenError, message
from imagegen_magic.humanize import duration, truncate
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.progress import renderers
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.notebook.progress.sweep_grid import SweepGrid
from imagegen_magic.result import GeneratedImage

_AGAIN = "press Generate again"
_KEPT = 0.8  # seconds that a finished row stays visible
_COLUMNS = 5  # of a sweep's grid
_THUMBNAIL = 96, 2_000  # of a sweep's picture: pixels, bytes


class Run:
    """A job and its progress; used on the engine's loop, except `cancel`. The grid of a `sweep` stays at the end."""

    def __init__(self, job: Job, sweep: SweepRecord | None = None) -> None:
        self.job = job
        self._prompt = sweep.prompt if sweep else job.request.prompt
        self._grid = SweepGrid(sweep.axes, job.places, _COLUMNS) if sweep else None
        self._thumbnails: dict[int, list[str]] = {}
        self.progress = JobProgress(job.tasks, time.time())
        self.errors: list[str] = []
        self.ended = 0.0

    def cancel(self) -> None:
        """Stop waiting; from any thread, any number of times."""
        if not self.job.done:
            self.progress.stopping = True
            self.job.cancel()

    async def pictures(self) -> AsyncIterator[GeneratedImage]:
        """Yield the images as they arrive, and record the progress, until the job has ended."""
        async for event in self.job.events():
            self.progress.take(event)
            if isinstance(event, GeneratedImage):
                if self._grid and self._grid.pictures:
                    self._thumbnails.setdefault(event.task, []).append(await threads.drawing(thumbnail, event, *_THUMBNAIL))
                yield event
        self.errors = list(self.progress.errors(_AGAIN))
        try:
            await self.job.result()
        except ImageGenError as error:
            self.errors = self.errors or [message(error, _AGAIN)]
        self.progress.stopping = False
        self.ended = time.time()

    def is_over(self, now: float) -> bool:
        """Whether its row can be removed: it ended without an error, a moment ago."""
        return bool(self.ended) and not self.stays and now > self.ended + _KEPT

    @property
    def stays(self) -> bool:
        """Whether its row stays until it is dismissed: with errors, or as the grid of a sweep."""
        return bool(self.errors or self._grid)

    @property
    def settled(self) -> bool:
        """Whether it has ended and its row stays, so that nothing more is to be drawn."""
        return bool(self.ended and self.stays)

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return bool(self.ended and self.errors)

    @property
    def name(self) -> str:
        """The prompt, shortened, for the label of a button."""
        return truncate(self._prompt)

    def html(self, now: float) -> str:
        """Return the request, the bars of its tasks, and the errors."""
        label = f'aria-label="{escape(self.name)}"'
        bars = "".join(self._bars(self.ended or now)).replace('role="progressbar"', f'role="progressbar" {label}')
        found = progress_html.about_html([self._title()]) + bars + controls.alert(self.errors)
        return f'<div role="group" {label}>{found}</div>'

    def grid_html(self) -> list[str]:
        """Return the rows of a sweep's grid; none for another job."""
        return self._grid.rows(self.progress, self._thumbnails) if self._grid else []

    def _title(self) -> str:
        job = self.job
        facts = list(filter(None, [self.name, job.title]))
        if job.plan and job.gateway:
            facts += [f"{job.gateway.label} {job.plan.model.name}", str(job.plan.request.size)]
        if self.ended:
            facts.append(duration(self.ended - self.progress.started))
        return " · ".join(facts)

    def _bars(self, now: float) -> list[str]:
        plan = self.job.plan
        if self.failed and not self.progress.images:
            return []
        if self.progress.stopping or self._grid:
            return [progress_html.total_html(self.progress, now)]
        return progress_html.rows_html(self.progress, now, progress_html.frame_of(plan), plan.images_per_call if plan else ())


class RunRow:
    """The widgets of a run: its progress with Cancel, and Dismiss when it has ended."""

    def __init__(self, run: Run, on_dismiss: Callable[[Run], None]) -> None:
        self._run = run
        self._text = controls.html()
        self._drawn = ""
        self._cancel = controls.button("Cancel", run.cancel, tooltip=f"Stop waiting for: {run.name}", at_once=run.cancel)
        # a separate button: a late click on Cancel must not remove the errors in the row
        self._dismiss = controls.button("Dismiss", lambda: on_dismiss(run), tooltip=f"Remove: {run.name}")
        self._grid: list[Any] = []
        self._grid_box = controls.box("grid")
        controls.set_visible(self._grid_box, False)
        self.widget = controls.box("stack", controls.box("line", self._text, self._cancel, self._dismiss), self._grid_box)

    def draw(self, now: float) -> None:
        """Show the run as it is now; `now` in epoch seconds."""
        html = self._run.html(now)
        if html != self._drawn:
            self._drawn = html
            self._text.value = progress_html.in_phase(html, now)
        self._draw_grid(self._run.grid_html())
        controls.set_visible(self._dismiss, bool(self._run.ended))
        controls.set_visible(self._cancel, not self._run.ended)
        if self._run.progress.stopping:
            controls.update(self._cancel, description="Stopping", disabled=True)

    def _draw_grid(self, rows: Sequence[str]) -> None:
        """Send the rows of the grid that changed."""
        if len(rows) != len(self._grid):
            self._grid = [controls.html() for _ in rows]
            renderers.set_children(self._grid_box, *self._grid)
            controls.set_visible(self._grid_box, bool(rows))
        for widget, row in zip(self._grid, rows, strict=True):
            controls.update(widget, value=row)
