"""All HTTP: the key bound to its own origin, which failures may be repeated, and result addresses treated as somebody else's input.

Whoever submits must know one thing of a failure: was it certainly not sent (`NotSent`), or may it have arrived (`Lost`)?
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import json
import os
import secrets
import ssl
import urllib.request
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from imagegen_magic.engine.keys import Key
from imagegen_magic.engine.wire import Backend
from imagegen_magic.errors import DownloadError, ImageInvalid
from imagegen_magic.providers.base import Call, UploadCall

SANDBOX_ORIGIN = "http://sandbox.invalid"
LANE = 8  # connections a lane; httpcore's pool turns quadratic when requests queue inside it, so they queue before it
MOST_BYTES = 64 * 2**20
_HOPS = 5
_PIECE = 256 * 1024  # bytes of an upload that are handed on at once
_UPLOADS = 4  # at once, to one gateway
_UPLOAD_PATIENCE = 60.0  # seconds for an upload, beside its bytes
_SLOWEST = 20_000  # bytes a second below which an upload is given up
_IDLE = 2.0  # seconds a connection is kept for the next request: an older one may be closing just as we submit on it
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_HEADERS = {"User-Agent": "imagegen_magic", "Accept": "*/*", "Accept-Encoding": "identity"}
_SENT_NOTHING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
    httpx.InvalidURL,
    httpx.LocalProtocolError,
)


class NotSent(Exception):
    """No connection was made, so nothing arrived."""


class Lost(Exception):
    """The request went out and no whole answer came back."""


class Refused(Exception):
    """A result address answered with a status that says: not (any more) here."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: decoded JSON, or the text where it was none; `retry_after` in seconds."""

    status: int
    content: Any
    request_id: str = ""
    retry_after: float | None = None


class _PrivatePeer(Exception):
    """A public name leads to a private address."""


def _public_only(host: str, address: str) -> None:
    if not is_public(address):
        raise _PrivatePeer(f"{host} is {address}")


def is_public(address: str) -> bool:
    """Say whether an IP address is a public one."""
    ip = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_global and not (mapped or ip).is_multicast


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def authorization(key: Key, base_url: str, url: str, key_hosts: Sequence[str] = ()) -> dict[str, str]:
    """Return the header that carries the key: for the configured origin (scheme, host, port), and for no other.

    `key_hosts` are further hosts, over https, that the gateway names as its own.
    """
    own = {_origin(base_url), *(("https", host.lower(), 443) for host in key_hosts)}
    return {"Authorization": f"Bearer {key.reveal()}"} if _origin(url) in own else {}


class Lane:
    """Connections for one kind of request, with a queue of its own before a small pool."""

    def __init__(self, clients: Clients, *, size: int = LANE, timeout: float = 30.0) -> None:
        self._clients, self._size = clients, size
        self._patience = timeout  # for a whole call, once it is this lane's turn
        self._timeout = {"connect": 10.0, "read": timeout, "write": timeout, "pool": None}
        self._open: dict[Any, httpx.AsyncBaseTransport] = {}
        self._queue = asyncio.Semaphore(size)

    async def _transport(self, url: str, guarded: bool) -> httpx.AsyncBaseTransport:
        kind = ("sandbox", False, None) if _in_sandbox(url) else (urlsplit(url).scheme, guarded, _proxy(url))
        if kind not in self._open:
            self._open[kind] = await self._build(*kind)
        return self._open[kind]

    async def _build(self, scheme: str, guarded: bool, proxy: str | None) -> httpx.AsyncBaseTransport:
        if scheme == "sandbox":
            return self._clients.sandbox_transport()
        tls = await self._clients.tls() if "https" in (scheme, urlsplit(proxy or "").scheme) else _no_tls()
        limits = httpx.Limits(max_connections=self._size, max_keepalive_connections=self._size, keepalive_expiry=_IDLE)
        transport = httpx.AsyncHTTPTransport(verify=tls, limits=limits, proxy=proxy)
        transport._pool._network_backend = Backend(_public_only if guarded else None)  # httpx has no public way to choose it
        return transport

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
    ) -> AsyncIterator[httpx.Response]:
        """Send a request when the lane has room, and give its answer as a stream; `guarded` to public peers only.

        `whole` bounds the time until all of the answer is read. Raises NotSent or Lost. Neither redirects nor cookies are followed.
        """
        async with self._queue:
            try:
                async with asyncio.timeout(self._patience if whole else None):
                    told = httpx.Headers(_HEADERS)  # not a dict: httpx's headers never show the key
                    told.update(headers)
                    request = httpx.Request(method, url, headers=told, content=content, extensions={"timeout": self._timeout})
                    transport = await self._transport(url, guarded)
                    response = await transport.handle_async_request(request)
                    try:
                        yield response
                    finally:
                        await response.aclose()
            except _SENT_NOTHING as error:
                raise NotSent(_words(error)) from None
            except (httpx.HTTPError, httpx.StreamError, OSError) as error:
                raise Lost(_words(error)) from None

    async def close(self) -> None:
        """Close every connection."""
        for transport in self._open.values():
            await transport.aclose()
        self._open.clear()


def _words(error: Exception) -> str:
    if isinstance(error, httpx.LocalProtocolError):
        return "the request cannot be formed"  # its own words would show the header that is wrong
    return str(error) or {"ReadTimeout": "no answer in time", "ConnectTimeout": "no connection in time"}.get(
        type(error).__name__, type(error).__name__
    )


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    return _proxy_of(parts.scheme, parts.hostname or "", tuple(os.environ.get(name, "") for name in _PROXY_VARIABLES))


@functools.lru_cache(maxsize=256)
def _proxy_of(scheme: str, host: str, environment: tuple[str, ...]) -> str | None:
    """Return the proxy that the environment names for an address; asking it takes half a millisecond."""
    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(host):
        return None
    return proxies.get(scheme) or proxies.get("all")


def _no_tls() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing loaded: costs microseconds, and refuses every certificate


class Clients:
    """The connections of one event loop: a lane for looks and one for submissions to each gateway, and one for all downloads.

    So short requests never wait behind long ones, nor one gateway's behind another's.
    """

    def __init__(self, *, sandbox_home: Path | None = None) -> None:
        self._sandbox_home = sandbox_home
        self._sandbox: httpx.AsyncBaseTransport | None = None
        self._closers: list[Callable[[], None]] = []
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = asyncio.Lock()
        self._lanes: dict[Any, Lane] = {}
        self.downloads = Lane(self, timeout=60.0)

    def looks(self, base_url: str) -> Lane:
        """Return the lane for a gateway's looks."""
        return self._lane("looks", base_url, LANE, 30.0)

    def submits(self, base_url: str, *, at_once: int = LANE, timeout: float = 120.0) -> Lane:
        """Return the lane for a gateway's submissions: so many at once, each with so many seconds."""
        return self._lane("submits", base_url, at_once, timeout)

    def _lane(self, kind: str, base_url: str, size: int, timeout: float) -> Lane:
        name = (kind, base_url, size, timeout)
        if name not in self._lanes:
            self._lanes[name] = Lane(self, size=size, timeout=timeout)
        return self._lanes[name]

    async def tls(self) -> ssl.SSLContext:
        """Return the one TLS context, made in a thread: reading the certificates takes 40 ms."""
        async with self._tls_lock:
            if self._tls is None:
                self._tls = await asyncio.to_thread(httpx.create_ssl_context)
        return self._tls

    def sandbox_transport(self) -> httpx.AsyncBaseTransport:
        """Return the way into the sandbox in this process."""
        if self._sandbox is None:
            from imagegen_magic.sandbox.app import create_app

            app = create_app(home=self._sandbox_home)
            self._sandbox = httpx.ASGITransport(app)
            self._closers.append(app.state.sandbox.gallery.close)
        return self._sandbox

    async def call(self, lane: Lane, base_url: str, key: Key, call: Call, *, headers: dict[str, str] | None = None) -> Answer:
        """Make one call to a gateway and read its answer whole. Raises NotSent or Lost.

        A redirect is an answer like any other: the key does not follow it.
        """
        url = base_url.rstrip("/") + call.path
        # not a dict: httpx's headers never show the key, not even in a traceback with local values
        sent = httpx.Headers({**(headers or {}), **authorization(key, base_url, url)})
        content = None
        if call.json is not None:
            sent["Content-Type"] = "application/json"
            content = json.dumps(dict(call.json), separators=(",", ":")).encode()
        async with lane.stream(call.method, url, headers=sent, content=content) as response:
            return await _answer(response, key)

    async def upload(self, url: str, base_url: str, key: Key, call: UploadCall, content: bytes, *, key_hosts: Sequence[str] = ()) -> Answer:
        """Send a picture as a form, in pieces, and read the answer whole. Raises NotSent or Lost.

        The key goes to the gateway's own origin and to its `key_hosts`; to any other address nothing is sent at all. A redirect is an
        answer like any other.
        """
        sent = httpx.Headers(authorization(key, base_url, url, key_hosts))
        if "Authorization" not in sent:
            raise NotSent(f"{urlsplit(url).hostname} is none of the gateway's own hosts")
        before, after, boundary = _form(call)
        sent["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        sent["Content-Length"] = str(len(before) + len(content) + len(after))
        guarded = _origin(url) != _origin(base_url) and _proxy(url) is None
        lane = self._lane("uploads", base_url, _UPLOADS, 60.0)
        try:
            async with asyncio.timeout(_UPLOAD_PATIENCE + len(content) / _SLOWEST):
                body = _pieces(before, content, after)
                async with lane.stream(call.method, url, headers=sent, content=body, guarded=guarded, whole=False) as response:
                    return await _answer(response, key)
        except _PrivatePeer as error:
            raise NotSent(f"it leads into a private network ({error})") from None
        except TimeoutError:
            raise Lost("it took too long") from None

    async def close(self) -> None:
        """Close all lanes."""
        for lane in (self.downloads, *self._lanes.values()):
            await lane.close()
        for close in self._closers:
            await asyncio.to_thread(close)

    async def download(self, url: str, base_url: str) -> bytes:
        """Fetch a result address without any key, following at most five redirects.

        Raises Refused where it is gone, Lost or NotSent where the network failed, DownloadError where the address itself
        is not to be trusted, ImageInvalid where it is too large.
        """
        for _ in range(_HOPS + 1):
            guarded = _check_address(url, base_url)
            try:
                async with self.downloads.stream("GET", url, headers={}, guarded=guarded, whole=_in_sandbox(url)) as response:
                    if response.is_redirect:
                        url = _joined(url, response.headers.get("Location", ""))
                        continue
                    if response.status_code != 200:
                        raise Refused(response.status_code)
                    return await _read(response, MOST_BYTES)
            except _PrivatePeer as error:
                raise DownloadError(f"The gateway's result address leads into a private network ({error})", whose="gateway") from None
        raise DownloadError(f"The result address was redirected more than {_HOPS} times", whose="gateway")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise DownloadError("The result address was redirected to something that is no address", whose="gateway") from None


def _check_address(url: str, base_url: str) -> bool:
    """Refuse an address that is not to be trusted; say whether its peer must be guarded (it is not the gateway's own host)."""
    try:
        scheme, host, _ = _origin(url)
    except ValueError:
        raise DownloadError("The gateway's result address cannot be read", whose="gateway") from None
    base_scheme, base_host, _ = _origin(base_url)
    if scheme != "https" and not (scheme == "http" and base_scheme == "http"):
        raise DownloadError(f"The gateway's result address is {scheme or 'no'}:// and not https://", whose="gateway")
    if not host:
        raise DownloadError("The gateway's result address names no host", whose="gateway")
    if host == base_host:
        return False
    if _is_private_host(host):
        raise DownloadError(f"The gateway's result address leads into a private network ({host})", whose="gateway")
    return _proxy(url) is None  # a proxy resolves the name itself


def _is_private_host(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def _in_sandbox(url: str) -> bool:
    return url.startswith(SANDBOX_ORIGIN + "/")


async def _answer(response: httpx.Response, key: Key) -> Answer:
    text = key.redact((await _read(response, 8 * 2**20)).decode("utf-8", "replace"))
    return Answer(response.status_code, _decode(text), _request_id(response), retry_after(response.headers.get("Retry-After")))


def _form(call: UploadCall) -> tuple[bytes, bytes, str]:
    """Return what stands before and after a file's bytes in a multipart form, and the boundary; names are ours, so they need no quoting."""
    boundary = f"imagegen-{secrets.token_hex(16)}"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in call.form.items()]
    file = f'name="{call.field_name}"; filename="{call.file_name}"\r\nContent-Type: {call.content_type}'
    parts.append(f"--{boundary}\r\nContent-Disposition: form-data; {file}\r\n\r\n")
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode(), boundary


async def _pieces(before: bytes, content: bytes, after: bytes) -> AsyncIterator[bytes]:
    yield before
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]
    yield after


async def _read(response: httpx.Response, most: int) -> bytes:
    told = response.headers.get("Content-Length", "")
    if told.isdigit() and int(told) > most:
        raise ImageInvalid(f"The answer is {int(told) / 2**20:.0f} MiB, more than the {most / 2**20:.0f} MiB that are read")
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > most:
            raise ImageInvalid(f"The answer is more than the {most / 2**20:.0f} MiB that are read")
        pieces.append(piece)
    if told.isdigit() and size < int(told) and "Content-Encoding" not in response.headers:
        raise Lost(f"only {size} of {told} bytes came")
    return b"".join(pieces)


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _request_id(response: httpx.Response) -> str:
    return str(response.headers.get("X-Request-Id") or response.headers.get("CF-Ray") or "")


def retry_after(header: str | None) -> float | None:
    """Read a Retry-After header, in seconds from now; None where it says nothing."""
    if not header:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(header))
    with contextlib.suppress(ValueError, TypeError):
        import time

        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return None
