"""Submissions whose response carries the pictures: the response goes to the spool as it arrives, and its pictures are read from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from imagegen_magic.engine import loop, threads
from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.jobs.submission import read_submission
from imagegen_magic.engine.ledger.ledger import RESUMABLE
from imagegen_magic.engine.net.client import GatewayResponse, decoded, redacted
from imagegen_magic.engine.net.retry import Retryable
from imagegen_magic.engine.net.transport import OutcomeUnknown, Response
from imagegen_magic.engine.storage import spool
from imagegen_magic.errors import ImageGenError, ImageInvalid, SaveError
from imagegen_magic.providers.base import Failed, Partial, Provider, Submission, Succeeded

if TYPE_CHECKING:
    from imagegen_magic.engine.context import EngineContext

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 600.0  # seconds for a submission whose response carries the pictures
MAX_ANSWER = 256 * 2**20  # bytes of a response
_PIECE = 256 * 1024  # bytes that are written at once
_OPEN = ("submitting", "unknown", *RESUMABLE)  # states of tasks whose answers are kept


class SpooledAnswer:
    """The response to one submission. `name` is that of its file; `on_partial` gets each first view of a picture, as base64.

    Responses are decoded while `decoding` is held: each takes several times its size in memory.
    """

    def __init__(self, context: EngineContext, provider: Provider, name: str, key: Key, on_partial: Callable[[str], None]) -> None:
        self._home, self._ledger, self._decoding = context.home, context.ledger, context.fetcher.decoding
        self._provider, self._name, self._key, self._on_partial = provider, name, key, on_partial
        self._events = _EventReader(provider, name)
        self._headers: Mapping[str, str] = {}
        self._result: Submission | Exception | None = None  # of a response that is no stream
        self.streamed = False

    async def receive(self, response: Response) -> Any:
        """Write a response to the spool and read it; returns its JSON if that is not yet the result, else None.

        Raises OutcomeUnknown if it is cut off or the disk does not take it, unless events with the result have come before.
        """
        self._headers = response.headers
        self.streamed = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        file = spool.SpoolFile(self._home, self._name)
        reported = {name: self._headers[name] for name in self._provider.cost_headers if name in self._headers}
        try:
            if reported:
                await _on_disk(file.keep_headers, reported)
            await self._write(response, file)
            path = await _on_disk(file.finish, spool.EVENTS if self.streamed else spool.JSON)
        except SaveError as error:
            raise OutcomeUnknown(f"the response could not be kept. {error.what}") from None
        finally:
            file.close()
        if self.streamed:
            return None
        async with self._decoding:
            return await _on_disk(self._read, path)

    async def _write(self, response: Response, file: spool.SpoolFile) -> None:
        buffer, parser = bytearray(), spool.EventParser()
        try:
            async for chunk in response.chunks:
                buffer += chunk
                if file.size + len(buffer) > MAX_ANSWER:
                    raise OutcomeUnknown(f"the response exceeds the {MAX_ANSWER // 2**20} MiB that are read")
                if (self.streamed and self._take(parser.feed(chunk))) or len(buffer) >= _PIECE:
                    await _flush(buffer, file)
            self._take(parser.end())
        except OutcomeUnknown:
            self._take(parser.end())
            if not self._events.has_result:
                raise
        finally:  # also if the time is over
            await _flush(buffer, file)

    def _take(self, events: list[spool.Event]) -> bool:
        """Read events; returns whether there are any."""
        before = self._events.last_partial
        for event in events:
            self._events.take(event._replace(data=redacted(event.data, self._key)))
        if self._events.last_partial is not before:
            self._on_partial(self._events.last_partial)
        return bool(events)

    def _read(self, path: Path) -> Any:
        """Read a response; its JSON is kept in memory only if it is not yet the result."""
        content = decoded(spool.text_of(path), self._key)
        try:
            self._result = _in_spool(read_submission(self._provider, GatewayResponse(200, content)), self._name, "")
        except (ImageGenError, Retryable) as error:
            self._result = error.with_traceback(None)
        return content if isinstance(self._result, Submission) and self._result.finished is None else None

    def complete(self) -> GatewayResponse | None:
        """Return the response if its result has come, though the connection or the time ended later; else None."""
        came = self._result is not None or self._events.has_result
        return GatewayResponse(200, None, headers=self._headers) if came else None

    def submission(self, answer: GatewayResponse) -> Submission:
        """Return what the response means. Raises like `read_submission`, or the failure that a stream reports."""
        if answer.status >= 300:
            return read_submission(self._provider, answer)
        if self.streamed:
            return self._events.submission()
        if isinstance(self._result, Submission):
            return self._result
        raise self._result or OutcomeUnknown("the response was not read")

    async def make_ready(self) -> None:
        """Remove answers of long ago whose tasks have ended, and raise SaveError unless there is room for this one."""
        if old := await threads.writing(spool.old_names, self._home):
            kept = {task.idempotency_key for task in await self._ledger.tasks(states=_OPEN)}
            for name in old - kept:
                await threads.writing(spool.remove, self._home, name)
        await threads.writing(spool.check_room, self._home)

    def discard(self) -> None:
        """Remove the file."""
        spool.remove(self._home, self._name)


async def _flush(buffer: bytearray, file: spool.SpoolFile) -> None:
    piece = bytes(buffer)
    buffer.clear()
    await _on_disk(file.write, piece)


async def _on_disk(step: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """Take a step in a thread, which the end of the time does not interrupt."""
    return await loop.uninterrupted(threads.writing(step, *args, **named))


class _EventReader:
    """Collects what the events of one response mean; `name` is that of its file in the spool."""

    def __init__(self, provider: Provider, name: str) -> None:
        self._provider, self._name, self._count = provider, name, 0
        self.succeeded: list[tuple[int, Succeeded]] = []
        self.failed: Failed | None = None
        self.last_partial = ""

    @property
    def has_result(self) -> bool:
        """Whether a picture or a failure has come."""
        return bool(self.succeeded) or self.failed is not None

    def take(self, event: spool.Event) -> None:
        """Read one event."""
        state = self._provider.read_event(event.name, event.data)
        if isinstance(state, Succeeded):
            self.succeeded.append((self._count, state))
        elif isinstance(state, Failed):
            self.failed = state
        elif isinstance(state, Partial):
            with suppress(ImageInvalid):
                self.last_partial = spool.text_at(event.data, state.image_url)
        self._count += 1

    def submission(self) -> Submission:
        """Return the submission with its result. Raises the failure that was reported, or OutcomeUnknown if there was no result."""
        if not self.succeeded:
            if self.failed is not None:
                raise self.failed.error
            raise OutcomeUnknown("the stream ended without a picture")
        last = self.succeeded[-1][1]
        urls = tuple(_spooled(url, self._name, f"/{number}") for number, state in self.succeeded for url in state.image_urls)
        return Submission("", last.cost, finished=replace(last, image_urls=urls))


def _in_spool(submission: Submission, name: str, prefix: str) -> Submission:
    if submission.finished is None:
        return submission
    urls = tuple(_spooled(url, name, prefix) for url in submission.finished.image_urls)
    return replace(submission, finished=replace(submission.finished, image_urls=urls))


def _spooled(url: str, name: str, prefix: str) -> str:
    """Return the address of a picture in the spool; any other address as it is."""
    return f"{spool.SCHEME}{name}#{prefix}{url[1:]}" if url.startswith("#") else url


def recovered(home: Path, provider: Provider, name: str) -> Succeeded | None:
    """Return the result that a response in the spool holds, though the process ended before it was recorded; None if it holds none."""
    path = spool.find(home, name)
    if path is None or not provider.synchronous:
        return None
    try:
        finished = _finished(provider, name, spool.read(path))
    except (ImageGenError, OSError, OutcomeUnknown, Retryable):  # an answer without a picture is no result either
        return None
    cost = provider.cost_of_headers(spool.headers(home, name))
    return finished if finished is None or cost.amount is None else replace(finished, cost=cost)


def _finished(provider: Provider, name: str, answer: Any) -> Succeeded | None:
    if not spool.is_events(answer):
        return _in_spool(read_submission(provider, GatewayResponse(200, answer)), name, "").finished
    events = _EventReader(provider, name)
    for event in answer:
        events.take(event)
    return events.submission().finished
