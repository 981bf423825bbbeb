"""The connections themselves: encrypted ones checked, pieces sent together, answers read to their end and no further."""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import threading
import time
import traceback
from pathlib import Path

import h11
import pytest

from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.net.client import GatewayClients
from imagegen_magic.engine.net.exchange import Lost, NotSent, Origin, formed
from imagegen_magic.engine.net.wire import CONNECT_SECONDS, _address, _first, connect
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
    clients = GatewayClients()
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


def test_a_certificate_for_another_host_is_refused(monkeypatch):
    """The name in the address must be the name in the certificate."""
    monkeypatch.setattr("imagegen_magic.engine.net.wire._addresses", _leading_to("127.0.0.1"))

    async def spy(reader, writer):
        await reader.read()
        writer.close()

    async def main():
        async with _server(spy, _tls_server()) as port:
            with pytest.raises(ssl.SSLCertVerificationError, match=r"api\.example\.com"):
                await connect(Origin("https", "api.example.com", port), ssl.create_default_context(cafile=CERTIFICATE))

    asyncio.run(main())


def _leading_to(*addresses):
    async def found(host, port, check):
        return addresses

    return found


def _with_connection(serve, work, *, tls=False):
    """Run `work(connection, request)` with a connection to a server that runs `serve(reader, writer)`."""
    over = []

    async def served(reader, writer):
        over.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()

    async def main():
        async with _server(served, _tls_server() if tls else None) as port:
            origin = Origin("https" if tls else "http", "localhost" if tls else "127.0.0.1", port)
            connection = await connect(origin, ssl.create_default_context(cafile=CERTIFICATE) if tls else None)

            def request(method="GET", content=None, **headers):
                return formed(method, f"{origin.scheme}://{origin.host}:{port}/", headers, content)

            try:
                return await work(connection, request)
            finally:
                connection.drop()
                await asyncio.wait_for(asyncio.gather(*over), 5)

    return asyncio.run(main())


async def _body(reply):
    return b"".join([piece async for piece in reply.pieces])


async def _ask(connection, request):
    """Return status and body of the answer to one request, or what went wrong."""
    try:
        reply = await connection.ask(request(), 5)
        return reply.status, await _body(reply)
    except (OSError, h11.RemoteProtocolError) as error:
        return error


def _saying(answer):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return serve


def test_a_small_request_leaves_in_one_piece():
    """Head and body are one write, so that no gateway waits for the second half."""
    pieces = []

    async def serve(reader, writer):
        pieces.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async def work(connection, request):
        return await _body(await connection.ask(request("POST", b"the body")))

    assert _with_connection(serve, work) == b"ok"
    assert pieces[0].startswith(b"POST / HTTP/1.1\r\n")
    assert pieces[0].endswith(b"\r\n\r\nthe body")


async def _upload(pieces, size):
    for number in range(pieces):
        yield bytes([number]) * size


def test_a_large_body_goes_out_no_faster_than_it_is_taken():
    """In order, and without all of it waiting in memory."""
    size, got, made = 2**18, bytearray(), []

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        before.append(len(made))
        got.extend(await reader.readexactly(40 * size))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    before = []

    async def pluralize():
        async for piece in _upload(40, size):
            made.append(piece[0])
            yield piece

    async def work(connection, request):
        return await _body(await connection.ask(request("POST", pluralize(), **{"Content-Length": str(40 * size)}), 5))

    assert _with_connection(serve, work) == b"ok"
    assert [got[at * size] for at in range(40)] == list(range(40))
    assert before[0] < 40


def test_an_answer_that_comes_before_everything_was_sent_is_read():
    """A gateway that will not have the upload says why and stops listening."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
        writer.write_eof()
        while await reader.read(65536):
            pass

    async def work(connection, request):
        upload = request("POST", _upload(200, 2**18), **{"Content-Length": str(200 * 2**18)})
        reply = await connection.ask(upload, 5)
        return reply.status, await _body(reply), connection.rest()

    assert _with_connection(serve, work) == (413, b"too large", False)


def test_a_large_answer_waits_outside_until_somebody_reads_it():
    """No more than a little of it is in memory before."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**25)
        for _ in range(2**5):
            writer.write(bytes(2**20))
            await writer.drain()

    async def work(connection, request):
        reply = await connection.ask(request(), 5)
        await asyncio.sleep(0.3)
        return connection._unread, len(await _body(reply)), connection.rest()

    waiting, size, usable = _with_connection(serve, work)
    assert waiting < 2**22
    assert (size, usable) == (2**25, True)


def test_news_on_the_way_is_no_answer():
    """103 and its like say that an answer will come."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert _with_connection(_saying(early), _ask) == (200, b"ok")


def test_an_answer_without_a_length_ends_with_its_connection():
    """As HTTP/1.0 had it; a chunked one ends where it says so."""
    assert _with_connection(_saying(b"HTTP/1.0 200 OK\r\n\r\nall of it"), _ask) == (200, b"all of it")
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n6\r\n of it\r\n0\r\n\r\n"
    assert _with_connection(_saying(chunked), _ask) == (200, b"all of it")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed without an answer"),
        (b"HTTP/1.1 200 O", "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "received 4 bytes, expected 9"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n", "closed"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "switch|SWITCH|proposal"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "too large|too long|closed"),
    ],
    ids=["nothing", "half a line", "half a body", "half a chunk", "no HTTP", "another protocol", "an endless head"],
)
def test_what_is_no_whole_answer_is_an_error(answer, words):
    """And never something shorter that looks whole."""
    error = _with_connection(_saying(answer), _ask)
    assert isinstance(error, Exception)
    assert re.search(words, str(error))


def test_a_connection_that_breaks_within_an_answer_without_a_length_is_an_error():
    """Only a connection that was closed in good order ends an answer."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    assert isinstance(_with_connection(serve, _ask), ConnectionResetError)


@pytest.mark.parametrize(
    ("after", "usable"),
    [(b"", True), (b"out of turn", False), (None, False)],
    ids=["silence", "something nobody asked for", "a farewell"],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_resting_connection_knows_whether_it_may_be_used(monkeypatch, after, usable, at_once):
    """A peer that closed, or spoke out of turn, is not given the next request."""
    monkeypatch.setattr("imagegen_magic.engine.net.wire.IDLE_SECONDS", 600.0)
    resting = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + (after or b"" if at_once else b""))
        if not at_once:
            await resting.wait()
            writer.write(after or b"")
        if after is not None:
            await reader.read()

    async def work(connection, request):
        assert await _ask(connection, request) == (200, b"ok")
        while at_once and after is None and not connection._over():
            await asyncio.sleep(0.01)
        rested = connection.rest()
        resting.set()
        while rested and not usable and connection.usable():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        found = rested and connection.usable()
        connection.drop()
        return found

    assert _with_connection(serve, work) is usable


def test_an_end_that_the_loop_has_not_seen_yet_is_seen():
    """While something else kept the loop busy the host closed the connection: the next request must not go there."""
    rest, closed = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as host:

        def serve():
            caller, _ = host.accept()
            with caller:
                caller.recv(10_000)
                caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                rest.wait(30)
            closed.set()

        thread = threading.Thread(target=serve)
        thread.start()

        async def main():
            origin = Origin("http", *host.getsockname())
            connection = await connect(origin)
            await _body(await connection.ask(formed("GET", f"http://127.0.0.1:{origin.port}/", {}), 5))
            before = connection.rest(), connection.usable()
            rest.set()
            closed.wait(30)
            time.sleep(0.05)
            after = connection.stale(), connection.usable()
            connection.drop()
            return before, after

        assert asyncio.run(main()) == ((True, True), (False, False))
        thread.join()


def test_a_connection_that_was_gone_before_the_first_byte_sent_nothing():
    """A load balancer with nobody behind it accepts, and closes at once."""

    async def serve(reader, writer):
        pass

    async def work(connection, request):
        while not connection._over():
            await asyncio.sleep(0.01)
        with pytest.raises(NotSent, match=r"before anything was sent") as refused:
            await connection.ask(request("POST", b"{}", Authorization="Bearer a-key-of-some-length"), 5)
        return [repr(values) for frame, _ in traceback.walk_tb(refused.tb) for values in frame.f_locals.values() if values is not refused]

    frames = _with_connection(serve, work)
    assert not [values for values in frames if "a-key" in values]  # a verbose traceback shows them


def test_a_resting_encrypted_connection_that_breaks_is_of_no_use_at_any_step_of_it():
    """asyncio closes the socket one step before it says so."""
    resting, broken = asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await resting.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        broken.set()

    async def work(connection, request):
        await _body(await connection.ask(request(), 5))
        found = [connection.rest() and connection.usable()]
        resting.set()
        await broken.wait()
        while not connection._over():
            found.append(connection.usable())
            await asyncio.sleep(0)
        return found, connection.usable()

    found, at_last = _with_connection(serve, work, tls=True)
    assert found == sorted(found, reverse=True)
    assert found[0] is True
    assert at_last is False


def test_an_encrypted_connection_that_has_ended_sends_nothing():
    """Whatever asyncio still does to close it in good order."""

    async def serve(reader, writer):
        writer.close()

    async def work(connection, request):
        while not connection._over():
            await asyncio.sleep(0)
        with pytest.raises(NotSent, match=r"before anything was sent"):
            await connection.ask(request("POST", b"{}"), 5)

    _with_connection(serve, work, tls=True)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 401 No\r\nConnection: close\r\n\r\n{}"], ids=["nothing", "a refusal"])
def test_an_end_that_comes_while_a_large_request_goes_out_is_told(answer):
    """The host says that it has no more to say, and goes on listening: asyncio closes the connection under us."""
    with socket.create_server(("127.0.0.1", 0)) as host:

        def serve():
            caller, _ = host.accept()
            with caller:
                caller.recv(1000)
                time.sleep(0.1)
                caller.sendall(answer)
                caller.shutdown(socket.SHUT_WR)
                while caller.recv(2**20):
                    pass

        async def main(size):
            thread = threading.Thread(target=serve)
            thread.start()
            connection = await connect(Origin("http", *host.getsockname()))
            asked = asyncio.create_task(connection.ask(formed("POST", "http://127.0.0.1/", {}, bytes(size)), 5))
            await asyncio.sleep(0.05)
            for _ in range(20):
                time.sleep(0.02)
                await asyncio.sleep(0)
            (ended,) = await asyncio.gather(asked, return_exceptions=True)
            assert not connection.rest()
            await asyncio.to_thread(thread.join)
            return getattr(ended, "status", ended)

        for size in range(2_700_000, 6_000_000, 700_000):
            ended = asyncio.run(main(size))
            assert ended == 401 if answer else isinstance(ended, ConnectionError)


def test_a_refusal_of_a_large_request_ends_its_connection():
    """Nobody knows how much of the request is still on its way: the next one would stand behind it."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 No\r\nContent-Length: 2\r\n\r\nno")
        while await reader.read(2**20):
            pass

    async def work(connection, request, size):
        reply = await connection.ask(request("POST", bytes(size)), 5)
        return await _body(reply), connection.rest()

    assert _with_connection(serve, lambda *given: work(*given, 2**20)) == (b"no", False)
    assert _with_connection(serve, lambda *given: work(*given, 2**10)) == (b"no", True)


def test_an_answer_to_an_upload_that_nobody_takes_any_more_is_read(monkeypatch):
    """The host has answered, keeps the connection open, and reads no further."""
    monkeypatch.setattr("imagegen_magic.engine.net.wire._MOMENT", 0.1)
    enough = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 9\r\n\r\ntoo large")
        await enough.wait()

    async def work(connection, request):
        upload = request("POST", _upload(200, 2**18), **{"Content-Length": str(200 * 2**18)})
        reply = await connection.ask(upload, 60)
        enough.set()
        return reply.status, await _body(reply), connection.rest()

    assert _with_connection(serve, work) == (413, b"too large", False)


def test_an_upload_that_nobody_takes_ends_in_time():
    """And nothing was answered."""
    enough = asyncio.Event()

    async def serve(reader, writer):
        await enough.wait()

    async def work(connection, request):
        with pytest.raises(TimeoutError):
            await connection.ask(request("POST", _upload(200, 2**18), **{"Content-Length": str(200 * 2**18)}), 0.2)
        enough.set()

    _with_connection(serve, work)


def test_trying_several_addresses_is_not_torn_in_the_middle():
    """What is to go to its end is known by its task's name, and so are its parts."""
    names = []

    async def opened(address):
        names.append(asyncio.current_task().get_name())
        raise OSError(address)

    async def main():
        await asyncio.create_task(_first(opened, ["one", "other"]), name="to the end")

    with pytest.raises(OSError, match=r"other"):
        asyncio.run(main())
    assert names == ["to the end"] * 2


def test_a_connection_that_nobody_waits_for_any_more_is_closed():
    """It was made in the very moment in which the waiting was stopped, or beside a faster one."""
    dropped = []

    class Made:
        def drop(self):
            dropped.append(self)

    async def stopped():
        async def opened(address):
            waiting.cancel()
            return Made()

        waiting = asyncio.create_task(_first(opened, ["one", "other"]))
        with pytest.raises(asyncio.CancelledError):
            await waiting

    async def both():
        both_tried = asyncio.Event()

        async def opened(address):
            both_tried.set() if address == "other" else await both_tried.wait()
            await asyncio.sleep(0)
            return Made()

        return await _first(opened, ["one", "other"])

    asyncio.run(stopped())
    assert len(dropped) == 1
    taken = asyncio.run(both())
    assert taken not in dropped
    assert len(dropped) <= 2


def test_a_link_local_address_keeps_its_network():
    """Without it nothing says which cable is meant."""
    assert _address(("fe80::1", 80, 0, 3)) == "fe80::1%3"
    assert _address(("fe80::1%eth0", 80, 0, 3)) == "fe80::1%eth0"
    assert _address(("2001:db8::1", 80, 0, 0)) == "2001:db8::1"
    assert _address(("127.0.0.1", 80)) == "127.0.0.1"


def test_silence_is_a_timeout_and_a_refusal_an_error():
    """Both are told as Python tells them."""

    async def silent(reader, writer):
        await reader.read()

    async def work(connection, request):
        with pytest.raises(TimeoutError):
            await connection.ask(request(), 0.05)
        assert not connection.rest()

    _with_connection(silent, work)
    for origin in (Origin("http", "127.0.0.1", 9), Origin("http", "no-such-host.invalid", 80)):
        with pytest.raises(OSError, match=r"9|known|resolution|address"):
            asyncio.run(connect(origin))


@contextlib.contextmanager
def _deaf(host, port):
    """A host that neither answers nor refuses: its queue is full."""
    with socket.create_server((host, port), backlog=0) as deaf, contextlib.ExitStack() as waiting:
        for _ in range(4):
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        yield


def _asked_at(monkeypatch, addresses, deaf=()):
    """Ask a gateway with several addresses, of which 127.0.0.1 answers."""
    monkeypatch.setattr("imagegen_magic.engine.net.wire._addresses", _leading_to(*addresses))

    async def main():
        async with _server(_answer_once) as port:
            with contextlib.ExitStack() as stack:
                for host in deaf:
                    stack.enter_context(_deaf(host, port))
                connection = await connect(Origin("http", "many.example", port))
                reply = await connection.ask(formed("GET", "http://many.example/", {"Authorization": "Bearer a-key"}), 5)
                return await _body(reply)

    return asyncio.run(main())


@pytest.mark.parametrize("addresses", [("127.0.0.9", "127.0.0.1"), ("127.0.0.1", "127.0.0.9"), ("127.0.0.1",)])
def test_the_next_address_is_tried_where_one_refuses(monkeypatch, addresses):
    """A name with several addresses is as good as its best one."""
    assert _asked_at(monkeypatch, addresses) == b'{"id": "task-1"}'


def test_an_address_that_says_nothing_holds_nothing_up(monkeypatch):
    """As where a network's IPv6 leads nowhere: the next ones are tried beside it."""
    began = time.monotonic()
    assert _asked_at(monkeypatch, ("127.0.0.2", "127.0.0.3", "127.0.0.1"), deaf=("127.0.0.2", "127.0.0.3")) == b'{"id": "task-1"}'
    assert time.monotonic() - began < CONNECT_SECONDS / 2


def test_where_no_address_answers_it_is_told_as_the_last_one_said(monkeypatch):
    """And within the time for all of them together."""
    monkeypatch.setattr("imagegen_magic.engine.net.wire.CONNECT_SECONDS", 0.5)
    with pytest.raises(TimeoutError):
        _asked_at(monkeypatch, ("127.0.0.2", "127.0.0.9"), deaf=("127.0.0.2",))
    with pytest.raises(ConnectionRefusedError):
        _asked_at(monkeypatch, ("127.0.0.8", "127.0.0.9"))
    with pytest.raises(OSError, match="no address"):
        _asked_at(monkeypatch, ())


ESCAPED = [
    b'{"error": ' + b"[" * 100_000 + b'"bad key pl4t/Ab9+xyz/0123"' + b"]" * 100_000 + b"}",
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
            clients, base_url = GatewayClients(), f"http://127.0.0.1:{port}"
            try:
                return await clients.call(clients.looks(base_url), base_url, Key("pl4t/Ab9+xyz/0123"), Call("GET", "/"))
            finally:
                await clients.close()

    told = str(asyncio.run(main()).content)
    assert "[key]" in told or "nested too deeply" in told
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
            clients, base_url = GatewayClients(), f"http://127.0.0.1:{port}"
            try:
                await clients.call(clients.submits(base_url, timeout=0.2), base_url, Key("a-key"), Call("GET", "/"))
            finally:
                await clients.close()
                while not over:
                    await asyncio.sleep(0.01)

    with pytest.raises(Lost, match="no answer in time"):
        asyncio.run(main())
