"""`%imagegen resume`, `jobs`, `wait`, `cancel` and `forget`: the jobs of this session and the open tasks of the ledger."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.service_cancel import Cancellation, cancel_at_service
from imagegen_magic.engine.jobs.unanswered import Unanswered, unanswered
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import gateway_name, local_minute, pluralize, truncate
from imagegen_magic.notebook.arguments.confirmation import can_answer, confirm
from imagegen_magic.notebook.output.tables import Note, Page, Table, show_note
from imagegen_magic.notebook.progress.run import Interrupted, bind_result, cancelled_too, wait_in_cell

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.engine.ledger.ledger import TaskRow
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext

_OPEN = {
    "planned": "queued",
    "submitting": "being submitted",
    "submitted": "at the service",
    "made": "finished, not downloaded yet",
    "unknown": "sent, but it is unknown whether the service accepted it",
}
_CLOSED = {"saved": "all its pictures are saved", "failed": "it has failed already", "dropped": "it was never sent"}
_ROW = re.compile(r"\d{1,18}")


def resume(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Collect the images of all open tasks, or of one; then ask about submissions without an answer, which may cost something."""
    settings = context.settings()
    row, folder = _parse_resume(arguments, settings)
    context.reminded = True
    ask_again = "--ask-again" in flags
    collected = _collect(context, row, folder, ask_again)
    unknown = _unanswered(settings, row)
    askable = [] if ask_again else [each for each in unknown if each.until]
    if askable and _may_ask_again(context, askable):
        ids = [each.task.row for each in askable]
        _wait(context, _started(lambda: api.resume(settings, ids=ids, save_dir=folder, ask_again=True)))
    elif not collected and not askable:
        left = f" {pluralize(len(unknown), 'submission')} got no answer: %imagegen jobs shows what can be tried." if unknown else ""
        print(f"Nothing is waiting.{left}")


def _collect(context: NotebookContext, row: int | None, folder: str | None, ask_again: bool) -> bool:
    """Collect what is waiting, or what is found in the gateways' lists; returns whether there was anything."""
    settings = context.settings()
    if row is not None:
        loop.run(api.ledger(settings).recover_orphans())
    if row is None or _unanswered(settings, row):
        ids = None if row is None else [row]
        return _wait(context, _started(lambda: api.resume(settings, ids=ids, save_dir=folder, ask_again=ask_again)))
    return _wait(context, _started(lambda: api.resume_task(row, settings, save_dir=folder)))


def _started(start: Callable[[], Job]) -> Job:
    """Start a job; an interrupt meanwhile says what it means."""
    try:
        return start()
    except KeyboardInterrupt:
        raise Interrupted(
            "nothing was collected yet. The services keep what they made: %imagegen resume collects it without paying again."
        ) from None


def _wait(context: NotebookContext, job: Job) -> bool:
    """Show a job's progress until it ends, or its note; returns whether there was anything to collect."""
    if job.expecting:
        wait_in_cell(context, job)
    else:
        show_note(job.note)
    return bool(job.expecting)


def _unanswered(settings: Settings, row: int | None) -> list[Unanswered]:
    """Return the submissions of unknown outcome, or the one of that row."""
    found = loop.run(unanswered(api.ledger(settings), settings.without_errors))
    return [each for each in found if row in (None, each.task.row)]


def _may_ask_again(context: NotebookContext, askable: Sequence[Unanswered]) -> bool:
    """Show these submissions with their price, and return whether the gateways may be asked about them."""
    rows = [
        [
            f"task {each.task.row}",
            gateway_name(each.task.provider, each.task.sandbox),
            truncate(each.task.prompt),
            _until(each),
            "unknown" if each.price.amount is None else str(each.price),
        ]
        for each in askable
    ]
    display(Page(Table(("", "service", "prompt", "can be asked until", "price if it is made now"), rows)))
    many = len(askable) > 1
    question = (
        f"{pluralize(len(askable), 'submission')} got no answer. Ask the service again with the same key? What arrived is not charged "
        "again; what never arrived is made now, at the price shown."
    )
    answer = confirm(question) if can_answer(context.shell) else None
    if not answer:
        how = "" if answer is False else f" %imagegen resume --ask-again asks about {'them' if many else 'it'}."
        print(f"Nothing was sent again.{how}")
    return bool(answer)


def _until(unanswered: Unanswered) -> str:
    return local_minute(unanswered.until) if unanswered.until else ""


def _parse_resume(arguments: list[str], settings: Settings) -> tuple[int | None, str | None]:
    """Return the task (None: all) and the folder; a number is a task unless a folder has this name."""
    if not arguments or not _ROW.fullmatch(arguments[0]):
        if len(arguments) > 1:
            raise UsageError(f"The subcommand is %imagegen resume [ID] [DIR], and {arguments[0]} is not a task's number. Nothing was sent.")
        return None, arguments[0] if arguments else None
    number = arguments[0]
    if len(arguments) == 1 and (settings.folder / number).is_dir():
        raise UsageError(
            f"There is a folder {number} here: %imagegen resume ./{number} saves into it, "
            f"%imagegen resume {number} {settings.get('save_dir')} collects task {number}."
        )
    return int(number), arguments[1] if len(arguments) > 1 else None


def jobs(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the jobs of this session and the open tasks."""
    rows = []
    for job in context.jobs:
        gateways = ", ".join(dict.fromkeys(request.endpoint.label for request in job.requests))
        ended = f"done, {pluralize(len(job.images), 'picture')}" if job.images else "ended without a picture"
        rows.append([f"job {job.id}", gateways, truncate(job.request.prompt), ended if job.done else "running"])
    settings = context.settings()
    ledger = api.ledger(settings)
    loop.run(ledger.recover_orphans())
    unknown = {each.task.row: _next_step(each) for each in loop.run(unanswered(ledger, settings.without_errors))}
    for task in loop.run(ledger.tasks(states=tuple(_OPEN))):
        known = f" ({task.task_id})" if task.task_id else f": {unknown[task.row]}" if task.row in unknown else ""
        rows.append([f"task {task.row}", gateway_name(task.provider, task.sandbox), truncate(task.prompt), _OPEN[task.state] + known])
    if rows:
        hint = Note("%imagegen wait, %imagegen cancel ID; %imagegen resume collects.")
        display(Page(Table(("", "service", "prompt", "state"), rows), hint))
    else:
        print("No running or pending tasks.")


def _next_step(unknown: Unanswered) -> str:
    """Return what can be tried for a submission of unknown outcome, and until when."""
    steps = [unknown.problem] if unknown.problem else []
    if unknown.listed_until:
        steps.append(f"%imagegen resume searches the gateway's list of tasks until {local_minute(unknown.listed_until)}, at no cost")
    if unknown.until:
        price = "at an unknown price" if unknown.price.amount is None else f"for {unknown.price}"
        steps.append(f"%imagegen resume --ask-again asks with the same key until {_until(unknown)}, {price} if it is made now")
    return "; ".join(steps) or f"see the service's own task list or usage page; %imagegen forget {unknown.task.row} gives it up"


def wait(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Wait for the jobs that this session started with --no-wait."""
    errors = []
    started = list(context.jobs)
    for job in started:
        try:
            bind_result(context, job.wait(), None)
        except ImageGenError as error:
            errors.append(error)
        except KeyboardInterrupt:
            raise Interrupted("stopped waiting. The jobs continue.") from None
    if errors:
        raise errors[-1]
    done = f"{pluralize(len(started), 'job')} {'is' if len(started) == 1 else 'are'} done."
    print(done if started else "No job was started with --no-wait.")


def cancel(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Stop waiting for a job, or for all; with --at-service, cancel its tasks, or the one of that number, at the service too."""
    running = [job for job in context.jobs if not job.done]
    chosen = [job for job in running if not arguments or str(job.id) == arguments[0]]
    if "--at-service" in flags:
        _cancel_at_service(context, arguments, chosen)
        return
    if arguments and not chosen:
        ids = ", ".join(str(job.id) for job in running) or "none"
        raise UsageError(f"Job {arguments[0]} is not running (running: {ids}). A running cell stops with its own Cancel or interrupt.")
    for job in chosen:
        job.cancel()
    if not chosen:
        print("No job is running.")
        return
    goes_on = cancelled_too(chosen) or "The services continue with the accepted tasks and charge for them"
    print(f"Stopped waiting for {pluralize(len(chosen), 'job')}. {goes_on}: %imagegen resume collects their pictures.")


def _cancel_at_service(context: NotebookContext, arguments: list[str], chosen: Sequence[Job]) -> None:
    """Cancel the tasks of jobs of this session, or the open task of a number, at their services, and print what came of each."""
    if not chosen and not (arguments and _ROW.fullmatch(arguments[0])):
        raise UsageError("Give the number of a job or a task: %imagegen cancel ID --at-service; %imagegen jobs lists them.")
    for job in chosen:
        job.cancel()
    for job in chosen:
        with contextlib.suppress(ImageGenError):  # that the waiting was stopped
            job.wait()
    rows = [row for job in chosen for row in job.rows] or [int(arguments[0])]
    for each in loop.run(cancel_at_service(context.settings(), rows)):
        print(_came_of(each))


_CHARGED = {"no": "Nothing was charged.", "yes": "It was charged.", "unknown": "It may have been charged."}


def _came_of(done: Cancellation) -> str:
    """Return what cancelling a task at its service did, what was charged, and the next step."""
    task, collect = f"Task {done.task.row}", f"%imagegen resume {done.task.row}"
    gateway = gateway_name(done.task.provider, done.task.sandbox)
    match done.outcome:
        case "cancelled":
            return f"{task} was cancelled at {gateway} before it began. Nothing was charged."
        case "stopped":
            return f"{task} was stopped at {gateway} while it ran. {_CHARGED[done.charge]}"
        case "asked":
            return f"{task}: {gateway} was asked to stop it, and it may be charged. {collect} shows what came of it."
        case "finished":
            return f"{task} was finished already, and is charged. {collect} collects its pictures."
        case "failed":
            return f"{task} had ended without a picture: {done.problem}. {_CHARGED[done.charge]}"
        case "impossible":
            return f"{task}: {gateway} cancels no tasks. It continues there and is charged: {collect} collects its pictures."
        case "unclear":
            return f"{task}: it is unknown what became of it at {gateway}{f', {done.problem}' if done.problem else ''}. {collect} polls it."
    return f"{task} is not open at its service ({_CLOSED.get(done.task.state, done.task.state)}), so nothing was cancelled."


def forget(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Give up a task without an image, so that --reuse may send it again."""
    ledger, number = api.ledger(context.settings()), arguments[0] if arguments else "?"
    loop.run(ledger.recover_orphans())
    tasks = loop.run(ledger.tasks(rows=[int(number)])) if _ROW.fullmatch(number) else []
    if not tasks:
        rows = ", ".join(str(task.row) for task in loop.run(ledger.tasks(states=tuple(_OPEN)))) or "none"
        raise UsageError(f"There is no task {number} that could be given up (there are: {rows}).")
    (task,) = tasks
    if loop.run(ledger.forget(task.row, _given_up(task))) is None:
        running = "is running, here or in another kernel: %imagegen cancel stops the waiting, then it can be given up"
        closed = f"cannot be given up: {_CLOSED.get(task.state, task.state)}"
        raise UsageError(f"Task {task.row} {running if task.state in _OPEN else closed}.")
    print(_forgotten(task))


def _given_up(task: TaskRow) -> ImageGenError:
    """Return the error that the ledger keeps of a task that was given up."""
    step = f"%imagegen resume {task.row} still collects it, without paying again" if task.task_id else "see the service's own task list"
    return ImageGenError("Given up with %imagegen forget", blame="you", charge="yes" if task.task_id else "unknown", hint=step)


def _forgotten(task: TaskRow) -> str:
    """Return which task was given up, its cost, and what can follow."""
    cost = task.cost if task.cost.amount is not None else task.price
    gateway = gateway_name(task.provider, task.sandbox)
    what = f"Task {task.row} is given up: {task.task_id or 'no id'} at {gateway}, {truncate(task.prompt)!r}, {cost}."
    if task.task_id:
        return f"{what} It was charged, and %imagegen resume {task.row} still collects it. --reuse may send the same request again."
    return f"{what} --reuse may send the same request again. If the service had accepted it, you pay twice."
