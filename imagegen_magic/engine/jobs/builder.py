"""From planned requests to runners: what is reused, what is resumed, what is recorded in the ledger and then sent."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imagegen_magic import notebook_folder
from imagegen_magic.engine import threads
from imagegen_magic.engine.context import EngineContext, Kind, context_of
from imagegen_magic.engine.jobs import inline, reuse
from imagegen_magic.engine.jobs.job import PlannedRequest, Prepared
from imagegen_magic.engine.jobs.resume import Resumer, megapixels, protected
from imagegen_magic.engine.jobs.reuse import PriorResults
from imagegen_magic.engine.jobs.runner import TaskRunner
from imagegen_magic.engine.jobs.task import JobChannel, RunningTask, TaskSpec
from imagegen_magic.engine.ledger import budget
from imagegen_magic.engine.ledger.ledger import NewJob, NewSource, NewTask, TaskRow
from imagegen_magic.engine.ledger.reuse import is_requested_after, latest_by_fingerprint, latest_row, reopen
from imagegen_magic.engine.ledger.spending import ZERO_COST, prorate
from imagegen_magic.engine.ledger.sweeps import SweepRecord, record_sweep
from imagegen_magic.engine.storage import folders
from imagegen_magic.engine.storage.filenames import filename_stem
from imagegen_magic.errors import ImageGenError, ImageInvalid, PictureDeleted, SubmissionUnknown
from imagegen_magic.paths import located, text_of
from imagegen_magic.providers.base import Call
from imagegen_magic.records import PortableError
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost, Progress, Stage


async def create_tasks(requests: Sequence[PlannedRequest], channel: JobChannel, sweep: SweepRecord | None = None) -> Prepared:
    """Return the runners of requests; all that is to be submitted is in the ledger, durably, before anything is sent.

    Raises LedgerError, SaveError if the images could not be saved, or the reason why a reference could not be uploaded; then nothing
    was submitted.
    """
    context = context_of(channel.settings)
    await context.check()
    builder = _Builder(requests, channel, context)
    prepared = builder.prepared
    try:
        rows = await builder.build()
        if not prepared.runners:  # nothing will be sent, after which the ledger would be read
            context.ledger.inspect_in_background()
        if sweep is not None:
            combinations = {row: builder.places[position] for position, row in rows.items()}
            prepared.sweep = await record_sweep(context.ledger, sweep, combinations, [each.endpoint.sandbox for each in requests])
    except BaseException:
        folders.remove_empty(prepared.made_folders)
        raise
    return prepared


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

    def __init__(self, requests: Sequence[PlannedRequest], channel: JobChannel, context: EngineContext) -> None:
        self.requests, self.channel, self.context, self.settings = requests, channel, context, channel.settings
        self.places = [request.combination for request in requests for _ in request.plan.calls]
        self.fingerprints = [fingerprint(request, call) for request in requests for call in request.plan.calls]
        self.tasks = len(self.fingerprints)
        self.prepared = Prepared()
        self.resumer = Resumer(context, channel, self.prepared)
        self.latest: int | None = None  # the ledger's latest row when earlier results were read; None if they are not reused

    async def build(self) -> dict[int, int]:
        """Return the ledger's row of each task by its position; repeats if another kernel records an identical task meanwhile."""
        rows: dict[int, int] = {}
        while True:
            if self.settings.get("reuse"):
                self.latest = await latest_row(self.context.ledger)
                rows |= await self._reuse(rows)
            try:
                return rows | await self._add([position for position in range(self.tasks) if position not in rows])
            except _Overtaken:
                continue

    # earlier results

    async def _reuse(self, settled: Mapping[int, int]) -> dict[int, int]:
        """Emit what exists already of what is not settled, and resume what is pending; returns their rows by position."""
        ledger = self.context.ledger
        await ledger.recover_orphans()
        asked = ["" if position in settled else name for position, name in enumerate(self.fingerprints)]
        prior = await reuse.find(ledger, asked, settled.values())
        if found := prior.all():
            self.prepared.id = self.prepared.id or found[min(found)].job  # the number under which it was recorded
        lost = [picture.id for row in prior.missing.values() for picture in row.pictures if reuse.is_gone(picture)]
        await reopen(ledger, lost)
        self._emit_complete(prior)
        await self._resume(prior)
        for position, row in prior.unreadable.items():
            self._report(position, "failed", row, _unreadable_before(row))
        for position, row in prior.unknown.items():
            self._report(position, "left", row, _unknown_before(row))
        for position, row in prior.deleted.items():
            self._report(position, "failed", row, _deleted_before(row))
        return {position: row.row for position, row in prior.all().items()}

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
        for position, row in wanted.items():
            if row.row not in claimed:
                self._report(position, "left", row, _running_elsewhere())
                continue
            for picture in claimed[row.row].pictures:
                if picture.saved_at is not None and reuse.exists(picture):
                    self.channel.emit(reuse.generated(picture, reused=True, task=position))
            await self.resumer.add(claimed[row.row], position, self.tasks)

    def _report(self, position: int, stage: Stage, row: TaskRow, error: ImageGenError | None = None) -> None:
        if error is not None:
            self.prepared.errors.append(error)
        self.channel.emit(Progress(stage, position, self.tasks, row.row, row.submitted_at or row.created, error=error))

    # new tasks

    async def _add(self, positions: Sequence[int]) -> dict[int, int]:
        """Record these tasks and make their runners; returns the ledger's row of each.

        Raises _Overtaken if an identical task was recorded meanwhile; nothing is recorded then.
        """
        entries = [entry for entry in self._entries(set(positions)) if entry.positions]
        if not entries:
            return {}
        check_budget = budget.budget_check(
            [(entry.budgeted, entry.count) for entry in entries], self.context.ledger, self.settings.get("unknown_price")
        )
        if any(entry.request.plan.uploads for entry in entries):
            await self.context.ledger.run(check_budget, writes=False)  # no image leaves this machine for a refused request
        self.prepared.made_folders += await threads.writing(folders.make_ready, self.settings, name=self._longest_name(entries))
        if (within := self.settings.save_dir_within) is not None:
            await threads.writing(notebook_folder.remember, self.settings.folder, within)
        addresses = await self._upload(entries)
        earlier: dict[str, tuple[int, float]] = {}
        jobs = [self._new_job(entry, addresses) for entry in entries]
        wanted = {self.fingerprints[position] for position in positions}

        def check(connection: Any) -> None:
            self.channel.check_wanted()
            if self.latest is not None and is_requested_after(connection, self.latest, wanted):
                raise _Overtaken
            check_budget(connection)
            if self.latest is None:  # earlier results are named, not reused
                earlier.update(latest_by_fingerprint(connection, self.fingerprints))

        recorded = await self.context.ledger.add(jobs, allow=check, claims=self.channel.claims)
        self.prepared.id = recorded[0][0]
        rows: dict[int, int] = {}
        for entry, new, (_, tasks) in zip(entries, jobs, recorded, strict=True):
            self.prepared.runners += await self._runners(entry, new, tasks, earlier)
            rows |= dict(zip(entry.positions, tasks, strict=True))
        return rows

    def _longest_name(self, entries: Sequence[_Entry]) -> str:
        prompts = {entry.request.plan.request.prompt for entry in entries}
        return max((filename_stem(prompt, "0000", self.settings.get("name")) for prompt in prompts), key=lambda stem: len(stem.encode()))

    def _entries(self, missing: set[int]) -> Iterator[_Entry]:
        first = 0
        for request in self.requests:
            count = len(request.plan.calls)
            yield _Entry(request, first, tuple(position for position in range(first, first + count) if position in missing))
            first += count

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

    async def _runners(self, entry: _Entry, new: NewJob, rows: Sequence[int], earlier: Mapping[str, tuple[int, float]]) -> list[TaskRunner]:
        spec = await self._spec(entry, new)
        runners, first = [], 1
        for position, row, task in zip(entry.positions, rows, new.tasks, strict=True):
            running = RunningTask(row, position, first, task.pictures, task.sent, task.idempotency_key)
            own = spec._replace(price=prorate(new.price, task.pictures, entry.count), earlier=earlier.get(task.fingerprint))
            runners.append(TaskRunner(self.context, self.channel, own, running))
            first += task.pictures
        return runners

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
