"""Tasks whose submission is answered with the pictures: the wait for them, and the pictures themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from imagegen_magic.sandbox import editing, fault_responses
from imagegen_magic.sandbox.images import ImageSpec
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from imagegen_magic.sandbox.app import Sandbox
    from imagegen_magic.sandbox.dialects.base import Dialect, TaskView

_STEP = 0.02  # seconds between two checks whether a task is finished
_FIRST_EDGE = 8  # blocks along the longer edge of the first partial picture; each further one has twice as many


async def wait(sandbox: Sandbox, request: Request, dialect: Dialect, task: Task, fraction: float = 1.0) -> TaskView | None:
    """Wait until a task has come so far, and return its view; None if the client has disconnected, or the task is forgotten."""
    while (found := await sandbox.task(task.id, dialect)) is not None:
        view = sandbox.view(found, "")
        if view.stage in ("completed", "failed") or view.fraction >= fraction:
            return view
        if await request.is_disconnected():
            return None
        await asyncio.sleep(_STEP)
    return None


def download_fault(sandbox: Sandbox, dialect: Dialect, task: Task) -> str:
    """Return the fault of phase `download` that the answer meets, "" for none."""
    return sandbox.faults.take("download", dialect.name, task.prompt, task.id) or ""


async def pictures(sandbox: Sandbox, task: Task, fault: str) -> list[bytes]:
    """Return the pictures of a finished task."""
    count = 0 if "no-address" in task.faults else max(1, task.n - 1) if "fewer-pictures" in task.faults else task.n
    specs = [ImageSpec.of(task, index, sandbox.seed) for index in range(count)]
    return [await fault_responses.picture(fault, spec, sandbox.images) for spec in specs]


async def partial(sandbox: Sandbox, task: Task, number: int) -> bytes:
    """Return a first view of a task's picture, as a PNG; `number` counts from 0."""
    content = await sandbox.images.fetch(ImageSpec.of(task, 0, sandbox.seed))
    return await asyncio.to_thread(editing.coarse, content, _FIRST_EDGE << number)
