"""What the dialects of task-based services with routes of their own share: submissions, polls, cancelling, and pictures as data."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from imagegen_magic.sandbox import fault_responses, requests
from imagegen_magic.sandbox.dialects.base import Dialect, Json, Refusal, Submission, TaskView
from imagegen_magic.sandbox.faults import REFUSALS
from imagegen_magic.sandbox.request_log import LogEntry
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from imagegen_magic.sandbox.app import Sandbox

CANCELLED, BEGUN = "cancelled", "cancelled-after-it-began"
"""What is kept of a task that was cancelled, beside its faults."""
_SHOWN = 80  # characters of a picture as data in the log
_LONG = 4_000  # characters without a space that are a picture as base64


async def submitted(
    sandbox: Sandbox, dialect: Dialect, request: Request, read: Callable[[Json], Submission], answer: Callable[[Task], Json]
) -> Response:
    """Answer a submission, and log it; `read` returns what a body asks for or raises Refusal, `answer` the JSON of a new task.

    As at these services, moderation's refusal is the result of an accepted task.
    """
    entry = sandbox.log.submission(LogEntry(dialect.name, sandbox.clock(), dialect.key_header[0] in request.headers))
    try:
        response = await _answered(sandbox, dialect, request, entry, read, answer)
    except Refusal as refusal:
        response = sandbox.refuse(request, refusal)
    entry.status = response.status_code
    return response


async def _answered(
    sandbox: Sandbox,
    dialect: Dialect,
    request: Request,
    entry: LogEntry,
    read: Callable[[Json], Submission],
    answer: Callable[[Task], Json],
) -> Response:
    requests.check_key(dialect, request)
    body = requests.json_or_text(await request.body())
    entry.json = _without_data(body)
    if not isinstance(body, dict):
        raise Refusal(400, "bad_request", "the body must be a JSON object")
    submission = read(body)
    entry.prompt = submission.prompt
    entry.fault = sandbox.fault("submit", dialect, entry.prompt, entry.prompt)
    if entry.fault in REFUSALS and entry.fault != "moderation":
        return fault_responses.refuse(str(entry.fault), dialect, sandbox.clock())
    host = request.headers.get("host", "")
    sources = await asyncio.to_thread(lambda: tuple(_named(sandbox, address, host) for address in submission.references))
    mask = await asyncio.to_thread(_named, sandbox, submission.mask, host) if submission.mask else ""
    task = sandbox.accept(dialect, submission, entry, sources, mask)
    if entry.fault == "moderation":
        sandbox.store.bind(task, {"failed-by-moderation"})
        return JSONResponse(answer(task))
    return fault_responses.answer(entry.fault, answer(task)) if entry.fault else JSONResponse(answer(task))


async def polled(sandbox: Sandbox, dialect: Dialect, request: Request, task_id: str) -> TaskView | Response:
    """Return what a poll shows of a task, or the response of a fault. Raises Refusal for an unknown one."""
    sandbox.log.count(dialect.name, "looks")
    requests.check_key(dialect, request)
    await asyncio.sleep(sandbox.latency)
    task = await sandbox.task(task_id, dialect)
    if task is None:
        raise dialect.unknown_task()
    if fault := sandbox.fault("look", dialect, task.prompt, task.id):
        return fault_responses.poll(fault, dialect, sandbox.clock())
    return sandbox.view(task, requests.origin_of(request))


async def cancelled(sandbox: Sandbox, dialect: Dialect, request: Request, task_id: str) -> TaskView:
    """Cancel a task unless it is finished, and return what it was before. Raises Refusal for an unknown one."""
    requests.check_key(dialect, request)
    task = await sandbox.task(task_id, dialect)
    if task is None:
        raise dialect.unknown_task()
    view = sandbox.view(task, requests.origin_of(request))
    if view.stage in ("queued", "running") and CANCELLED not in view.shapes:
        sandbox.store.bind(task, {CANCELLED, *({BEGUN} if view.stage == "running" else ())})
    return view


def _named(sandbox: Sandbox, address: str, host: str) -> str:
    """Return the name of a picture by its address, which may hold it as data. Raises Refusal."""
    head, _, content = address.partition(";base64,")
    if not head.startswith("data:"):
        (name,), _ = sandbox.references.of(Submission("", "", "", (1, 1), references=(address,)), host)
        return name
    try:
        kept = sandbox.uploads.put(base64.b64decode(content, validate=True))
    except binascii.Error:
        kept = None
    if kept is None:
        raise Refusal(422, "image_load_error", "Failed to load the image. Please ensure the image file is not corrupted.")
    return f"upload/{kept.name}"


def _without_data(value: Any) -> Any:
    """Return a body with the pictures that it holds as data cut short."""
    if isinstance(value, str):
        return value[:_SHOWN] if value.startswith("data:") or (len(value) > _LONG and " " not in value) else value
    if isinstance(value, dict):
        return {name: _without_data(inner) for name, inner in value.items()}
    return [_without_data(inner) for inner in value] if isinstance(value, list) else value
