"""What goes out over HTTP and what comes back, whoever carries it, and the two ways in which that can fail."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from imagegen_magic.records import PortableError
from imagegen_magic.secret_patterns import without_queries

_PORTS = {"http": 80, "https": 443}
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_HEADERS = {"User-Agent": "imagegen_magic", "Accept": "*/*", "Accept-Encoding": "identity"}


class NotSent(PortableError):
    """Nothing arrived, for certain: there was no connection, or it had ended before the first byte."""


class ProxyFailed(NotSent):
    """The proxy opened no way to the host, so nothing arrived there; `hint` says what to check."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


class Lost(PortableError):
    """The request went out and no whole answer came back."""


class Unformed(NotSent):
    """HTTP cannot carry the request. Its words do not show the header that is wrong."""

    def __init__(self) -> None:
        super().__init__("the request cannot be formed")


class Headers(dict[str, str]):
    """A request's headers, whose key no traceback with local values shows."""

    def __repr__(self) -> str:
        return repr({name: "[hidden]" if name == "Authorization" else value for name, value in self.items()})


class Origin(NamedTuple):
    """Where a request goes: the host as it is looked up, the port 0 where the scheme has none of its own."""

    scheme: str
    host: str
    port: int


class Request(NamedTuple):
    """A request as it goes out: `target` is path and query, in visible ASCII."""

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


class Reply(NamedTuple):
    """An answer as it comes: its headers under their names in small letters, and its body in pieces."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


def origin_of(url: str) -> Origin:
    """Return where an address leads, its host as a resolver is asked for it. Raises ValueError for what is no address."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode()
    return Origin(parts.scheme, host, parts.port or _PORTS.get(parts.scheme, 0))


def formed(method: str, url: str, headers: Mapping[str, str], content: bytes | AsyncIterable[bytes] | None = None) -> Request:
    """Form a request: the address taken apart, what is not visible ASCII in it quoted. Raises Unformed for what is no address."""
    try:
        origin, parts = origin_of(url), urlsplit(url)
        usual = _PORTS[origin.scheme]
        target = quote(parts.path or "/", safe=_VISIBLE) + (f"?{quote(parts.query, safe=_VISIBLE)}" if parts.query else "")
    except (ValueError, KeyError):
        raise Unformed from None
    named = f"[{origin.host}]" if ":" in origin.host else origin.host
    told = Headers({"Host": named if origin.port == usual else f"{named}:{origin.port}", **_HEADERS, **headers})
    if isinstance(content, bytes):
        told["Content-Length"] = str(len(content))
    return Request(method, origin, target, told, content)


def told(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return an answer's headers as text, under their names in small letters; what is not UTF-8 is read as HTTP once had it."""
    return {name.decode("latin-1").lower(): _text(value) for name, value in headers}


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
