"""The base of dialects with one POST of JSON, which is answered with the pictures in JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imagegen_magic.sandbox import fault_responses, requests, synchronous
from imagegen_magic.sandbox.dialects.base import Dialect, Json, Refusal, Submission, TaskView, failure
from imagegen_magic.sandbox.faults import REFUSALS
from imagegen_magic.sandbox.request_log import LogEntry
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from imagegen_magic.sandbox.app import Sandbox

_SHOWN = 200  # characters of a text in the log
_DATA_URL = re.compile(r"data:[\w/+.-]+;base64,")
_STANDARD = str.maketrans("-_", "+/")  # Google's own client writes the alphabet of addresses


class DirectDialect(Dialect):
    """The dialect of such a service; its references are addresses, data URLs or base64."""

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
        entry = sandbox.log.submission(LogEntry(self.name, sandbox.clock(), self.key_header[0] in request.headers))
        body = requests.json_or_text(await request.body())
        entry.json = shortened(body)
        try:
            response = await self._responded(sandbox, request, {**body, **(further or {})} if isinstance(body, dict) else body, entry)
        except Refusal as refusal:
            response = sandbox.refuse(request, refusal)
        entry.status = response.status_code
        return response

    async def _responded(self, sandbox: Sandbox, request: Request, body: Any, entry: LogEntry) -> Response:
        requests.check_key(self, request)
        if not isinstance(body, dict):
            raise Refusal(400, "invalid_json", "the body must be a JSON object, in UTF-8 and with finite numbers")
        entry.prompt = self.prompt_of_body(body)
        entry.fault = sandbox.fault("submit", self, entry.prompt, entry.prompt)
        if entry.fault in REFUSALS:
            return fault_responses.refuse(entry.fault, self, sandbox.clock())
        submission = self.parse(body)
        sources = await asyncio.to_thread(_sources, sandbox, submission, request.headers.get("host", ""))
        task = sandbox.accept(self, submission, entry, sources)
        view = await synchronous.wait(sandbox, request, self, task)
        if view is None:
            raise ConnectionResetError("the client left before its picture was ready")
        if view.stage == "failed":
            raise self.failed(view)
        trouble = synchronous.download_fault(sandbox, self, task)
        answer = self.answer(task, await synchronous.pictures(sandbox, task, trouble))
        if entry.fault:
            return fault_responses.answer(entry.fault, answer)
        return fault_responses.body(trouble, json.dumps(answer).encode(), "application/json")


def shortened(value: Any) -> Any:
    """Return a JSON value for the log: long texts, such as pictures, are cut."""
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {key: shortened(inner) for key, inner in value.items()}
    return [shortened(inner) for inner in value] if isinstance(value, list) else value


def _sources(sandbox: Sandbox, submission: Submission, host: str) -> tuple[str, ...]:
    """Return the names of the references. Raises Refusal for what is no picture."""
    return tuple(_source(sandbox, submission, each, host) for each in submission.references)


def _source(sandbox: Sandbox, submission: Submission, given: str, host: str) -> str:
    if given.startswith(("http://", "https://")):
        return sandbox.references.of(replace(submission, references=(given,)), host)[0][0]
    try:
        content = base64.b64decode(_DATA_URL.sub("", given, count=1).translate(_STANDARD), validate=True)
    except binascii.Error:
        content = b""
    stored = sandbox.uploads.put(content) if content else None
    if stored is None:
        raise Refusal(400, "invalid_image", "the reference is no PNG, JPEG, WEBP or GIF in base64")
    return f"upload/{stored.name}"
