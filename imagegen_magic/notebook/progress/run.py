"""A job in a cell: wait for it, or let it run in the background, and bind its result to variables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.cancellation import has_cancelling
from imagegen_magic.humanize import pluralize
from imagegen_magic.notebook.output.tables import show_note
from imagegen_magic.notebook.progress.view import View

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext

MakeView = Callable[..., View]  # of a job and a shell; `background` by keyword
_HEAD_START = 0.01  # seconds for the engine before the progress is drawn; nothing would be visible earlier


class Interrupted(KeyboardInterrupt):
    """The waiting was interrupted: one line says what continues, and Run All stops."""

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


def remind_of_waiting(context: NotebookContext, settings: Settings) -> None:
    """Show once a session, on one quiet line, that paid images can be collected."""
    if context.reminded:
        return
    context.reminded = True
    if waiting := api.ledger(settings).count_resumable():
        show_note(f"{pluralize(waiting, 'picture')} {'is' if waiting == 1 else 'are'} waiting: %imagegen resume")


def wait_in_cell(
    context: NotebookContext,
    job: Job,
    out: str | None = None,
    *,
    make_view: MakeView = View,
    keep_loop: bool = False,
) -> None:
    """Show the progress and the images of a job until it ends, and bind its Generation.

    Raises Interrupted, and the job's error if it made no image.
    """
    wait = _run_on_kernel_loop if keep_loop else loop.run
    try:
        show_note(job.note)
        job.wait_until_submitted(_HEAD_START)
        wait(make_view(job, context.shell).follow())
        generation = wait(job.result())
    except KeyboardInterrupt:
        job.cancel()
        if job.generation is not None:  # the images in the output have a name, as after Cancel
            bind_result(context, job.generation, out)
        raise Interrupted(_stopped(job)) from None
    bind_result(context, generation, out)


def _stopped(job: Job) -> str:
    if not job.submitted:
        return "stopped waiting. Nothing was sent, nothing is charged."
    goes_on = cancelled_too([job]) or "The service continues with the accepted tasks and charges for them"
    return f"stopped waiting. {goes_on}. %imagegen resume collects the pictures without paying again."


def cancelled_too(jobs: Sequence[Job]) -> str:
    """Return what happens to the tasks of jobs whose waiting was stopped, without a full stop; "" if no service cancels any."""
    if not any(has_cancelling(request.endpoint.provider) for job in jobs for request in job.requests):
        return ""
    return "What the service has not begun is cancelled there, at no charge; it continues with the others and charges for them"


def _run_on_kernel_loop(coroutine: Any) -> Any:
    try:
        kernel_loop = asyncio.get_running_loop()
    except RuntimeError:
        return loop.run(coroutine)  # no loop runs in this thread, so no task is blocked
    import nest_asyncio2  # type: ignore[import-untyped]

    nest_asyncio2.apply(kernel_loop)
    return kernel_loop.run_until_complete(loop.await_on_engine(coroutine))


def run_in_background(context: NotebookContext, job: Job, out: str | None = None, *, make_view: MakeView = View) -> None:
    """Let a job continue after the cell, whose output shows it; bind the job, and its Generation when it ends."""
    show_note(job.note)
    view = make_view(job, context.shell, background=True)
    context.jobs = [*(other for other in context.jobs if not other.done), job]
    if out:
        context.shell.push({out: job})
    handle = loop.submit(view.follow())
    handle.add_done_callback(lambda _: _bind_finished(context, job))


def _bind_finished(context: NotebookContext, job: Job) -> None:
    if job.generation is not None:
        context.shell.user_ns["_imagegen"] = job.generation


def bind_result(context: NotebookContext, generation: Any, out: str | None) -> None:
    """Bind a Generation to `_imagegen` and to the chosen variable."""
    context.shell.push({"_imagegen": generation} | ({out: generation} if out else {}))
