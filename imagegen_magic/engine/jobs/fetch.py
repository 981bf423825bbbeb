"""Bytes from an address to memory or a hidden file, bounded: by connections to a gateway, by bytes, and by files that wait to be saved.

Small answers stay in memory; others are written to a hidden file in the target folder, counted and hashed as they arrive.
"""

from __future__ import annotations

import asyncio
import base64
import math
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from imagegen_magic.engine import threads
from imagegen_magic.engine.net.client import MAX_BYTES, GatewayClients
from imagegen_magic.engine.net.transport import Response
from imagegen_magic.engine.slots import Slots
from imagegen_magic.engine.storage import spool
from imagegen_magic.engine.storage.parts import Part
from imagegen_magic.errors import DownloadError, ImageInvalid

LARGEST = 512 * 2**20  # bytes that are kept of one answer
SPARE = 256 * 2**20  # bytes of the disk that an answer too large for an image leaves free
_LARGE = 4  # answers above MAX_BYTES at once: 2 GiB
_READY = 16  # complete files that wait to be verified
_PER_GATEWAY = 24  # downloads at once, for all hosts of a gateway
_PIECE = 256 * 1024  # bytes that are written at once; a shorter answer stays in memory until it is saved


class Download(NamedTuple):
    """A complete answer: its bytes, the content type that its host names, and the slots that it occupies.

    `final`: the same bytes come each time, so that to fetch them again is of no use.
    """

    part: Part
    content_type: str
    slots: ExitStack
    final: bool = False

    def close(self) -> None:
        """Remove the hidden file and free the slots."""
        self.slots.close()


class Fetcher:
    """The downloads of one event loop, and their bounds."""

    def __init__(self, clients: GatewayClients, home: Path) -> None:
        self._clients, self._home = clients, home
        self.decoding = asyncio.Semaphore(1)  # an answer in the spool may be large, and takes several times its size in memory
        self._ready = Slots()
        self._large = asyncio.Semaphore(_LARGE)
        self._gateways: dict[str, Slots] = {}

    async def fetch(self, url: str, base_url: str, directory: Path, *, kept_until: float = math.inf) -> Download:
        """Return the answer of an address, once it is complete and has a slot to wait in.

        What the service keeps for the shortest time is fetched first: until `kept_until`, in epoch seconds.
        Raises what `GatewayClients.fetch` raises; SaveError if the disk is too full; ImageInvalid for more than `LARGEST` bytes.
        """
        with ExitStack() as slots:  # whatever ends the download frees them, and removes the hidden file
            if url.startswith(("data:", spool.SCHEME)):
                held = self._decoded if url.startswith("data:") else self._spooled
                download = await held(url, directory, slots)
                return download._replace(slots=slots.pop_all())
            try:
                async with self._gateways.setdefault(base_url, Slots()).slot(_PER_GATEWAY, kept_until):
                    download = await self._fetch(url, base_url, directory, MAX_BYTES, slots, kept_until)
            except _TooLarge:  # requested again, so that no connection waits for a slot
                slots.close()
                await self._large.acquire()
                slots.callback(self._large.release)
                download = await self._fetch(url, base_url, directory, LARGEST, slots, kept_until)
            return download._replace(slots=slots.pop_all())

    async def _decoded(self, url: str, directory: Path, slots: ExitStack) -> Download:
        """Return the image in a `data:` address. Raises ImageInvalid."""
        head, _, text = url.partition(",")
        try:
            content = await asyncio.to_thread(base64.b64decode, text, validate=True)
        except ValueError:
            raise ImageInvalid("The service's data: address is not valid base64") from None
        part = Part(directory)
        slots.callback(part.discard)
        part.hold(content)
        await self._wait_to_be_saved(slots)
        return Download(part, head.removeprefix("data:").partition(";")[0], slots)

    async def _spooled(self, url: str, directory: Path, slots: ExitStack) -> Download:
        """Return the image in a response of the spool. Raises ImageInvalid, or DownloadError if the response is gone."""
        await self._wait_to_be_saved(slots)
        part = Part(directory)
        slots.callback(part.discard)
        try:
            async with self.decoding:
                await threads.writing(_take, self._home, url, part)
        except ImageInvalid as error:
            hint = f"the response is kept in {spool.spool_folder(self._home)}; ask the service's support, or %imagegen forget ID"
            raise ImageInvalid(error.what, hint=hint) from None
        except OSError as error:
            what = f"The response with the picture cannot be read from {spool.spool_folder(self._home)} ({error.strerror or error})"
            raise DownloadError(what, blame="you", hint="put the file back, then %imagegen resume") from error
        return Download(part, "", slots, final=True)

    async def _wait_to_be_saved(self, slots: ExitStack, kept_until: float = math.inf) -> None:
        await self._ready.acquire(_READY, kept_until)
        slots.callback(self._ready.release)

    async def _fetch(self, url: str, base_url: str, directory: Path, limit: int, slots: ExitStack, kept_until: float) -> Download:
        async def read(response: Response) -> Download:
            part = Part(directory)
            slots.callback(part.discard)
            await _read(response, part, limit)
            await self._wait_to_be_saved(slots, kept_until)
            return Download(part, response.headers.get("content-type", ""), slots)

        return await self._clients.fetch(url, base_url, read)


def _take(home: Path, url: str, part: Part) -> None:
    """Decode the image at an address in the spool into a part: on the disk unless it is small. Raises SaveError and what spool does."""
    content = spool.picture(home, url)
    if len(content) <= _PIECE:
        part.hold(content)
        return
    part.make_room(len(content))
    part.write(content)


class _TooLarge(Exception):
    """The answer is, or becomes, larger than an image may be."""


async def _read(response: Response, part: Part, limit: int) -> None:
    """Read a body into a part. Raises _TooLarge, SaveError, ImageInvalid or OutcomeUnknown."""
    length = response.headers.get("content-length", "")
    expected = int(length) if length.isdigit() else 0
    _check_size(expected, limit)
    spare = SPARE if limit > MAX_BYTES else 0
    if expected > _PIECE:
        await threads.writing(part.make_room, expected, spare)
    buffer, checked = bytearray(), 0
    async for chunk in response.chunks:
        buffer += chunk
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
            hint="ask the service's support for a smaller file; %imagegen forget ID gives it up",
        )
    if size > limit:
        raise _TooLarge
