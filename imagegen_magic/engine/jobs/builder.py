"""From a job's requests to the deliveries that carry them out: what is reused, what is taken up again, what is recorded and then sent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_magic import notebook_folder
from imagegen_magic.engine import threads
from imagegen_magic.engine.context import EngineContext, Kind, session_of
from imagegen_magic.engine.endpoints import Endpoint, at
from imagegen_magic.engine.jobs.job import Job, PlannedRequest
from imagegen_magic.engine.jobs.runner import RunningTask, TaskRunner, TaskSpec
from imagegen_magic.engine.ledger import budget, stored_requests
from imagegen_magic.engine.ledger.ledger import NewJob, NewSource, NewTask, TaskRow, latest_by_fingerprint
from imagegen_magic.engine.ledger.spending import ZERO_COST, prorate
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.storage import folders, images
from imagegen_magic.errors import ImageGenError, ImageInvalid, LedgerError, NotFound, SubmissionUnknown
from imagegen_magic.paths import path_of, text_of
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Call
from imagegen_magic.providers.urls import without_user
from imagegen_magic.records import PortableError
from imagegen_magic.request import ImageRequest, LocalPicture
from imagegen_magic.result import Cost, Progress

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.reuse import PriorResults


class SweepRecord(NamedTuple):
    """A sweep: its prompt as written, and the values of each axis."""

    prompt: str
    axes: Mapping[str, Sequence[str]]
    fixed: str = ""


async def record(job: Job, settings: Settings, *, preview: int | None, reuse: bool, study: SweepRecord | None = None) -> None:
    """Give a job its deliveries; all that is to be submitted stands in the ledger, durably, before anything is sent.

    Raises LedgerError, SaveError where the pictures could not be saved, or why a picture could not be brought to its gateway; then
    nothing was submitted.
    """
    session = session_of(settings)
    await session.check()
    marks = [fingerprint(wish, call) for wish in job.wishes for call in wish.plan.calls]
    rows: dict[int, int] = {}
    recorded = False
    while not recorded:
        seen = await session.ledger.latest_row() if reuse else None
        if reuse:
            rows |= await _take_up_earlier(job, marks, rows, session, settings, preview)
        try:
            rows |= await _Recording(job, session, settings, preview, marks, rows, seen).add()
            recorded = True
        except _Overtaken:  # somebody else has just asked for the same: look again before anything is paid for
            continue
    if not job.deliveries:  # nothing will be sent, after which the ledger would be read
        session.ledger.inspect_in_background()
    if study is not None:
        job.study = await _remember_study(session, study, rows, job.places, job.wishes)


class _Overtaken(PortableError):
    """Since we looked, somebody has recorded the very same."""


async def _take_up_earlier(
    job: Job, marks: Sequence[str], settled: Mapping[int, int], session: EngineContext, settings: Settings, preview: int | None
) -> dict[int, int]:
    """Tell what is there already of what is not settled yet, and collect what waits; returns their rows by position."""
    from imagegen_magic.engine.jobs import reuse as past

    await session.ledger.recover_orphans()
    asked = ["" if position in settled else mark for position, mark in enumerate(marks)]
    found = await past.find(session.ledger, asked, settled.values())
    if earlier := found.all():
        job.id = job.id or earlier[min(earlier)].job  # what is there already keeps the number under which it was recorded
    await session.ledger.reopen([picture.id for row in found.gone.values() for picture in row.pictures if past.is_gone(picture)])
    return await _take_up_found(job, found, session, settings, preview)


def fingerprint(wish: PlannedRequest, call: Call) -> str:
    """Return what is the same for submissions that ask the same gateway for the same, down to the bytes of their references."""
    told = [wish.gateway.provider.name, wish.gateway.base_url, wish.gateway.sandbox, call.method, call.path, call.json]
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=True, default=str).encode()).hexdigest()


async def _take_up_found(job: Job, found: PriorResults, session: EngineContext, settings: Settings, preview: int | None) -> dict[int, int]:
    """Tell what is there already, and collect what waits; returns the ledger's row of each position that needs no submission."""
    from imagegen_magic.engine.jobs.reuse import generated, is_there, is_unread

    for position, row in found.whole.items():
        for picture in row.pictures:
            if not is_unread(picture):
                job.tell(generated(picture, reused=True, task=position))
        if any(map(is_unread, row.pictures)):
            job.errors.append(_unread_before(row))
        job.tell(_progress(job, position, "saved", row))
    wanted = {**found.gone, **found.waiting}
    mine = (
        {row.row: row for row in await session.ledger.claim(rows=[row.row for row in wanted.values()], claims=job.claims)} if wanted else {}
    )
    for position, row in wanted.items():
        if row.row not in mine:
            _leave(job, position, row, _UNDER_WAY)
            continue
        for picture in mine[row.row].pictures:
            if picture.saved_at is not None and is_there(picture):
                job.tell(generated(picture, reused=True, task=position))
        if delivery := await taken_up(job, mine[row.row], position, session, settings, preview=preview):
            job.deliveries.append(delivery)
    for position, row in found.unread.items():
        job.errors.append(_unread_before(row))
        job.tell(_progress(job, position, "failed", row, job.errors[-1]))
    for position, row in found.unknown.items():
        _leave(job, position, row, _IN_DOUBT)
    return {position: row.row for position, row in found.all().items()}


_UNDER_WAY = "The same is under way already, so it was not sent again"
_IN_DOUBT = "The same was sent before, and nobody knows whether it was accepted, so it was not sent again"


def _leave(job: Job, position: int, row: TaskRow, what: str) -> None:
    if what is _UNDER_WAY:
        error: ImageGenError = ImageGenError(what, blame="you", charge="no", hint="run the cell again when that is done")
    else:
        step = f"look at the gateway's own task list; %imagegen forget {row.row} lets it be sent again, or --fresh sends all anew"
        error = SubmissionUnknown(what, blame="you", hint=step)
    job.errors.append(error)
    job.tell(_progress(job, position, "left", row, error))


def _unread_before(row: TaskRow) -> ImageInvalid:
    """Return what to say of a task that was paid for and came, or some of it, as files that cannot be read."""
    from imagegen_magic.engine.jobs.reuse import is_unread

    paths = ", ".join(str(picture.path) for picture in row.pictures if is_unread(picture))
    what = f"The same was made before and came as a file that cannot be read here ({paths}), so it was not sent again"
    step = f"open it with another program; %imagegen forget {row.row} lets it be sent again, or --fresh sends all anew"
    return ImageInvalid(what, charge="no", hint=step)


def _progress(job: Job, position: int, stage: Any, row: TaskRow, error: ImageGenError | None = None) -> Progress:
    return Progress(stage, position, job.tasks, row.row, row.submitted_at or row.created, error=error)


# where the gateway is an axis, its record says nothing of the sandbox: play money and money have one each all the same
_SAME_STUDY = """SELECT id FROM studies WHERE prompt = ? AND axes = ? AND fixed = ? AND NOT EXISTS (
    SELECT 1 FROM members JOIN tasks ON tasks.row = members.task JOIN jobs ON jobs.id = tasks.job
    WHERE members.study = studies.id AND jobs.sandbox NOT IN (?, ?)) ORDER BY id"""


async def _remember_study(
    session: EngineContext,
    study: SweepRecord,
    rows: Mapping[int, int],
    places: Sequence[Mapping[str, str]],
    wishes: Sequence[PlannedRequest],
) -> int:
    axes = json.dumps({axis: list(values) for axis, values in study.axes.items()}, ensure_ascii=False)
    sandbox = [wish.gateway.sandbox for wish in wishes]
    members = [(row, json.dumps(dict(places[position]), ensure_ascii=False)) for position, row in rows.items()]
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())

    def work(connection: Any) -> int:
        told = study.prompt, axes, study.fixed
        known = connection.execute(_SAME_STUDY, (*told, any(sandbox), all(sandbox))).fetchone()
        query = "INSERT INTO studies (created, prompt, axes, fixed) VALUES (?, ?, ?, ?)"
        number = int(known["id"] if known else connection.execute(query, (now, *told)).lastrowid)
        query = """INSERT INTO members (study, task, place) VALUES (?, ?, ?)
            ON CONFLICT (study, task) DO UPDATE SET place = excluded.place"""
        connection.executemany(query, [(number, *member) for member in members])
        return number

    return await session.ledger.run(work)


class _Recording:
    """What of a job is new: brought to its gateways where it holds pictures of this machine, and written into the ledger."""

    def __init__(
        self,
        job: Job,
        session: EngineContext,
        settings: Settings,
        preview: int | None,
        marks: Sequence[str],
        settled: Collection[int],
        seen: int | None,
    ) -> None:
        self.job, self.session, self.settings, self.preview, self.marks = job, session, settings, preview, marks
        self.missing = [position for position in range(len(marks)) if position not in settled]
        self.seen = seen  # the latest row when we looked for earlier ones; None where they are not to be reused

    async def add(self) -> dict[int, int]:
        """Record it and make its deliveries; returns the ledger's row of each new position.

        Raises _Overtaken where the same was recorded by somebody else meanwhile; nothing is recorded then.
        """
        entries = [entry for entry in self._entries() if entry.positions]
        if not entries:
            return {}
        allow = budget.budget_check(map(_priced, entries), self.session.ledger, self.settings.get("unknown_price"))
        if any(entry.wish.plan.uploads for entry in entries):
            await self.session.ledger.run(allow, writes=False)  # no picture leaves this machine for what is then refused
        self.job.made_folders += await threads.writing(folders.make_ready, self.settings, name=self._longest_name(entries))
        if (within := self.settings.save_dir_within) is not None:
            await threads.writing(notebook_folder.remember, self.settings.folder, within)
        addresses = await self._bring(entries)
        earlier: dict[str, tuple[int, float]] = {}
        jobs = [self._new_job(entry, addresses) for entry in entries]

        def allowed(connection: Any) -> None:
            self.job.check_wanted()
            self._check_not_overtaken(connection)
            allow(connection)
            if self.seen is None:  # what was made before is only told
                earlier.update(latest_by_fingerprint(connection, self.marks))

        recorded = await self.session.ledger.add(jobs, allow=allowed, claims=self.job.claims)
        self.job.id = recorded[0][0]
        rows: dict[int, int] = {}
        for entry, new, (number, tasks) in zip(entries, jobs, recorded, strict=True):
            self.job.deliveries += await self._deliveries(entry, new, number, tasks, earlier)
            rows |= dict(zip(entry.positions, tasks, strict=True))
        return rows

    def _longest_name(self, entries: Sequence[_Entry]) -> str:
        prompts = {entry.wish.plan.request.prompt for entry in entries}
        return max((images.stem(prompt, "0000", self.settings.get("name")) for prompt in prompts), key=lambda stem: len(stem.encode()))

    def _check_not_overtaken(self, connection: Any) -> None:
        if self.seen is None:
            return
        query = "SELECT fingerprint FROM tasks WHERE row > ? AND state NOT IN ('failed', 'dropped')"
        wanted = {self.marks[position] for position in self.missing}
        if any(row[0] in wanted for row in connection.execute(query, (self.seen,))):
            raise _Overtaken

    def _entries(self) -> Iterator[_Entry]:
        missing, first = set(self.missing), 0
        for wish in self.job.wishes:
            count = len(wish.plan.calls)
            yield _Entry(wish, first, tuple(position for position in range(first, first + count) if position in missing))
            first += count

    async def _bring(self, entries: Sequence[_Entry]) -> dict[tuple[str, str], str]:
        """Return the address of each picture of this machine, by (gateway's address, placeholder)."""
        wanted: dict[str, tuple[_Entry, dict[str, LocalPicture]]] = {}
        for entry in entries:
            pictures = wanted.setdefault(entry.wish.gateway.base_url, (entry, {}))[1]
            pictures |= {picture.placeholder: picture for picture in entry.wish.plan.uploads}
        addresses: dict[tuple[str, str], str] = {}
        for base_url, (first, pictures) in wanted.items():
            if pictures:
                from imagegen_magic.engine.uploads import uploader

                told = list(pictures.values()), self.settings
                brought = await uploader.bring(self.session, first.wish.gateway, *told, tell=self._teller(first.positions[0]))
                addresses |= {(base_url, placeholder): address for placeholder, address in brought.items()}
        return addresses

    def _teller(self, position: int) -> Callable[[str], None]:
        """Return what tells of an upload, where the first task waits for it; the ledger has no row of that task yet."""
        job = self.job
        return lambda words: job.tell(Progress("planned", position, job.tasks, 0, job.started, note=words))

    def _new_job(self, entry: _Entry, addresses: Mapping[tuple[str, str], str]) -> NewJob:
        wish, plan = entry.wish, entry.wish.plan
        known = {picture.placeholder: addresses[wish.gateway.base_url, picture.placeholder] for picture in plan.uploads}
        return NewJob(
            provider=plan.provider,
            dialect=wish.gateway.provider.dialect or plan.provider,
            base_url=wish.gateway.base_url,
            sandbox=wish.gateway.sandbox,
            model=plan.model.name,
            quality=plan.tier[0],
            tier=plan.tier[1],
            asked=wish.request.asked(),
            resolved=_with_addresses(plan.request, known).asked(),
            expected={
                "pixels": [list(pair) for pair in plan.pixels],
                "mime_type": plan.mime_type,
                "alpha": plan.alpha,
                "pictures": entry.pictures,
            },
            price=entry.price,
            save_dir=text_of(self.settings.save_dir),
            name=self.settings.get("name"),
            tasks=[self._new_task(entry, position, known) for position in entry.positions],
            sources=list(_sources(wish.request)),
        )

    def _new_task(self, entry: _Entry, position: int, addresses: Mapping[str, str]) -> NewTask:
        plan = entry.wish.plan
        call, pictures = plan.calls[position - entry.first], plan.images_per_call[position - entry.first]
        sent = {"method": call.method, "path": call.path, "json": _addressed(dict(call.json or {}), addresses)}
        return NewTask(sent, pictures, f"{entry.token}-{position - entry.first}", self.marks[position])

    async def _deliveries(
        self, entry: _Entry, new: NewJob, number: int, rows: Sequence[int], earlier: Mapping[str, tuple[int, float]]
    ) -> list[TaskRunner]:
        job, history = self.job, await self.session.history(_kind(new), _megapixels(new.expected))
        request = ImageRequest(**new.resolved)
        order = _order(new, number, request, self.settings, self.preview, entry.token)
        deliveries, first = [], 1
        for position, row, task in zip(entry.positions, rows, new.tasks, strict=True):
            own = RunningTask(row, position, first, task.pictures, task.sent, task.idempotency_key)
            price = prorate(new.price, task.pictures, entry.pictures)
            known = order._replace(price=price, tasks=job.tasks, earlier=earlier.get(task.fingerprint), uploads=entry.wish.plan.uploads)
            gateway = entry.wish.gateway
            deliveries.append(TaskRunner(self.session, gateway, known, own, history, job.tell, job.claims, partial(job.hopeless, gateway)))
            first += task.pictures
        return deliveries


@dataclass(frozen=True, slots=True)
class _Entry:
    """One request with the positions of those of its tasks that are to be submitted; `first` is the position of its first task."""

    wish: PlannedRequest
    first: int
    positions: tuple[int, ...]
    token: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", secrets.token_hex(8))

    @property
    def pictures(self) -> int:
        """How many pictures those tasks are to make."""
        return sum(self.wish.plan.images_per_call[position - self.first] for position in self.positions)

    @property
    def price(self) -> Cost:
        """What they are expected to cost."""
        return prorate(self.wish.plan.price, self.pictures, self.wish.plan.count)


def _priced(entry: _Entry) -> tuple[Cost, int]:
    """Return what a request counts as in a budget: its price, and its number of pictures."""
    return ZERO_COST if entry.wish.gateway.sandbox else entry.price, entry.pictures


def _addressed(value: Any, addresses: Mapping[str, str]) -> Any:
    """Return a call's JSON with an address for each placeholder."""
    if isinstance(value, str):
        return addresses.get(value, value)
    if isinstance(value, Mapping):
        return {name: _addressed(each, addresses) for name, each in value.items()}
    return [_addressed(each, addresses) for each in value] if isinstance(value, list | tuple) else value


def _with_addresses(request: ImageRequest, addresses: Mapping[str, str]) -> ImageRequest:
    return replace(request, references=tuple(_addressed(request.references, addresses)), mask=_addressed(request.mask, addresses))


def _sources(request: ImageRequest) -> Iterator[NewSource]:
    """Yield what a request is made with: its references in their order, then its mask."""
    masks = () if request.mask is None else (request.mask,)
    for role, pictures in (("reference", request.references), ("mask", masks)):
        for picture in pictures:
            if isinstance(picture, LocalPicture):
                yield NewSource(role, picture.name, picture.picture or None, picture.identity)
            else:
                yield NewSource(role, picture)


def _kind(job: NewJob | TaskRow) -> Kind:
    return job.provider, job.sandbox, job.model, job.quality, job.tier


def _order(new: NewJob, job: int, request: ImageRequest, settings: Settings, preview: int | None, short: str) -> TaskSpec:
    return TaskSpec(
        job=job,
        request=request,
        asked=new.asked,
        model=new.model,
        expected=new.expected,
        size_asked=request.size or "",
        price=new.price,
        save_dir=path_of(new.save_dir),
        stem=images.stem(request.prompt, short[:4], new.name),
        tasks=len(new.tasks),
        timeout=settings.get("timeout"),
        submits_at_once=settings.get("submits_at_once"),
        submit_timeout=settings.get("submit_timeout"),
        preview_edge=preview,
        protected=_protected(new.sources),
        settings=settings,
    )


def _protected(sources: Sequence[NewSource]) -> tuple[str, str] | None:
    """Return the contents (SHA-256) of the first reference and the mask, where both are on this machine."""
    first = next((source.sha256 for source in sources if source.role == "reference"), None)
    mask = next((source.sha256 for source in sources if source.role == "mask"), None)
    return (first, mask) if first and mask else None


def _megapixels(expected: Any) -> float:
    pixels = expected.get("pixels")
    return float(pixels[0][0] * pixels[0][1]) / 1e6 if pixels else 1.0


async def take_up(
    job: Job,
    rows: Sequence[TaskRow],
    settings: Settings,
    elsewhere: Path | None = None,
    *,
    preview: int | None = None,
    again: bool = False,
) -> None:
    """Give a job the deliveries of tasks that were submitted before; their pictures go where they were asked to go, or `elsewhere`.

    With `again` also those that came as files which cannot be read are fetched.
    """
    session = session_of(settings)
    job.id = rows[0].job if rows else 0
    for folder in {path_of(row.save_dir) for row in rows} | ({elsewhere} if elsewhere else set()):
        await threads.writing(_sweep, folder)
    if elsewhere is not None:
        with contextlib.suppress(LedgerError):  # it says only where else to look
            await session.ledger.add_folder([row.row for row in rows], elsewhere.absolute())
    for position, row in enumerate(rows):
        if delivery := await taken_up(job, row, position, session, settings, elsewhere, preview=preview, tasks=len(rows), again=again):
            job.deliveries.append(delivery)


def _sweep(folder: Path) -> None:
    now = notebook_folder.followed(folder)
    images.sweep(now)
    images.sweep(now / images.UNREADABLE)


async def taken_up(
    job: Job,
    row: TaskRow,
    position: int,
    session: EngineContext,
    settings: Settings,
    elsewhere: Path | None = None,
    *,
    preview: int | None = None,
    tasks: int = 0,
    again: bool = False,
) -> TaskRunner | None:
    """Return the delivery of a task of ours that was submitted before, None where its gateway cannot be asked: the job knows why."""
    try:
        gateway = _same_gateway(row, settings)
    except ImageGenError as error:
        with contextlib.suppress(LedgerError):  # it is written as soon as it can be
            await session.ledger.release([row.row], str(error))
        job.errors.append(error)
        return None
    history = await session.history(_kind(row), _megapixels(stored_requests.expected(row.expected)))
    order = _order_again(row, tasks or job.tasks, settings, elsewhere or path_of(row.save_dir), preview)
    places = [path_of(row.save_dir)]
    with contextlib.suppress(ImageGenError):  # beside the notebook, whose folder may have been renamed since
        places.append(settings.save_dir)
    order = order._replace(protected=_protected(await session.ledger.sources(row.job)), elsewhere=tuple(places))
    return TaskRunner(session, gateway, order, _task_again(row, position, again), history, job.tell, job.claims)


def _same_gateway(row: TaskRow, settings: Settings) -> Endpoint:
    """Return the gateway that a task was submitted to; another address of the same name does not know it."""
    gateway = at(registry.get_provider(row.provider, settings.look_alikes), settings, sandbox=row.sandbox)
    if not row.sandbox and gateway.base_url != without_user(row.base_url, ""):  # which version 0.1 took, and sent to no gateway
        raise NotFound(
            f"Task {row.task_id} was submitted to {row.base_url}, and {row.provider} is now at {gateway.base_url}",
            blame="you",
            charge="yes",
            hint=f"set {row.provider.upper().replace('-', '_')}_BASE_URL back, then %imagegen resume",
        )
    return gateway


def _order_again(row: TaskRow, tasks: int, settings: Settings, save_dir: Path, preview: int | None) -> TaskSpec:
    request = stored_requests.request(row.resolved)
    return TaskSpec(
        job=row.job,
        request=request,
        asked=MappingProxyType(dict(row.asked)),
        model=row.model,
        expected=stored_requests.expected(row.expected),
        size_asked=request.size or "",
        price=_price_again(row),
        save_dir=save_dir,
        stem=images.stem(request.prompt, row.idempotency_key[:4], row.name),
        tasks=tasks,
        timeout=settings.get("timeout"),
        preview_edge=preview,
    )


def _price_again(row: TaskRow) -> Cost:
    """Return what a task was expected to cost; a ledger of earlier versions knows of its request's tasks only how many they were."""
    expected = stored_requests.expected(row.expected)
    pictures = expected.get("pictures")
    return prorate(row.price, row.count, pictures) if pictures else row.price.share(expected.get("tasks", 1))


def _task_again(row: TaskRow, position: int, again: bool) -> RunningTask:
    return RunningTask(
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
        addresses={picture.id: picture.url for picture in row.pictures if picture.saved_at is None and (again or not picture.path)},
        numbers={picture.id: picture.position for picture in row.pictures},
        resumed=True,
    )
