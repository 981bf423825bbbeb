"""Earlier results: images of the ledger as a cell returned them, and which tasks a request need not submit again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from imagegen_magic.engine import threads
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.ledger.ledger import RESUMABLE, Ledger, PictureRow, TaskRow
from imagegen_magic.engine.ledger.reuse import tasks_by_fingerprint
from imagegen_magic.paths import path_of
from imagegen_magic.result import GeneratedImage

_LIFE = 86_400.0  # seconds that gateways keep an image


def generated(row: PictureRow, *, reused: bool = False, task: int | None = None) -> GeneratedImage:
    """Return an image of the ledger as a cell returned it; `task` is its position in the job that shows it now."""
    request = stored_requests.request(row.resolved)
    return GeneratedImage(
        path=path_of(row.path or ""),
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
        id=row.id,
        task=row.task_position if task is None else task,
        sandbox=row.sandbox,
        differences=row.differences,
        reused=reused,
        drift=None if row.share is None or row.mean is None else (row.share, row.mean),
    )


@dataclass(frozen=True, slots=True)
class PriorResults:
    """What earlier tasks have brought for some submissions, by their position.

    `complete`: saved; `missing`: saved, with files that are gone and may still be fetched; `pending`: running or to be collected;
    `unreadable`: saved as files that cannot be read; `unknown`: it is not known whether the gateway accepted them.
    """

    complete: dict[int, TaskRow] = field(default_factory=dict)
    missing: dict[int, TaskRow] = field(default_factory=dict)
    pending: dict[int, TaskRow] = field(default_factory=dict)
    unreadable: dict[int, TaskRow] = field(default_factory=dict)
    unknown: dict[int, TaskRow] = field(default_factory=dict)

    def all(self) -> dict[int, TaskRow]:
        """Return the task of every position for which nothing needs to be submitted, or nothing may be."""
        return {**self.complete, **self.missing, **self.pending, **self.unreadable, **self.unknown}


async def find(ledger: Ledger, fingerprints: Sequence[str], exclude: Collection[int] = ()) -> PriorResults:
    """Return what earlier submissions with the same fingerprints have brought; each row serves once, none of those in `exclude`.

    Of several the newest serve, in the order in which they were made. Failed tasks never serve, nor does one whose file is missing for
    longer than gateways keep images.
    """
    same = await tasks_by_fingerprint(ledger, fingerprints)
    known = {name: [task for task in tasks if task.row not in exclude] for name, tasks in same.items()}
    return await threads.writing(_assigned, known, fingerprints, CLOCK.time())


def _assigned(known: dict[str, list[TaskRow]], fingerprints: Sequence[str], now: float) -> PriorResults:
    found = PriorResults()
    asking: dict[str, list[int]] = {}
    for position, name in enumerate(fingerprints):
        asking.setdefault(name, []).append(position)
    kinds = (
        (found.complete, _is_complete),
        (found.missing, _may_be_fetched),
        (found.pending, _is_pending),
        (found.unreadable, _is_unreadable),
        (found.unknown, _is_unknown),
    )
    for name, positions in asking.items():
        for taken, fits in kinds:
            newest = [task for task in known.get(name, ()) if fits(task, now)][: len(positions)]
            taken |= dict(zip(positions, reversed(newest), strict=False))
            positions = positions[len(newest) :]
    return found


def _is_complete(task: TaskRow, now: float) -> bool:
    return task.state == "saved" and not _is_unreadable(task, now) and not any(is_gone(picture) for picture in task.pictures)


def _is_unreadable(task: TaskRow, now: float) -> bool:
    return task.state == "saved" and bool(task.pictures) and all(is_unreadable(picture) for picture in task.pictures)


def is_unreadable(picture: PictureRow) -> bool:
    """Return whether it came as a file that cannot be read, and is kept."""
    return picture.path is not None and picture.saved_at is None


def is_gone(picture: PictureRow) -> bool:
    """Return whether it was saved and its file no longer exists."""
    return not is_unreadable(picture) and not exists(picture)


def exists(picture: PictureRow) -> bool:
    """Return whether an image's file is at its path in the ledger, with as many bytes."""
    try:
        return picture.path is not None and path_of(picture.path).stat().st_size == picture.size
    except OSError:
        return False


def _may_be_fetched(task: TaskRow, now: float) -> bool:
    return task.state == "saved" and any(is_gone(picture) for picture in task.pictures) and now - (task.made_at or task.created) < _LIFE


def _is_pending(task: TaskRow, now: float) -> bool:
    return task.state in ("planned", "submitting", *RESUMABLE)


def _is_unknown(task: TaskRow, now: float) -> bool:
    return task.state == "unknown"
