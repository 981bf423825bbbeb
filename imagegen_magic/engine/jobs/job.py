"""A job: pictures on their way, to be watched, waited for, or left."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.context import ledger_of
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.jobs.runner import TaskRunner
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.storage import folders
from imagegen_magic.errors import AuthenticationError, ImageGenError, InsufficientBalance, LedgerError, WaitingStopped
from imagegen_magic.providers.base import Plan
from imagegen_magic.records import FrozenDict, ProcessBound, Record, frozen
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost, GeneratedImage, Generation, Progress, total

_GLANCE = 0.0005  # seconds between two looks at whether a task is on its way
_PREVIEWS = 64  # of one job that are kept in memory, more where they are small
_SMALL = 16_384  # bytes of a preview
_LETTING_GO = 4.0  # seconds that tasks get to put their affairs in order when the waiting is stopped

Event = Progress | GeneratedImage
ResultFactory = Callable[["Job", Generation], Generation]
"""Makes of a job's Generation one that knows more, as a sweep's result does."""


@dataclass(frozen=True, slots=True, repr=False)
class PlannedRequest(Record):
    """One request of a job, ready to go: at which gateway, what will happen, and its place in a sweep (axis -> value)."""

    gateway: Endpoint
    plan: Plan
    request: ImageRequest
    place: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", frozen(self.place))


class Job(ProcessBound):
    """Pictures on their way: `events()` to watch, `wait()` or `await` for the Generation, `cancel()` to stop waiting.

    Made by `start()`, `start_all()` and `resume()`; lives on the engine's loop, whoever holds it. `wishes` are its requests, none
    where it collects; `places` is each task's place in the sweep, whose number in the ledger is `study`.
    """

    _instead = "pickle its Generation, which wait() returns"

    def __init__(self, wishes: Sequence[PlannedRequest], expecting: int, *, title: str = "", dress: ResultFactory | None = None) -> None:
        self.wishes = tuple(wishes)
        self._dress = dress
        self.expecting, self.title = expecting, title
        self.note = next((wish.gateway.note for wish in wishes if wish.gateway.note), "")
        self.places = [wish.place for wish in wishes for _ in wish.plan.calls]
        self.study = 0
        self.started = CLOCK.time()
        self.id = 0
        self.latest: dict[int, Progress] = {}
        self.images: list[GeneratedImage] = []
        self.errors: list[ImageGenError] = []
        self.deliveries: list[TaskRunner] = []
        self.claims = Claims()  # what it has in its hands; nobody else in this process touches it
        self.settings: Settings | None = None
        self.made_folders: tuple[Path, ...] = ()  # made for its pictures, and removed where none comes
        self._refusals: dict[tuple[str, str], ImageGenError] = {}  # of the key or the account, by gateway
        self._pid = os.getpid()
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._handle: loop.Handle[Generation] | None = None
        self._running: asyncio.Task[Any] | None = None
        self._stopping = self._closed = False
        self._ending: concurrent.futures.Future[None] = concurrent.futures.Future()

    @property
    def gateway(self) -> Endpoint | None:
        """The gateway, where there is one request."""
        return self.wishes[0].gateway if len(self.wishes) == 1 else None

    @property
    def plan(self) -> Plan | None:
        """What will happen, where there is one request."""
        return self.wishes[0].plan if len(self.wishes) == 1 else None

    @property
    def request(self) -> ImageRequest:
        """What was asked, first of all."""
        return self.wishes[0].request if self.wishes else ImageRequest("", n=None)

    @property
    def tasks(self) -> int:
        """How many tasks it began with."""
        return len(self.places)

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

    def give_way(self, seconds: float) -> None:
        """Hold still until the first task is on its way, for at most so many seconds: whoever works beside the engine holds it up."""
        until = time.monotonic() + seconds
        while not self.done and not any(one.sent for one in self.deliveries) and time.monotonic() < until:
            time.sleep(_GLANCE)

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

    def begin(self, prepare: Callable[[Job], Awaitable[None]]) -> Job:
        """Let it run: `prepare` is to give it its deliveries, before anything is sent."""
        self._handle = loop.submit(self._run(prepare))
        self._handle.add_done_callback(self._end)
        return self

    # from here on, on the engine's loop

    def _end(self, handle: Any) -> None:
        self.claims.end(keep=[one.task.row for one in self.deliveries if one.abandoned])
        folders.remove_empty(self.made_folders)
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
            await loop.to_the_end(self._prepared(prepare))
            await self._deliver_all()
        except asyncio.CancelledError:
            self._stopping = True
            await self._let_go()
        self.errors += [error for one in self.deliveries for error in one.beside]
        self._tell_damage()
        self._closed = True
        return self._finished()

    def _tell_damage(self) -> None:
        """Say that the ledger was found damaged while this was made; what was made is saved."""
        damage = ledger_of(self.settings).damage if self.settings and self.deliveries else None
        if damage is not None and self.images:
            damage = LedgerError(f"{damage.what}; the pictures above are saved", charge="yes", hint=damage.hint)
            self.errors.append(damage)
            for task in list(self.latest)[:1]:
                self.tell(replace(self.latest[task], error=damage))

    async def _prepared(self, prepare: Callable[[Job], Awaitable[None]]) -> None:
        try:
            await prepare(self)
            if self.done:  # it took longer than anybody waited
                raise _stopped(0)
        except Exception as error:  # nothing will be sent: what was recorded or taken up must not seem to be under way
            await self._give_back(str(error))
            raise

    async def _give_back(self, why: str, but: Collection[int] = ()) -> None:
        """Give back what it still has in its hands: what was never sent is dropped, what the gateway has anybody may collect."""
        rows = [row for row in self.claims.rows if row not in but]
        if rows and self.settings:
            with contextlib.suppress(LedgerError):  # it is written as soon as it can be
                await ledger_of(self.settings).release(rows, why)
        for row in rows:
            self.claims.release(row)

    def give_up(self) -> None:
        """End it before it began, from any thread: what it has taken others may take."""
        self.claims.end()
        loop.submit(self._give_back("the waiting was stopped"))

    def check_wanted(self) -> None:
        """Raise WaitingStopped where nobody waits for it any more; from any thread."""
        if self._stopping or self.done:
            raise _stopped(0)

    def tell(self, event: Event) -> None:
        """Take note of an event, and pass it on to the listener; what comes after the end stands in the ledger alone."""
        if self._closed:
            return
        if isinstance(event, GeneratedImage):
            if event.preview and len(self.images) >= _PREVIEWS and len(event.preview.data) > _SMALL:
                event = replace(event, preview=None)  # it can be made again from the file
            self.images.append(event)
        else:
            self.latest[event.task] = event
        self._queue.put_nowait(event)

    async def _deliver_all(self) -> None:
        under_way = {asyncio.create_task(self._deliver(one)): one for one in self.deliveries}
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

    async def _deliver(self, delivery: TaskRunner) -> None:
        try:
            await delivery.carry()
        except ImageGenError as error:
            await self._ended(delivery, error)

    def hopeless(self, gateway: Endpoint) -> ImageGenError | None:
        """Return the error that the next submission to this gateway would meet as well."""
        return self._refusals.get((gateway.provider.name, gateway.base_url))

    async def _ended(self, delivery: TaskRunner, error: ImageGenError) -> None:
        self.errors.append(error)
        if isinstance(error, (AuthenticationError, InsufficientBalance)):
            self._refusals[delivery.gateway.provider.name, delivery.gateway.base_url] = error
        await delivery.end(error)
        delivery.tell("left" if delivery.collectable else "failed", error=error)

    async def _let_go(self) -> None:
        """Stop waiting: what was never sent is dropped, what the gateway has stays collectable.

        What is on the wire tells the ledger itself, when its answer comes; so does what is still being saved.
        """
        remaining = [one for one in self.deliveries if not one.finished]
        accepted = [one for one in remaining if one.collectable]
        on_the_wire = {one.task.row: one for one in remaining if one.sent and not one.collectable}
        in_hand = {one.task.row: one for one in remaining if one.saving}
        for one in (*on_the_wire.values(), *in_hand.values()):
            one.abandoned = True
        if self.deliveries and not remaining:  # the last of it came home while it was stopped
            await self._give_back("the waiting was stopped")
            return
        stopped = _stopped(len(accepted), len(on_the_wire))
        self.errors.append(stopped)
        for one in remaining:
            if not one.abandoned:
                one.left(stopped)
            one.tell("left", error=stopped)
        await self._give_back(str(stopped), but={**on_the_wire, **in_hand})

    def _finished(self) -> Generation:
        if not self.images and self.errors:
            raise self.errors[0]
        return self._generation()

    def _generation(self) -> Generation:
        images = sorted(self.images, key=lambda image: (image.task, image.id))
        made = Generation(
            images=tuple(images),
            request=self.plan.request if self.plan else self.request,
            provider=", ".join(dict.fromkeys(self._providers(images))),
            seconds=CLOCK.time() - self.started,
            tasks=tuple(one.task.task_id for one in self.deliveries if one.task.task_id),
            errors=tuple(self.errors),
            costs=total(cost for one in self.deliveries if (cost := one.cost) is not None) if self.deliveries else _NOTHING,
        )
        return self._dress(self, made) if self._dress else made

    def _providers(self, images: Sequence[GeneratedImage]) -> list[str]:
        told = [wish.gateway.provider.name for wish in self.wishes]
        return told or sorted(image.provider for image in images)


_NOTHING = (Cost(Decimal(0), "", "measured"),)  # all was there already


def _stopped(accepted: int, on_the_wire: int = 0) -> WaitingStopped:
    if on_the_wire:
        beside = f", and {pluralize(accepted, 'task')} at the gateway" if accepted else ""
        return WaitingStopped(
            f"The waiting was stopped with {pluralize(on_the_wire, 'submission')} on the wire without an answer yet{beside}",
            charge="unknown",
            hint="%imagegen resume collects what was accepted; %imagegen jobs shows it",
        )
    if not accepted:
        return WaitingStopped("The waiting was stopped before anything was sent", charge="no", hint="run the cell again when you like")
    return WaitingStopped(f"The waiting was stopped; {pluralize(accepted, 'task')} go{'es' if accepted == 1 else ''} on at the gateway")


def pluralize(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _told(defect: BaseException, delivery: TaskRunner) -> ImageGenError:
    """Dress an error that is none of ours, a defect here or in a plug-in, so that it is told and its task is put in order."""
    error = ImageGenError(
        f"Something went wrong that should not: {type(defect).__name__}: {defect}",
        blame="you",
        charge="unknown" if delivery.sent else "no",
        hint="%imagegen error shows the trace; %imagegen resume collects what the gateway has",
    )
    error.__cause__ = defect
    return error
