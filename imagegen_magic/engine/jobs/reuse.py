"""What was made before: pictures of the ledger as a cell returned them, and which of them a request need not ask for again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from imagegen_magic.engine import threads
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.ledger.ledger import RESUMABLE, Ledger, PictureRow, TaskRow
from imagegen_magic.paths import path_of
from imagegen_magic.result import GeneratedImage

_LIFE = 86_400.0  # seconds that gateways keep a picture


def generated(row: PictureRow, *, reused: bool = False, task: int | None = None) -> GeneratedImage:
    """Return a picture of the ledger as what a cell returned of it; `task` is its place in the job that shows it now."""
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
    """What is there already for some submissions, by their position.

    Saved whole; saved, with files that are gone but may still be fetched; waiting to be collected or under way; come as files that
    cannot be read; of unknown fate.
    """

    whole: dict[int, TaskRow] = field(default_factory=dict)
    gone: dict[int, TaskRow] = field(default_factory=dict)
    waiting: dict[int, TaskRow] = field(default_factory=dict)
    unread: dict[int, TaskRow] = field(default_factory=dict)
    unknown: dict[int, TaskRow] = field(default_factory=dict)

    def all(self) -> dict[int, TaskRow]:
        """Return every position where nothing needs to be submitted, or nothing may."""
        return {**self.whole, **self.gone, **self.waiting, **self.unread, **self.unknown}


async def find(ledger: Ledger, fingerprints: Sequence[str], but: Collection[int] = ()) -> PriorResults:
    """Return what earlier submissions that asked for the same have brought; each row serves once, none of those in `but`.

    Of several the newest serve, in the order in which they were made. What failed is never among it, and neither is a picture
    whose file is gone for longer than gateways keep pictures.
    """
    alike = await ledger.by_fingerprint(fingerprints)
    known = {name: [task for task in tasks if task.row not in but] for name, tasks in alike.items()}
    return await threads.writing(_assigned, known, fingerprints, CLOCK.time())


def _assigned(alike: dict[str, list[TaskRow]], fingerprints: Sequence[str], now: float) -> PriorResults:
    found = PriorResults()
    asking: dict[str, list[int]] = {}
    for position, name in enumerate(fingerprints):
        asking.setdefault(name, []).append(position)
    kinds = (
        (found.whole, _is_whole),
        (found.gone, _may_be_fetched),
        (found.waiting, _is_waiting),
        (found.unread, _is_unread),
        (found.unknown, _is_in_doubt),
    )
    for name, positions in asking.items():
        for taken, fits in kinds:
            newest = [task for task in alike.get(name, ()) if fits(task, now)][: len(positions)]
            taken |= dict(zip(positions, reversed(newest), strict=False))
            positions = positions[len(newest) :]
    return found


def _is_whole(task: TaskRow, now: float) -> bool:
    return task.state == "saved" and not _is_unread(task, now) and not any(is_gone(picture) for picture in task.pictures)


def _is_unread(task: TaskRow, now: float) -> bool:
    return task.state == "saved" and bool(task.pictures) and all(is_unread(picture) for picture in task.pictures)


def is_unread(picture: PictureRow) -> bool:
    """Say whether it came as a file that cannot be read, and is kept."""
    return picture.path is not None and picture.saved_at is None


def is_gone(picture: PictureRow) -> bool:
    """Say whether it was saved and its file is not there any more."""
    return not is_unread(picture) and not is_there(picture)


def is_there(picture: PictureRow) -> bool:
    """Say whether a picture's file is where the ledger says, with as many bytes."""
    try:
        return picture.path is not None and path_of(picture.path).stat().st_size == picture.size
    except OSError:
        return False


def _may_be_fetched(task: TaskRow, now: float) -> bool:
    return task.state == "saved" and any(is_gone(picture) for picture in task.pictures) and now - (task.made_at or task.created) < _LIFE


def _is_waiting(task: TaskRow, now: float) -> bool:
    return task.state in ("planned", "submitting", *RESUMABLE)


def _is_in_doubt(task: TaskRow, now: float) -> bool:
    return task.state == "unknown"
