"""What was made before: pictures of the ledger as a cell returned them, and which of them a request need not ask for again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imagegen_magic.engine.ledger import COLLECTABLE, Ledger, PictureRow, TaskRow
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import GeneratedImage

_DOUBT = 86_400.0  # seconds for which a submission of unknown fate may still have made a picture that can be fetched


def generated(row: PictureRow, *, reused: bool = False, task: int | None = None) -> GeneratedImage:
    """Return a picture of the ledger as what a cell returned of it; `task` is its place in the job that shows it now."""
    request = ImageRequest(**row.resolved)
    return GeneratedImage(
        path=Path(row.path or ""),
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
class Found:
    """What is there already for some submissions, by their position: saved whole, waiting to be collected, under way, of unknown fate."""

    whole: dict[int, TaskRow] = field(default_factory=dict)
    waiting: dict[int, TaskRow] = field(default_factory=dict)
    unknown: dict[int, TaskRow] = field(default_factory=dict)

    def has(self, position: int) -> bool:
        """Whether nothing needs to be submitted there, or nothing may."""
        return position in self.whole or position in self.waiting or position in self.unknown


async def find(ledger: Ledger, fingerprints: Sequence[str]) -> Found:
    """Return what earlier submissions that asked for the same have brought; each serves once, the newest first.

    What failed is never among it, and neither is a picture whose file is gone.
    """
    alike = await ledger.alike(fingerprints)
    return await asyncio.to_thread(_assigned, alike, fingerprints, time.time())


def _assigned(alike: dict[str, list[TaskRow]], fingerprints: Sequence[str], now: float) -> Found:
    found = Found()
    for taken, fits in ((found.whole, _is_whole), (found.waiting, _is_waiting), (found.unknown, _is_in_doubt)):
        fitting = {name: [task for task in tasks if fits(task, now)] for name, tasks in alike.items()}
        for position, name in enumerate(fingerprints):
            if not found.has(position) and fitting.get(name):
                taken[position] = fitting[name].pop(0)
    return found


def _is_whole(task: TaskRow, now: float) -> bool:
    return task.state == "saved" and all(_is_there(picture) for picture in task.pictures)


def _is_there(picture: PictureRow) -> bool:
    try:
        return picture.path is not None and Path(picture.path).stat().st_size == picture.size
    except OSError:
        return False


def _is_waiting(task: TaskRow, now: float) -> bool:
    return task.state in ("planned", "submitting", *COLLECTABLE)


def _is_in_doubt(task: TaskRow, now: float) -> bool:
    return task.state == "unknown" and now - (task.submitting_at or task.created) < _DOUBT
