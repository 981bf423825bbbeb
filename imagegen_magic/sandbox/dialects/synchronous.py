"""Services whose response to a submission carries the pictures: the task is made, waited for and drawn within one request."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from imagegen_magic.formats import JPEG
from imagegen_magic.sandbox import fault_responses
from imagegen_magic.sandbox.dialects.base import Dialect, Json, Refusal, Submission, TaskView, failure
from imagegen_magic.sandbox.faults import REFUSALS
from imagegen_magic.sandbox.images import ImageSpec, bomb, corrupted
from imagegen_magic.sandbox.request_log import LogEntry
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from imagegen_magic.sandbox.app import Sandbox

_WAIT = 0.02  # seconds between two checks of a task
_SHOWN = 200  # characters of a text in the log
_DATA_URL = re.compile(r"data:[\w/+.-]+;base64,")


class SynchronousDialect(Dialect):
    """The dialect of such a service. `parse` takes a body whose `model` is set; references are addresses, data URLs or base64."""

    def answer(self, task: Task, pictures: Sequence[bytes]) -> Json:
        """Return the response with the pictures' bytes; there may be none."""
        raise NotImplementedError

    def failed(self, view: TaskView) -> Refusal:
        """Return the refusal of a task that failed."""
        code, message = failure(view)
        return Refusal(400 if "failed-by-moderation" in view.shapes else 500, code, message)

    def prompt_of_body(self, body: Json) -> str:
        """Return the prompt of a body, "" if it has none."""
        prompt = body.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    async def respond(self, sandbox: Sandbox, request: Request, further: Json | None = None) -> Response:
        """Answer a submission; `further` joins its body, such as a model that stands in the path."""
        from imagegen_magic.sandbox.app import json_or_text  # the app imports the dialects

        entry = sandbox.log.submission(LogEntry(self.name, sandbox.clock(), self.key_header[0] in request.headers))
        body = json_or_text(await request.body())
        entry.json = shortened(body)
        try:
            response = await self._responded(sandbox, request, {**body, **(further or {})} if isinstance(body, dict) else body, entry)
        except Refusal as refusal:
            response = sandbox.refuse(request, refusal)
        entry.status = response.status_code
        return response

    async def _responded(self, sandbox: Sandbox, request: Request, body: Any, entry: LogEntry) -> Response:
        from imagegen_magic.sandbox.app import check_key

        check_key(self, request)
        if not isinstance(body, dict):
            raise Refusal(400, "invalid_json", "the body must be a JSON object, in UTF-8 and with finite numbers")
        entry.prompt = self.prompt_of_body(body)
        entry.fault = sandbox.fault("submit", self, entry.prompt, entry.prompt)
        if entry.fault in REFUSALS:
            return fault_responses.refuse(entry.fault, self, sandbox.clock())
        submission = self.parse(body)
        sources = await asyncio.to_thread(_sources, sandbox, submission, request.headers.get("host", ""))
        mask = sources.pop() if submission.mask else ""
        task = sandbox.accept(self, submission, entry, tuple(sources), mask)
        view = await finished(sandbox, task, request)
        if view.stage == "failed":
            raise self.failed(view)
        return await self._drawn(sandbox, view, entry.fault)

    async def _drawn(self, sandbox: Sandbox, view: TaskView, fault: str | None) -> Response:
        task, cut = view.task, ""
        pictures: list[bytes] = []
        for index in range(len(view.addresses)):
            trouble = sandbox.fault("download", self, task.prompt, f"{task.id}/{index}") or ""
            pictures.append(await picture(sandbox, ImageSpec.of(task, index, sandbox.seed), trouble))
            cut = cut or trouble
        answer = self.answer(task, pictures)
        if fault:
            return fault_responses.answer(fault, answer)
        return _delivered(cut, json.dumps(answer).encode())


def shortened(value: Any) -> Any:
    """Return a JSON value for the log: long texts, such as pictures, are cut."""
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {key: shortened(inner) for key, inner in value.items()}
    return [shortened(inner) for inner in value] if isinstance(value, list) else value


async def finished(sandbox: Sandbox, task: Task, request: Request) -> TaskView:
    """Return the view of a task once it has ended. Raises ConnectionResetError if the client has left."""
    while (view := sandbox.view(task, "")).stage not in ("completed", "failed"):
        await asyncio.sleep(min(_WAIT, max(task.finished - sandbox.clock(), 0.001)))
        if await request.is_disconnected():
            raise ConnectionResetError("the client left before its picture was ready")
    return view


async def picture(sandbox: Sandbox, spec: ImageSpec, trouble: str) -> bytes:
    """Return the bytes of one picture, damaged as a fault of the download phase says."""
    if trouble == "bomb":
        return await asyncio.to_thread(bomb)
    if trouble == "non-image":
        return fault_responses.PAGE.encode()
    if trouble == "wrong-size":
        return await sandbox.images.fetch(spec.reshaped())
    if trouble == "wrong-format" or (trouble == "truncated-jpeg" and spec.mime_type != JPEG.mime_type):
        spec = spec.reformatted()
    drawn = await sandbox.images.fetch(spec)
    if trouble == "truncated-jpeg":
        return drawn[: len(drawn) * 3 // 5]
    return corrupted(drawn) if trouble == "corrupt" else drawn


def _delivered(trouble: str, text: bytes) -> Response:
    """Return the response with this JSON: whole, cut, or slow."""
    if trouble == "truncated":
        return fault_responses.ShortResponse(text[: len(text) // 2], len(text))
    if trouble == "dropped-download":
        return fault_responses.BrokenResponse(text[: len(text) // 2], len(text))
    if trouble == "slow":
        return StreamingResponse(fault_responses.trickle(text), media_type="application/json", headers={"content-length": str(len(text))})
    return Response(text, media_type=JSONResponse.media_type)


def _sources(sandbox: Sandbox, submission: Submission, host: str) -> list[str]:
    """Return the names of the references and then of the mask. Raises Refusal for what is no picture."""
    given = (*submission.references, *filter(None, (submission.mask,)))
    return [_source(sandbox, submission, each, host) for each in given]


def _source(sandbox: Sandbox, submission: Submission, given: str, host: str) -> str:
    if given.startswith(("http://", "https://")):
        return sandbox.references.of(replace(submission, references=(given,), mask=""), host)[0][0]
    try:
        content = base64.b64decode(_DATA_URL.sub("", given, count=1).translate(_STANDARD), validate=True)
    except binascii.Error:
        content = b""
    stored = sandbox.uploads.put(content) if content else None
    if stored is None:
        raise Refusal(400, "invalid_image", "the reference is no PNG, JPEG, WEBP or GIF in base64")
    return f"upload/{stored.name}"


_STANDARD = str.maketrans("-_", "+/")  # Google's own client writes the alphabet of addresses
