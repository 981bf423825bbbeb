"""The connections themselves: encrypted ones checked, pieces sent together, trouble told as httpx knows it."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import httpcore
import pytest

from imagegen_magic.engine.http import Clients
from imagegen_magic.engine.keys import Key
from imagegen_magic.engine.lane import Lost, NotSent
from imagegen_magic.engine.wire import Backend
from imagegen_magic.providers.base import Call

CERTIFICATE = Path(__file__).parent / "localhost.pem"  # self-signed, for localhost alone


@contextlib.asynccontextmanager
async def _server(serve, tls=None):
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _tls_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def _answer_once(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    body = b'{"id": "task-1"}'
    assert b"authorization: bearer a-key" in head.lower()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    writer.close()


async def _call(port, trusted):
    clients = Clients()
    if trusted:
        clients._tls = ssl.create_default_context(cafile=CERTIFICATE)
    try:
        base_url = f"https://localhost:{port}"
        return await clients.call(clients.looks(base_url), base_url, Key("a-key"), Call("GET", "/v1/tasks/task-1"))
    finally:
        await clients.close()


def test_an_encrypted_gateway_is_spoken_to():
    """TLS with a certificate that holds for the host."""

    async def main():
        async with _server(_answer_once, _tls_server()) as port:
            return await _call(port, trusted=True)

    assert asyncio.run(main()).content == {"id": "task-1"}


@contextlib.asynccontextmanager
async def _tunnel(asked):
    """A proxy that opens tunnels; `asked` gets the head of each request for one."""
    over = []

    async def pipe(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        over.append(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        host, _, port = head.split()[1].rpartition(":")
        there, onwards = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pipe(reader, onwards), pipe(there, writer))

    async with _server(serve) as port:
        yield f"http://me:secret@127.0.0.1:{port}"
    await asyncio.wait_for(asyncio.gather(*over), 5)


def test_an_encrypted_gateway_is_spoken_to_through_a_proxy(monkeypatch):
    """The proxy sees host, port and its own password, never the key: the gateway's certificate is checked through the tunnel."""
    asked = []

    async def main():
        async with _server(_answer_once, _tls_server()) as port, _tunnel(asked) as proxy:
            monkeypatch.setenv("https_proxy", proxy)
            return port, await _call(port, trusted=True)

    port, answer = asyncio.run(main())
    assert answer.content == {"id": "task-1"}
    assert asked[0].startswith(f"CONNECT localhost:{port} HTTP/1.1")
    assert "authorization: basic" in asked[0].lower()
    assert "a-key" not in asked[0]


def test_a_certificate_that_nobody_vouches_for_gets_no_key():
    """An impostor sees neither the request nor the key, and it was certainly not sent."""
    seen = []

    async def spy(reader, writer):
        seen.append(await reader.read(100))
        writer.close()

    async def main():
        async with _server(spy, _tls_server()) as port:
            await _call(port, trusted=False)

    with pytest.raises(NotSent, match="certificate"):
        asyncio.run(main())
    assert not any(seen)


def test_a_certificate_for_another_host_is_refused():
    """The name in the address must be the name in the certificate."""

    async def main():
        async with _server(_answer_once, _tls_server()) as port:
            stream = await Backend().connect_tcp("127.0.0.1", port)
            try:
                await stream.start_tls(ssl.create_default_context(cafile=CERTIFICATE), "example.com", timeout=5)
            finally:
                await stream.aclose()

    with pytest.raises(httpcore.ConnectError, match=r"example\.com"):
        asyncio.run(main())


def test_a_small_request_leaves_in_one_piece():
    """Head and body are one write, so that no gateway waits for the second half."""
    pieces = []

    async def serve(reader, writer):
        pieces.append(await reader.read(1000))
        writer.write(b"ok")
        await writer.drain()
        writer.close()

    async def main():
        async with _server(serve) as port:
            stream = await Backend().connect_tcp("127.0.0.1", port)
            await stream.write(b"head ")
            await stream.write(b"body")
            answer = await stream.read(10, timeout=5)
            await stream.aclose()
            return answer

    assert asyncio.run(main()) == b"ok"
    assert pieces == [b"head body"]


def test_a_large_body_is_not_held_back():
    """What does not fit into one piece goes out at once, in order."""
    got = bytearray()

    async def serve(reader, writer):
        while len(got) < 300_000:
            got.extend(await reader.read(65536))
        writer.write(b"ok")
        await writer.drain()
        writer.close()

    async def main():
        async with _server(serve) as port:
            stream = await Backend().connect_tcp("127.0.0.1", port)
            for start in range(0, 300_000, 50_000):
                await stream.write(bytes([start // 50_000]) * 50_000, timeout=5)
            answer = await stream.read(10, timeout=5)
            await stream.aclose()
            return answer

    assert asyncio.run(main()) == b"ok"
    assert [got[start] for start in range(0, 300_000, 50_000)] == [0, 1, 2, 3, 4, 5]


def test_an_idle_connection_knows_whether_something_came():
    """A peer that closed, or spoke out of turn, is not used for the next request."""

    async def serve(reader, writer):
        if await reader.read(1) == b"x":
            writer.write(b"out of turn")
            await writer.drain()
        writer.close()

    async def main(word):
        async with _server(serve) as port:
            stream = await Backend().connect_tcp("127.0.0.1", port)
            before = stream.get_extra_info("is_readable")
            stream._writer.write(word)
            while not stream.get_extra_info("is_readable"):
                await asyncio.sleep(0.005)
            assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
            await stream.aclose()
            return before

    assert asyncio.run(main(b"x")) is False
    assert asyncio.run(main(b"y")) is False


def test_silence_is_a_timeout_and_a_refusal_an_error():
    """Each in httpcore's own words, which the engine sorts into certainly-not-sent and lost."""

    async def silent(reader, writer):
        await reader.read(1)
        writer.close()

    async def main():
        async with _server(silent) as port:
            stream = await Backend().connect_tcp("127.0.0.1", port)
            with pytest.raises(httpcore.ReadTimeout):
                await stream.read(1, timeout=0.05)
            await stream.aclose()
        with pytest.raises(httpcore.ConnectError):
            await Backend().connect_tcp("127.0.0.1", 9)
        with pytest.raises(httpcore.ConnectError):
            await Backend().connect_tcp("no-such-host.invalid", 80)

    asyncio.run(main())


def test_the_next_address_is_tried_where_the_first_does_not_answer(monkeypatch):
    """A name with several addresses is as good as its best one."""

    async def serve(reader, writer):
        writer.close()

    async def main():
        async with _server(serve) as port:
            backend = Backend()
            monkeypatch.setattr(Backend, "_resolve", lambda self, host, port: _both())
            stream = await backend.connect_tcp("both.example", port)
            await stream.aclose()
            await backend.sleep(0)

    async def _both():
        return ["127.0.0.9", "127.0.0.1"]

    asyncio.run(main())


ESCAPED = [
    rb'{"error": {"message": "bad key pl4t\/Ab9+xyz\/0123"}}',
    rb'{"error": ["bad key pl4t\u002fAb9+xyz\u002f0123"]}',
    rb'{"pl4t\/Ab9+xyz\/0123": "is bad"}',
    b"bad key pl4t/Ab9+xyz/0123",
]


@pytest.mark.parametrize("body", ESCAPED)
def test_a_key_that_comes_back_escaped_is_blotted_out(body):
    """What the gateway says is searched as it reads once decoded: JSON has many ways to write one key."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async def main():
        async with _server(serve) as port:
            clients, base_url = Clients(), f"http://127.0.0.1:{port}"
            try:
                return await clients.call(clients.looks(base_url), base_url, Key("pl4t/Ab9+xyz/0123"), Call("GET", "/"))
            finally:
                await clients.close()

    told = str(asyncio.run(main()).content)
    assert "[key]" in told
    assert "xyz" not in told


def test_a_gateway_that_says_nothing_in_time_is_told_so():
    """The error of a call that took too long has words, and no class name."""

    over = []

    async def serve(reader, writer):
        await reader.read()
        writer.close()
        over.append(True)

    async def main():
        async with _server(serve) as port:
            clients, base_url = Clients(), f"http://127.0.0.1:{port}"
            try:
                await clients.call(clients.submits(base_url, timeout=0.2), base_url, Key("a-key"), Call("GET", "/"))
            finally:
                await clients.close()
                while not over:
                    await asyncio.sleep(0.01)

    with pytest.raises(Lost, match="no answer in time"):
        asyncio.run(main())
