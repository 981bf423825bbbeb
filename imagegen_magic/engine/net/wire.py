"""One connection that speaks HTTP/1.1, opened and used: asyncio moves the bytes, h11 knows the protocol.

Small on purpose: with thousands of short requests an HTTP client's own layers are most of what a request costs, and importing
them most of what a first cell waits for. A request's head and body leave in one piece, and only the connection that is about to be
used asks the system whether its peer has gone.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

import h11

from imagegen_magic.engine.net.exchange import NotSent, Origin, Reply, Request, Unformed, told

CONNECT_SECONDS = 10.0  # seconds to reach a host
_NEXT = 0.25  # seconds until the next address is tried beside the one before: where IPv6 leads nowhere, nothing ever says so
IDLE_SECONDS = 2.0  # seconds a connection is kept for the next request: an older one may be closing just as we submit on it
_HEAD = 100 * 1024  # bytes that an answer's head may have
_ROOM = 2**20  # bytes that may come before somebody reads them; below a picture's size the system is asked to pause and go on
_MOMENT = 5.0  # seconds for which an upload goes on waiting to be taken once an answer has come
_SMALL = 64 * 1024  # bytes of a request that are certainly out when its answer comes
_NO_ANSWER = "the connection was closed without an answer"


Guard = Callable[[str, Sequence[str]], Awaitable[Sequence[str]]]
"""Returns those addresses of a host that may be connected to; raises where there is one that the host should not have."""


async def connect(origin: Origin, tls: ssl.SSLContext | None = None, guard: Guard | None = None) -> Connection:
    """Open a connection to that address of a host which answers first, of those that `guard(host, addresses)` allows.

    A name is resolved once, and the very addresses that were checked are connected to; with `tls` the certificate must be the
    host's. Raises OSError or TimeoutError, and what `guard` raises.
    """
    loop, host = asyncio.get_running_loop(), origin.host

    async def opened(address: str) -> Connection:
        return (await loop.create_connection(Connection, address, origin.port, ssl=tls, server_hostname=host if tls else None))[1]

    async with asyncio.timeout(CONNECT_SECONDS):
        addresses = await _addresses(host, origin.port, guard)
        return await (opened(addresses[0]) if len(addresses) == 1 else _first(opened, addresses))


async def _first(opened: Callable[[str], Coroutine[Any, Any, Connection]], addresses: Sequence[str]) -> Connection:
    """Return the first connection that is made: the next address is tried as soon as one fails, or says nothing for a while."""
    failure: BaseException = OSError("it has no address")
    name = cast("asyncio.Task[Any]", asyncio.current_task()).get_name()  # what must not be torn in the middle is known by its name
    left, trying = list(addresses), set[asyncio.Task[Connection]]()
    try:
        while left or trying:
            if left:
                trying.add(asyncio.create_task(opened(left.pop(0)), name=name))
            ended, trying = await asyncio.wait(trying, timeout=_NEXT if left else None, return_when=asyncio.FIRST_COMPLETED)
            made = [each.result() for each in ended if not each.exception()]
            for other in made[1:]:
                other.drop()
            if made:
                return made[0]
            failure = next((error for each in ended if (error := each.exception())), failure)
    finally:
        for each in trying:
            if not each.cancel() and not each.cancelled() and not each.exception():
                each.result().drop()
    raise failure


async def _addresses(host: str, port: int, guard: Guard | None) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(_address(entry[4]) for entry in found))
    return await guard(host, addresses) if guard else addresses


def _address(found: tuple[Any, ...]) -> str:
    scope = found[3] if len(found) > 3 else 0
    return f"{found[0]}%{scope}" if scope and "%" not in found[0] else str(found[0])


class Connection(asyncio.Protocol):
    """One connection, for one request after another."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
        self._waiting: asyncio.Future[None] | None = None
        self._unread, self._full, self._ended = 0, False, False
        self._failure: Exception | None = None
        self._clear, self._idle_since = True, 0.0

    async def ask(self, request: Request, patience: float | None = None) -> Reply:
        """Send a request and return its answer, the body still to come; `patience` is how many seconds each wait may take.

        An answer is read even where the other side stopped listening first. Raises NotSent where the connection was gone before the
        first byte, OSError, TimeoutError or h11.RemoteProtocolError.
        """
        await self._send(request, patience)
        while isinstance(came := await self._next(patience), h11.InformationalResponse):
            pass
        if not isinstance(came, h11.Response):
            raise ConnectionError(_NO_ANSWER)
        # what is refused may be refused before all of it is out, and the rest would go before the next request
        self._clear = came.status_code < 400 or _is_small(request.content)
        return Reply(came.status_code, told(came.headers), self._pieces(patience))

    def rest(self) -> bool:
        """Say, once nobody reads the last answer any more, whether another request may follow; if not, the connection is closed."""
        ended = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._http.trailing_data[0]
        if ended and self._clear and not self._over() and not self._transport.get_write_buffer_size():
            self._http.start_next_cycle()
            self._transport.resume_reading()
            self._unread, self._idle_since = 0, time.monotonic()
            return True
        self.drop()
        return False

    def stale(self) -> bool:
        """Say whether a resting connection is of no more use: closed, spoken on out of turn, or not in use for too long."""
        return self._gone() or self._unread > 0 or time.monotonic() - self._idle_since > IDLE_SECONDS

    def usable(self) -> bool:
        """Say whether a resting connection may carry a request: it is not stale, and nothing has come that the loop has not seen yet."""
        return not self.stale() and not _readable(self._transport.get_extra_info("socket"))

    def drop(self) -> None:
        """Close the connection at once."""
        if self._failure is None:  # else asyncio has closed it already
            self._transport.abort()

    async def _send(self, request: Request, patience: float | None) -> None:
        content = request.content
        if content is None or isinstance(content, bytes):
            body = h11.Data(content) if content else None
            self._begin(self._head(request) + (self._bytes(body) if body else b"") + self._bytes(h11.EndOfMessage()))
            return
        self._begin(self._head(request))
        async for piece in content:
            self._transport.write(self._bytes(h11.Data(piece)))
            if not await self._room(patience):
                return
        self._transport.write(self._bytes(h11.EndOfMessage()))

    def _begin(self, data: bytes) -> None:
        if not (gone := self._gone()):
            self._transport.write(data)
        del data  # it holds the key, and an error's frames may be shown with their values
        if gone or self._transport.is_closing():  # or the very first bytes could not be handed over
            raise NotSent("the connection was closed before anything was sent")

    async def _room(self, patience: float | None) -> bool:
        """Wait until more can be sent; False where the other side takes no more, or has answered and takes nothing."""
        while self._full and not self._over():
            try:
                await self._wait(_MOMENT if self._unread else patience)
            except TimeoutError:
                if self._unread:
                    return False
                raise
        return not self._gone()

    def _head(self, request: Request) -> bytes:
        try:
            return self._bytes(h11.Request(method=request.method, target=request.target, headers=list(request.headers.items())))
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise Unformed from None

    def _bytes(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def _pieces(self, patience: float | None) -> AsyncIterator[bytes]:
        while isinstance(came := await self._next(patience), h11.Data):
            yield bytes(came.data)

    async def _next(self, patience: float | None) -> h11.Event | type[h11.PAUSED]:
        while (came := self._http.next_event()) is h11.NEED_DATA:
            if self._ended and self._http.their_state is not h11.SEND_RESPONSE:
                self._http.receive_data(b"")  # the end of the connection may be the end of an answer
            elif self._over():
                raise self._failure or ConnectionError(_NO_ANSWER)
            else:
                self._unread = 0
                self._transport.resume_reading()
                await self._wait(patience)
        return came  # type: ignore[return-value]

    async def _wait(self, patience: float | None) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        if patience is None:
            await self._waiting
            return
        async with asyncio.timeout(patience):
            await self._waiting

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    def _over(self) -> bool:
        return self._ended or self._failure is not None

    def _gone(self) -> bool:
        return self._over() or self._transport.is_closing()  # over TLS asyncio tells of one a step before the other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Take what came; if nobody reads it for long, let no more in."""
        self._http.receive_data(data)
        self._unread += len(data)
        if self._unread > _ROOM:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The other side has said everything."""
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._failure = exc or ConnectionError(_NO_ANSWER)
        self._wake()

    def pause_writing(self) -> None:
        """No more fits into the system's buffers for now."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False
        self._wake()


def _is_small(content: Any) -> bool:
    return content is None or (isinstance(content, bytes) and len(content) <= _SMALL)


def _readable(sock: Any) -> bool:
    """Ask the system whether something came: bytes, or the end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
