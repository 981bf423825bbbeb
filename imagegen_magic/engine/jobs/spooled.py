"""Submissions whose response carries the pictures: the response goes to the spool as it arrives, and its pictures are read from there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagegen_magic.engine import threads
from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.jobs.submission import read_submission
from imagegen_magic.engine.net.client import GatewayResponse, decoded
from imagegen_magic.engine.net.transport import OutcomeUnknown, Response
from imagegen_magic.engine.storage import spool
from imagegen_magic.errors import ImageInvalid
from imagegen_magic.providers.base import Failed, Partial, Provider, Submission, Succeeded

PATIENCE = 600.0  # seconds for a submission whose response carries the pictures
MAX_ANSWER = 256 * 2**20  # bytes of a response
_PIECE = 256 * 1024  # bytes that are written at once


class SpooledAnswer:
    """The response to one submission. `name` is that of its file; `on_partial` gets each first view of a picture, as base64."""

    def __init__(self, home: Path, provider: Provider, name: str, key: Key, on_partial: Callable[[str], None]) -> None:
        self._home, self._provider, self._name, self._key, self._on_partial = home, provider, name, key, on_partial
        self._events = _EventReader(provider, name)
        self.streamed = False

    @property
    def last_partial(self) -> str:
        """The latest first view of a picture, as base64; empty if none came."""
        return self._events.last_partial

    async def receive(self, response: Response) -> Any:
        """Write a response to the spool and return its content: decoded JSON, or None for a stream of events.

        Raises OutcomeUnknown if it is cut off, unless the pictures have come before; SaveError if the disk does not take it.
        """
        self.streamed = response.headers.get("content-type", "").startswith("text/event-stream")
        file = spool.SpoolFile(self._home, self._name)
        try:
            await self._write(response, file)
            path = await threads.writing(file.finish, spool.EVENTS if self.streamed else spool.JSON)
        finally:
            file.close()
        return None if self.streamed else await threads.writing(self._decoded, path)

    async def _write(self, response: Response, file: spool.SpoolFile) -> None:
        buffer, parser = bytearray(), spool.EventParser()
        try:
            async for chunk in response.chunks:
                buffer += chunk
                if file.size + len(buffer) > MAX_ANSWER:
                    raise OutcomeUnknown(f"the response exceeds the {MAX_ANSWER // 2**20} MiB that are read")
                if self.streamed:
                    self._take(parser.feed(chunk))
                if len(buffer) >= _PIECE:
                    await threads.writing(file.write, bytes(buffer))
                    buffer.clear()
        except OutcomeUnknown:
            if not self._events.succeeded:
                await threads.writing(file.write, bytes(buffer))
                raise
        await threads.writing(file.write, bytes(buffer))

    def _take(self, events: list[spool.Event]) -> None:
        before = self._events.last_partial
        for event in events:
            self._events.take(event)
        if self._events.last_partial is not before:
            self._on_partial(self._events.last_partial)

    def _decoded(self, path: Path) -> Any:
        return decoded(path.read_bytes().decode("utf-8", "replace"), self._key)

    def submission(self, answer: GatewayResponse) -> Submission:
        """Return what the response means. Raises like `read_submission`, or the failure that a stream reports."""
        if not self.streamed or answer.status >= 300:
            return _in_spool(read_submission(self._provider, answer), self._name, "")
        return self._events.submission()

    def make_ready(self) -> None:
        """Remove answers of long ago, and raise SaveError unless there is room for this one: nothing is charged then."""
        spool.prune(self._home)
        spool.check_room(self._home)

    def discard(self) -> None:
        """Remove the file."""
        spool.remove(self._home, self._name)


class _EventReader:
    """Collects what the events of one response mean; `name` is that of its file in the spool."""

    def __init__(self, provider: Provider, name: str) -> None:
        self._provider, self._name, self._count = provider, name, 0
        self.succeeded: list[tuple[int, Succeeded]] = []
        self.failed: Failed | None = None
        self.last_partial = ""

    def take(self, event: spool.Event) -> None:
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
        answer = spool.read(path)
        if not spool.is_events(answer):
            return _in_spool(read_submission(provider, GatewayResponse(200, answer)), name, "").finished
        events = _EventReader(provider, name)
        for event in answer:
            events.take(event)
        return events.submission().finished
    except (ImageInvalid, OSError, OutcomeUnknown):
        return None
