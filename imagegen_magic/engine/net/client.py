"""All HTTP: the key bound to its own origin, which failures may be repeated, and result addresses treated as somebody else's input.

Whoever submits must know one thing of a failure: was it certainly not sent (`NotSent`), or may it have arrived (`Lost`)?
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.endpoints import SANDBOX_ORIGIN
from imagegen_magic.engine.net.exchange import Headers, Lost, NotSent, Reply, Request, Unformed, origin_of
from imagegen_magic.engine.net.lane import LANE, Lane, Way
from imagegen_magic.engine.net.peers import Guard, Own, RefusedPeer, check, zone_of_gateway
from imagegen_magic.engine.net.proxies import proxy_of
from imagegen_magic.errors import DownloadError, ImageInvalid
from imagegen_magic.providers.base import Call, UploadCall
from imagegen_magic.providers.urls import Zone, zone_of
from imagegen_magic.records import PortableError
from imagegen_magic.secret_patterns import Address, mark_addresses

T = TypeVar("T")

MOST_BYTES = 64 * 2**20
_HOPS = 5
_NOT_NOW = (408, 425, 429)
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE = 256 * 1024  # bytes of an upload that are handed on at once
_UPLOADS = 4  # at once, to one gateway
_UPLOAD_PATIENCE = 60.0  # seconds for an upload, beside its bytes
_SLOWEST = 20_000  # bytes a second below which an upload is given up


class NotTrusted(DownloadError):
    """A result address leads where this gateway may not lead to, so nothing was sent there."""

    def __init__(self, what: str) -> None:
        super().__init__(what, blame="gateway")


class HTTPStatusError(PortableError):
    """A result address answered with a status that says: not (any more) here, or not now; `retry_after` in seconds."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.retry_after = status, retry_after

    @property
    def temporary(self) -> bool:
        """Whether the same address may answer later."""
        return self.status >= 500 or self.status in _NOT_NOW


class GatewayResponse(NamedTuple):
    """What came back: decoded JSON, or the text where it was none; `retry_after` in seconds."""

    status: int
    content: Any
    request_id: str = ""
    retry_after: float | None = None


def authorization(key: Key, base_url: str, url: str, key_hosts: Sequence[str] = ()) -> dict[str, str]:
    """Return the header that carries the key: for the configured origin (scheme, host, port), and for no other.

    `key_hosts` are further hosts, over https, or origins such as `http://10.0.0.5:9000`, that the gateway names as its own.
    """
    try:
        own = {origin_of(base_url), *(origin_of(host if "://" in host else f"https://{host}") for host in key_hosts)}
        return {"Authorization": f"Bearer {key.reveal()}"} if origin_of(url) in own else {}
    except ValueError:
        raise Unformed from None


class _InProcess:
    """The sandbox in this process."""

    def __init__(self, app: Any) -> None:
        import httpx  # which knows how to speak to an app; the network needs less

        self._transport, self._request = httpx.ASGITransport(app), httpx.Request

    @contextlib.asynccontextmanager
    async def ask(self, request: Request, out: Callable[[], None]) -> AsyncIterator[Reply]:
        """Hand a request to the app and give its answer."""
        out()
        asked = self._request(request.method, request.url, headers=request.headers, content=request.content)
        answer = await self._transport.handle_async_request(asked)
        yield Reply(answer.status_code, answer.headers, answer.aiter_raw())


class GatewayClients:
    """The connections of one event loop: a lane for looks and one for submissions to each gateway, and one for all downloads.

    So short requests never wait behind long ones, nor one gateway's behind another's. Of downloads each host has places of its own.
    """

    def __init__(self, *, sandbox_home: Path | None = None) -> None:
        self._sandbox_home = sandbox_home
        self._sandbox: Way | None = None
        self._closers: list[Callable[[], None]] = []
        self._tls: ssl.SSLContext | None = None
        self._building = asyncio.Lock()
        self._lanes: dict[Any, Lane] = {}
        self.downloads = Lane(self.tls, self._inside, Own(), size=LANE, timeout=60.0, by_host=True)

    def looks(self, base_url: str) -> Lane:
        """Return the lane for a gateway's looks."""
        return self._lane("looks", base_url, LANE, 30.0)

    def submits(self, base_url: str, *, at_once: int = LANE, timeout: float = 120.0) -> Lane:
        """Return the lane for a gateway's submissions: so many at once, each with so many seconds."""
        return self._lane("submits", base_url, at_once, timeout)

    def _lane(self, kind: str, base_url: str, size: int, timeout: float) -> Lane:
        name = (kind, base_url, size, timeout)
        if name not in self._lanes:
            self._lanes[name] = Lane(self.tls, self._inside, Own(), size=size, timeout=timeout)
        return self._lanes[name]

    async def tls(self) -> ssl.SSLContext:
        """Return the one TLS context, made in a thread: reading the certificates takes 40 ms."""
        async with self._building:
            if self._tls is None:
                self._tls = await asyncio.to_thread(_tls_context)
        return self._tls

    async def _inside(self, url: str) -> Way | None:
        """Return the way into the sandbox in this process for its addresses; made in a thread: importing it takes 100 ms."""
        if not _in_sandbox(url):
            return None
        async with self._building:
            if self._sandbox is None:
                self._sandbox = await asyncio.to_thread(self._open_sandbox)
        return self._sandbox

    def _open_sandbox(self) -> Way:
        from imagegen_magic.sandbox.app import create_app

        app = create_app(home=self._sandbox_home)
        self._closers.append(app.state.sandbox.gallery.close)
        return _InProcess(app)

    async def call(self, lane: Lane, base_url: str, key: Key, call: Call, *, headers: dict[str, str] | None = None) -> GatewayResponse:
        """Make one call to a gateway and read its answer whole. Raises NotSent or Lost.

        A redirect is an answer like any other: the key does not follow it.
        """
        url = base_url.rstrip("/") + call.path
        sent = Headers({**(headers or {}), **authorization(key, base_url, url)})
        content = None
        if call.json is not None:
            sent["Content-Type"] = "application/json"
            content = json.dumps(dict(call.json), separators=(",", ":")).encode()
        async with lane.stream(call.method, url, headers=sent, content=content) as response:
            return await _answer(response, key)

    async def upload(
        self, url: str, base_url: str, key: Key, call: UploadCall, content: bytes, *, key_hosts: Sequence[str] = ()
    ) -> GatewayResponse:
        """Send a picture as a form, in pieces, and read the answer whole. Raises NotSent or Lost.

        The key goes to the gateway's own origin and to its `key_hosts`; to any other address nothing is sent at all. A redirect is an
        answer like any other.
        """
        sent = Headers(authorization(key, base_url, url, key_hosts))
        if "Authorization" not in sent:
            raise NotSent(f"{urlsplit(url).hostname} is none of the gateway's own hosts")
        before, after, boundary = _form(call)
        sent["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        sent["Content-Length"] = str(len(before) + len(content) + len(after))
        guard = None if origin_of(url) == origin_of(base_url) else Guard(base_url)
        lane = self._lane("uploads", base_url, _UPLOADS, 60.0)
        try:
            async with asyncio.timeout(_UPLOAD_PATIENCE + len(content) / _SLOWEST):
                body = _pieces(before, content, after)
                async with lane.stream(call.method, url, headers=sent, content=body, guard=guard, whole=False) as response:
                    return await _answer(response, key)
        except RefusedPeer as error:
            raise NotSent(f"it {error}") from None
        except TimeoutError:
            raise Lost("it took too long") from None

    async def close(self) -> None:
        """Close all lanes."""
        for lane in (self.downloads, *self._lanes.values()):
            await lane.close()
        for close in self._closers:
            await asyncio.to_thread(close)

    async def download(self, url: str, base_url: str) -> bytes:
        """Fetch a result address as `fetch` does, and return all its bytes. Raises ImageInvalid where it is too large."""
        return await self.fetch(url, base_url, lambda response: _read(response, MOST_BYTES))

    async def fetch(self, url: str, base_url: str, read: Callable[[Reply], Awaitable[T]]) -> T:
        """Fetch a result address without any key, following at most five redirects, and return what `read` makes of the answer.

        Raises Refused where it is gone, Lost or NotSent where the network failed, NotTrusted where the address leads where this
        gateway may not lead to.
        """
        for _ in range(_HOPS + 1):
            try:
                guard = await _guard(url, base_url)
                async with self.downloads.stream("GET", url, headers={}, guard=guard, whole=_in_sandbox(url)) as response:
                    if response.status in _REDIRECTS and "location" in response.headers:
                        url = _joined(url, response.headers["location"])
                        continue
                    if response.status != 200:
                        raise HTTPStatusError(response.status, retry_after(response.headers.get("retry-after")))
                    return await read(response)
            except RefusedPeer as error:
                raise NotTrusted(f"The gateway's result address {error}") from None
        raise DownloadError(f"The result address was redirected more than {_HOPS} times", blame="gateway")


def _joined(url: str, location: str) -> str:
    try:
        return Address(urljoin(url, location))
    except ValueError:
        raise DownloadError("The result address was redirected to something that is no address", blame="gateway") from None


async def _guard(url: str, base_url: str) -> Guard:
    """Return the guard of a result address's connections; raises RefusedPeer where the address itself shows that it is not allowed."""
    try:
        scheme, host, _ = origin_of(url)
    except ValueError:
        raise RefusedPeer("cannot be read") from None
    base_scheme, base_host, _ = origin_of(base_url)
    if scheme not in ("http", "https"):
        raise RefusedPeer(f"is {scheme or 'no'}:// and not https://")
    if not host:
        raise RefusedPeer("names no host")
    zone, inside = zone_of(host), scheme == "http" and base_scheme != "http"
    base = await zone_of_gateway(base_url) if inside or (zone is not Zone.PUBLIC and host != base_host) else Zone.PUBLIC
    if inside and (base < Zone.PRIVATE or (zone < Zone.PRIVATE and proxy_of(url))):  # a proxy resolves the name itself
        raise RefusedPeer("is http:// and not https://")
    if host != base_host:
        check(host, zone, base)
    return Guard(base_url, inside)


def _tls_context() -> ssl.SSLContext:
    import certifi

    context = ssl.create_default_context()  # what the system or SSL_CERT_FILE trusts, and what browsers trust
    context.load_verify_locations(certifi.where())
    return context


def _in_sandbox(url: str) -> bool:
    return url.startswith(SANDBOX_ORIGIN + "/")


async def _answer(response: Reply, key: Key) -> GatewayResponse:
    content = _understood(key.redact((await _read(response, 8 * 2**20)).decode("utf-8", "replace")), key)
    return GatewayResponse(response.status, content, _request_id(response), retry_after(response.headers.get("retry-after")))


def _understood(text: str, key: Key) -> Any:
    """Return decoded JSON, or the text where it is none, without the key: before decoding, and after it where escapes may hide it."""
    try:
        content = json.loads(text)
        return mark_addresses(_redacted(content, key) if "\\" in text else content)
    except ValueError:
        return text
    except RecursionError:
        return "(an answer that is nested too deeply to be read)"


def _redacted(content: Any, key: Key) -> Any:
    """Return decoded JSON without the key, which escaped characters hide before it is decoded."""
    match content:
        case str():
            return key.redact(content)
        case list():
            return [_redacted(each, key) for each in content]
        case dict():
            return {key.redact(name): _redacted(each, key) for name, each in content.items()}
    return content


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


async def _read(response: Reply, most: int) -> bytes:
    told = response.headers.get("content-length", "")
    if told.isdigit() and int(told) > most:
        raise ImageInvalid(f"The answer is {int(told) / 2**20:.0f} MiB, more than the {most / 2**20:.0f} MiB that are read")
    pieces, size = [], 0
    async for piece in response.pieces:
        size += len(piece)
        if size > most:
            raise ImageInvalid(f"The answer is more than the {most / 2**20:.0f} MiB that are read")
        pieces.append(piece)
    return b"".join(pieces)


def _request_id(response: Reply) -> str:
    return response.headers.get("x-request-id") or response.headers.get("cf-ray") or ""


def retry_after(header: str | None) -> float | None:
    """Read a Retry-After header, in seconds from now; None where it says nothing."""
    if not header:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        import time

        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return None
