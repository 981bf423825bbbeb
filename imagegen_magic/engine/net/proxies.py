"""Behind a proxy: which one the environment names for an address, and the way through it, which httpcore knows for every kind."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from imagegen_magic.engine.net.exchange import NotSent, ProxyFailed, Reply, Request, Unformed, told
from imagegen_magic.engine.net.wire import CONNECT_SECONDS, IDLE_SECONDS

_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class Named(NamedTuple):
    """A proxy and who names it: a variable of the environment, or the system's settings. Its address may hold a password."""

    address: str
    origin: str

    @property
    def place(self) -> str:
        """The proxy's host and port, without user name and password."""
        return self.address.partition("://")[2].rpartition("@")[2].partition("/")[0]

    def __str__(self) -> str:
        return f"the proxy {self.place} of {self.origin}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def failed(self, what: str) -> ProxyFailed:
        """Return the error of a proxy that opened no way; `what` is what it did."""
        return ProxyFailed(f"{self} {what}", f"check that proxy, or change {self.origin}, then run the cell again")


def proxy_of(url: str) -> Named | None:
    """Return the proxy that the environment, or elsewhere than on Linux the system, names for an address."""
    environment = tuple(os.environ.get(name, "") for name in _VARIABLES)
    if sys.platform == "linux" and not any(environment):
        return None
    parts = urlsplit(url)
    return _proxy_of(parts.scheme, parts.netloc.rpartition("@")[2], environment)


@functools.lru_cache(maxsize=256)
def _proxy_of(scheme: str, host: str, environment: tuple[str, ...]) -> Named | None:
    import urllib.request  # where a proxy may be: importing it takes as long as ten requests, and asking it half a millisecond

    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(host):
        return None
    kind = scheme if proxies.get(scheme) else "all"
    if not (proxy := proxies.get(kind)):
        return None
    names = (f"{kind}_proxy", f"{kind}_PROXY".upper())  # as urllib has it: the small letters first
    told = dict(zip(_VARIABLES, environment, strict=True))
    return Named(proxy if "://" in proxy else f"http://{proxy}", next((name for name in names if told[name]), "the system's settings"))


async def through(named: Named, *, tls: ssl.SSLContext | None, connections: int, patience: float) -> Proxy:
    """Return the way through a proxy: so many connections at once, `tls` for what is beyond it, `patience` seconds for each wait.

    Raises ProxyFailed where the address is no proxy's, or one of a kind that needs another library.
    """
    await asyncio.to_thread(_load)
    import httpcore

    scheme, _, rest = named.address.partition("://")
    scheme, host = scheme.lower(), rest.rpartition("@")[2]
    kind = {"socks": "socks5", "socks5h": "socks5"}.get(scheme, scheme)
    if kind not in ("http", "https", "socks5"):
        raise named.failed(f"is of the kind {scheme}://, which is not known: http, https and socks5 are")
    try:
        parts = urlsplit(named.address)
        pool = (httpcore.AsyncSOCKSProxy if kind == "socks5" else httpcore.AsyncHTTPProxy)(
            f"{kind}://{host}",
            proxy_auth=(unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")) if parts.username else None,
            ssl_context=tls,
            max_connections=connections,
            keepalive_expiry=IDLE_SECONDS,
        )
    except RuntimeError:
        raise named.failed("speaks SOCKS, which needs: pip install socksio") from None
    except (ValueError, TypeError):  # its place is shown, and nothing before it: there may be a password
        raise named.failed("has an address that cannot be read") from None
    return Proxy(pool, patience, named)


def _load() -> None:
    # in a thread: on the loop it would hold everything up for 40 ms
    for name in ("httpcore", "anyio._backends._asyncio"):
        importlib.import_module(name)


class Proxy:
    """A proxy and the connections through it."""

    def __init__(self, pool: Any, patience: float, named: Named) -> None:
        self._pool, self.named = pool, named
        self._timeout = {"connect": CONNECT_SECONDS, "read": patience, "write": patience, "pool": None}

    @contextlib.asynccontextmanager
    async def ask(self, request: Request, out: Callable[[], None]) -> AsyncIterator[Reply]:
        """Send a request and give its answer as a stream; `out` is called before the first of it leaves.

        Raises ProxyFailed, OSError or Unformed.
        """
        import httpcore

        left, step = False, ""

        async def traced(event: str, about: dict[str, Any]) -> None:
            nonlocal left, step
            step = event
            if event == "http11.send_request_headers.started" and about["request"].method != b"CONNECT":
                left = True
                out()

        try:
            response = await self._pool.handle_async_request(self._translated(request, traced))
            try:
                if response.status == 407:  # which the proxy alone says, instead of sending the request on
                    raise self.named.failed("refused: 407 Proxy Authentication Required")
                yield Reply(response.status, told(response.headers), response.aiter_stream())
            finally:
                await response.aclose()
        except httpcore.LocalProtocolError:
            raise Unformed from None
        except httpcore.ProxyError as error:
            raise self.named.failed(f"refused: {error}") from None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise self._trouble(error, left, step) from None
        except Exception as error:
            if left or isinstance(error, NotSent):
                raise
            raise self.named.failed(f"cannot be used ({type(error).__name__})") from None

    def _trouble(self, error: Exception, left: bool, step: str) -> Exception:
        """Return what an error means: of the proxy, as long as `step` is one of opening the way, else of what is beyond it."""
        import httpcore

        late = isinstance(error, httpcore.TimeoutException)
        if not left and "connect_tcp" in step:
            return self.named.failed("does not answer" if late else f"does not answer ({error})")
        if not left and not step.startswith(("proxy.start_tls", "socks.start_tls")):
            return self.named.failed("opened no way in time" if late else f"opened no way ({str(error) or type(error).__name__})")
        return TimeoutError() if late else ConnectionError(str(error) or type(error).__name__)

    def _translated(self, request: Request, traced: Any) -> Any:
        import httpcore

        scheme, host, _ = request.origin
        url = httpcore.URL(scheme=scheme, host=host, port=urlsplit(request.url).port, target=request.target)
        headers, more = list(request.headers.items()), {"timeout": self._timeout, "trace": traced}
        try:
            return httpcore.Request(request.method, url, headers=headers, content=request.content, extensions=more)
        except TypeError:  # a header that is not ASCII
            raise Unformed from None

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()
