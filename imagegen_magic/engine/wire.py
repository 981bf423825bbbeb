"""TCP and TLS for httpcore on plain asyncio streams: few system calls a request, and a choice of which peers are allowed.

httpcore's own backend asks the operating system about every idle connection at each request and sends a request's head and
body apart; with thousands of short requests that is most of their cost. Here an idle connection knows whether something came,
and a small request leaves in one piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore

_SMALL = 64 * 1024  # bytes that may wait for the rest of their request
_ROOM = 2**20  # bytes that may come before somebody reads them; below a picture's size the system is asked to pause and go on


class _Reader(asyncio.StreamReader):
    """A stream reader that can say whether something unread is there."""

    unread = 0

    def feed_data(self, data: Any) -> None:
        """Take what came."""
        self.unread += len(data)
        super().feed_data(data)

    async def take(self, most: int) -> bytes:
        """Return at most so many bytes, empty at the end."""
        content = await self.read(most)
        self.unread -= len(content)
        return content


class Stream(httpcore.AsyncNetworkStream):
    """One connection."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._held = reader, writer, b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Send what is held back, then wait for bytes. Raises httpcore.ReadTimeout or ReadError."""
        with _told_as(httpcore.ReadTimeout, httpcore.ReadError):
            if self._reader.unread and not self._held:
                return await self._reader.take(max_bytes)  # at once, so without a clock
            async with asyncio.timeout(timeout):
                await self._flush()
                return await self._reader.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes, small ones together with those that follow. Raises httpcore.WriteTimeout or WriteError."""
        self._held += buffer
        if len(self._held) > _SMALL:
            with _told_as(httpcore.WriteTimeout, httpcore.WriteError):
                async with asyncio.timeout(timeout):
                    await self._flush()

    async def _flush(self) -> None:
        if self._held:
            self._writer.write(self._held)
            self._held = b""
            await self._writer.drain()

    async def aclose(self) -> None:
        """Close the connection, without waiting for the peer."""
        self._writer.close()

    async def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> Stream:
        """Go on encrypted, the certificate checked against `server_hostname`. Raises httpcore.ConnectTimeout or ConnectError."""
        with _told_as(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                await self._flush()
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        return self

    def get_extra_info(self, info: str) -> Any:
        """Answer httpcore's questions about this connection without asking the operating system."""
        if info == "is_readable":
            return self._reader.unread > 0 or self._reader.at_eof() or self._writer.is_closing()
        return self._writer.get_extra_info({"server_addr": "peername", "client_addr": "sockname"}.get(info, info))


class Backend(httpcore.AsyncNetworkBackend):
    """Opens connections; `check(host, address)` raises for a peer that must not be talked to.

    A name is resolved once, and the very addresses that were checked are connected to.
    """

    def __init__(self, check: Callable[[str, str], None] | None = None) -> None:
        self._check = check

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Stream:
        """Connect to a host's first address that answers. Raises httpcore.ConnectTimeout or ConnectError."""
        with _told_as(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                return await self._connect(host, await self._resolve(host, port), port)

    async def _resolve(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if self._check:
                self._check(host, address)
        return addresses

    async def _connect(self, host: str, addresses: list[str], port: int) -> Stream:
        loop, failure = asyncio.get_running_loop(), OSError(f"{host} has no address")
        for address in addresses:
            reader = _Reader(limit=_ROOM, loop=loop)
            protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
            try:
                transport, _ = await loop.create_connection(lambda protocol=protocol: protocol, address, port)  # type: ignore[misc]
            except OSError as error:
                failure = error
                continue
            return Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait between httpcore's own retries."""
        await asyncio.sleep(seconds)


@contextlib.contextmanager
def _told_as(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error
