"""HTTP through httpx2: the only module that imports the library, so that another one costs one file.

What this product needs beyond a client: whether a failed request was certainly not sent (`NotSent`) or may have arrived
(`OutcomeUnknown`), and connections to the very addresses that were checked. The library's connection pools carry the requests, over
a network backend of ours. A user's own transport is one of httpx2.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import importlib
import logging
import os
import re
import socket
import ssl
import sys
import weakref
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import quote, unquote_to_bytes, urlsplit

from imagegen_magic.records import PortableError
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    import httpcore2
    import httpx2

    LibraryTransport = httpx2.AsyncBaseTransport

T = TypeVar("T")

CONNECTIONS = 8  # requests of a pool at once
CONNECT_SECONDS = 10.0  # seconds to reach a host
IDLE_SECONDS = 2.0  # seconds a connection is kept for the next request: the host may be closing an older one
_ATTEMPT_DELAY = 0.25  # seconds until the next address is tried as well (RFC 8305, section 5)
_MAX_CHUNK = 2**18  # bytes decompressed at once
_REFUSED_SECONDS = 5.0  # seconds that a large request may still take to be sent once its response has come
_SMALL = 64 * 1024  # bytes of a request that have certainly been sent when its response comes
_PORTS = {"http": 80, "https": 443}
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_HEADERS = {"User-Agent": "imagegen_magic", "Accept": "*/*", "Accept-Encoding": "identity"}
_SHOWN_HEADERS = ("host", "content-type", "content-length", "idempotency-key", *(name.lower() for name in _HEADERS))
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
CERTIFICATES_HINT = (
    "install the system's package ca-certificates (apt install ca-certificates), or set SSL_CERT_FILE to a file of certificates"
)

Guard = Callable[[str, Sequence[str]], Awaitable[Sequence[str]]]
"""Returns those addresses of a host that may be connected to; raises AddressNotAllowed."""


class RequestFailed(PortableError):
    """Base of the failures of a request; `hint` is the next step, if one is known."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.hint = hint


class NotSent(RequestFailed):
    """Nothing arrived, for certain: there was no connection, or the request cannot be formed."""


class InvalidRequest(NotSent):
    """HTTP cannot carry the request. The message does not show the header that is wrong: it may be the key."""

    def __init__(self) -> None:
        super().__init__("the request cannot be formed")


class OutcomeUnknown(RequestFailed):
    """The request was sent, at least in part, and no complete response came back."""


class AddressNotAllowed(PortableError):
    """An address leads to a host that the gateway may not name; the message says which."""


class Headers(dict[str, str]):
    """A request's headers; the repr shows only those that hold no secret, for tracebacks that show local values."""

    def __repr__(self) -> str:
        return repr({name: value if name.lower() in _SHOWN_HEADERS else "[hidden]" for name, value in self.items()})


class Origin(NamedTuple):
    """The origin of an address: the host in its ASCII form, the port 0 if the scheme has no default port."""

    scheme: str
    host: str
    port: int


class Request(NamedTuple):
    """A request: `target` is path and query as the address has them, with only what is not visible ASCII quoted."""

    method: str
    origin: Origin
    target: str
    headers: Headers
    content: bytes | AsyncIterable[bytes] | None

    def __repr__(self) -> str:
        return f"<Request {self.method} {without_queries(self.url)}>"

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.origin.scheme}://{self.headers['Host']}{self.target}"


class Response(NamedTuple):
    """A response: header names in lower case, the body in chunks."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Proxy(NamedTuple):
    """A proxy and what names it: a variable of the environment, or the system's settings. Its address may hold a password."""

    address: str
    named_by: str

    @property
    def host(self) -> str:
        """Host and port, without user name and password."""
        return self.address.partition("://")[2].rpartition("@")[2].partition("/")[0]

    def __str__(self) -> str:
        return f"the proxy {self.host} of {self.named_by}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def failed(self, what: str) -> NotSent:
        """Return the error of a proxy that opened no connection to the host; `what` is what the proxy did."""
        return NotSent(f"{self} {what}", f"check that proxy, or change {self.named_by}")


def origin_of(url: str) -> Origin:
    """Return the origin of an address. Raises ValueError if it is not an address."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode()
    return Origin(parts.scheme, host, parts.port or _PORTS.get(parts.scheme, 0))


def build_request(method: str, url: str, headers: Mapping[str, str], content: bytes | AsyncIterable[bytes] | None = None) -> Request:
    """Build a request whose address is sent unchanged, since signatures cover it. Raises InvalidRequest."""
    address = _split(url)
    if address is None or not all(name.isascii() and value.isascii() and value.isprintable() for name, value in headers.items()):
        raise InvalidRequest
    origin, target = address
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    fields = Headers({"Host": host if origin.port == _PORTS[origin.scheme] else f"{host}:{origin.port}", **_HEADERS, **headers})
    if isinstance(content, bytes):
        fields["Content-Length"] = str(len(content))
    if not (content is None or (isinstance(content, bytes) and len(content) <= _SMALL)):
        fields["Connection"] = "close"  # after an early refusal, the rest of it would come before the next request
    return Request(method, origin, target, fields, content)


def _split(url: str) -> tuple[Origin, str] | None:
    try:
        origin, parts = origin_of(url), urlsplit(url)
        target = quote(parts.path or "/", safe=_VISIBLE) + (f"?{quote(parts.query, safe=_VISIBLE)}" if parts.query else "")
    except ValueError:
        return None
    return (origin, target) if origin.scheme in _PORTS and re.fullmatch(r"[\w.:%-]+", origin.host, re.ASCII) else None


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy that the environment, or on other systems than Linux the system, names for an address."""
    environment = tuple(os.environ.get(name, "") for name in _PROXY_VARIABLES)
    if sys.platform == "linux" and not any(environment):
        return None
    parts = urlsplit(url)
    return _proxy_for(parts.scheme, parts.netloc.rpartition("@")[2], environment)


@functools.lru_cache(maxsize=256)
def _proxy_for(scheme: str, host: str, environment: tuple[str, ...]) -> Proxy | None:
    import urllib.request  # the import takes as long as ten requests, each look-up half a millisecond

    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(host):
        return None
    kind = scheme if proxies.get(scheme) else "all"
    if not (proxy := proxies.get(kind)):
        return None
    names = (f"{kind}_proxy", f"{kind}_PROXY".upper())  # urllib prefers lower case
    values = dict(zip(_PROXY_VARIABLES, environment, strict=True))
    return Proxy(proxy if "://" in proxy else f"http://{proxy}", next((name for name in names if values[name]), "the system's settings"))


_own_transport: Callable[[], LibraryTransport] | None = None


def use_transport(make: Callable[[], LibraryTransport] | None) -> None:
    """Send all requests of this process through transports that `make()` returns: for client certificates, or a proxy that needs more.

    `make` is called once for each pool of connections, in a thread. The transport connects by itself, so that result addresses are
    checked by their host names alone, as behind a proxy. Only ConnectError and ConnectTimeout count as not sent. None restores the default.
    """
    global _own_transport
    _own_transport = make


def is_own() -> bool:
    """Return whether requests go through transports of the user's, which other processes do not have."""
    return _own_transport is not None


def resolves_here(url: str) -> bool:
    """Return whether this process resolves the host itself; a proxy and a user's own transport resolve it elsewhere."""
    return _own_transport is None and proxy_for(url) is None


def load() -> None:
    """Import the library, which takes 40 ms: call it in a thread."""
    for name in ("httpcore2", "anyio._backends._asyncio"):
        importlib.import_module(name)
    for name in ("httpx2", "httpcore2"):  # their log lines hold whole addresses and headers, signatures among them
        logging.getLogger(name).setLevel(logging.WARNING)


def tls_context() -> ssl.SSLContext:
    """Return a TLS context with the system's certificates, or those that SSL_CERT_FILE or SSL_CERT_DIR names: call it in a thread.

    Raises NotSent if they cannot be read.
    """
    load()
    import httpcore2

    try:
        return httpcore2.default_ssl_context()
    except OSError as error:
        raise NotSent(f"the certificates cannot be read ({error})", "correct SSL_CERT_FILE or SSL_CERT_DIR") from None


def has_certificates(context: ssl.SSLContext) -> bool:
    """Return whether a TLS context has any certificate to check a host with."""
    if sys.platform != "linux" or context.cert_store_stats()["x509_ca"]:
        return True
    folder = ssl.get_default_verify_paths().capath  # read at each handshake, so that the context does not count them
    return folder is not None and any(re.fullmatch(r"[0-9a-f]{8}\.\d+", name) for name in os.listdir(folder))


class Sent(NamedTuple):
    """A response as the library gives it."""

    status: int
    headers: Iterable[tuple[bytes, bytes]]
    stream: AsyncIterable[bytes]
    close: Callable[[], Awaitable[None]]


class Transport(NamedTuple):
    """How requests are sent, with the library's extensions, and how all connections are closed."""

    send: Callable[[Request, dict[str, Any]], Awaitable[Sent]]
    close: Callable[[], Awaitable[None]]


def _pool_transport(pool: httpcore2.AsyncConnectionPool) -> Transport:
    """Return the transport over a connection pool of the library: direct, or through a proxy."""
    import httpcore2

    async def send(request: Request, extensions: dict[str, Any]) -> Sent:
        scheme, host, port = request.origin
        url = httpcore2.URL(scheme=scheme, host=host, port=None if port == _PORTS[scheme] else port, target=request.target)
        outgoing = httpcore2.Request(
            request.method, url, headers=list(request.headers.items()), content=request.content, extensions=extensions
        )
        response = await pool.handle_async_request(outgoing)
        if response.extensions["network_stream"].unanswered:  # left over from the request before
            await response.aclose()
            raise OutcomeUnknown("the host answered before the request was sent")
        return Sent(response.status, response.headers, cast("AsyncIterable[bytes]", response.stream), response.aclose)

    return Transport(send, pool.aclose)


def _httpx_transport(transport: LibraryTransport) -> Transport:
    """Return the transport over one of httpx2: a user's own."""
    import httpx2

    async def send(request: Request, extensions: dict[str, Any]) -> Sent:
        outgoing = httpx2.Request(
            request.method,
            request.url,
            headers=list(request.headers.items()),
            content=request.content,
            extensions={**extensions, "target": request.target.encode()},
        )
        response = await transport.handle_async_request(outgoing)
        return Sent(response.status_code, response.headers.raw, cast("AsyncIterable[bytes]", response.stream), response.aclose)

    return Transport(send, transport.aclose)


class _Attempt:
    """One request while it is sent: whether any of it may have arrived, and what a failure means."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.proxy: Proxy | None = None
        self.tls: ssl.SSLContext | None = None
        self.reports_steps = True  # the library's pools report each step, other transports may not
        self._sent, self._step = False, ""
        self._new: httpcore2.AsyncNetworkStream | None = None

    def answered_by_proxy(self, status: int) -> Proxy | None:
        """Return the proxy if the answer is its own: only plain http, as a tunnel or SOCKS passes on the host's answer."""
        reads = self.proxy is not None and self.request.origin.scheme == "http" and _kind(self.proxy) != "socks5"
        return self.proxy if reads and status == 407 else None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Record the library's steps. A CONNECT to a proxy carries nothing of the request. Raises NotSent if the host has hung up."""
        self._step = event
        if event == "connection.connect_tcp.complete" and self.request.origin.scheme == "http" and not self.proxy:
            self._new = info["return_value"]
        elif event == "http11.send_request_headers.started" and info["request"].method != b"CONNECT":
            if self._new and self._new.get_extra_info("is_readable"):  # before a request, only the connection's end is readable
                raise NotSent("the connection was closed before anything was sent")
            self._sent = True

    def failure(self, error: Exception) -> Exception:
        """Return the error to raise instead: a new one, since the frames of the library's own error hold the key."""
        late, reason = _is_timeout(error), _reason(error)
        if isinstance(error, AddressNotAllowed | RequestFailed):
            return copy.copy(error)
        sent = self._sent if self.reports_steps else type(error).__name__ not in ("ConnectError", "ConnectTimeout")
        if not sent and self.proxy and (failed := self._proxy_failure(error, late, reason)):
            return failed
        through = f", through {self.proxy}" if self.proxy else ""
        if sent:
            return OutcomeUnknown(("no answer in time" if late else reason) + through)
        hint = CERTIFICATES_HINT if self.tls and _is_unverified(error) and not has_certificates(self.tls) else None
        return NotSent(("no connection in time" if late else reason) + through, hint)

    def _proxy_failure(self, error: Exception, late: bool, reason: str) -> NotSent | None:
        """Return the proxy's failure; None once its tunnel is open and the failure is the host's."""
        assert self.proxy
        if type(error).__name__ == "ProxyError":
            return self.proxy.failed(f"refused: {reason}")
        if self._step.startswith(("proxy.start_tls", "socks.start_tls")):
            return None
        if not self._step or "connect_tcp" in self._step:
            return self.proxy.failed("does not answer" if late else f"does not answer ({reason})")
        return self.proxy.failed("opened no tunnel in time" if late else f"opened no tunnel ({reason})")


class Pool:
    """Connections for one kind of request: at most `size` requests at once, the others wait in a queue.

    `timeout` is in seconds, for each request once it has left the queue. With `by_host` each host has a queue and `size` connections of
    its own. `tls` returns the TLS context, `in_process` the transport for an address that needs no network. `guard` checks the peers of
    requests that bring no guard of their own.
    """

    def __init__(
        self,
        tls: Callable[[], Awaitable[ssl.SSLContext]],
        in_process: Callable[[str], Awaitable[Transport | None]],
        guard: Guard,
        *,
        size: int = CONNECTIONS,
        timeout: float = 30.0,
        by_host: bool = False,
    ) -> None:
        self._tls, self._in_process, self._guard, self._size, self._timeout = tls, in_process, guard, size, timeout
        self._by_host = by_host
        self._queues: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()
        self._transports: dict[Any, Transport] = {}
        self._opening = asyncio.Lock()

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
    ) -> AsyncIterator[Response]:
        """Send a request to the addresses of its host that `guard` allows, and yield its response.

        With `whole` the timeout bounds the time until the last byte is read, else each wait for a part of it. Redirects are not followed,
        cookies not kept. Raises NotSent, OutcomeUnknown, AddressNotAllowed.
        """
        attempt = _Attempt(build_request(method, url, headers, content))
        late = None
        async with self._queue(attempt.request.origin.host if self._by_host else ""):
            try:
                async with asyncio.timeout(self._timeout if whole else None) as deadline:
                    sent = await self._send(attempt, guard or self._guard, None if whole else self._timeout)
                    try:
                        yield _response(sent, attempt)
                    finally:
                        await sent.close()
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                late = attempt.failure(error)
        if late:
            raise late

    async def close(self) -> None:
        """Close every connection."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.close()

    @contextlib.asynccontextmanager
    async def _queue(self, name: str) -> AsyncIterator[None]:
        queue = self._queues.get(name) or self._queues.setdefault(name, asyncio.Semaphore(self._size))  # kept while it is in use
        async with queue:
            yield

    async def _send(self, attempt: _Attempt, guard: Guard, wait: float | None) -> Sent:
        timeouts = {"connect": CONNECT_SECONDS, "read": wait, "write": wait, "pool": None}
        try:
            transport = await self._transport(attempt, guard)
            sent = await transport.send(attempt.request, {"trace": attempt.trace, "timeout": timeouts})
            if proxy := attempt.answered_by_proxy(sent.status):  # the request was not sent on
                await sent.close()
                raise proxy.failed("refused: 407 Proxy Authentication Required")
            return sent
        except Exception as error:  # whatever the library raises: its frames hold the key
            failure = attempt.failure(error)
        raise failure

    async def _transport(self, attempt: _Attempt, guard: Guard) -> Transport:
        request = attempt.request
        if app := await self._in_process(request.url):
            attempt.reports_steps = False
            return app
        if make := _own_transport:
            attempt.reports_steps = False
            return await self._opened(make, lambda: _httpx_transport(make()))
        attempt.proxy = proxy = proxy_for(request.url)
        attempt.tls = tls = await self._tls() if request.origin.scheme == "https" or (proxy and _kind(proxy) == "https") else None
        return await self._opened((proxy, guard, tls is None), lambda: _through_proxy(proxy, tls) if proxy else _direct(tls, guard))

    async def _opened(self, name: Any, make: Callable[[], Transport]) -> Transport:
        def opened() -> Transport:
            load()
            return make()

        if name not in self._transports:
            async with self._opening:
                if name not in self._transports:
                    self._transports[name] = await asyncio.to_thread(opened)
        return self._transports[name]


def _direct(tls: ssl.SSLContext | None, guard: Guard) -> Transport:
    import httpcore2

    return _pool_transport(httpcore2.AsyncConnectionPool(ssl_context=tls, **_pool_options(guard)))


def _pool_options(guard: Guard | None) -> dict[str, Any]:
    return {"max_connections": None, "keepalive_expiry": IDLE_SECONDS, "network_backend": _Backend(guard)}


def _kind(proxy: Proxy) -> str:
    scheme = proxy.address.partition("://")[0].lower()
    return {"socks": "socks5", "socks5h": "socks5"}.get(scheme, scheme)


def _through_proxy(proxy: Proxy, tls: ssl.SSLContext | None) -> Transport:
    """Return the transport through a proxy. Raises NotSent if its address cannot be read, or if it needs another package."""
    import httpcore2

    kind, rest = _kind(proxy), proxy.address.partition("://")[2]
    if kind not in ("http", "https", "socks5"):
        raise proxy.failed(f"is of the kind {kind}://, which is not supported: http, https and socks5 are")
    options = {"ssl_context": tls, **_pool_options(None)}
    if kind == "https":
        options["proxy_ssl_context"] = tls
    try:
        parts = urlsplit(proxy.address)
        if parts.username:
            options["proxy_auth"] = unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")
        pool = httpcore2.AsyncSOCKSProxy if kind == "socks5" else httpcore2.AsyncHTTPProxy
        _ = parts.port  # raises ValueError if it is not a number
        return _pool_transport(pool(f"{kind}://{rest.rpartition('@')[2]}", **options))
    except (ImportError, RuntimeError):
        failure = proxy.failed("speaks SOCKS, which needs: pip install socksio")
    except (ValueError, TypeError):  # there may be a password in it, so that only its host is shown
        failure = proxy.failed("has an address that cannot be read")
    raise failure


class _Backend:
    """A network backend that resolves a name once, has every address checked, and connects to the first that answers (RFC 8305)."""

    def __init__(self, guard: Guard | None) -> None:
        import httpcore2

        self._guard, self._sockets = guard, httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        """Connect to an allowed address of a host. Raises OSError, TimeoutError, and what the guard raises."""

        async def connect(address: str) -> httpcore2.AsyncNetworkStream:
            return await self._sockets.connect_tcp(address, port, **options)

        async with asyncio.timeout(timeout):
            addresses = await _addresses(host, port)
            if self._guard:
                addresses = list(await self._guard(host, addresses))
            return _Stream(await _first(connect, addresses))


class _Stream:
    """A network stream that reads while it writes a large request: a host may refuse it early, and then take no more or hang up."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._ahead: asyncio.Task[bytes] | None = None
        self.unanswered = False  # whether nothing was read since the last bytes were sent

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes, b"" at the end."""
        ahead, self._ahead = self._ahead, None
        self.unanswered = False
        if ahead is None:
            return await self._stream.read(max_bytes, timeout)
        try:
            async with asyncio.timeout(timeout):
                return await ahead
        finally:
            ahead.cancel()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes. Raises WriteError once a response has come and the rest is not taken: then the library reads the response."""
        import httpcore2

        self.unanswered = True
        if len(buffer) <= _SMALL:
            return await self._stream.write(buffer, timeout)
        self._ahead = ahead = self._ahead or _child(self._stream.read(_SMALL))
        writing = _child(self._stream.write(buffer, timeout))
        try:
            await asyncio.wait((ahead, writing), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((writing,), timeout=_REFUSED_SECONDS if ahead.done() else None)
            if writing.done():
                return writing.result()
        finally:
            writing.cancel()
        raise httpcore2.WriteError

    async def start_tls(self, *options: Any, **more: Any) -> _Stream:
        """Encrypt the connection."""
        return _Stream(await self._stream.start_tls(*options, **more))

    async def aclose(self) -> None:
        """Close the stream."""
        if self._ahead:
            self._ahead.cancel()
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Return what the library asks of its own stream."""
        return self._stream.get_extra_info(info)


def _child(work: Awaitable[T]) -> asyncio.Task[T]:
    """Start a task under this task's name: a task that must not be interrupted is known by its name."""
    task: asyncio.Task[T] = asyncio.create_task(cast("Any", work), name=cast("asyncio.Task[Any]", asyncio.current_task()).get_name())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # which may no longer be waited for
    return task


async def _addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host, each once, in the resolver's order, with their scope."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_address(entry[4]) for entry in entries))


def _address(entry: tuple[Any, ...]) -> str:
    scope = entry[3] if len(entry) > 3 else 0
    return f"{entry[0]}%{scope}" if scope and "%" not in entry[0] else str(entry[0])


async def _first(connect: Callable[[str], Awaitable[Any]], addresses: Sequence[str]) -> Any:
    """Return the first connection: the next address is tried once one has failed, or has not answered for a while."""
    failure: BaseException = OSError("the host has no address")
    left, attempts = list(addresses), set[asyncio.Task[Any]]()
    try:
        while left or attempts:
            if left:
                attempts.add(_child(connect(left.pop(0))))
            done, attempts = await asyncio.wait(attempts, timeout=_ATTEMPT_DELAY if left else None, return_when=asyncio.FIRST_COMPLETED)
            connections = [attempt.result() for attempt in done if not attempt.exception()]
            for extra in connections[1:]:
                await extra.aclose()
            if connections:
                return connections[0]
            failure = next((error for attempt in done if (error := attempt.exception())), failure)
    finally:
        for attempt in attempts:
            attempt.cancel()
        for late in await asyncio.gather(*attempts, return_exceptions=True):
            if not isinstance(late, BaseException):
                await late.aclose()
    raise failure


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or any(kind.__name__ == "TimeoutException" for kind in type(error).__mro__)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes: the library's errors have the original one as their argument."""
    while error is not None:
        yield error
        argument = error.args[0] if error.args else None
        error = error.__cause__ or (argument if isinstance(argument, BaseException) else None)


def _is_unverified(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _reason(error: BaseException) -> str:
    """Return the innermost message: the library's own error often has none, or a vaguer one."""
    return next((text for cause in reversed(list(_causes(error))) if (text := str(cause))), type(error).__name__)


def _response(sent: Sent, attempt: _Attempt) -> Response:
    headers = {name.decode("latin-1").lower(): _text(value) for name, value in sent.headers}
    chunks = _chunks(sent.stream, attempt)
    compressed = headers.get("content-encoding", "").strip().lower() in ("gzip", "deflate")
    return Response(sent.status, headers, _decompress(chunks) if compressed else chunks)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def _chunks(stream: AsyncIterable[bytes], attempt: _Attempt) -> AsyncIterator[bytes]:
    failure = None
    try:
        async for chunk in stream:
            yield chunk
    except Exception as error:  # the library's: a consumer's own error does not come here
        failure = attempt.failure(error)
    if failure:
        raise failure


async def _decompress(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a body that is compressed although no compression was requested, a bounded amount at a time: it may be a bomb."""
    new = functools.partial(zlib.decompressobj, wbits=zlib.MAX_WBITS | 32)
    decompressor, any_chunk = new(), False
    try:
        async for chunk in chunks:
            any_chunk = True
            while chunk:
                if decompressor.eof:  # gzip allows several members
                    decompressor = new()
                yield decompressor.decompress(chunk, _MAX_CHUNK)
                chunk = decompressor.unconsumed_tail or decompressor.unused_data
        yield decompressor.flush()
    except zlib.error:
        raise OutcomeUnknown("its compression is broken") from None
    if any_chunk and not decompressor.eof:
        raise OutcomeUnknown("its compressed content was cut off")
