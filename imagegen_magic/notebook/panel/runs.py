"""The panel's runs: the rows of running jobs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from html import escape

from imagegen_magic.engine.jobs.job import Job
from imagegen_magic.errors import ImageGenError, message
from imagegen_magic.humanize import duration, truncate
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.result import GeneratedImage

_AGAIN = "press Generate again"
_KEPT = 0.8  # seconds that a finished row stays visible


class Run:
    """A job and its progress; used on the engine's loop, except `cancel`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.progress = JobProgress(len(job.plan.calls) if job.plan else 1, time.time())
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
                yield event
        self.errors = await self._collect_errors()
        self.progress.stopping = False
        self.ended = time.time()

    async def _collect_errors(self) -> list[str]:
        """Return the errors, a line each."""
        found = list(self.progress.errors(_AGAIN))
        try:
            await self.job.result()
        except ImageGenError as error:
            found = found or [message(error, _AGAIN)]
        return found

    def is_over(self, now: float) -> bool:
        """Whether its row can be removed: it ended without an error, a moment ago."""
        return bool(self.ended) and not self.errors and now > self.ended + _KEPT

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return bool(self.ended and self.errors)

    @property
    def name(self) -> str:
        """The prompt, shortened, for the label of a button."""
        return truncate(self.job.request.prompt)

    def html(self, now: float) -> str:
        """Return the row: the request, and a bar for each task."""
        name = escape(self.name)
        lines = "".join(self._bars(self.ended or now)).replace('role="progressbar"', f'role="progressbar" aria-label="{name}"')
        found = progress_html.about_html([self._title()]) + lines + _problems(self.errors)
        return f'<div class="imagegen-run" role="group" aria-label="{name}">{found}</div>'

    def _title(self) -> str:
        job = self.job
        words = [self.name]
        if job.plan and job.gateway:
            words += [f"{job.gateway.label} {job.plan.model.name}", str(job.plan.request.size)]
        if self.ended:
            words.append(duration(self.ended - self.progress.started))
        return " · ".join(words)

    def _bars(self, now: float) -> list[str]:
        if self.failed and not self.progress.images:
            return []
        if self.progress.many or self.progress.stopping:
            return [progress_html.total_html(self.progress, now)]
        pictures = self.job.plan.images_per_call if self.job.plan else ()
        frame, counts = self._frame(), [max(1, *pictures[task : task + 1], len(row.images)) for task, row in enumerate(self.progress.rows)]
        columns = min(max(counts), progress_html.FRAMES)
        return [progress_html.row_html(row, now, frame, counts[task], (), columns) for task, row in enumerate(self.progress.rows)]

    def _frame(self) -> tuple[int, int]:
        plan = self.job.plan
        return progress_html.shape(*(plan.pixels[0] if plan and plan.pixels else (1, 1)))


def _problems(errors: list[str]) -> str:
    lines = "".join(f'<div class="imagegen-problem">{escape(words)}</div>' for words in errors)
    return f'<div role="alert">{lines}</div>' if errors else ""
