"""Runners for tasks that were submitted before: their images are collected, and nothing is submitted."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from imagegen_magic import notebook_folder
from imagegen_magic.engine import threads
from imagegen_magic.engine.context import EngineContext, context_of
from imagegen_magic.engine.endpoints import Endpoint, base_variable, endpoint_for
from imagegen_magic.engine.jobs.job import Prepared
from imagegen_magic.engine.jobs.runner import TaskRunner
from imagegen_magic.engine.jobs.task import JobChannel, RunningTask, TaskSpec, by_row
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.ledger.ledger import NewSource, TaskRow
from imagegen_magic.engine.ledger.spending import prorate
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.storage import filenames, images, parts, stores
from imagegen_magic.errors import ImageGenError, LedgerError, NotFound, SubmissionUnknown
from imagegen_magic.paths import Location, located
from imagegen_magic.providers import registry
from imagegen_magic.providers.urls import without_user
from imagegen_magic.result import Cost


async def resume_tasks(rows: Sequence[TaskRow], channel: JobChannel, folder: Location | None = None, *, again: bool = False) -> Prepared:
    """Return the runners of claimed tasks; their images are saved in `folder`, by default in the request's folder.

    `again` also fetches what came as files that cannot be read. About a submission of unknown outcome the gateway is asked.
    """
    context = context_of(channel.settings)
    prepared = Prepared(id=rows[0].job if rows else 0)
    elsewhere = _by_folder(rows, folder.absolute()) if folder is not None else {}
    own = {_folder_of(row, located(row.save_dir)) for row in rows} | elsewhere.keys()
    for arriving in {stores.arrival_folder(each, context.home) for each in own}:
        await threads.writing(_remove_stale_parts, arriving)
    with contextlib.suppress(LedgerError):  # it only names further folders
        for each, numbers in elsewhere.items():
            await context.ledger.add_folder(numbers, each)
    if rows and (workers := context.workers.of(channel.settings.get("workers"))) is not None:
        await workers.check(folder or located(rows[0].save_dir))
    resumer = Resumer(context, channel, prepared, folder, again=again)
    for position, row in enumerate(rows):
        await resumer.add(row, position, len(rows))
    return prepared


def _by_folder(rows: Sequence[TaskRow], folder: Location) -> dict[Location, list[int]]:
    """Return which rows are saved in which folder, if `folder` is that of all."""
    found: dict[Location, list[int]] = {}
    for row in rows:
        found.setdefault(_folder_of(row, folder), []).append(row.row)
    return found


def _folder_of(row: TaskRow, folder: Location) -> Location:
    return folder / filenames.row_folder(row.row) if is_by_row(row) else folder


def _remove_stale_parts(folder: Path) -> None:
    current = notebook_folder.followed(folder)
    parts.remove_stale_parts(current)
    parts.remove_stale_parts(current / images.UNREADABLE)


class Resumer:
    """Adds runners of claimed tasks to `prepared`."""

    def __init__(
        self, context: EngineContext, channel: JobChannel, prepared: Prepared, folder: Location | None = None, *, again: bool = False
    ) -> None:
        self._context, self._channel, self._prepared = context, channel, prepared
        self._settings, self._folder, self._again = channel.settings, folder, again

    async def add(self, row: TaskRow, position: int, tasks: int) -> None:
        """Add the runner of a task; if its gateway cannot be used, release the task and add the error."""
        try:
            endpoint = same_endpoint(row, self._settings)
        except ImageGenError as error:
            with contextlib.suppress(LedgerError):  # it is written as soon as it can be
                await self._context.ledger.release([row.row], str(error))
            self._prepared.errors.append(error)
            return
        spec, task = await self._spec(row, endpoint, tasks), _running_task(row, position, self._again)
        self._prepared.runners.append(TaskRunner(self._context, self._channel, spec, task))

    async def _spec(self, row: TaskRow, endpoint: Endpoint, tasks: int) -> TaskSpec:
        request, expected = stored_requests.request(row.resolved), stored_requests.expected(row.expected)
        kind = (row.provider, row.sandbox, row.model, row.quality, row.tier)
        folders = [located(row.save_dir)]
        with contextlib.suppress(ImageGenError):  # beside the notebook, whose folder may have been renamed since
            folders.append(self._settings.save_dir)
        spec = TaskSpec(
            endpoint=endpoint,
            history=await self._context.history(kind, megapixels(expected)),
            request=request,
            asked=MappingProxyType(dict(row.asked)),
            model=row.model,
            expected=expected,
            price=price_of(row),
            save_dir=self._folder or located(row.save_dir),
            filename_stem=filenames.filename_stem(request.prompt, row.idempotency_key[:4], row.name),
            tasks=tasks,
            protected=protected(await self._context.ledger.sources(row.job)),
            extra_folders=tuple(folders),
            unknown=_unknown(row),
        )
        return by_row(spec, row.row, row.name) if is_by_row(row) else spec


def is_by_row(row: TaskRow) -> bool:
    """Return whether the files of a task are called by its row: it is one of a large job."""
    return bool(stored_requests.expected(row.expected).get("by_row"))


def same_endpoint(row: TaskRow, settings: Settings) -> Endpoint:
    """Return the endpoint that a task was submitted to. Raises NotFound if the gateway has another address now."""
    endpoint = endpoint_for(registry.get_provider(row.provider, settings.provider_tables), settings, sandbox=row.sandbox)
    if not row.sandbox and endpoint.base_url != without_user(row.base_url, ""):  # version 0.1 accepted a user name, and sent none
        raise NotFound(
            f"Task {row.task_id or row.row} was submitted to {row.base_url}, and {row.provider} is now at {endpoint.base_url}",
            blame="you",
            charge="yes",
            hint=f"set {base_variable(endpoint.provider)} back, then %imagegen resume",
        )
    return endpoint


def _unknown(row: TaskRow) -> SubmissionUnknown | None:
    """Return the error of a submission of unknown outcome, None for any other task."""
    if row.state != "unknown":
        return None
    return row.failure if isinstance(row.failure, SubmissionUnknown) else SubmissionUnknown("No answer to this submission came")


def price_of(row: TaskRow) -> Cost:
    """Return the estimated cost of a task; ledgers of earlier versions only know how many tasks its request had."""
    expected = stored_requests.expected(row.expected)
    count = expected.get("pictures")
    return prorate(row.price, row.count, count) if count else row.price.share(expected.get("tasks", 1))


def _running_task(row: TaskRow, position: int, again: bool) -> RunningTask:
    ends = [picture.expires_at for picture in row.pictures if picture.expires_at is not None]
    return RunningTask(
        row=row.row,
        position=position,
        first=row.first + 1,
        count=row.count,
        sent=row.sent,
        idempotency_key=row.idempotency_key,
        task_id=row.task_id or "",
        submitted=row.submitted_at or row.submitting_at or row.created,
        cost=row.cost,
        seconds=row.seconds,
        addresses={picture.id: picture.url for picture in row.pictures if picture.saved_at is None and (again or not picture.path)},
        numbers={picture.id: picture.position for picture in row.pictures},
        seeds={picture.position: picture.seed for picture in row.pictures if picture.seed is not None},
        text=next((picture.text for picture in row.pictures), ""),
        kept_until=min(ends, default=row.made_at or row.submitted_at or row.created),  # an unknown end: the oldest first
        resumed=True,
    )


def megapixels(expected: Mapping[str, Any]) -> float:
    """Return the megapixels that a plan expects; 1 if it does not know."""
    pixels = expected.get("pixels")
    return float(pixels[0][0] * pixels[0][1]) / 1e6 if pixels else 1.0


def protected(sources: Sequence[NewSource]) -> tuple[str, str] | None:
    """Return the SHA-256 of the first reference and of the mask, if both are local."""
    first = next((source.sha256 for source in sources if source.role == "reference"), None)
    mask = next((source.sha256 for source in sources if source.role == "mask"), None)
    return (first, mask) if first and mask else None
