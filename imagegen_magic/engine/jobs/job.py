"""A job: the state and events of a batch of tasks, to be watched, awaited or cancelled."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from imagegen_magic.deprecated import renamed_fields
from imagegen_magic.engine import loop
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.context import ledger_of
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.jobs.runner import TaskRunner
from imagegen_magic.engine.jobs.task import Event, JobChannel
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.rates import window_of
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.storage import folders
from imagegen_magic.errors import AuthenticationError, ImageGenError, InsufficientBalance, LedgerError, WaitingStopped
from imagegen_magic.humanize import pluralize
from imagegen_magic.providers.base import Plan
from imagegen_magic.records import FrozenDict, ProcessBound, Record, frozen
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost, GeneratedImage, Generation, Progress, total

_CHECK_INTERVAL = 0.0005  # seconds between checks whether a task was submitted
_PREVIEWS = 64  # of one job that are kept in memory, further ones only if they are small
_SMALL = 16_384  # bytes of a preview
_TRACEBACKS = 64  # errors of one job that keep the trace, which keeps all that the task had in memory
_LISTENED = 2_000  # tasks; the events of a larger job are kept only while something listens
_CLEANUP = 4.0  # seconds that tasks get to record their state after a cancellation

ResultFactory = Callable[["Job", Generation], Generation]
"""Returns the result of a job from its Generation, as a SweepResult."""


@renamed_fields(gateway="endpoint", place="combination")
@dataclass(frozen=True, slots=True, repr=False)
class PlannedRequest(Record):
    """One request of a job: its gateway's endpoint, its plan, and its combination in a sweep (axis -> value)."""

    endpoint: Endpoint
    plan: Plan
    request: ImageRequest
    combination: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "combination", frozen(self.combination))


@dataclass(slots=True)
class Prepared:
    """The runners of a job, its number and that of its sweep in the ledger, and the errors met so far.

    `later` yields the runners of further tasks, of which there are `waiting`, each when it is wanted; `close` gives back what is reserved
    for those that are not wanted any longer.
    """

    id: int = 0
    sweep: int = 0
    runners: deque[TaskRunner] = field(default_factory=deque)
    errors: list[ImageGenError] = field(default_factory=list)
    made_folders: tuple[Path, ...] = ()  # for its images, and removed if none is saved
    waiting: int = 0
    later: AsyncIterator[TaskRunner] | None = None
    close: Callable[[], Awaitable[None]] | None = None

    async def next(self) -> TaskRunner | None:
        """Return the next runner, None after the last. Raises why no further task can be sent."""
        if self.runners:
            return self.runners.popleft()
        return None if self.later is None else await anext(self.later, None)


@dataclass(slots=True)
class EndedTasks:
    """What a job keeps of the tasks that have ended, each with its position: their runners take much more memory."""

    rows: list[tuple[int, int]] = field(default_factory=list)
    task_ids: list[tuple[int, str]] = field(default_factory=list)
    costs: list[tuple[int, Cost]] = field(default_factory=list)
    side_errors: list[tuple[int, ImageGenError]] = field(default_factory=list)
    submitted: bool = False  # whether a gateway may know of one of them
    _known: dict[Cost, Cost] = field(default_factory=dict)

    def add(self, runner: TaskRunner) -> None:
        """Take what is known of a task."""
        position, task = runner.task.position, runner.task
        self.submitted |= runner.maybe_submitted
        self.rows.append((position, task.row))
        if task.task_id:
            self.task_ids.append((position, task.task_id))
        if (cost := runner.cost) is not None:
            self.costs.append((position, self._known.setdefault(cost, cost)))
        self.side_errors += [(position, error) for error in runner.side_errors]

    def with_running(self, runners: Iterable[TaskRunner]) -> EndedTasks:
        """Return the same with what is known of these tasks."""
        together = EndedTasks(list(self.rows), list(self.task_ids), list(self.costs), list(self.side_errors), self.submitted)
        for runner in runners:
            together.add(runner)
        return together


_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=ImageGenError)


def _in_order(found: Iterable[tuple[int, _T]]) -> list[_T]:
    """Return what belongs to tasks, in the order of their positions."""
    return [each for _, each in sorted(found, key=itemgetter(0))]


Prepare = Callable[[JobChannel], Awaitable[Prepared]]
"""Makes the runners of a job; nothing may be sent before it returns."""


class Job(ProcessBound):
    """A batch of tasks: `events()` to watch, `wait()` or `await` for the Generation, `cancel()` to stop waiting.

    `start()`, `start_all()` and `resume()` make one; it runs on the engine's loop. `requests` are its requests, none if it resumes;
    `places` is each task's combination in the sweep, whose number in the ledger is `sweep`.
    """

    _instead = "pickle its Generation, which wait() returns"

    def __init__(
        self,
        requests: Sequence[PlannedRequest],
        settings: Settings,
        *,
        preview_edge: int | None = None,
        title: str = "",
        result_factory: ResultFactory | None = None,
    ) -> None:
        self.requests, self.settings, self.title = tuple(requests), settings, title
        self.expecting = sum(request.plan.count for request in requests)
        self.note = next((request.endpoint.note for request in requests if request.endpoint.note), "")
        self.places = [request.combination for request in requests for _ in request.plan.calls]
        self.id = self.sweep = 0
        self.started = CLOCK.time()
        self.latest: dict[int, Progress] = {}
        self.images: list[GeneratedImage] = []
        self.errors: list[ImageGenError] = []
        self.window = window_of(request.endpoint.provider for request in requests)
        self.claims = Claims()
        self.made_folders: tuple[Path, ...] = ()
        self._preview_edge, self._result_factory = preview_edge, result_factory
        self._refusals: dict[tuple[str, str], ImageGenError] = {}  # of the key or the account, by gateway
        self._pid = os.getpid()
        self._prepared = Prepared()
        self._live: dict[int, TaskRunner] = {}  # by row
        self._ended = EndedTasks()
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._is_queued = self.tasks <= _LISTENED  # whether events are kept for a listener
        self._handle: loop.Handle[Generation] | None = None
        self._running: asyncio.Task[Any] | None = None
        self._stopping = self._closed = False
        self._ending: concurrent.futures.Future[None] = concurrent.futures.Future()

    @property
    def gateway(self) -> Endpoint | None:
        """The gateway, if there is one request."""
        return self.requests[0].endpoint if len(self.requests) == 1 else None

    @property
    def plan(self) -> Plan | None:
        """The plan, if there is one request."""
        return self.requests[0].plan if len(self.requests) == 1 else None

    @property
    def request(self) -> ImageRequest:
        """The first request."""
        return self.requests[0].request if self.requests else ImageRequest("", n=None)

    @property
    def tasks(self) -> int:
        """The number of tasks that its requests make."""
        return len(self.places)

    @property
    def runners(self) -> list[TaskRunner]:
        """The runners of its tasks that run, at most `window`; after a cancellation those that were left."""
        return list(self._live.values())

    @property
    def rows(self) -> list[int]:
        """The ledger's rows of its tasks that have begun."""
        return _in_order(self._ended.with_running(self._live.values()).rows)

    @property
    def done(self) -> bool:
        """Whether it has ended, with or without an error."""
        return self._ending.done()

    @property
    def submitted(self) -> bool:
        """Whether a gateway may know of one of its tasks."""
        return self._ended.submitted or any(runner.maybe_submitted for runner in list(self._live.values()))

    @property
    def generation(self) -> Generation | None:
        """The result so far, or None before the first image."""
        return self._generation() if self.images else None

    async def events(self) -> AsyncIterator[Event]:
        """Yield Progress and GeneratedImage as they come, to one listener on the engine's loop.

        A listener that comes late to a job of many tasks gets the latest progress of each, and all images.
        """
        before: list[Event] = [] if self._is_queued else [*self.latest.values(), *self.images]
        self._is_queued = True
        for known in before:
            yield known
        while (event := await self._queue.get()) is not None:
            yield event

    async def result(self) -> Generation:
        """Return the Generation; raises the error that ended it if no image was made. Works on any loop; cancelling stops the waiting."""
        self._check_process()
        try:
            await asyncio.shield(asyncio.wrap_future(self._ending))
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait([asyncio.wrap_future(self._ending)], timeout=_CLEANUP + 1)
            raise
        return self._outcome()

    def wait(self, timeout: float | None = None) -> Generation:
        """Wait from synchronous code; raises TimeoutError after `timeout` seconds. An interrupt leaves the job running."""
        self._check_process()
        loop.wait(self._ending, timeout)
        return self._outcome()

    def wait_until_submitted(self, seconds: float) -> None:
        """Wait until the first task is submitted, at most so many seconds, so that the request is sent before the UI is drawn."""
        deadline = time.monotonic() + seconds
        while not self.done and not self.submitted and time.monotonic() < deadline:
            time.sleep(_CHECK_INTERVAL)

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError("this job belongs to the process that started it: a fork cannot wait for it")

    def __await__(self) -> Generator[Any, None, Generation]:
        return self.result().__await__()

    def cancel(self) -> None:
        """Stop waiting, from any thread and any number of times; the gateway goes on with what it accepted."""
        if not self.done:
            loop.call(self._stop)

    def __repr__(self) -> str:
        state = "done" if self.done else "running"
        return f"<Job {self.id}, {state}: {len(self.images)} of {self.expecting} pictures>"

    def _outcome(self) -> Generation:
        assert self._handle is not None
        if self._handle.cancelled():  # with the engine, before it began
            raise _stopped(0)
        return self._handle.result()

    def begin(self, prepare: Prepare) -> Job:
        """Start it on the engine's loop."""
        self._handle = loop.submit(self._run(prepare))
        self._handle.add_done_callback(self._end)
        return self

    def abort(self) -> None:
        """End it before it began, from any thread: the tasks that it claimed are released."""
        self.claims.end()
        loop.submit(self._release_claims("the waiting was stopped"))

    # from here on, on the engine's loop

    def _end(self, handle: Any) -> None:
        self.claims.end(keep=[runner.task.row for runner in self._live.values() if runner.detached])
        folders.remove_empty(self.made_folders)
        self._queue.put_nowait(None)
        self._ending.set_result(None)

    def _stop(self) -> None:
        """Cancel once: a second cancellation would abort the clean-up. Before the first step there is nothing to cancel yet."""
        if not self._stopping and self._running is not None:
            self._running.cancel()
        self._stopping = True

    async def _run(self, prepare: Prepare) -> Generation:
        self._running = asyncio.current_task()
        try:
            if self._stopping:
                raise asyncio.CancelledError
            await loop.uninterrupted(self._prepare(prepare))
            await self._run_all()
        except asyncio.CancelledError:
            self._stopping = True
            await self._stop_waiting()
        if self._prepared.close is not None:
            await self._prepared.close()
        self.errors += _in_order(self._ended.with_running(self._live.values()).side_errors)
        self._report_damage()
        self._closed = True
        if not self.images and self.errors:
            raise self.errors[0]
        return self._generation()

    def _report_damage(self) -> None:
        """Report that the ledger was found damaged meanwhile; the images are saved."""
        damage = ledger_of(self.settings).damage if self.rows else None
        if damage is not None and self.images:
            damage = LedgerError(f"{damage.what}; the pictures above are saved", charge="yes", hint=damage.hint)
            self.errors.append(damage)
            for task in list(self.latest)[:1]:
                self._emit(replace(self.latest[task], error=damage))

    async def _prepare(self, prepare: Prepare) -> None:
        channel = JobChannel(
            self.settings, self._preview_edge, self.started, self._emit, self.claims, self._check_wanted, self._known_refusal
        )
        try:
            self._prepared = prepared = await prepare(channel)
            self.id, self.sweep = prepared.id, prepared.sweep
            self.errors += prepared.errors
            self.made_folders += prepared.made_folders
            if self.done:  # it took longer than the cancellation waits
                folders.remove_empty(prepared.made_folders)
                raise _stopped(0)
        except Exception as error:  # nothing will be sent: what was recorded or claimed must not seem to run
            await self._release_claims(str(error))
            raise

    async def _release_claims(self, why: str, keep: Collection[int] = ()) -> None:
        """Release its tasks in the ledger: those that were never sent are dropped, the others may be resumed by any process."""
        rows = [row for row in self.claims.rows if row not in keep]
        if rows:
            with contextlib.suppress(LedgerError):  # it is written as soon as it can be
                await ledger_of(self.settings).release(rows, why)
        for row in rows:
            self.claims.release(row)

    def _check_wanted(self) -> None:
        """Raise WaitingStopped if it was cancelled; from any thread."""
        if self._stopping or self.done:
            raise _stopped(0)

    def _emit(self, event: Event) -> None:
        """Keep an event, and pass it on to the listener; after the end, events are in the ledger only."""
        if self._closed:
            return
        if isinstance(event, GeneratedImage):
            if event.preview and len(self.images) >= _PREVIEWS and len(event.preview.data) > _SMALL:
                event = replace(event, preview=None)  # it can be made again from the file
            self.images.append(event)
        else:
            self.latest[event.task] = event
        if self._is_queued:
            self._queue.put_nowait(event)

    async def _run_all(self) -> None:
        """Run the tasks, at most `window` at once: further runners are made as others end."""
        running: dict[asyncio.Task[None], TaskRunner] = {}
        defects: list[tuple[TaskRunner, BaseException]] = []
        free = asyncio.Semaphore(self.window)
        unsent: ImageGenError | None = None

        def end(task: asyncio.Task[None]) -> None:
            runner = running.pop(task)
            free.release()
            if task.cancelled():
                return
            if defect := task.exception():
                defects.append((runner, defect))
            else:
                self._retire(runner)

        try:
            unsent = await self._start_all(running, free, end)
            while running:
                await asyncio.wait(list(running))
        except asyncio.CancelledError:
            for task in list(running):
                task.cancel()
            if running:
                await asyncio.wait(list(running), timeout=_CLEANUP)
            raise
        finally:
            if unsent is not None:
                self._keep_error(unsent)
        for runner, defect in defects:
            await self._fail(runner, _defect_error(defect, runner))
            self._retire(runner)

    async def _start_all(
        self, running: dict[asyncio.Task[None], TaskRunner], free: asyncio.Semaphore, end: Callable[[asyncio.Task[None]], None]
    ) -> ImageGenError | None:
        """Start the tasks as others end. Returns the error that prevented further ones; the job keeps it after those of its tasks."""
        try:
            while await free.acquire() and (runner := await self._prepared.next()) is not None:
                self._live[runner.task.row] = runner
                task = asyncio.create_task(self._run_one(runner))
                running[task] = runner
                task.add_done_callback(end)
        except ImageGenError as error:  # what runs goes on; nothing further is sent
            await self._release_claims(str(error), keep=self._live)
            return _with_unsent(error, self._prepared.waiting)
        return None

    def _retire(self, runner: TaskRunner) -> None:
        self._ended.add(runner)
        del self._live[runner.task.row]

    async def _run_one(self, runner: TaskRunner) -> None:
        try:
            await runner.run()
        except ImageGenError as error:
            await self._fail(runner, error)

    def _known_refusal(self, endpoint: Endpoint) -> ImageGenError | None:
        """Return the error that the next submission to this gateway would meet as well."""
        return self._refusals.get((endpoint.provider.name, endpoint.base_url))

    async def _fail(self, runner: TaskRunner, error: ImageGenError) -> None:
        self._keep_error(error)
        if isinstance(error, (AuthenticationError, InsufficientBalance)):
            self._refusals[runner.endpoint.provider.name, runner.endpoint.base_url] = error
        await runner.end(error)
        runner.report("left" if runner.resumable else "failed", error=error)

    def _keep_error(self, error: ImageGenError) -> None:
        if len(self.errors) >= _TRACEBACKS:
            error.__traceback__ = error.__cause__ = error.__context__ = None
        self.errors.append(error)

    async def _stop_waiting(self) -> None:
        """Release the tasks: those never sent are dropped, those that the gateway has can be resumed.

        What a service has not begun is cancelled there, if it can be. A submission without an answer, and an image that is being saved,
        go on detached and record their state themselves.
        """
        cancelled = await self._cancel_queued()
        begun = [*self._live.values(), *self._prepared.runners]
        remaining = [runner for runner in begun if not runner.finished]
        accepted = [runner for runner in remaining if runner.resumable]
        unanswered = [runner for runner in remaining if runner.maybe_submitted and not runner.resumable]
        going_on = [*(runner for runner in unanswered if runner.on_the_wire), *(runner for runner in remaining if runner.saving)]
        for runner in going_on:
            runner.detached = True
        waiting = self._prepared.waiting
        if self.rows and not (remaining or cancelled or waiting):  # the last of it was saved while it was cancelled
            await self._release_claims("the waiting was stopped")
            return
        unsent = waiting + len(remaining) - len(accepted) - len(unanswered) if waiting else 0
        stopped = _with_unsent(_stopped(len(accepted), len(unanswered), len(cancelled)), unsent)
        self.errors.append(stopped)
        for runner in (*cancelled, *remaining):
            if not runner.detached:
                runner.leave(stopped)
            runner.report("left", error=stopped)
        await self._release_claims(str(stopped), keep={runner.task.row for runner in going_on})

    async def _cancel_queued(self) -> list[TaskRunner]:
        """Cancel at the services what they have not begun, and return the runners of those tasks."""
        waiting = [runner for runner in self._live.values() if not runner.finished and runner.resumable and not runner.saving]
        done = await asyncio.gather(*(runner.cancel_if_queued() for runner in waiting), return_exceptions=True)
        return [runner for runner, outcome in zip(waiting, done, strict=True) if outcome is True]  # a defect of a provider cancels nothing

    def _generation(self) -> Generation:
        images = sorted(self.images, key=lambda image: (image.task, image.id))
        providers = [request.endpoint.provider.name for request in self.requests] or sorted(image.provider for image in images)
        tasks = self._ended.with_running(self._live.values())
        generation = Generation(
            images=tuple(images),
            request=self.plan.request if self.plan else self.request,
            provider=", ".join(dict.fromkeys(providers)),
            seconds=CLOCK.time() - self.started,
            tasks=tuple(_in_order(tasks.task_ids)),
            errors=tuple(self.errors),
            costs=total(_in_order(tasks.costs)) if tasks.rows else _NO_COST,
        )
        return self._result_factory(self, generation) if self._result_factory else generation


_NO_COST = (Cost(Decimal(0), "", "measured"),)  # everything existed already


def _stopped(accepted: int, unanswered: int = 0, cancelled: int = 0) -> WaitingStopped:
    if cancelled and not (accepted or unanswered):
        what = f"The waiting was stopped; {pluralize(cancelled, 'task')} had not begun and {_was(cancelled)} cancelled at the service"
        return WaitingStopped(what, charge="no", hint="", retry=True)
    if unanswered:
        more = f", and {pluralize(accepted, 'task')} at the service" if accepted else ""
        return WaitingStopped(
            f"The waiting was stopped with {pluralize(unanswered, 'submission')} on the wire without an answer yet{more}",
            charge="unknown",
            hint="%imagegen resume collects what was accepted; %imagegen jobs shows it",
        )
    if not accepted:
        return WaitingStopped("The waiting was stopped before anything was sent", charge="no", hint="", retry=True)
    freed = f"; {pluralize(cancelled, 'other')} had not begun and {_was(cancelled)} cancelled there at no charge" if cancelled else ""
    goes_on = f"{pluralize(accepted, 'task')} go{'es' if accepted == 1 else ''} on at the service"
    return WaitingStopped(f"The waiting was stopped; {goes_on}{freed}")


def _with_unsent(error: _Error, count: int) -> _Error:
    """Return an error that ended a large job, with the number of its tasks that were not sent."""
    if count:
        error.what += f"; {pluralize(count, 'task')} of the job {_was(count)} not sent, and nothing is charged for {_them(count)}"
        error.hint = "; ".join(filter(None, [error.hint, f"the same request with --reuse sends {_them(count)}"]))
    return error


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _defect_error(defect: BaseException, runner: TaskRunner) -> ImageGenError:
    """Return the error that reports a defect here or in a plug-in, so that its task is recorded as any failed one."""
    error = ImageGenError(
        f"Something went wrong that should not: {type(defect).__name__}: {defect}",
        blame="you",
        charge="unknown" if runner.maybe_submitted else "no",
        hint="%imagegen error shows the trace; %imagegen resume collects what the service has",
    )
    error.__cause__ = defect
    return error
