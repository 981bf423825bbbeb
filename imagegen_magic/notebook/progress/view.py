"""The view of a job in a cell: live progress, then the images."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine import threads
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import duration, pluralize
from imagegen_magic.notebook.context import accepts_input, can_open_widgets, has_kernel, shows_widgets
from imagegen_magic.notebook.output import display, gallery
from imagegen_magic.notebook.output.display import EDGE, Bundle, Canvas
from imagegen_magic.notebook.progress.renderers import NullRenderer, TerminalRenderer, TextRenderer, WidgetRenderer
from imagegen_magic.notebook.progress.state import JobProgress

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job

_WIDGET_DELAY = 0.15  # seconds to wait, so that the request is sent before the widgets are created
_MAX_WAIT = 4.0  # seconds to wait for the last events of a stopped job
_TOO_FEW = "the service returned fewer pictures than requested"


class View:
    """The view of one job in one cell."""

    def __init__(self, job: Job, shell: Any, *, background: bool = False, edge: int = EDGE) -> None:
        """Create the view in the running cell, with the renderer that fits; in the main thread, inside the magic.

        `edge` is the longest edge of an image in the notebook, in pixels. In the background, the output is updated after the cell.
        """
        self._job = job
        self._background = background
        self._edge = edge
        self._progress = JobProgress(job.tasks, time.time())
        self._sent = asyncio.Event()
        self._ended = asyncio.Event()
        self._shown = threading.Event()
        self._renderer = self._choose_renderer(shell)
        self._renderer.begin(self._progress, self._slots(), self.cancel)
        if background:
            self._settle_after_cells(shell)

    def _choose_renderer(self, shell: Any) -> NullRenderer:
        """Return the renderer that fits: none in a captured cell, a line in a terminal, else the setting's, by default what is shown."""
        from IPython.core.displaypub import CapturingDisplayPublisher

        if isinstance(shell.display_pub, CapturingDisplayPublisher):
            return NullRenderer(Canvas(shell))
        if not has_kernel(shell):
            return TerminalRenderer(self._title(), background=self._background)
        if self._takes_widgets(shell):
            return self._widget(Canvas(shell))
        return TextRenderer(Canvas(shell), self._title(), obeys_updates=not accepts_input(shell))

    def _takes_widgets(self, shell: Any) -> bool:
        """Whether the progress is a widget: nbclient and papermill forbid input, and would save every widget model."""
        kind = self._job.settings.get("progress")
        return can_open_widgets(shell) if kind == "widgets" else kind == "auto" and accepts_input(shell) and shows_widgets(shell)

    def _widget(self, canvas: Canvas) -> NullRenderer:
        return WidgetRenderer(canvas, self._title(), self._job.plan)

    def _title(self) -> str:
        job, plan, gateway = self._job, self._job.plan, self._job.gateway
        if job.title or plan is None or gateway is None:
            return job.title or f"collecting {pluralize(job.expecting, 'picture')}"
        model = f"{gateway.provider.name} {plan.model.name}" + (" (sandbox)" if gateway.sandbox else "")
        pixels = [f"{plan.pixels[0][0]}×{plan.pixels[0][1]}"] if plan.pixels else []
        return " · ".join([model, *pixels, str(gateway.label_cost(plan.price))])

    def _slots(self) -> int:
        """Return how many outputs the cell needs from the beginning; 0 if they can be added at the end, which the background cannot.

        No output can be removed later, so each is filled whatever happens to the images.
        """
        return 1 if self._background else 0

    def cancel(self) -> None:
        """Stop waiting; from any thread, any number of times."""
        self._progress.stopping = True
        self._job.cancel()

    async def follow(self) -> None:
        """Show the job's progress until it ends, then its images; on the engine's loop.

        If cancelled, it stops waiting and shows the images so far. Errors of a job with images are shown in the
        output; without an image, the job's result raises them, unless the job is in the background.
        """
        ticker = asyncio.create_task(self._tick())
        listener = asyncio.create_task(self._listen())
        try:
            await asyncio.shield(listener)
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait([listener], timeout=_MAX_WAIT)
            raise
        finally:
            listener.cancel()
            self._ended.set()
            drawn, _ = await asyncio.wait([ticker], timeout=_MAX_WAIT)
            await self._finish()
            ticker.result() if drawn else ticker.cancel()

    def _settle_after_cells(self, shell: Any) -> None:
        """Let a cell that waited for a background job end only after its images are shown: a runner may stop the kernel then.

        The first cell that ends after the job repeats the result, because a runner only reads the outputs of its current cell.
        """

        def settle(_: Any) -> None:
            if self._shown.is_set() or (self._job.done and self._shown.wait(_MAX_WAIT)):
                self._renderer.confirm()
                shell.events.unregister("post_run_cell", settle)

        shell.events.register("post_run_cell", settle)

    async def _listen(self) -> None:
        async for event in self._job.events():
            self._progress.take(event)
            if self._progress.submitted:
                self._sent.set()

    async def _tick(self) -> None:
        await _first_of(self._sent, self._ended, timeout=_WIDGET_DELAY)
        if not self._ended.is_set():
            await self._renderer.open(self._progress, time.time())
        while not self._ended.is_set():
            await self._renderer.draw(self._progress, time.time())
            await _first_of(self._ended, timeout=self._renderer.interval)

    async def _finish(self) -> None:
        try:
            self._renderer.finish([bundle async for bundle in self._outputs()])
        finally:
            self._renderer.close()
            self._shown.set()

    async def _outputs(self) -> AsyncIterator[Bundle]:
        images = self._progress.images
        if isinstance(self._renderer, TerminalRenderer):
            for image in images:
                yield display.caption(image)
        elif images:
            yield await threads.drawing(gallery.bundle, images, edge=self._edge)
        if not images:
            yield display.line(self._nothing())
        for text in await self._lines(len(images)):
            yield display.line(text, stands_out=True)

    async def _lines(self, made: int) -> list[str]:
        """Return the lines below the images: the errors, and in the background how many images are missing."""
        if not self._background:
            return await (self._errors() if made else self._other_errors())
        of = self._job.expecting
        missing = [f"{of - made} of {of} pictures did not come"] if 0 < made < of else []
        return [*missing, *(await self._errors() or ([_TOO_FEW] if made < of else []))]

    def _nothing(self) -> str:
        waited = time.time() - self._progress.started
        return f"no picture after {duration(waited)}" if waited >= 1 else "no picture"

    async def _errors(self) -> list[str]:
        """Return the errors, a line each, each once."""
        reported = [*self._progress.errors(), *map(str, self._progress.other_errors(self._job.errors))]
        return reported or [text for text in [await self._final_error()] if text and not self._progress.images]

    async def _other_errors(self) -> list[str]:
        """Return the errors other than the one that the cell raises."""
        end = "" if self._background else await self._final_error()
        return [text for text in await self._errors() if end and not text.endswith(end)]

    async def _final_error(self) -> str:
        """Return the error that the job raises; empty if it returns."""
        try:
            await self._job.result()
        except ImageGenError as error:
            return str(error)
        return ""


async def _first_of(*events: asyncio.Event, timeout: float) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
