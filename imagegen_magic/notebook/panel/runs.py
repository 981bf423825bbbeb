"""The panel's runs: each a job under way, told row by row until it ends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from html import escape

from imagegen_magic.engine.jobs.job import Job
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import duration, truncate
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.result import GeneratedImage

_KEPT = 0.8  # seconds that a finished row stays, so that it is seen to finish


class Run:
    """One job and where it stands; lives on the engine's loop, but for `cancel`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.board = JobProgress(len(job.plan.calls) if job.plan else 1, time.time())
        self.errors: list[str] = []
        self.ended = 0.0

    def cancel(self) -> None:
        """Stop waiting; from any thread, as often as you like."""
        if not self.job.done:
            self.board.stopping = True
            self.job.cancel()

    async def pictures(self) -> AsyncIterator[GeneratedImage]:
        """Yield the pictures as they come, noting all else on the way, until the job has ended."""
        async for event in self.job.events():
            self.board.take(event)
            if isinstance(event, GeneratedImage):
                yield event
        self.errors = await self._told()
        self.board.stopping = False
        self.ended = time.time()

    async def _told(self) -> list[str]:
        """Return what went wrong, a line each, in words that say whose move it is and what was charged."""
        told = list(self.board.errors())
        try:
            await self.job.result()
        except ImageGenError as error:
            told = told or [str(error)]
        return [words.replace("run the cell again", "press Generate again") for words in told]

    def over(self, now: float) -> bool:
        """Whether its row may go: ended well, and seen to."""
        return bool(self.ended) and not self.errors and now > self.ended + _KEPT

    @property
    def failed(self) -> bool:
        """Whether it has ended with something to be read."""
        return bool(self.ended and self.errors)

    @property
    def name(self) -> str:
        """The run in a few words, for a button's label."""
        return truncate(self.job.request.prompt)

    def html(self, now: float) -> str:
        """Return the row: what is being made, and a bar for each task."""
        name = escape(self.name)
        lines = "".join(self._bars(self.ended or now)).replace('role="progressbar"', f'role="progressbar" aria-label="{name}"')
        told = progress_html.about_html([self._title()]) + lines + _problems(self.errors)
        return f'<div class="imagegen-run" role="group" aria-label="{name}">{told}</div>'

    def _title(self) -> str:
        job = self.job
        words = [self.name]
        if job.plan and job.gateway:
            words += [f"{job.gateway.label} {job.plan.model.name}", str(job.plan.request.size)]
        if self.ended:
            words.append(duration(self.ended - self.board.started))
        return " · ".join(words)

    def _bars(self, now: float) -> list[str]:
        if self.failed and not self.board.images:
            return []
        if self.board.many or self.board.stopping:
            return [progress_html.total_html(self.board, now)]
        pictures = self.job.plan.images_per_call if self.job.plan else ()
        frame, counts = self._frame(), [max(1, *pictures[task : task + 1], len(row.images)) for task, row in enumerate(self.board.rows)]
        columns = min(max(counts), progress_html.FRAMES)
        return [progress_html.row_html(row, now, frame, counts[task], (), columns) for task, row in enumerate(self.board.rows)]

    def _frame(self) -> tuple[int, int]:
        plan = self.job.plan
        return progress_html.shape(*(plan.pixels[0] if plan and plan.pixels else (1, 1)))


def _problems(errors: list[str]) -> str:
    lines = "".join(f'<div class="imagegen-problem">{escape(words)}</div>' for words in errors)
    return f'<div role="alert">{lines}</div>' if errors else ""
