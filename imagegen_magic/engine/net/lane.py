"""A lane: connections for one kind of request, and a queue before them.

A lane is its own pool: a request that has its turn takes an idle connection of its place, or opens one, and nothing else is looked
at. Pools made for every use walk all connections and all waiters at each request's start and end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import weakref
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

import h11

from imagegen_magic.engine.net.exchange import Lost, NotSent, Origin, Reply, Request, formed
from imagegen_magic.engine.net.proxies import Named, Proxy, proxy_of, through
from imagegen_magic.engine.net.wire import Connection, Guard, connect
from imagegen_magic.errors import ImageGenError

LANE = 8  # connections a lane
_LITTLE = 2**18  # bytes that are unpacked at once


class _Place(NamedTuple):
    """What a connection leads to, and by which guard its peer was checked."""

    origin: Origin
    guard: Guard


class Way(Protocol):
    """Whatever carries requests other than over connections of the lane's own."""

    def ask(self, request: Request, out: Callable[[], None]) -> AbstractAsyncContextManager[Reply]:
        """Send a request and give its answer as a stream; `out` is called before the first of it leaves. Raises OSError, or Unformed."""


class Lane:
    """At most `size` requests at once, the others in a queue; `timeout` seconds for each once it is its turn.

    With `by_host` so many to each host, whose queues do not wait for one another.

    `tls` is asked for the TLS context, `inside` for the way to what is in this process and needs no network, if the address is
    of that kind; `guard` says which addresses of a host a request may be sent to that brings no guard of its own.
    """

    def __init__(
        self,
        tls: Callable[[], Awaitable[ssl.SSLContext]],
        inside: Callable[[str], Awaitable[Way | None]],
        guard: Guard,
        *,
        size: int = LANE,
        timeout: float = 30.0,
        by_host: bool = False,
    ) -> None:
        self._tls, self._inside, self._guard, self._size, self._patience = tls, inside, guard, size, timeout
        self._idle: list[tuple[_Place, Connection]] = []
        self._proxies: dict[tuple[Named, bool], Proxy] = {}
        self._by_host = by_host
        self._queues: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | AsyncIterable[bytes] | None = None,
        guard: Guard | None = None,
        whole: bool = True,
    ) -> AsyncIterator[Reply]:
        """Send a request when the lane has room, and give its answer as a stream; to the addresses alone that `guard` allows.

        `whole` bounds the time until all of the answer is read, else each wait for a part of it. Raises NotSent or Lost. Neither
        redirects nor cookies are followed.
        """
        request = formed(method, url, headers, content)
        sent = False

        def out() -> None:
            nonlocal sent
            sent = True

        async with self._queue(request.origin.host if self._by_host else ""):
            try:
                async with asyncio.timeout(self._patience if whole else None):
                    if way := await self._way(request):
                        async with way.ask(request, out) as reply:
                            yield _unpacked(reply)
                        return
                    place = _Place(request.origin, guard or self._guard)
                    connection = self._taken(place) or await self._opened(place)
                    out()
                    try:
                        yield _unpacked(await connection.ask(request, None if whole else self._patience))
                    finally:
                        if connection.rest():
                            self._idle.append((place, connection))
            except ImageGenError:  # of whoever reads the answer: a full disk, above all
                raise
            except (OSError, h11.ProtocolError) as error:
                beyond = f", through {proxy}" if (proxy := proxy_of(request.url)) else ""
                if sent:
                    raise Lost(_words(error, "no answer in time") + beyond) from None
                raise NotSent(_words(error, "no connection in time") + beyond) from None

    @contextlib.asynccontextmanager
    async def _queue(self, name: str) -> AsyncIterator[None]:
        queue = self._queues.get(name) or self._queues.setdefault(name, asyncio.Semaphore(self._size))  # as long as somebody is in it
        async with queue:
            yield

    async def close(self) -> None:
        """Close every connection."""
        for _, connection in self._idle:
            connection.drop()
        for proxy in self._proxies.values():
            await proxy.close()
        self._idle.clear()
        self._proxies.clear()

    async def _way(self, request: Request) -> Way | None:
        if inside := await self._inside(request.url):
            return inside
        if not (named := proxy_of(request.url)):
            return None
        name = named, request.origin.scheme == "https"
        if name not in self._proxies:
            tls = await self._tls() if name[1] else None
            proxy = await through(named, tls=tls, connections=self._size * (LANE if self._by_host else 1), patience=self._patience)
            return self._proxies.setdefault(name, proxy)  # somebody may have been faster
        return self._proxies[name]

    def _taken(self, place: _Place) -> Connection | None:
        """Return an idle connection to this place; close those that are of no use any more."""
        for connection in [each for _, each in self._idle if each.stale()]:
            connection.drop()
        self._idle = [each for each in self._idle if not each[1].stale()]
        for at in reversed(range(len(self._idle))):
            if self._idle[at][0] == place:
                connection = self._idle.pop(at)[1]
                if connection.usable():
                    return connection
                connection.drop()
        return None

    async def _opened(self, place: _Place) -> Connection:
        tls = await self._tls() if place.origin.scheme == "https" else None
        return await connect(place.origin, tls, place.guard)


def _unpacked(reply: Reply) -> Reply:
    packed = reply.headers.get("content-encoding", "").strip().lower() in ("gzip", "deflate")
    return reply._replace(pieces=_unpacking(reply.pieces)) if packed else reply


async def _unpacking(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body of an answer that was compressed without our asking, little at a time: it may be a bomb."""
    unpacking, some = _unpacker(), False
    try:
        async for piece in pieces:
            some = True
            while piece:
                if unpacking.eof:  # one packed part may follow another
                    unpacking = _unpacker()
                yield unpacking.decompress(piece, _LITTLE)
                piece = unpacking.unconsumed_tail or unpacking.unused_data
        yield unpacking.flush()
    except zlib.error:
        raise Lost("its compression is broken") from None
    if some and not unpacking.eof:
        raise Lost("its compressed content was cut off")


def _unpacker() -> Any:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)


def _words(error: Exception, late: str) -> str:
    return late if isinstance(error, TimeoutError) else str(error) or type(error).__name__
