"""Hosts for tests of the transport, each a few lines of bytes: what they answer need not be HTTP."""

import asyncio
import contextlib
import ssl
from pathlib import Path

from imagegen_magic.engine.net import client
from imagegen_magic.engine.net.client import GatewayClients
from imagegen_magic.engine.net.transport import Headers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CERTIFICATE = Path(__file__).parent / "localhost.pem"  # self-signed, for localhost only


def tls_server() -> ssl.SSLContext:
    """Return the context of an encrypted host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@contextlib.asynccontextmanager
async def raw_host(serve, *, tls=None, host="127.0.0.1"):
    """Run `serve(reader, writer)` for each connection, and yield the port; at the end each of them has ended."""
    running = []

    async def served(reader, writer):
        running.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(served, host, 0, ssl=tls) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await asyncio.sleep(0.02)  # a connection that has just come is accepted
            await asyncio.wait_for(asyncio.gather(*running), 10)


def answering(answer=OK, seen=None):
    """Return a `serve` that answers every request of a connection alike; `seen` gets a list of request heads for each connection."""

    async def serve(reader, writer):
        heads = []
        if seen is not None:
            seen.append(heads)
        while True:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(answer)
            await writer.drain()

    return serve


def with_host(work, serve, *, tls=False, trusted=True):
    """Run `work(clients, origin)` against a host, and close the clients' connections."""

    async def main():
        async with raw_host(serve, tls=tls_server() if tls else None) as port:
            clients = GatewayClients()
            if tls and trusted:
                clients._tls = ssl.create_default_context(cafile=CERTIFICATE)
            try:
                return await work(clients, f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}")
            finally:
                await clients.close()

    return asyncio.run(main())


def with_clients(work):
    """Run `work(clients)`, and close the clients' connections."""

    async def main():
        clients = GatewayClients()
        try:
            return await work(clients)
        finally:
            await clients.close()

    return asyncio.run(main())


async def fetched(clients, url, base):
    """Return the bytes of a result address."""
    return await clients.fetch(url, base, lambda response: client.read_body(response, client.MAX_BYTES))


def download(url, base):
    """Return the bytes of a result address, with clients of its own."""
    return with_clients(lambda clients: fetched(clients, url, base))


async def send(pool, url, method="GET", content=None, **headers):
    """Return status and body of the response to one request."""
    async with pool.stream(method, url, headers=Headers(headers), content=content) as response:
        return response.status, b"".join([chunk async for chunk in response.chunks])


async def outcome(*request, **options):
    """Return what `send` returns or raises."""
    try:
        return await send(*request, **options)
    except Exception as error:
        return error
