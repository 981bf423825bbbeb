"""Downloads: the one bounded way from a result's address to bytes that can be verified and saved.

A body goes from its socket to a hidden file in the target folder, counted and hashed as it comes. Only small ones stay in memory. A
host has its places (`http`), a gateway has a number of places whatever its hosts are called, and what has come whole waits on the disk
for one of the few threads that verify and save.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from imagegen_magic.engine import threads
from imagegen_magic.engine.net.client import MOST_BYTES, GatewayClients
from imagegen_magic.engine.net.exchange import Reply
from imagegen_magic.engine.storage.images import Part
from imagegen_magic.errors import ImageInvalid

LARGEST = 512 * 2**20  # bytes that are kept of one answer
SPARE = 256 * 2**20  # bytes of the disk that what is too large for a picture leaves free
_LARGE = 4  # answers above MOST_BYTES at once: 2 GiB
_READY = 16  # pictures that have come whole and wait to be verified
_OF_A_GATEWAY = 24  # downloads at once, however many hosts a gateway names
_PIECE = 256 * 1024  # bytes that are written at once; an answer of fewer stays in memory until it is saved


class Download:
    """What came from an address, whole: its bytes, and the type that its host calls them. To be closed, which makes room for others."""

    def __init__(self, part: Part, content_type: str, places: Sequence[Callable[[], None]]) -> None:
        self.part, self.content_type, self._places = part, content_type, places

    def close(self) -> None:
        """Remove the hidden file and give the places back."""
        self.part.discard()
        places, self._places = self._places, ()
        for give_back in places:
            give_back()


class Downloads:
    """The downloads of one event loop."""

    def __init__(self, clients: GatewayClients) -> None:
        self._clients = clients
        self._ready = asyncio.Semaphore(_READY)
        self._large = asyncio.Semaphore(_LARGE)
        self._places: dict[str, asyncio.Semaphore] = {}

    async def fetch(self, url: str, base_url: str, directory: Path) -> Download:
        """Return what an address gives, once all of it has come and there is a place for it to wait in.

        Raises what `GatewayClients.fetch` raises; SaveError where the disk is too full; ImageInvalid for more than `LARGEST` bytes.
        """
        place = self._places.setdefault(base_url, asyncio.Semaphore(_OF_A_GATEWAY))
        try:
            async with place:
                return await self._fetched(url, base_url, directory, MOST_BYTES)
        except _TooLarge:
            pass
        async with _held(self._large) as free:  # asked for again: nobody keeps a connection waiting for a place
            return await self._fetched(url, base_url, directory, LARGEST, free)

    async def _fetched(self, url: str, base_url: str, directory: Path, most: int, *free: Callable[[], None]) -> Download:
        come: list[Download] = []

        async def read(reply: Reply) -> None:
            part = Part(directory)
            try:
                await _read(reply, part, most)
                await self._ready.acquire()
            except BaseException:
                part.discard()
                raise
            come.append(Download(part, reply.headers.get("content-type", ""), (self._ready.release,)))

        try:
            await self._clients.fetch(url, base_url, read)
        except BaseException:  # stopped while its connection was put away
            for each in come:
                each.close()
            raise
        return Download(come[0].part, come[0].content_type, (self._ready.release, *free))


class _TooLarge(Exception):
    """It is, or becomes, more than a picture may have."""


@contextlib.asynccontextmanager
async def _held(place: asyncio.Semaphore) -> AsyncIterator[Callable[[], None]]:
    """Take a place that is given back by what is yielded, or at once where an error comes."""
    await place.acquire()
    try:
        yield place.release
    except BaseException:
        place.release()
        raise


async def _read(reply: Reply, part: Part, most: int) -> None:
    """Read a body into a part. Raises _TooLarge, SaveError, ImageInvalid or Lost."""
    told = reply.headers.get("content-length", "")
    expected = int(told) if told.isdigit() else 0
    _check_size(expected, most)
    spare = SPARE if most > MOST_BYTES else 0
    if expected > _PIECE:
        await threads.writing(part.make_room, expected, spare)
    held, looked = bytearray(), 0
    async for piece in reply.pieces:
        held += piece
        size = part.size + len(held)
        _check_size(size, most)
        if len(held) >= _PIECE:
            if size - looked >= MOST_BYTES:
                looked = size
                await threads.writing(part.make_room, max(expected - size, 0), spare)
            await threads.writing(part.write, bytes(held))
            held.clear()
    if held:
        part.hold(bytes(held))


def _check_size(size: int, most: int) -> None:
    if size > LARGEST:
        raise ImageInvalid(
            f"The answer has more than the {LARGEST // 2**20} MiB that are kept",
            hint="ask the gateway's support for a smaller file; %imagegen forget ID gives it up",
        )
    if size > most:
        raise _TooLarge
