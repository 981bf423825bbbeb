"""Earlier results: images of the ledger as a cell returned them, and which tasks a request need not submit again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from imagegen_magic.engine import threads
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.ledger.ledger import RESUMABLE, Ledger, PictureRow, TaskRow
from imagegen_magic.engine.ledger.reuse import tasks_by_fingerprint
from imagegen_magic.engine.storage import stores
from imagegen_magic.paths import Location, located
from imagegen_magic.result import GeneratedImage, file_fields

_LIFE = 86_400.0  # seconds that gateways keep an image


def generated(row: PictureRow, *, reused: bool = False, task: int | None = None) -> GeneratedImage:
    """Return an image of the ledger as a cell returned it; `task` is its position in the job that shows it now."""
    request = stored_requests.request(row.resolved)
    return GeneratedImage(
        **file_fields(located(row.path or "")),
        url=row.url,
        width=row.width or 0,
        height=row.height or 0,
        mime_type=row.mime_type or "",
        size_asked=request.size or "",
        request=request,
        provider=row.provider,
        model=row.model,
        task_id=row.task_id or "",
        cost=row.cost.share(row.count),
        created=row.saved_at or row.created,
        seconds=row.seconds,
        seed=row.seed,
        text=row.text,
        id=row.id,
        task=row.task_position if task is None else task,
        sandbox=row.sandbox,
        differences=row.differences,
        reused=reused,
        unchecked=tuple(stored_requests.expected(row.expected).get("unchecked", ())),
        drift=None if row.share is None or row.mean is None else (row.share, row.mean),
    )


@dataclass(frozen=True, slots=True)
class PriorResults:
    """The earlier tasks that serve some submissions, by their position; the first kind is preferred.

    `complete`: saved; `missing`: saved, with files that are gone and may still be fetched; `pending`: running or to be collected;
    `unreadable`: saved as files that cannot be read; `unknown`: it is not known whether the gateway accepted them; `deleted`: all their
    images were deleted.
    """

    complete: dict[int, TaskRow] = field(default_factory=dict)
    missing: dict[int, TaskRow] = field(default_factory=dict)
    pending: dict[int, TaskRow] = field(default_factory=dict)
    unreadable: dict[int, TaskRow] = field(default_factory=dict)
    unknown: dict[int, TaskRow] = field(default_factory=dict)
    deleted: dict[int, TaskRow] = field(default_factory=dict)

    def at(self, positions: Sequence[int]) -> PriorResults:
        """Return the same with other positions: the one that stands at each."""
        return PriorResults(*({positions[each]: task for each, task in getattr(self, kind.name).items()} for kind in fields(self)))

    def all(self) -> dict[int, TaskRow]:
        """Return the task of every position that is not submitted again."""
        return {**self.complete, **self.missing, **self.pending, **self.unreadable, **self.unknown, **self.deleted}


async def find(ledger: Ledger, fingerprints: Sequence[str], exclude: Collection[int] = ()) -> PriorResults:
    """Return the earlier tasks with the same fingerprints; each serves once, none of those in `exclude`.

    Of several the newest serve, in the order in which they were made. Failed tasks never serve, nor does one whose file is missing for
    longer than gateways keep images.
    """
    same = await tasks_by_fingerprint(ledger, fingerprints)
    known = {name: [task for task in tasks if task.row not in exclude] for name, tasks in same.items()}
    return await threads.writing(_assigned, known, fingerprints, CLOCK.time())


def _assigned(known: dict[str, list[TaskRow]], fingerprints: Sequence[str], now: float) -> PriorResults:
    found = PriorResults()
    existing = _existing(task for tasks in known.values() for task in tasks)
    asking: dict[str, list[int]] = {}
    for position, name in enumerate(fingerprints):
        asking.setdefault(name, []).append(position)
    for name, positions in asking.items():
        kinds = [(_kind_of(task, now, existing), task) for task in known.get(name, ())]
        for kind in fields(found):
            newest = [task for own, task in kinds if own == kind.name][: len(positions)]
            getattr(found, kind.name).update(zip(positions, reversed(newest), strict=False))
            positions = positions[len(newest) :]
    return found


def _kind_of(task: TaskRow, now: float, existing: Mapping[Location, int]) -> str | None:
    """Return the field of PriorResults that a task belongs to, with the sizes of existing files; None if it does not serve."""
    if task.state == "unknown":
        return "unknown"
    if task.state in ("planned", "submitting", *RESUMABLE):
        return "pending"
    if task.state != "saved":
        return None
    if task.deleted and not task.pictures:
        return "deleted"
    if task.pictures and all(map(is_unreadable, task.pictures)):
        return "unreadable"
    if not any(is_gone(each, existing) for each in task.pictures):
        return "complete"
    return "missing" if now - (task.made_at or task.created) < _LIFE else None


def is_unreadable(picture: PictureRow) -> bool:
    """Return whether it came as a file that cannot be read, and is kept."""
    return picture.path is not None and picture.saved_at is None


async def existing_files(tasks: Iterable[TaskRow]) -> Mapping[Location, int]:
    """Return the sizes of the tasks' files that exist. Raises ReadError if a store does not answer."""
    return await threads.writing(_existing, list(tasks))


def _existing(tasks: Iterable[TaskRow]) -> Mapping[Location, int]:
    return stores.sizes(located(picture.path) for task in tasks for picture in task.pictures if picture.path)


def is_gone(picture: PictureRow, existing: Mapping[Location, int]) -> bool:
    """Return whether it was saved and its file no longer exists; see `exists`."""
    return not is_unreadable(picture) and not exists(picture, existing)


def exists(picture: PictureRow, existing: Mapping[Location, int]) -> bool:
    """Return whether an image's file is at its path in the ledger, with as many bytes; `existing` has the sizes of existing files."""
    return picture.path is not None and existing.get(located(picture.path)) == picture.size
