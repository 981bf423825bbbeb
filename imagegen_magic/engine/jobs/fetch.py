"""Bytes from an address to memory or a hidden file, bounded: by connections a gateway, by bytes, and by files that wait to be saved.

Small answers stay in memory; others are written to a hidden file in the target folder, counted and hashed as they arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from imagegen_magic.engine import threads
from imagegen_magic.engine.net.client import MAX_BYTES, GatewayClients
from imagegen_magic.engine.net.transport import Response
from imagegen_magic.engine.storage.images import Part
from imagegen_magic.errors import ImageInvalid

LARGEST = 512 * 2**20  # bytes that are kept of one answer
SPARE = 256 * 2**20  # bytes of the disk that an answer too large for an image leaves free
_LARGE = 4  # answers above MAX_BYTES at once: 2 GiB
_READY = 16  # complete files that wait to be verified
_PER_GATEWAY = 24  # downloads at once, however many hosts a gateway names
_PIECE = 256 * 1024  # bytes that are written at once; a shorter answer stays in memory until it is saved


class Download:
    """A complete answer: its bytes, and the content type that its host names. `close` frees its slots for other downloads."""

    def __init__(self, part: Part, content_type: str, slots: Sequence[Callable[[], None]]) -> None:
        self.part, self.content_type, self._slots = part, content_type, slots

    def close(self) -> None:
        """Remove the hidden file and free the slots."""
        self.part.discard()
        slots, self._slots = self._slots, ()
        for release in slots:
            release()


class Fetcher:
    """The downloads of one event loop, and their bounds."""

    def __init__(self, clients: GatewayClients) -> None:
        self._clients = clients
        self._ready = asyncio.Semaphore(_READY)
        self._large = asyncio.Semaphore(_LARGE)
        self._gateways: dict[str, asyncio.Semaphore] = {}

    async def fetch(self, url: str, base_url: str, directory: Path) -> Download:
        """Return the answer of an address, once it is complete and has a slot to wait in.

        Raises what `GatewayClients.fetch` raises; SaveError if the disk is too full; ImageInvalid for more than `LARGEST` bytes.
        """
        gateway = self._gateways.setdefault(base_url, asyncio.Semaphore(_PER_GATEWAY))
        try:
            async with gateway:
                return await self._fetch(url, base_url, directory, MAX_BYTES)
        except _TooLarge:
            pass
        async with _acquired(self._large) as release:  # requested again, so that no connection waits for a slot
            return await self._fetch(url, base_url, directory, LARGEST, release)

    async def _fetch(self, url: str, base_url: str, directory: Path, limit: int, *slots: Callable[[], None]) -> Download:
        complete: list[Download] = []

        async def read(response: Response) -> None:
            part = Part(directory)
            try:
                await _read(response, part, limit)
                await self._ready.acquire()
            except BaseException:
                part.discard()
                raise
            complete.append(Download(part, response.headers.get("content-type", ""), (self._ready.release, *slots)))

        try:
            await self._clients.fetch(url, base_url, read)
        except BaseException:  # cancelled while its connection returned to the pool; the caller frees `slots`
            for each in complete:
                each.part.discard()
                self._ready.release()
            raise
        return complete[0]


class _TooLarge(Exception):
    """The answer is, or becomes, larger than an image may be."""


@contextlib.asynccontextmanager
async def _acquired(slots: asyncio.Semaphore) -> AsyncIterator[Callable[[], None]]:
    """Acquire a slot that the yielded function releases; an error releases it at once."""
    await slots.acquire()
    try:
        yield slots.release
    except BaseException:
        slots.release()
        raise


async def _read(response: Response, part: Part, limit: int) -> None:
    """Read a body into a part. Raises _TooLarge, SaveError, ImageInvalid or OutcomeUnknown."""
    length = response.headers.get("content-length", "")
    expected = int(length) if length.isdigit() else 0
    _check_size(expected, limit)
    spare = SPARE if limit > MAX_BYTES else 0
    if expected > _PIECE:
        await threads.writing(part.make_room, expected, spare)
    buffer, checked = bytearray(), 0
    async for piece in response.chunks:
        buffer += piece
        size = part.size + len(buffer)
        _check_size(size, limit)
        if len(buffer) >= _PIECE:
            if size - checked >= MAX_BYTES:
                checked = size
                await threads.writing(part.make_room, max(expected - size, 0), spare)
            await threads.writing(part.write, bytes(buffer))
            buffer.clear()
    if buffer:
        part.hold(bytes(buffer))


def _check_size(size: int, limit: int) -> None:
    if size > LARGEST:
        raise ImageInvalid(
            f"The answer has more than the {LARGEST // 2**20} MiB that are kept",
            hint="ask the gateway's support for a smaller file; %imagegen forget ID gives it up",
        )
    if size > limit:
        raise _TooLarge
