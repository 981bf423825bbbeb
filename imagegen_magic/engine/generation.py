"""Asking for pictures: `generate()` and `stream()`, and the `Job` that both are made of."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from imagegen_magic.engine import files, loop
from imagegen_magic.engine.delivery import Delivery, Order, Task
from imagegen_magic.engine.gateways import Gateway, at, choose, known
from imagegen_magic.engine.ledger import Ledger, NewJob, NewTask, TaskRow
from imagegen_magic.engine.session import Kind, ledger_of, session_of
from imagegen_magic.engine.settings import REQUEST_OPTIONS, Settings, load
from imagegen_magic.errors import AuthenticationError, ImageGenError, InsufficientBalance, NotFound, WaitingStopped
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Plan
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import GeneratedImage, Generation, Progress, total

_LETTING_GO = 4.0  # seconds that tasks get to put their affairs in order when the waiting is stopped

Event = Progress | GeneratedImage


class Job:
    """Pictures on their way: `events()` to watch, `wait()` or `await` for the Generation, `cancel()` to stop waiting.

    Made by `start()` and `resume()`; lives on the engine's loop, whoever holds it.
    """

    def __init__(self, gateway: Gateway | None, plan: Plan | None, request: ImageRequest, expecting: int) -> None:
        self.gateway, self.plan, self.request, self.expecting = gateway, plan, request, expecting
        self.note = gateway.note if gateway else ""
        self.started = time.time()
        self.id = 0
        self.latest: dict[int, Progress] = {}
        self.images: list[GeneratedImage] = []
        self.errors: list[ImageGenError] = []
        self._deliveries: list[Delivery] = []
        self._claimed: Sequence[int] = ()
        self._settings: Settings | None = None
        self._pid = os.getpid()
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._handle: loop.Handle[Generation] | None = None
        self._running: asyncio.Task[Any] | None = None
        self._stopping = False
        self._ending: concurrent.futures.Future[None] = concurrent.futures.Future()

    @property
    def done(self) -> bool:
        """Whether all of it has ended, well or not."""
        return self._ending.done()

    @property
    def generation(self) -> Generation | None:
        """The result so far: what was made, or None where nothing was yet."""
        return self._generation() if self.images else None

    async def events(self) -> AsyncIterator[Event]:
        """Yield Progress and GeneratedImage as they come, to one listener on the engine's loop."""
        while (event := await self._queue.get()) is not None:
            yield event

    async def result(self) -> Generation:
        """Return the Generation; raises what ended it where nothing was made. Works on any loop; cancelling stops the waiting."""
        self._only_here()
        try:
            await asyncio.shield(asyncio.wrap_future(self._ending))
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait([asyncio.wrap_future(self._ending)], timeout=_LETTING_GO + 1)
            raise
        return self._outcome()

    def wait(self, timeout: float | None = None) -> Generation:
        """Wait from synchronous code; raises TimeoutError after `timeout` seconds. An interrupt leaves the job going on."""
        self._only_here()
        loop.wait(self._ending, timeout)
        return self._outcome()

    def _only_here(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError("this job belongs to the process that started it: a fork cannot wait for it")

    def __await__(self) -> Generator[Any, None, Generation]:
        return self.result().__await__()

    def cancel(self) -> None:
        """Stop waiting, from any thread and as often as you like; what the gateway accepted, it goes on making."""
        if not self.done:
            loop.call(self._stop)

    def __repr__(self) -> str:
        state = "done" if self.done else "under way"
        return f"<Job {self.id}, {state}: {len(self.images)} of {self.expecting} pictures>"

    def _outcome(self) -> Generation:
        assert self._handle is not None
        if self._handle.cancelled():  # with the engine, before it even began
            raise _stopped(0)
        return self._handle.result()

    def _begin(self, prepare: Callable[[Job], Awaitable[None]]) -> Job:
        self._handle = loop.submit(self._run(prepare))
        self._handle.add_done_callback(self._end)
        return self

    # from here on, on the engine's loop

    def _end(self, handle: Any) -> None:
        self._queue.put_nowait(None)
        self._ending.set_result(None)

    def _stop(self) -> None:
        """Cancel once: a second cancellation would abort the clean-up. Before the first step there is nothing to cancel yet."""
        if not self._stopping and self._running is not None:
            self._running.cancel()
        self._stopping = True

    async def _run(self, prepare: Callable[[Job], Awaitable[None]]) -> Generation:
        self._running = asyncio.current_task()
        try:
            if self._stopping:
                raise asyncio.CancelledError
            await loop.to_the_end(prepare(self))
            await self._deliver_all()
        except asyncio.CancelledError:
            await self._let_go()
        return self._finished()

    def _tell(self, event: Event) -> None:
        if isinstance(event, GeneratedImage):
            self.images.append(event)
        else:
            self.latest[event.task] = event
        self._queue.put_nowait(event)

    async def _deliver_all(self) -> None:
        under_way = {asyncio.create_task(self._deliver(one)): one for one in self._deliveries}
        try:
            if under_way:
                await asyncio.wait(under_way)
        except asyncio.CancelledError:
            for task in under_way:
                task.cancel()
            await asyncio.wait(under_way, timeout=_LETTING_GO)
            raise
        for task, delivery in under_way.items():
            if defect := task.exception():
                await self._ended(delivery, _told(defect, delivery))

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await delivery.carry()
            delivery.finished = True
        except ImageGenError as error:
            await self._ended(delivery, error)

    def _hopeless(self) -> ImageGenError | None:
        """Return the error that the next submission would meet as well."""
        return next((error for error in self.errors if isinstance(error, (AuthenticationError, InsufficientBalance))), None)

    async def _ended(self, delivery: Delivery, error: ImageGenError) -> None:
        self.errors.append(error)
        await delivery.end(error)
        delivery.tell("left" if delivery.collectable else "failed", error=error)

    async def _let_go(self) -> None:
        """Stop waiting: what was never sent is dropped, what the gateway has stays collectable.

        What is on the wire tells the ledger itself, when its answer comes.
        """
        remaining = [one for one in self._deliveries if not one.finished]
        accepted = [one for one in remaining if one.collectable]
        on_the_wire = [one for one in remaining if one.sent and not one.collectable]
        for one in on_the_wire:
            one.abandoned = True
        stopped = _stopped(len(accepted), len(on_the_wire))
        self.errors.append(stopped)
        for one in remaining:
            if one not in on_the_wire:
                await one.end(stopped)
            one.tell("left", error=stopped)
        carried = {one.task.row for one in self._deliveries}
        await self._release([row for row in self._claimed if row not in carried])

    async def _release(self, rows: Sequence[int]) -> None:
        if rows and self._settings:
            await ledger_of(self._settings).release(rows)

    def _finished(self) -> Generation:
        if not self.images and self.errors:
            raise self.errors[0]
        return self._generation()

    def _generation(self) -> Generation:
        images = sorted(self.images, key=lambda image: (image.task, image.id))
        return Generation(
            images=tuple(images),
            request=self.plan.request if self.plan else self.request,
            provider=self.gateway.provider.name if self.gateway else ", ".join(sorted({image.provider for image in images})),
            seconds=time.time() - self.started,
            tasks=tuple(one.task.task_id for one in self._deliveries if one.task.task_id),
            errors=tuple(self.errors),
            costs=total(cost for one in self._deliveries if (cost := one.cost) is not None),
        )


def _stopped(accepted: int, on_the_wire: int = 0) -> WaitingStopped:
    if on_the_wire:
        beside = f", and {_counted(accepted, 'task')} at the gateway" if accepted else ""
        return WaitingStopped(
            f"The waiting was stopped with {_counted(on_the_wire, 'submission')} on the wire without an answer yet{beside}",
            charged="unknown",
            next_step="%imagegen resume collects what was accepted; %imagegen jobs shows it",
        )
    if not accepted:
        return WaitingStopped(
            "The waiting was stopped before anything was sent", charged="no", next_step="run the cell again when you like"
        )
    return WaitingStopped(f"The waiting was stopped; {_counted(accepted, 'task')} go{'es' if accepted == 1 else ''} on at the gateway")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _told(defect: BaseException, delivery: Delivery) -> ImageGenError:
    """Dress an error that is none of ours, a defect here or in a plug-in, so that it is told and its task is put in order."""
    error = ImageGenError(
        f"Something went wrong that should not: {type(defect).__name__}: {defect}",
        whose="you",
        charged="unknown" if delivery.sent else "no",
        next_step="%imagegen error shows the trace; %imagegen resume collects what the gateway has",
    )
    error.__cause__ = defect
    return error


def fill(request: ImageRequest, settings: Settings) -> ImageRequest:
    """Return the request with the configured defaults where it says nothing."""
    said = {name: settings.get(name) for name in REQUEST_OPTIONS if getattr(request, name) is None and settings.get(name) is not None}
    return replace(request, **said)


def ledger(settings: Settings | None = None) -> Ledger:
    """Return this process's ledger."""
    return ledger_of(settings or load())


def plan(request: ImageRequest, *, provider: str | None = None, sandbox: bool | None = None, settings: Settings | None = None) -> Plan:
    """Return what would happen, without sending anything and without needing a key.

    Raises UnsupportedOption, which names the gateways that can do exactly this.
    """
    settings = settings or load()
    request = fill(request, settings)
    name = provider or settings.get("provider") or choose(settings, sandbox=sandbox, model=request.model).provider.name
    return registry.plan(registry.get_provider(name, settings.look_alikes), request, known(settings))


def start(
    request: ImageRequest,
    *,
    provider: str | None = None,
    sandbox: bool | None = None,
    timeout: float | None = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    preview: int | None = None,
    settings: Settings | None = None,
) -> Job:
    """Begin a request and return at once. Raises UnsupportedOption, UnknownProvider or MissingKey before anything is sent."""
    settings = (settings or load()).replace(
        "this call", timeout=timeout, save_dir=None if save_dir is None else str(save_dir), name=name, sandbox=sandbox
    )
    request = fill(request, settings)
    gateway = _gateway_for(request, provider, settings)
    the_plan = registry.plan(gateway.provider, request, known(settings))
    job = Job(gateway, the_plan, request, the_plan.count)

    async def prepare(job: Job) -> None:
        job._deliveries = await _record(job, gateway, the_plan, request, settings, preview)

    return job._begin(prepare)


def _gateway_for(request: ImageRequest, provider: str | None, settings: Settings) -> Gateway:
    """Choose the gateway; what it cannot do is said before a missing key is."""
    name = provider or settings.get("provider")
    if name:
        registry.plan(registry.get_provider(name, settings.look_alikes), request, known(settings))
    return choose(settings, provider=provider, model=request.model)


async def _record(
    job: Job, gateway: Gateway, the_plan: Plan, request: ImageRequest, settings: Settings, preview: int | None
) -> list[Delivery]:
    """Write the job and all its tasks into the ledger, durably, before anything is sent."""
    session = session_of(settings)
    await session.check()
    short = secrets.token_hex(8)
    tasks = [
        NewTask(
            sent={"method": call.method, "path": call.path, "json": dict(call.json or {})},
            pictures=pictures,
            idempotency_key=f"{short}-{i}",
        )
        for i, (call, pictures) in enumerate(zip(the_plan.calls, the_plan.pictures, strict=True))
    ]
    new = NewJob(
        provider=gateway.provider.name,
        dialect=gateway.provider.dialect or gateway.provider.name,
        base_url=gateway.base_url,
        sandbox=gateway.sandbox,
        model=the_plan.model.name,
        quality=the_plan.tier[0],
        tier=the_plan.tier[1],
        asked=request.asked(),
        resolved=the_plan.request.asked(),
        expected={
            "pixels": [list(pair) for pair in the_plan.pixels],
            "mime_type": the_plan.mime_type,
            "alpha": the_plan.alpha,
            "tasks": len(tasks),
        },
        price=the_plan.price,
        save_dir=str(settings.save_dir),
        name=settings.get("name"),
        tasks=tasks,
    )
    ((job.id, rows),) = await session.ledger.add([new])
    order = _order(new, job.id, the_plan.request, settings, preview, short)
    kind: Kind = (new.provider, new.sandbox, new.model, new.quality, new.tier)
    history = await session.history(kind, _megapixels(new.expected))
    deliveries, first = [], 1
    for position, (row, task) in enumerate(zip(rows, tasks, strict=True)):
        own = Task(row, position, first, task.pictures, task.sent, task.idempotency_key)
        deliveries.append(Delivery(session, gateway, order, own, history, job._tell, job._hopeless))
        first += task.pictures
    return deliveries


def _order(new: NewJob, job: int, request: ImageRequest, settings: Settings, preview: int | None, short: str) -> Order:
    return Order(
        job=job,
        request=request,
        asked=new.asked,
        model=new.model,
        expected=new.expected,
        size_asked=request.size or "",
        price=new.price.share(len(new.tasks)),
        save_dir=Path(new.save_dir),
        stem=files.stem(request.prompt, short[:4], new.name),
        tasks=len(new.tasks),
        timeout=settings.get("timeout"),
        submits_at_once=settings.get("submits_at_once"),
        submit_timeout=settings.get("submit_timeout"),
        preview_edge=preview,
    )


def _megapixels(expected: Any) -> float:
    pixels = expected.get("pixels")
    return float(pixels[0][0] * pixels[0][1]) / 1e6 if pixels else 1.0


def resume(
    settings: Settings | None = None, *, ids: Sequence[int] | None = None, save_dir: str | Path | None = None, preview: int | None = None
) -> Job:
    """Collect what was made and not fetched; submits nothing. From synchronous code; `ids` are the ledger's task rows.

    Pictures go where they were asked to go, or to `save_dir`. The job's note tells of submissions that were cut off before
    an answer came.
    """
    settings = settings or load()
    rows, cut_off = loop.run(loop.to_the_end(_claim(settings, ids)))
    job = Job(None, None, ImageRequest("", n=None), sum(_unsaved(row) for row in rows))
    job._claimed, job._settings = [row.row for row in rows], settings
    if cut_off:
        job.note = (
            f"{_counted(len(cut_off), 'submission')} {'was' if len(cut_off) == 1 else 'were'} cut off before an answer came: nobody here "
            "knows whether the gateway accepted, so nothing was sent again. Look at the gateway's own task list; "
            "%imagegen jobs shows which."
        )
    elsewhere = None if save_dir is None else settings.folder / Path(save_dir).expanduser()

    async def prepare(job: Job) -> None:
        job._deliveries = await _take_up(job, rows, settings, elsewhere, preview)

    return job._begin(prepare)


async def _claim(settings: Settings, ids: Sequence[int] | None) -> tuple[list[TaskRow], list[TaskRow]]:
    book = ledger_of(settings)
    cut_off = await book.abandoned()
    return await book.claim(rows=ids), cut_off


async def _take_up(job: Job, rows: Sequence[TaskRow], settings: Settings, elsewhere: Path | None, preview: int | None) -> list[Delivery]:
    session, deliveries = session_of(settings), []
    for folder in {Path(row.save_dir) for row in rows}:
        await asyncio.to_thread(files.sweep, folder)
    for position, row in enumerate(rows):
        try:
            gateway = _same_gateway(row, settings)
        except ImageGenError as error:
            await session.ledger.release([row.row], str(error))
            job.errors.append(error)
            continue
        kind: Kind = (row.provider, row.sandbox, row.model, row.quality, row.tier)
        history = await session.history(kind, _megapixels(row.expected))
        order = _order_again(row, len(rows), settings, elsewhere or Path(row.save_dir), preview)
        deliveries.append(Delivery(session, gateway, order, _task_again(row, position), history, job._tell))
    return deliveries


def _same_gateway(row: TaskRow, settings: Settings) -> Gateway:
    """Return the gateway that a task was submitted to; another address of the same name does not know it."""
    gateway = at(registry.get_provider(row.provider, settings.look_alikes), settings, sandbox=row.sandbox)
    if not row.sandbox and gateway.base_url != row.base_url:
        raise NotFound(
            f"Task {row.task_id} was submitted to {row.base_url}, and {row.provider} is now at {gateway.base_url}",
            whose="you",
            charged="yes",
            next_step=f"set {row.provider.upper().replace('-', '_')}_BASE_URL back, then %imagegen resume",
        )
    return gateway


def _unsaved(row: TaskRow) -> int:
    return sum(not picture.path for picture in row.pictures) or row.count


def _order_again(row: TaskRow, tasks: int, settings: Settings, save_dir: Path, preview: int | None) -> Order:
    request = ImageRequest(**row.resolved)
    return Order(
        job=row.job,
        request=request,
        asked=MappingProxyType(dict(row.asked)),
        model=row.model,
        expected=row.expected,
        size_asked=request.size or "",
        price=row.price.share(row.expected.get("tasks", 1)),
        save_dir=save_dir,
        stem=files.stem(request.prompt, row.idempotency_key[:4], row.name),
        tasks=tasks,
        timeout=settings.get("timeout"),
        preview_edge=preview,
    )


def _task_again(row: TaskRow, position: int) -> Task:
    return Task(
        row=row.row,
        position=position,
        first=row.first + 1,
        pictures=row.count,
        sent=row.sent,
        idempotency_key=row.idempotency_key,
        task_id=row.task_id or "",
        submitted=row.submitted_at or row.created,
        cost=row.cost,
        seconds=row.seconds,
        addresses={picture.id: picture.url for picture in row.pictures if not picture.path},
        numbers={picture.id: picture.position for picture in row.pictures},
        resumed=True,
    )


async def generate(
    prompt: str | ImageRequest,
    *,
    provider: str | None = None,
    sandbox: bool | None = None,
    timeout: float | None = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    **options: Any,
) -> Generation:
    """Make pictures and return them, on any running event loop; `options` are the fields of ImageRequest.

    Raises what ended it where no picture was made; where only some were, `errors` of the Generation says why, and a
    warning says so. Cancelling it stops the waiting, and `%imagegen resume` collects the rest.
    """
    job = start(_request(prompt, options), provider=provider, sandbox=sandbox, timeout=timeout, save_dir=save_dir, name=name)
    generation = await job.result()
    if generation.errors:
        made, asked = len(generation), job.expecting
        warnings.warn(f"{made} of {asked} pictures were made. {generation.errors[0]}", stacklevel=2)
    return generation


async def stream(
    prompt: str | ImageRequest,
    *,
    provider: str | None = None,
    sandbox: bool | None = None,
    timeout: float | None = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    **options: Any,
) -> AsyncIterator[Event]:
    """Yield Progress and GeneratedImage as they come, on any running event loop; leaving the loop early stops the waiting.

    Raises like `generate`, after the last event.
    """
    job = start(_request(prompt, options), provider=provider, sandbox=sandbox, timeout=timeout, save_dir=save_dir, name=name)
    events = job.events()
    try:
        while (event := await loop.bridge(anext(events, None))) is not None:
            yield event
    finally:
        if not job.done:
            job.cancel()
    await job.result()


def _request(prompt: str | ImageRequest, options: dict[str, Any]) -> ImageRequest:
    return replace(prompt, **options) if isinstance(prompt, ImageRequest) else ImageRequest(prompt, **options)
