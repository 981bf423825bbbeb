"""From planned requests to runners: what is reused, what is resumed, what is recorded in the ledger and then sent.

The tasks of a large job are recorded in lots, each when the one before it has been started; its runners are made one by one. The budget is
asked once for all of them, and what later lots cost is reserved with the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from imagegen_magic import notebook_folder
from imagegen_magic.engine import loop, threads
from imagegen_magic.engine.context import EngineContext, Kind, context_of
from imagegen_magic.engine.jobs import inline, reuse
from imagegen_magic.engine.jobs.job import PlannedRequest, Prepared
from imagegen_magic.engine.jobs.resume import Resumer, megapixels, protected
from imagegen_magic.engine.jobs.reuse import PriorResults
from imagegen_magic.engine.jobs.runner import TaskRunner
from imagegen_magic.engine.jobs.task import JobChannel, RunningTask, TaskSpec, by_row
from imagegen_magic.engine.ledger import budget
from imagegen_magic.engine.ledger.ledger import NewJob, NewSource, NewTask, TaskRow
from imagegen_magic.engine.ledger.reservations import Lot, Prices, drop_reservations, end_reservation, reserve
from imagegen_magic.engine.ledger.reuse import is_requested_after, latest_by_fingerprint, latest_row, reopen
from imagegen_magic.engine.ledger.spending import ZERO_COST, prorate
from imagegen_magic.engine.ledger.sweeps import SweepRecord, add_to_sweep, record_sweep
from imagegen_magic.engine.storage import folders
from imagegen_magic.engine.storage.filenames import filename_stem
from imagegen_magic.errors import ImageGenError, ImageInvalid, LedgerError, PictureDeleted, SubmissionUnknown
from imagegen_magic.paths import located, text_of
from imagegen_magic.providers.base import Call
from imagegen_magic.records import PortableError
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost, Progress, Stage

LOT = 2_000  # tasks that are recorded in one transaction; the files of a job of more are called by their ledger row


async def create_tasks(requests: Sequence[PlannedRequest], channel: JobChannel, sweep: SweepRecord | None = None) -> Prepared:
    """Return the runners of requests; all that is to be submitted is in the ledger, durably, before anything is sent.

    Raises LedgerError, SaveError if the images could not be saved, or the reason why a reference could not be uploaded; then nothing
    was submitted.
    """
    context = context_of(channel.settings)
    await context.check()
    builder = _Builder(requests, channel, context, sweep)
    try:
        await builder.build()
    except BaseException:
        await builder.close()
        folders.remove_empty(builder.prepared.made_folders)
        raise
    return builder.prepared


def fingerprint(request: PlannedRequest, call: Call) -> str:
    """Return what is equal for submissions of the same content to the same gateway, down to the bytes of their references."""
    endpoint = request.endpoint
    content = [endpoint.provider.name, endpoint.base_url, endpoint.sandbox, call.method, call.path, call.json]
    content += [call.form] if call.form is not None else []
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True, default=str).encode()).hexdigest()


class _Overtaken(PortableError):
    """An identical task was recorded since the ledger was read."""


class _Builder:
    """Builds the runners of one job, in `prepared`."""

    def __init__(self, requests: Sequence[PlannedRequest], channel: JobChannel, context: EngineContext, sweep: SweepRecord | None) -> None:
        self.requests, self.channel, self.context, self.settings = requests, channel, context, channel.settings
        self.sweep = sweep
        self.request_of = [number for number, request in enumerate(requests) for _ in request.plan.calls]
        self.firsts = list(itertools.accumulate((len(request.plan.calls) for request in requests), initial=0))
        self.tasks = len(self.request_of)
        self.fingerprints: dict[int, str] = {}  # of the lot that is being recorded, by position
        self.prepared = Prepared(later=self._later(), close=self.close)
        self.resumer = Resumer(context, channel, self.prepared)
        self.rows: set[int] = set()  # of the ledger, of all tasks that are recorded or reused so far
        self.latest: int | None = None  # the ledger's latest row when earlier results were read; None if they are not reused
        self.lots: list[Sequence[int]] = []  # positions that are not recorded yet
        self.reserved: list[int] = []  # the reservation of each of these lots
        self.recorded: list[_Recorded] = []  # whose runners are not made yet

    async def build(self) -> None:
        """Emit what exists, resume what is pending, and record the first lot of what is to be submitted."""
        settled: set[int] = set()
        if self.settings.get("reuse"):
            self.latest = await latest_row(self.context.ledger)
            await self.context.ledger.recover_orphans()
            for lot in _lots(range(self.tasks)):
                settled |= await self._reuse(lot)
        self.lots = _lots([position for position in range(self.tasks) if position not in settled])
        self.prepared.waiting = self.tasks - len(settled)
        while self.lots and not self.recorded:
            await self._record(self.lots.pop(0), first=True)
        if not self.recorded and not self.prepared.runners:  # nothing will be sent, after which the ledger would be read
            self.context.ledger.inspect_in_background()

    async def close(self) -> None:
        """Give back what is reserved for lots that will not be sent."""
        reserved, self.reserved, self.lots = self.reserved, [], []
        with contextlib.suppress(LedgerError):  # it is written as soon as it can be
            await drop_reservations(self.context.ledger, reserved)

    async def _later(self) -> AsyncIterator[TaskRunner]:
        """Yield the runners of what is to be submitted; each further lot is recorded when those before it are made.

        Raises like `create_tasks`, or the refusal that each submission of a lot would meet.
        """
        while True:
            recorded, self.recorded = self.recorded, []
            for each in recorded:
                for runner in await self._runners(each):
                    self.prepared.waiting -= 1
                    yield runner
            if not self.lots:
                return
            await loop.uninterrupted(self._record_next())

    async def _record_next(self) -> None:
        endpoints = {id(endpoint): endpoint for endpoint in (self.requests[self.request_of[each]].endpoint for each in self.lots[0])}
        refusals = [self.channel.known_refusal(endpoint) for endpoint in endpoints.values()]
        if (refusal := refusals[0]) is not None and all(refusals):
            raise refusal
        await self._record(self.lots.pop(0))

    async def _record(self, lot: Sequence[int], *, first: bool = False) -> None:
        """Record a lot; what another kernel has recorded since is taken from there. The first lot reserves the others."""
        since, later = self.latest, [Lot(len(each), await self._prices(each)) for each in self.lots] if first else []
        while lot:
            self.fingerprints = self._fingerprints(lot)
            try:
                await self._add(lot, since, later, first=first)
                return
            except _Overtaken:
                since = await latest_row(self.context.ledger)
                await self.context.ledger.recover_orphans()
                settled = await self._reuse(lot)
                lot = [position for position in lot if position not in settled]
                self.prepared.waiting -= len(settled)
        if not first:
            await drop_reservations(self.context.ledger, [self.reserved.pop(0)])

    def _fingerprints(self, positions: Sequence[int]) -> dict[int, str]:
        calls = ((each, self.requests[self.request_of[each]], each - self.firsts[self.request_of[each]]) for each in positions)
        return {position: fingerprint(request, request.plan.calls[number]) for position, request, number in calls}

    async def _prices(self, positions: Sequence[int]) -> Prices:
        await asyncio.sleep(0)  # so that a large job does not block the others
        return Counter((entry.budgeted, entry.count) for entry in self._entries(positions))

    async def _note_in_sweep(self, rows: Mapping[int, int]) -> None:
        """Add tasks to the sweep: position -> row."""
        self.rows.update(rows.values())
        if self.sweep is None or not rows:
            return
        combinations = {row: self.requests[self.request_of[position]].combination for position, row in rows.items()}
        if self.prepared.sweep:
            await add_to_sweep(self.context.ledger, self.prepared.sweep, combinations)
        else:
            sandbox = {each.endpoint.sandbox for each in self.requests}
            self.prepared.sweep = await record_sweep(self.context.ledger, self.sweep, combinations, sandbox)

    # earlier results

    async def _reuse(self, positions: Sequence[int]) -> set[int]:
        """Emit what exists already of these tasks, and resume what is pending; returns the positions that are not submitted."""
        ledger = self.context.ledger
        prior = (await reuse.find(ledger, list(self._fingerprints(positions).values()), self.rows)).at(positions)
        if found := prior.all():
            self.prepared.id = self.prepared.id or found[min(found)].job  # the number under which it was recorded
        existing = await reuse.existing_files(prior.missing.values())
        lost = [picture.id for row in prior.missing.values() for picture in row.pictures if reuse.is_gone(picture, existing)]
        await reopen(ledger, lost)
        self._emit_complete(prior)
        await self._resume(prior)
        for position, row in prior.unreadable.items():
            self._report(position, "failed", row, _unreadable_before(row))
        for position, row in prior.unknown.items():
            self._report(position, "left", row, _unknown_before(row))
        for position, row in prior.deleted.items():
            self._report(position, "failed", row, _deleted_before(row))
        await self._note_in_sweep({position: row.row for position, row in found.items()})
        return set(found)

    def _emit_complete(self, prior: PriorResults) -> None:
        for position, row in prior.complete.items():
            for picture in row.pictures:
                if not reuse.is_unreadable(picture):
                    self.channel.emit(reuse.generated(picture, reused=True, task=position))
            if any(map(reuse.is_unreadable, row.pictures)):
                self.prepared.errors.append(_unreadable_before(row))
            if row.deleted:
                self.prepared.errors.append(_deleted_before(row))
            self._report(position, "saved", row)

    async def _resume(self, prior: PriorResults) -> None:
        wanted = {**prior.missing, **prior.pending}
        ids = [row.row for row in wanted.values()]
        claimed = {row.row: row for row in await self.context.ledger.claim(rows=ids, claims=self.channel.claims)} if ids else {}
        existing = await reuse.existing_files(claimed.values())
        for position, row in wanted.items():
            if row.row not in claimed:
                self._report(position, "left", row, _running_elsewhere())
                continue
            for picture in claimed[row.row].pictures:
                if picture.saved_at is not None and reuse.exists(picture, existing):
                    self.channel.emit(reuse.generated(picture, reused=True, task=position))
            await self.resumer.add(claimed[row.row], position, self.tasks)

    def _report(self, position: int, stage: Stage, row: TaskRow, error: ImageGenError | None = None) -> None:
        if error is not None:
            self.prepared.errors.append(error)
        self.channel.emit(Progress(stage, position, self.tasks, row.row, row.submitted_at or row.created, error=error))

    # new tasks

    async def _add(self, positions: Sequence[int], since: int | None, later: Sequence[Lot], *, first: bool) -> None:
        """Record these tasks, so that `_later` makes their runners.

        The `first` lot also checks the budget for the `later` ones, and reserves them. Raises _Overtaken if an identical task was
        recorded after the row `since`; nothing is recorded then.
        """
        entries = list(self._entries(positions))
        prices = sum((lot.prices for lot in later), await self._prices(positions)) if first else Counter[tuple[Cost, int]]()
        check_budget = budget.budget_check(prices.elements(), self.context.ledger, self.settings.get("unknown_price"))
        if any(entry.request.plan.uploads for entry in entries):
            await self.context.ledger.run(check_budget, writes=False)  # no image leaves this machine for a refused request
        self.prepared.made_folders += await threads.writing(folders.make_ready, self.settings, name=self._longest_name(entries))
        if (workers := self.context.workers.of(self.settings.get("workers"))) is not None:
            await workers.check(self.settings.save_dir)
        if (within := self.settings.save_dir_within) is not None:
            await threads.writing(notebook_folder.remember, self.settings.folder, within)
        addresses = await self._upload(entries)
        earlier: dict[str, tuple[int, float]] = {}
        jobs = [self._new_job(entry, addresses) for entry in entries]
        wanted = set(self.fingerprints.values())
        reserved: list[int] = []

        def check(connection: Any) -> None:
            self.channel.check_wanted()
            if since is not None and is_requested_after(connection, since, wanted, self.rows):
                raise _Overtaken
            check_budget(connection)
            reserved[:] = reserve(connection, self.context.ledger.owner, later)
            if not first:
                end_reservation(connection, self.reserved[:1])
            if since is None:  # earlier results are named, not reused
                earlier.update(latest_by_fingerprint(connection, wanted))

        recorded = await self.context.ledger.add(jobs, allow=check, claims=self.channel.claims)
        self.reserved = reserved if first else self.reserved[1:]
        self.prepared.id = recorded[0][0]
        self.recorded = [_Recorded(entry, new, rows, earlier) for entry, new, (_, rows) in zip(entries, jobs, recorded, strict=True)]
        rows = {position: row for each in self.recorded for position, row in zip(each.entry.positions, each.rows, strict=True)}
        await self._note_in_sweep(rows)

    def _longest_name(self, entries: Sequence[_Entry]) -> str:
        prompts = {entry.request.plan.request.prompt for entry in entries}
        return max((filename_stem(prompt, "0000", self.settings.get("name")) for prompt in prompts), key=lambda stem: len(stem.encode()))

    def _entries(self, positions: Sequence[int]) -> Iterator[_Entry]:
        for number, own in itertools.groupby(positions, self.request_of.__getitem__):
            yield _Entry(self.requests[number], self.firsts[number], tuple(own))

    async def _upload(self, entries: Sequence[_Entry]) -> dict[tuple[str, str], str]:
        """Return the address of each local image, by (gateway's address, placeholder)."""
        wanted: dict[str, tuple[_Entry, dict[str, LocalImage]]] = {}
        for entry in entries:
            local = wanted.setdefault(entry.request.endpoint.base_url, (entry, {}))[1]
            if inline.is_uploaded(entry.request.plan.model):
                local |= {picture.placeholder: picture for picture in entry.request.plan.uploads}
            else:
                await threads.writing(inline.save_copies, self.settings.home, entry.request.plan.uploads)
        addresses: dict[tuple[str, str], str] = {}
        for base_url, (first, local) in wanted.items():
            if local:
                from imagegen_magic.engine.uploads import uploader  # loads only for requests with references

                report = self._upload_reporter(first.positions[0])
                found = await uploader.upload_all(self.context, first.request.endpoint, list(local.values()), self.settings, report=report)
                addresses |= {(base_url, placeholder): address for placeholder, address in found.items()}
        return addresses

    def _upload_reporter(self, position: int) -> Callable[[str], None]:
        """Return what reports an upload as progress of the first task that waits for it, which has no row yet."""
        channel, tasks = self.channel, self.tasks
        return lambda note: channel.emit(Progress("planned", position, tasks, 0, channel.started, note=note))

    def _new_job(self, entry: _Entry, addresses: Mapping[tuple[str, str], str]) -> NewJob:
        request, plan, endpoint = entry.request.request, entry.request.plan, entry.request.endpoint
        uploaded = plan.uploads if inline.is_uploaded(plan.model) else ()
        known = {picture.placeholder: addresses[endpoint.base_url, picture.placeholder] for picture in uploaded}
        references = tuple(inline.inserted(plan.request.references, known))
        resolved = replace(plan.request, references=references, mask=inline.inserted(plan.request.mask, known))
        return NewJob(
            provider=plan.provider,
            dialect=endpoint.provider.dialect or plan.provider,
            base_url=endpoint.base_url,
            sandbox=endpoint.sandbox,
            model=plan.model.name,
            quality=plan.tier[0],
            tier=plan.tier[1],
            asked=request.asked(),
            resolved=resolved.asked(),
            expected={
                "pixels": [list(pair) for pair in plan.pixels],
                "mime_type": plan.mime_type,
                "alpha": plan.alpha,
                "pictures": entry.count,
                **({"unchecked": list(plan.unchecked)} if plan.unchecked else {}),
                **({"by_row": True} if self.tasks > LOT else {}),
            },
            price=entry.price,
            save_dir=text_of(self.settings.save_dir),
            name=self.settings.get("name"),
            tasks=[self._new_task(entry, position, known) for position in entry.positions],
            sources=list(_sources(request)),
        )

    def _new_task(self, entry: _Entry, position: int, addresses: Mapping[str, str]) -> NewTask:
        plan, number = entry.request.plan, position - entry.first
        call = plan.calls[number]
        sent = {
            "method": call.method,
            "path": call.path,
            "json": inline.inserted(dict(call.json or {}), addresses),
            **inline.further(call),
            **({"seed": plan.seeds[number]} if plan.seeds else {}),
        }
        return NewTask(sent, plan.images_per_call[number], f"{entry.token}-{number}", self.fingerprints[position])

    async def _runners(self, recorded: _Recorded) -> Iterator[TaskRunner]:
        entry, new = recorded.entry, recorded.new
        return self._made(recorded, await self._spec(entry, new))

    def _made(self, recorded: _Recorded, spec: TaskSpec) -> Iterator[TaskRunner]:
        entry, new, first = recorded.entry, recorded.new, 1
        for position, row, task in zip(entry.positions, recorded.rows, new.tasks, strict=True):
            running = RunningTask(row, position, first, task.pictures, task.sent, task.idempotency_key)
            own = spec._replace(price=prorate(new.price, task.pictures, entry.count), earlier=recorded.earlier.get(task.fingerprint))
            yield TaskRunner(self.context, self.channel, by_row(own, row, new.name) if self.tasks > LOT else own, running)
            first += task.pictures

    async def _spec(self, entry: _Entry, new: NewJob) -> TaskSpec:
        request = ImageRequest(**new.resolved)
        kind: Kind = (new.provider, new.sandbox, new.model, new.quality, new.tier)
        return TaskSpec(
            endpoint=entry.request.endpoint,
            history=await self.context.history(kind, megapixels(new.expected)),
            request=request,
            asked=new.asked,
            model=new.model,
            expected=new.expected,
            price=new.price,
            save_dir=located(new.save_dir),
            filename_stem=filename_stem(request.prompt, entry.token[:4], new.name),
            tasks=self.tasks,
            protected=protected(new.sources),
            uploads=entry.request.plan.uploads,
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One request with the positions of those of its tasks that are to be submitted; `first` is the position of its first task."""

    request: PlannedRequest
    first: int
    positions: tuple[int, ...]
    token: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", secrets.token_hex(8))

    @property
    def count(self) -> int:
        """The number of images that those tasks are to make."""
        return sum(self.request.plan.images_per_call[position - self.first] for position in self.positions)

    @property
    def price(self) -> Cost:
        """Their estimated cost."""
        return prorate(self.request.plan.price, self.count, self.request.plan.count)

    @property
    def budgeted(self) -> Cost:
        """Their cost in a budget."""
        return ZERO_COST if self.request.endpoint.sandbox else self.price


class _Recorded(NamedTuple):
    """One request of a lot that is in the ledger: its rows, and the latest image of each fingerprint."""

    entry: _Entry
    new: NewJob
    rows: Sequence[int]
    earlier: Mapping[str, tuple[int, float]]


def _lots(positions: Sequence[int]) -> list[Sequence[int]]:
    return [positions[start : start + LOT] for start in range(0, len(positions), LOT)]


def _running_elsewhere() -> ImageGenError:
    what = "The same request is already running, so it was not sent again"
    return ImageGenError(what, blame="you", charge="no", hint="wait until that is done", retry=True)


def _unknown_before(row: TaskRow) -> SubmissionUnknown:
    what = "The same was sent before. It is unknown whether the service accepted it, so it was not sent again"
    hint = "%imagegen jobs shows what can be tried; --fresh sends all again, and it may be charged twice"
    return SubmissionUnknown(what, blame="you", hint=hint, rows=(row.row,))


def _unreadable_before(row: TaskRow) -> ImageInvalid:
    """Return the error of a task that was paid for, and whose images or some of them came as files that cannot be read."""
    paths = ", ".join(str(picture.path) for picture in row.pictures if reuse.is_unreadable(picture))
    what = f"The same was made before and came as a file that cannot be read here ({paths}), so it was not sent again"
    hint = "open it with another program, or send all again with --fresh"
    return ImageInvalid(what, charge="no", hint=hint, rows=(row.row,))


def _deleted_before(row: TaskRow) -> PictureDeleted:
    """Return the error of a task that was paid for, and whose images or some of them the user deleted."""
    names = ", ".join(f"@{number}" for number in row.deleted)
    what = f"The same was made before, and {names} of it was deleted, so it was not sent again"
    return PictureDeleted(what)


def _sources(request: ImageRequest) -> Iterator[NewSource]:
    """Yield what a request is made with: its references in their order, then its mask."""
    masks = () if request.mask is None else (request.mask,)
    for role, sources in (("reference", request.references), ("mask", masks)):
        for source in sources:
            if isinstance(source, LocalImage):
                yield NewSource(role, source.name, source.picture or None, source.identity)
            else:
                yield NewSource(role, source)
