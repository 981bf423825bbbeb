"""A lane: connections for one kind of request with a queue before them, and the two ways in which a request can fail.

A lane is its own pool. httpcore's walks every connection and every waiter at each request's start and end, behind locks; here a
request that has its turn takes an idle connection of its place, or opens one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
import ssl
import sys
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote, urlsplit

import httpcore

from imagegen_magic.engine.wire import Backend

LANE = 8  # connections a lane
_IDLE = 2.0  # seconds a connection is kept for the next request: an older one may be closing just as we submit on it
_CONNECT = 10.0  # seconds to reach a host
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_HEADERS = {"User-Agent": "imagegen_magic", "Accept": "*/*", "Accept-Encoding": "identity"}
_SENT_NOTHING = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.UnsupportedProtocol,
    httpcore.ProxyError,
    httpcore.LocalProtocolError,
    httpcore.ConnectionNotAvailable,
)
_BROKEN = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)
_WORDS = {
    "ReadTimeout": "no answer in time",
    "TimeoutError": "no answer in time",
    "WriteTimeout": "not sent in time",
    "ConnectTimeout": "no connection in time",
}
_LOCKS = "anyio._backends._asyncio"  # which httpcore's connections lock with
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


class NotSent(Exception):
    """No connection was made, so nothing arrived."""


class Lost(Exception):
    """The request went out and no whole answer came back."""


class PrivatePeer(Exception):
    """A public name leads to a private address."""


class Headers(dict[str, str]):
    """A request's headers, whose key no traceback with local values shows."""

    def __repr__(self) -> str:
        return repr({name: "[hidden]" if name == "Authorization" else value for name, value in self.items()})


class Reply(NamedTuple):
    """An answer as it comes: its headers under their names in small letters, and its body in pieces."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class Connection(Protocol):
    """Whatever takes one request at a time."""

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request and return its answer, the body still to come."""


class Lane:
    """At most `size` requests at once, the others in a queue; `timeout` seconds for each once it is its turn.

    `tls` is asked for the TLS context, `inside` for a connection to what is in this process and needs no network, if the address is
    of that kind; `check(host, address)` raises for a peer that a guarded request must not talk to.
    """

    def __init__(
        self,
        tls: Callable[[], Awaitable[ssl.SSLContext]],
        inside: Callable[[str], Awaitable[Connection | None]],
        check: Callable[[str, str], None],
        *,
        size: int = LANE,
        timeout: float = 30.0,
    ) -> None:
        self._tls, self._inside, self._size, self._patience = tls, inside, size, timeout
        self._backends = {True: Backend(check), False: Backend()}
        self._timeout = {"connect": _CONNECT, "read": timeout, "write": timeout, "pool": None}
        self._idle: list[tuple[bool, httpcore.AsyncHTTP11Connection]] = []  # each with whether its peer was checked
        self._proxies: dict[object, httpcore.AsyncConnectionPool] = {}
        self._queue = asyncio.Semaphore(size)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | AsyncIterable[bytes] | None = None,
        guarded: bool = False,
        whole: bool = True,
    ) -> AsyncIterator[Reply]:
        """Send a request when the lane has room, and give its answer as a stream; `guarded` to public peers only.

        `whole` bounds the time until all of the answer is read. Raises NotSent or Lost. Neither redirects nor cookies are followed.
        """
        async with self._queue:
            sent = False
            try:
                async with asyncio.timeout(self._patience if whole else None):
                    request = self._request(method, url, headers, content)
                    connection = await self._connection(url, request.url.origin, guarded)
                    sent = True
                    try:
                        response = await connection.handle_async_request(request)
                        try:
                            yield _reply(response)
                        finally:
                            await response.aclose()
                    finally:
                        await self._put_back(connection, guarded)
            except _SENT_NOTHING as error:
                raise NotSent(_words(error)) from None
            except _BROKEN as error:
                if sent:
                    raise Lost(_words(error)) from None
                raise NotSent("no connection in time" if isinstance(error, TimeoutError) else _words(error)) from None

    async def close(self) -> None:
        """Close every connection."""
        for _, connection in self._idle:
            await connection.aclose()
        for proxy in self._proxies.values():
            await proxy.aclose()
        self._idle.clear()
        self._proxies.clear()

    def _request(self, method: str, url: str, headers: Mapping[str, str], content: bytes | AsyncIterable[bytes] | None) -> httpcore.Request:
        address, host = _address(url)
        told = Headers({"Host": host, **_HEADERS, **headers})
        if isinstance(content, bytes):
            told["Content-Length"] = str(len(content))
        return httpcore.Request(method, address, headers=list(told.items()), content=content, extensions={"timeout": self._timeout})

    async def _connection(self, url: str, origin: httpcore.Origin, guarded: bool) -> Connection:
        if inside := await self._inside(url):
            return inside
        if proxy := proxy_of(url):
            return await self._through(proxy, origin.scheme == b"https")
        return await self._taken(origin, guarded) or await self._opened(origin, guarded)

    async def _put_back(self, connection: Connection, guarded: bool) -> None:
        if not isinstance(connection, httpcore.AsyncHTTP11Connection):
            return
        if connection.is_idle():
            self._idle.append((guarded, connection))
        else:
            await connection.aclose()

    async def _taken(self, origin: httpcore.Origin, guarded: bool) -> httpcore.AsyncHTTP11Connection | None:
        """Return an idle connection of this kind; close what has been idle for too long."""
        old, self._idle = [each for _, each in self._idle if each.has_expired()], [one for one in self._idle if not one[1].has_expired()]
        for each in old:
            await each.aclose()
        for at in range(len(self._idle) - 1, -1, -1):
            if self._idle[at][0] == guarded and self._idle[at][1].can_handle_request(origin):
                return self._idle.pop(at)[1]
        return None

    async def _opened(self, origin: httpcore.Origin, guarded: bool) -> httpcore.AsyncHTTP11Connection:
        if _LOCKS not in sys.modules:
            await asyncio.to_thread(_load_locks)
        tls = await self._tls() if origin.scheme == b"https" else None
        host = origin.host.decode()
        stream: httpcore.AsyncNetworkStream = await self._backends[guarded].connect_tcp(host, origin.port, timeout=_CONNECT)
        if tls is not None:
            try:
                stream = await stream.start_tls(tls, host, timeout=_CONNECT)
            except BaseException:
                await stream.aclose()
                raise
        return httpcore.AsyncHTTP11Connection(origin, stream, keepalive_expiry=_IDLE)

    async def _through(self, proxy: str, encrypted: bool) -> Connection:
        if (proxy, encrypted) not in self._proxies:
            parts = urlsplit(proxy)
            tls = await self._tls() if encrypted else None
            pool = httpcore.AsyncSOCKSProxy if parts.scheme.startswith("socks") else httpcore.AsyncHTTPProxy
            self._proxies[proxy, encrypted] = pool(
                parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
                proxy_auth=(unquote(parts.username), unquote(parts.password or "")) if parts.username else None,
                ssl_context=tls,
                max_connections=self._size,
                keepalive_expiry=_IDLE,
                network_backend=self._backends[False],
            )
        return self._proxies[proxy, encrypted]


def _load_locks() -> None:
    # in a thread: on the loop, at the first lock, it would hold everything up for 40 ms
    with contextlib.suppress(ImportError):
        importlib.import_module(_LOCKS)


def _address(url: str) -> tuple[httpcore.URL, str]:
    """Take an address apart into its URL, what is not visible ASCII quoted, and its Host header. Raises LocalProtocolError."""
    try:
        parts = urlsplit(url)
        host, usual = (parts.hostname or "").encode("idna").decode(), {"http": 80, "https": 443}[parts.scheme]
        port = None if parts.port == usual else parts.port
    except (ValueError, KeyError):
        raise httpcore.LocalProtocolError("not an address of HTTP") from None
    told = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    target = quote(parts.path or "/", safe=_VISIBLE) + (f"?{quote(parts.query, safe=_VISIBLE)}" if parts.query else "")
    return httpcore.URL(scheme=parts.scheme, host=host, port=port, target=target), told


def _reply(response: httpcore.Response) -> Reply:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    pieces = response.aiter_stream()
    packed = headers.get("content-encoding", "").strip().lower() in ("gzip", "deflate")
    return Reply(response.status, headers, _unpacked(pieces) if packed else pieces)


async def _unpacked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body of an answer that was compressed without our asking, little at a time: it may be a bomb."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        async for piece in pieces:
            while piece:
                yield unpacking.decompress(piece, 2**18)
                piece = unpacking.unconsumed_tail
        yield unpacking.flush()
    except zlib.error:
        raise httpcore.RemoteProtocolError("its compression is broken") from None
    if not unpacking.eof:
        raise httpcore.RemoteProtocolError("its compressed content was cut off")


def _words(error: Exception) -> str:
    if isinstance(error, httpcore.LocalProtocolError):
        return "the request cannot be formed"  # its own words would show the header that is wrong
    return str(error) or _WORDS.get(type(error).__name__, type(error).__name__)


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment, or elsewhere than on Linux the system, names for an address."""
    environment = tuple(os.environ.get(name, "") for name in _PROXY_VARIABLES)
    if sys.platform == "linux" and not any(environment):
        return None
    parts = urlsplit(url)
    return _proxy_of(parts.scheme, parts.hostname or "", environment)


@functools.lru_cache(maxsize=256)
def _proxy_of(scheme: str, host: str, environment: tuple[str, ...]) -> str | None:
    import urllib.request  # where a proxy may be: importing it takes as long as ten requests, and asking it half a millisecond

    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(host):
        return None
    proxy = proxies.get(scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
