"""Following a job in a cell: live progress that turns into pictures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine import threads
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import duration, pluralize
from imagegen_magic.notebook.context import accepts_input, current_shell, has_kernel, shows_widgets
from imagegen_magic.notebook.output import display
from imagegen_magic.notebook.output.display import EDGE, Bundle, Canvas
from imagegen_magic.notebook.progress.renderers import NullRenderer, TerminalRenderer, TextRenderer, WidgetRenderer
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.request import Size

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job

SHOWN = 24  # pictures of one cell; further ones are named with their files

_PATIENCE = 0.15  # seconds before widgets are built, so that the request is on its way first
_BOUND = 4.0  # seconds for a stopped job to say how it stands
_FEWER = "the gateway gave fewer pictures than it was asked for"


class View:
    """What one cell shows of one job."""

    def __init__(self, job: Job, live: NullRenderer, *, background: bool = False, edge: int = EDGE) -> None:
        self._job = job
        self._live = live
        self._background = background
        self._edge = edge
        self._board = JobProgress(len(job.plan.calls) if job.plan else 1, time.time())
        self._sent = asyncio.Event()
        self._ended = asyncio.Event()
        self._shown = threading.Event()
        live.begin(self._slots(), self.cancel)

    def _slots(self) -> int:
        """Return how many outputs the cell must have from the beginning: in the background, as many as the end needs.

        No output can be taken away later, so each of them is filled whatever becomes of the pictures.
        """
        of = self._job.expecting
        return 2 * min(of, SHOWN) + (of > SHOWN) if self._background else 1

    def cancel(self) -> None:
        """Stop waiting; from any thread, any number of times."""
        self._board.stopping = True
        self._job.cancel()

    async def follow(self) -> None:
        """Show the job's progress until it ends, then its pictures; on the engine's loop.

        Cancelled, it stops the job's waiting and shows what there is. What went wrong beside pictures is told in the
        output; where nothing was made, the job's own result raises it, unless the job is in the background.
        """
        ticker = asyncio.create_task(self._tick())
        listener = asyncio.create_task(self._listen())
        try:
            await asyncio.shield(listener)
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait([listener], timeout=_BOUND)
            raise
        finally:
            listener.cancel()
            self._ended.set()
            drawn, _ = await asyncio.wait([ticker], timeout=_BOUND)
            await self._finish()
            ticker.result() if drawn else ticker.cancel()

    def settle(self) -> bool:
        """Say whether the pictures stand in the output; where the job has ended, wait for that, for a bounded time."""
        return self._shown.is_set() or (self._job.done and self._shown.wait(_BOUND))

    def confirm(self) -> None:
        """Say the end once more, in the cell that runs now."""
        self._live.confirm()

    async def _listen(self) -> None:
        async for event in self._job.events():
            self._board.take(event)
            if self._board.under_way:
                self._sent.set()

    async def _tick(self) -> None:
        await _first_of(self._sent, self._ended, timeout=_PATIENCE)
        if not self._ended.is_set():
            await self._live.open(self._board, time.time())
        while not self._ended.is_set():
            await self._live.draw(self._board, time.time())
            await _first_of(self._ended, timeout=self._live.interval)

    async def _finish(self) -> None:
        try:
            self._live.finish([bundle async for bundle in self._outputs()])
        finally:
            self._live.close()
            self._shown.set()

    async def _outputs(self) -> AsyncIterator[Bundle]:
        images = self._board.images
        for image in images[:SHOWN]:
            yield await threads.drawing(display.bundle, image, edge=self._edge)
            yield display.caption(image)
        if len(images) > SHOWN:
            yield display.joined(display.caption(image) for image in images[SHOWN:])
        if self._background and len(images) < self._job.expecting:
            for words in await self._gaps(len(images)):
                yield display.line(words, stands_out=True)
        elif images:
            for words in await self._errors():
                yield display.line(words, stands_out=True)
        else:
            yield display.line(self._nothing())
            for words in await self._others():
                yield display.line(words, stands_out=True)

    async def _gaps(self, made: int) -> list[str]:
        """Return in words what stands in the outputs of pictures that did not come: for each that there is none, and why."""
        of = self._job.expecting
        reasons, told, lines = await self._reasons(of - made), dict[str, int](), list[str]()
        for number, why in enumerate(reasons[: max(0, SHOWN - made)], made + 1):
            same = told.setdefault(why, number)
            lines.append(f"picture {number} of {of} did not come" if of > 1 else self._nothing())
            lines.append(why if same == number else f"for the same reason as picture {same}")
        further = [why for why in dict.fromkeys(reasons[max(0, SHOWN - made) :]) if why not in told]
        if of > SHOWN:
            lines.append("; ".join([f"{min(of - made, of - SHOWN)} further pictures did not come", *further]))
        return lines

    async def _reasons(self, missing: int) -> list[str]:
        """Return for each picture that did not come why: its task's error, or what ended the whole job."""
        expected = self._job.plan.images_per_call if self._job.plan else ()
        rows = [(row.progress, count - len(row.images)) for row, count in zip(self._board.rows, expected, strict=False)]
        told = [str(progress.error) for progress, short in rows if progress and progress.error for _ in range(short)]
        others = [] if told else await self._errors()
        return [*told, *[others[0] if others else _FEWER] * missing][:missing]

    def _nothing(self) -> str:
        waited = time.time() - self._board.started
        return f"no picture after {duration(waited)}" if waited >= 1 else "no picture"

    async def _errors(self) -> list[str]:
        """Return what went wrong, a line each, and once where it is the same for all."""
        told = list(self._board.errors())
        for error in getattr(self._job, "errors", ()):  # what belongs to no task alone
            if not any(words.endswith(str(error)) for words in told):
                told.append(str(error))
        return told or [words for words in [await self._end()] if words and not self._board.images]

    async def _others(self) -> list[str]:
        """Return what went wrong beside what the cell itself raises in the end."""
        end = "" if self._background else await self._end()
        return [words for words in await self._errors() if end and not words.endswith(end)]

    async def _end(self) -> str:
        """Return what the job raises in the end, nothing where it returns."""
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


def view(job: Job, shell: Any = None, *, background: bool = False, edge: int = EDGE) -> View:
    """Make the outputs of this cell for a job, and choose how its progress is shown; in the main thread, inside the magic.

    `edge` is the longest edge of a picture in the notebook, in pixels. In the background, the cell's output goes on living after the cell.
    """
    shell = shell or current_shell()
    looking = View(job, choose(job, shell, background, lambda: _widget(job, shell)), background=background, edge=edge)
    if background and shell is not None:
        settle_after_cells(shell, looking)
    return looking


def settle_after_cells(shell: Any, looking: View) -> None:
    """Let a cell that has waited for a background job end only when its pictures are shown: a runner may end the kernel then.

    The first cell to end after the job says its end once more, as a runner listens to the cell alone that it is at.
    """

    def settle(_: Any) -> None:
        if looking.settle():
            looking.confirm()
            shell.events.unregister("post_run_cell", settle)

    shell.events.register("post_run_cell", settle)


def choose(job: Job, shell: Any, background: bool, widget: Callable[[], NullRenderer]) -> NullRenderer:
    """Return what shows progress here: words where the cell is captured, in a terminal, or run by a program, else the `widget`."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    if shell is not None and isinstance(shell.display_pub, CapturingDisplayPublisher):
        return NullRenderer(Canvas(shell))
    if not has_kernel(shell):
        return TerminalRenderer(_title(job), background=background)
    # nbclient and papermill forbid input, and would save every widget model that ever was
    if not accepts_input(shell) or not shows_widgets(shell):
        return TextRenderer(Canvas(shell), _title(job))
    return widget()


def _widget(job: Job, shell: Any) -> WidgetRenderer:
    pictures = job.plan.images_per_call if job.plan else ()
    warnings = job.plan.warnings if job.plan else ()
    return WidgetRenderer(Canvas(shell), _title(job), pixels=_pixels(job), pictures=pictures, warnings=warnings)


def _title(job: Job) -> str:
    plan, gateway = job.plan, job.gateway
    if title := getattr(job, "title", ""):
        return str(title)
    if plan is None or gateway is None:
        return f"collecting {pluralize(job.expecting, 'picture')}"
    words = f"{gateway.provider.name} {plan.model.name}" + (" (sandbox)" if gateway.sandbox else "")
    pixels = [f"{plan.pixels[0][0]}×{plan.pixels[0][1]}"] if plan.pixels else []
    return " · ".join([words, *pixels, str(gateway.money(plan.price))])


def _pixels(job: Job) -> tuple[int, int]:
    if job.plan and job.plan.pixels:
        return job.plan.pixels[0]
    size = Size.parse(job.plan.request.size) if job.plan and job.plan.request.size else Size("auto")
    return (size.width, size.height) if size.width else (1, 1)
