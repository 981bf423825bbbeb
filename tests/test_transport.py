"""The transport: its queue and connections, addresses to the letter, compressed responses, and what a failure means."""

import asyncio
import contextlib
import gzip
import logging
import os
import random
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from rawhosts import CERTIFICATE, OK, answering, download, fetched, outcome, raw_host, send, with_clients, with_host
from waiting import Overlay
from webserver import web

from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.net import transport
from imagegen_magic.engine.net.app_transport import app_transport
from imagegen_magic.engine.net.client import GatewayClients
from imagegen_magic.engine.net.transport import Headers, InvalidRequest, NotSent, OutcomeUnknown
from imagegen_magic.errors import ImageInvalid
from imagegen_magic.providers.base import Call

pytestmark = pytest.mark.slow

KEY = "a-key-of-some-length"


def reset(writer):
    """Break a connection: the peer gets a reset instead of an end."""
    if (connection := writer.get_extra_info("socket")) is not None:  # else the peer has closed it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class TestApp:
    """An app of this process, without a socket."""

    def test_a_response_is_read_while_the_app_sends_it(self):
        """The app waits for the reader between its chunks; a client that waits for the whole response would never get the first."""

        async def work():
            read = asyncio.Event()

            async def app(scope, receive, send):
                body = await receive()
                await send({"type": "http.response.start", "status": 200, "headers": [(b"x-query", scope["query_string"])]})
                await send({"type": "http.response.body", "body": b"first", "more_body": True})
                await read.wait()
                await send({"type": "http.response.body", "body": body["body"]})

            async with _sent_to(app) as response:
                first = await anext(response.chunks)
                read.set()
                return response.status, response.headers["x-query"], first, await anext(response.chunks)

        assert asyncio.run(asyncio.wait_for(work(), 60)) == (200, "a=1", b"first", b"asked")

    @pytest.mark.parametrize("begun", [False, True])
    @pytest.mark.parametrize("raises", [False, True])
    def test_an_app_that_breaks_off_leaves_it_unknown(self, begun, raises):
        """Before its first byte or after, with an error or without."""

        async def app(scope, receive, send):
            if begun:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"first", "more_body": True})
            if raises:
                raise ConnectionResetError("on purpose")

        async def work():
            async with _sent_to(app) as response:
                return b"".join([chunk async for chunk in response.chunks])

        with pytest.raises(OutcomeUnknown):
            asyncio.run(asyncio.wait_for(work(), 60))

    def test_a_client_that_goes_ends_the_app(self):
        """Its task is cancelled, with what it waits for."""
        ended = []

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(scope["path"])

        async def work():
            async with _sent_to(app):
                pass

        asyncio.run(asyncio.wait_for(work(), 60))
        assert ended == ["/a b"]


def _sent_to(app):
    async def in_process(url):
        return app_transport(app)

    pool = transport.Pool(None, in_process, None)
    return pool.stream("POST", "http://sandbox.invalid/a%20b?a=1", headers={}, content=b"asked")


class TestQueue:
    """A pool bounds how many requests run at once; a host that is slow holds up nothing else."""

    def test_connections_are_reused_and_bounded(self):
        """Forty requests at once share eight connections."""
        seen = []

        async def work(clients, origin):
            return await asyncio.gather(*(fetched(clients, f"{origin}/{number}", origin) for number in range(40)))

        assert with_host(work, answering(seen=seen)) == [b"ok"] * 40
        assert len(seen) <= 8
        assert sum(map(len, seen)) == 40

    def test_a_cancelled_request_frees_its_place_and_leaves_no_half_read_connection(self):
        """The next one in the queue goes on, on a connection without an old response."""
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
        seen = []

        async def work(clients, origin):
            waiting = [asyncio.create_task(fetched(clients, origin, origin)) for _ in range(8)]
            while sum(map(len, seen)) < 8:
                await asyncio.sleep(0.01)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(fetched(clients, origin, origin), 0.5)

        with_host(work, answering(half, seen))
        assert [len(heads) for heads in seen] == [1] * 9

    def test_a_slow_gateway_does_not_hold_up_another(self):
        """While every place of one gateway waits for a response, another gateway's requests are answered."""

        async def silent(reader, writer):
            await reader.read()

        async def main():
            async with raw_host(silent) as slow, raw_host(answering()) as quick:
                clients = GatewayClients()
                slow, quick = f"http://127.0.0.1:{slow}", f"http://127.0.0.1:{quick}"
                waiting = [asyncio.create_task(outcome(clients.polls(slow), slow)) for _ in range(20)]
                waiting += [asyncio.create_task(outcome(clients.downloads, slow)) for _ in range(20)]
                await asyncio.sleep(0)
                other = quick.replace("127.0.0.1", "localhost")
                found = await asyncio.gather(send(clients.polls(quick), quick), send(clients.downloads, other))
                assert not any(task.done() for task in waiting)
                for task in waiting:
                    task.cancel()
                await asyncio.wait(waiting)
                await clients.close()
                return found

        assert asyncio.run(main()) == [(200, b"ok")] * 2


class TestReuse:
    """Which connection a request goes out on."""

    def test_a_submission_never_leaves_on_a_connection_that_was_idle_for_more_than_two_seconds(self, monkeypatch):
        """The host may be closing it just then; a new one is opened instead."""
        clock, seen = [time.monotonic()], []
        monkeypatch.setattr("httpcore2._async.http11.time", SimpleNamespace(monotonic=lambda: clock[0]))

        async def work(clients, origin):
            for pause in (1.9, 2.1, 0):
                await send(clients.submits(origin), origin, "POST", b"{}")
                clock[0] += pause

        with_host(work, _one_at_a_time(seen))
        assert seen == [2, 1]

    @pytest.mark.parametrize("farewell", [b"", b"out of turn"], ids=["it closed", "it spoke out of turn"])
    @pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
    def test_a_connection_that_the_host_ended_is_not_used_again(self, farewell, tls):
        """The next request goes out on a new connection, and nothing of it on the old one."""
        seen, rested, ended = [], asyncio.Event(), asyncio.Event()

        async def serve(reader, writer):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)
            if len(seen) == 1:
                await rested.wait()
                writer.write(farewell)
                await writer.drain()
                connection = writer.get_extra_info("socket")
                writer.transport.abort()
                while connection.fileno() != -1:
                    await asyncio.sleep(0)
                ended.set()
            else:
                await reader.read()

        async def work(clients, origin):
            first = await send(clients.submits(origin), origin)
            rested.set()
            await ended.wait()
            return [first, await send(clients.submits(origin), origin)]

        assert with_host(work, serve, tls=tls) == [(200, b"ok")] * 2
        assert len(seen) == 2

    def test_a_second_response_to_one_request_is_not_the_next_ones(self):
        """It came with the first one; what became of the next request is unknown."""

        async def work(clients, origin):
            return [await outcome(clients.submits(origin), origin) for _ in range(2)]

        first, second = with_host(work, answering(OK + OK.replace(b"ok", b"NO")))
        assert first == (200, b"ok")
        assert (type(second), str(second)) == (OutcomeUnknown, "the host answered before the request was sent")

    def test_an_end_that_the_loop_has_not_seen_yet_is_seen(self):
        """The host closed the connection while something else kept the loop busy."""
        close, closed, requests = threading.Event(), threading.Event(), []
        with socket.create_server(("127.0.0.1", 0)) as host:

            def serve():
                for _ in range(2):
                    caller, _ = host.accept()
                    with caller:
                        requests.append(caller.recv(10_000))
                        caller.sendall(OK)
                        if len(requests) == 1:
                            close.wait(30)
                        else:
                            caller.recv(1)
                    closed.set()

            thread = threading.Thread(target=serve)
            thread.start()
            origin = f"http://127.0.0.1:{host.getsockname()[1]}"

            async def work(clients):
                first = await send(clients.submits(origin), origin)
                close.set()
                closed.wait(30)
                time.sleep(0.05)  # the loop stands still
                return [first, await send(clients.submits(origin), origin)]

            assert with_clients(work) == [(200, b"ok")] * 2
            thread.join()

    @pytest.mark.parametrize(("size", "connections"), [(2**20, 2), (2**10, 1)])
    def test_nothing_follows_a_large_request_that_was_refused(self, size, connections):
        """It is unknown how much of it is still on its way: the next request would stand behind it."""
        seen = []

        async def serve(reader, writer):
            seen.append(writer)
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 429 No\r\nContent-Length: 2\r\n\r\nno")
                await reader.readexactly(size)

        async def work(clients, origin):
            return [await send(clients.submits(origin), origin, "POST", bytes(size)) for _ in range(2)]

        assert with_host(work, serve) == [(429, b"no")] * 2
        assert len(seen) == connections


def _one_at_a_time(seen):
    """Return a host whose `seen` gets the number of requests of each connection."""

    async def serve(reader, writer):
        number = len(seen)
        seen.append(0)
        while await reader.readuntil(b"\r\n\r\n{}"):
            seen[number] += 1
            writer.write(OK)

    return serve


class TestAddresses:
    """A signature in an address must arrive letter by letter; only what HTTP cannot carry is quoted."""

    @pytest.mark.parametrize(
        ("address", "target"),
        [
            ("/a.png?sig=a%2Fb;c=1&d", "/a.png?sig=a%2Fb;c=1&d"),
            ("/a;b=1/c.png", "/a;b=1/c.png"),
            ("/a/../b//c.png", "/a/../b//c.png"),
            ("/im Bild ü.png?q=ü", "/im%20Bild%20%C3%BC.png?q=%C3%BC"),
            ("?only=query", "/?only=query"),
            ("/a.png#part", "/a.png"),
            ("/already%20quoted%C3%BC", "/already%20quoted%C3%BC"),
        ],
    )
    def test_an_address_goes_out_as_it_came(self, address, target):
        """Also what other clients would normalise."""
        with web(lambda seen: (200, {}, b"ok")) as server:
            download(server.origin + address, server.origin)
        assert [seen.path for seen in server.seen] == [target]

    @pytest.mark.parametrize(
        "url", ["http://[::1/a", "ftp://x/a", "http://x:99999/", "http://exa mple\r\n/", "http://x/\ud800", "http://a..b/", "http:///a"]
    )
    def test_what_is_not_an_address_was_certainly_not_sent(self, url):
        """In plain words, without a traceback of a parser."""
        with pytest.raises(InvalidRequest, match=r"^the request cannot be formed$"):
            with_clients(lambda clients: send(clients.polls(""), url))

    def test_a_gateways_address_that_no_resolver_accepts_was_certainly_not_sent_to(self):
        """A host name may be too long."""
        base_url = f"https://{'ü' * 80}.example"

        async def work(clients):
            await clients.call(clients.polls(base_url), base_url, Key(KEY), Call("GET", "/v1"))

        with pytest.raises(NotSent):
            with_clients(work)

    def test_a_redirect_to_an_address_in_raw_letters_is_followed(self):
        """Some hosts do not quote what they send."""

        def answer(seen):
            return (302, {"Location": "/ü.png".encode().decode("latin-1")}, b"") if seen.path == "/" else (200, {}, b"ok")

        with web(answer) as server:
            assert download(server.origin, server.origin) == b"ok"
        assert server.seen[-1].path == "/%C3%BC.png"

    def test_a_link_local_address_keeps_its_network(self):
        """Without the scope it is unknown which network is meant."""
        assert transport._address(("fe80::1", 80, 0, 3)) == "fe80::1%3"
        assert transport._address(("fe80::1%eth0", 80, 0, 3)) == "fe80::1%eth0"
        assert transport._address(("2001:db8::1", 80, 0, 0)) == "2001:db8::1"
        assert transport._address(("127.0.0.1", 80)) == "127.0.0.1"


class TestResponses:
    """A response is complete or an error, and bounded in memory."""

    @pytest.mark.parametrize(
        ("answer", "body"),
        [
            (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, b"ok"),
            (b"HTTP/1.0 200 OK\r\n\r\nall of it", b"all of it"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n6\r\n of it\r\n0\r\n\r\n", b"all of it"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
        ],
        ids=["after an informational one", "until the connection ends", "chunked", "chunked with a length"],
    )
    def test_complete(self, answer, body):
        """As HTTP defines where a body ends."""

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

        assert with_host(lambda clients, origin: send(clients.polls(origin), origin), serve) == (200, body)

    @pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 O",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n",
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        ],
        ids=["nothing", "half a line", "half a body", "half a chunk", "not HTTP", "another protocol", "an endless head"],
    )
    def test_incomplete(self, answer, tls):
        """Never something shorter that looks complete, and the request may have arrived."""

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

        assert isinstance(with_host(lambda clients, origin: outcome(clients.polls(origin), origin), serve, tls=tls), OutcomeUnknown)

    def test_a_reset_does_not_end_a_body_without_a_length(self):
        """Only a connection that was closed in good order does."""

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\n\r\nhalf")
            await writer.drain()
            await asyncio.sleep(0.1)
            reset(writer)

        found = with_host(lambda clients, origin: outcome(clients.polls(origin), origin), serve)
        assert (type(found), "reset" in str(found)) == (OutcomeUnknown, True)

    def test_no_response_in_time(self):
        """The message has words, and no class name."""

        async def silent(reader, writer):
            await reader.read()

        with pytest.raises(OutcomeUnknown, match=r"^no answer in time$"):
            with_host(lambda clients, origin: send(clients.submits(origin, timeout=0.2), origin), silent)

    def test_a_large_body_waits_at_the_host_until_it_is_read(self):
        """No more than the system's buffers hold is in memory before."""
        written = [0]

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**26)
            for _ in range(2**6):
                writer.write(bytes(2**20))
                await writer.drain()
                written[0] += 1

        async def work(clients, origin):
            async with clients.downloads.stream("GET", origin, headers={}) as response:
                await asyncio.sleep(0.3)
                return written[0], sum([len(chunk) async for chunk in response.chunks])

        before, size = with_host(work, serve)
        assert size == 2**26
        assert before < 2**6

    @pytest.mark.parametrize("compressed", [gzip.compress(b"a picture" * 999), zlib.compress(b"a picture" * 999)], ids=["gzip", "deflate"])
    def test_a_response_that_is_compressed_without_request_is_decompressed(self, compressed):
        """Some hosts compress whatever the request accepts."""
        encoding = "gzip" if compressed[:2] == b"\x1f\x8b" else "deflate"
        with web(lambda seen: (200, {"Content-Encoding": encoding}, compressed)) as server:
            assert download(server.origin, server.origin) == b"a picture" * 999
            assert server.seen[0].headers["accept-encoding"] == "identity"

    def test_a_compressed_bomb_is_given_up_before_it_is_large(self, monkeypatch):
        """A picture, and a gateway's JSON: the bytes that it decompresses to count."""
        monkeypatch.setattr("imagegen_magic.engine.net.client.MAX_BYTES", 2**20)
        monkeypatch.setattr("imagegen_magic.engine.net.client._MAX_JSON_BYTES", 2**20)
        bomb = gzip.compress(b'"' + bytes(2**26))
        with web(lambda seen: (200, {"Content-Encoding": "gzip"}, bomb)) as server:
            with pytest.raises(ImageInvalid, match="more than the limit of 1 MiB"):
                download(server.origin, server.origin)
            with pytest.raises(ImageInvalid, match="more than the limit of 1 MiB"):
                with_clients(lambda clients: clients.call(clients.polls(""), server.origin, Key(KEY), Call("GET", "/")))

    @pytest.mark.parametrize(
        ("compressed", "words"),
        [(b"no gzip", "compression is broken"), (gzip.compress(b"a picture" * 999)[:-12], "cut off")],
        ids=["broken", "cut"],
    )
    def test_broken_compression(self, compressed, words):
        """The request arrived, and no complete response came back."""
        with (
            web(lambda seen: (200, {"Content-Encoding": "gzip"}, compressed)) as server,
            pytest.raises(OutcomeUnknown, match=words),
        ):
            download(server.origin, server.origin)

    def test_several_compressed_members_are_one_body(self):
        """As gzip allows; and an empty body has nothing to decompress."""
        with web(lambda seen: (200, {"Content-Encoding": "gzip"}, gzip.compress(b"one" * 99_999) + gzip.compress(b"other"))) as server:
            assert download(server.origin, server.origin) == b"one" * 99_999 + b"other"
        with web(lambda seen: (200, {"Content-Encoding": "gzip"}, b"")) as server:
            assert download(server.origin, server.origin) == b""


async def _upload(chunks, size, sent=None):
    for number in range(chunks):
        yield bytes([number % 256]) * size
        if sent is not None:
            sent.append(number)


class TestUploads:
    """Large requests: sent as fast as the host reads, and a refusal that comes early is read."""

    def test_a_body_is_sent_no_faster_than_it_is_read(self):
        """In order, and without all of it waiting in memory."""
        size, got, sent, before = 2**18, bytearray(), [], []

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.3)
            before.append(len(sent))
            got.extend(await reader.readexactly(100 * size))
            writer.write(OK)

        async def work(clients, origin):
            return await send(clients.submits(origin), origin, "POST", _upload(100, size, sent), **{"Content-Length": str(100 * size)})

        assert with_host(work, serve) == (200, b"ok")
        assert [got[at * size] for at in range(100)] == list(range(100))
        assert before[0] < 100

    @pytest.mark.parametrize("content", [lambda: _upload(200, 2**18), lambda: bytes(5_000_000)], ids=["in chunks", "at once"])
    @pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
    @pytest.mark.parametrize("then", ["reads on", "hangs up", "stands still"])
    def test_a_refusal_that_comes_before_everything_was_sent_is_read(self, content, tls, then, monkeypatch):
        """The host says why, whatever it does with the rest."""
        monkeypatch.setattr(transport, "_REFUSED_SECONDS", 0.2)
        finished = asyncio.Event()

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 9\r\n\r\ntoo large")
            await writer.drain()
            while then == "reads on" and await reader.read(65536):
                pass
            if then == "stands still":
                await finished.wait()

        async def work(clients, origin):
            length = {} if isinstance(content(), bytes) else {"Content-Length": str(200 * 2**18)}
            found = await outcome(clients.submits(origin), origin, "POST", content(), **length)
            finished.set()
            return found

        assert with_host(work, serve, tls=tls) == (413, b"too large")

    def test_an_upload_that_is_not_read_ends_in_time(self):
        """Each wait is bounded if the whole is not."""
        finished = asyncio.Event()

        async def serve(reader, writer):
            await finished.wait()

        async def work(clients, origin):
            pool = clients.submits(origin, timeout=0.2)
            with pytest.raises(OutcomeUnknown, match="no answer in time"):
                async with pool.stream(
                    "POST", origin, headers={"Content-Length": str(200 * 2**18)}, content=_upload(200, 2**18), whole=False
                ):
                    pass
            finished.set()

        with_host(work, serve)


class TestConnecting:
    """A name with several addresses is as good as its best one."""

    @pytest.mark.parametrize("addresses", [("127.0.0.9", "127.0.0.1"), ("127.0.0.1", "127.0.0.9"), ("127.0.0.1",)])
    def test_the_next_address_is_tried_if_one_refuses(self, monkeypatch, addresses):
        """The first that answers is used."""
        assert _send_to(monkeypatch, addresses) == (200, b"ok")

    def test_addresses_that_never_answer_cost_at_most_a_second(self, monkeypatch):
        """As in a network whose IPv6 leads nowhere: the attempts at 0, 250 and 500 ms overlap."""
        delays, wait = [], asyncio.wait

        async def counted(tasks, **options):
            delays.append(options.get("timeout"))
            return await wait(tasks, **options)

        monkeypatch.setattr("imagegen_magic.engine.net.transport.asyncio", Overlay(asyncio, wait=counted))
        assert _send_to(monkeypatch, ("127.0.0.2", "127.0.0.3", "127.0.0.1"), silent=("127.0.0.2", "127.0.0.3")) == (200, b"ok")
        assert sum(delay or 0 for delay in delays) <= 1

    def test_if_no_address_answers_nothing_was_sent(self, monkeypatch):
        """The reason is the last one, and all attempts together are bounded in time."""
        monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.5)
        found = _send_to(monkeypatch, ("127.0.0.2", "127.0.0.9"), silent=("127.0.0.2",))
        assert (type(found), str(found)) == (NotSent, "no connection in time")
        found = _send_to(monkeypatch, ("127.0.0.8", "127.0.0.9"))
        assert (type(found), "Connect call failed" in str(found)) == (NotSent, True)
        found = _send_to(monkeypatch, ())
        assert (type(found), str(found)) == (NotSent, "the host has no address")

    def test_attempts_are_not_interrupted_if_their_task_must_not_be(self):
        """Such a task is known by its name, and so are its parts."""
        names = []

        async def connect(address):
            names.append(asyncio.current_task().get_name())
            raise OSError(address)

        async def main():
            await asyncio.create_task(transport._first(connect, ["one", "other"]), name="to the end")

        with pytest.raises(OSError, match=r"other"):
            asyncio.run(main())
        assert names == ["to the end"] * 2

    def test_a_connection_that_is_no_longer_needed_is_closed(self):
        """It was made in the very moment in which the request was cancelled, or after a faster one."""
        closed = []

        class Made:
            async def aclose(self):
                closed.append(self)

        async def cancelled():
            async def connect(address):
                waiting.cancel()
                return Made()

            waiting = asyncio.create_task(transport._first(connect, ["one", "other"]))
            with pytest.raises(asyncio.CancelledError):
                await waiting

        async def both():
            both_tried = asyncio.Event()

            async def connect(address):
                both_tried.set() if address == "other" else await both_tried.wait()
                await asyncio.sleep(0)
                return Made()

            return await transport._first(connect, ["one", "other"])

        asyncio.run(cancelled())
        assert len(closed) == 1
        used = asyncio.run(both())
        assert used not in closed
        assert len(closed) <= 2


@contextlib.contextmanager
def _deaf(host, port):
    """A host that neither answers nor refuses: its queue is full."""
    with socket.create_server((host, port), backlog=0) as deaf, contextlib.ExitStack() as waiting:
        for _ in range(4):
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        yield


def _send_to(monkeypatch, addresses, silent=()):
    """Return the outcome of a request to a host with several addresses, of which 127.0.0.1 answers."""

    async def resolve(host, port):
        return list(addresses)

    monkeypatch.setattr(transport, "_addresses", resolve)

    async def main():
        async with raw_host(answering()) as port:
            with contextlib.ExitStack() as stack:
                for host in silent:
                    stack.enter_context(_deaf(host, port))
                clients = GatewayClients()
                try:
                    return await outcome(clients.polls("http://many.example"), f"http://many.example:{port}/")
                finally:
                    await clients.close()

    return asyncio.run(main())


class TestNotSent:
    """What certainly did not arrive is reported as such."""

    def test_time_that_runs_out_before_there_is_a_connection(self, monkeypatch):
        """A host that was never reached cannot have accepted anything."""

        async def nowhere(*args, **options):
            await asyncio.sleep(60)

        monkeypatch.setattr(transport._Backend, "connect_tcp", nowhere)
        with pytest.raises(NotSent, match=r"^no connection in time$"):
            with_clients(lambda clients: send(clients.submits("", timeout=0.1), "http://127.0.0.1:9/"))

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://no-such-host.invalid/"])
    def test_a_host_that_refuses_or_does_not_exist(self, url):
        """The reason is the system's own."""
        with pytest.raises(NotSent, match=r"Connect call failed|known|resolution"):
            with_clients(lambda clients: send(clients.submits(""), url))

    def test_a_connection_that_was_closed_before_the_first_byte(self, monkeypatch):
        """A load balancer without a server behind it accepts, and closes at once."""
        ended = threading.Event()
        connect = transport._Backend.connect_tcp

        async def connect_and_wait(self, *args, **options):
            stream = await connect(self, *args, **options)
            await asyncio.to_thread(ended.wait, 30)
            await asyncio.sleep(0.02)
            return stream

        async def serve(reader, writer):
            writer.close()
            await writer.wait_closed()
            ended.set()

        monkeypatch.setattr(transport._Backend, "connect_tcp", connect_and_wait)
        with pytest.raises(NotSent, match="closed before anything was sent"):
            with_host(lambda clients, origin: send(clients.submits(origin), origin, "POST", b"{}"), serve)

    @pytest.mark.parametrize("behaviour", ["hangs up", "resets", "speaks nonsense"])
    def test_a_handshake_that_fails(self, behaviour):
        """The request is sent after it only."""

        async def serve(reader, writer):
            await reader.read(100)
            if behaviour == "resets":
                reset(writer)
            elif behaviour == "speaks nonsense":
                writer.write(b"HTTP/1.1 400 This is not TLS\r\n\r\n")

        async def main():
            async with raw_host(serve) as port:
                clients = GatewayClients()
                try:
                    return await outcome(clients.submits(""), f"https://localhost:{port}/", "POST", b"{}")
                finally:
                    await clients.close()

        assert type(asyncio.run(main())) is NotSent

    @pytest.mark.parametrize("value", ["a\r\nb", "ключ", "a\0b"], ids=["two lines", "not ASCII", "a control character"])
    def test_a_header_that_cannot_be_sent_is_not_shown(self, value):
        """It may be the key."""
        with pytest.raises(NotSent, match=r"^the request cannot be formed$") as refused:
            with_host(lambda clients, origin: send(clients.polls(origin), origin, Authorization=value), answering())
        assert value not in str(refused.value)
        assert not [shown for shown in _frames(refused.value) if value in shown]

    @pytest.mark.parametrize("sample", [100, pytest.param(2600, marks=pytest.mark.long)])
    def test_nothing_that_arrived_is_reported_as_not_sent(self, sample):
        """Hosts that break off at any moment: they know which requests they read, whole or in part."""
        random_ = random.Random(11)
        arrived = set()

        async def serve(reader, writer):
            end = random_.choice((writer.close, lambda: reset(writer), writer.close if tls else writer.write_eof))
            if random_.random() < 0.2:
                return end()
            for _ in range(random_.randint(1, 4)):
                head = await reader.readuntil(b"\r\n\r\n")
                arrived.add(int(re.search(rb"/(\d+) ", head)[1]))
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                size = int(length[1]) if length else 0
                read = random_.choice((size, size, size // 2))
                await reader.readexactly(read)
                answer = OK[: random_.choice((len(OK), len(OK), random_.randint(0, len(OK))))]
                writer.write(answer)
                await writer.drain()
                if answer != OK or read != size:
                    break
            if random_.random() < 0.3:
                await asyncio.sleep(random_.choice((0, 0.001, 0.01)))
            return end()

        async def work(clients, origin):
            async def one(number):
                await asyncio.sleep(random_.random() * 0.05)
                content = random_.choice((None, b"{}", bytes(200_000)))
                return number, await outcome(clients.submits(origin, timeout=20), f"{origin}/{number}", "POST", content)

            found = []
            for start in range(0, sample, 100):
                found += await asyncio.gather(*map(one, range(start, start + 100)))
            return found

        for tls in (False, True):
            arrived.clear()
            found = with_host(work, serve, tls=tls)
            assert not [number for number, result in found if isinstance(result, NotSent) and number in arrived]
            assert {type(result) for _, result in found} <= {tuple, NotSent, OutcomeUnknown}
            assert sum(isinstance(result, tuple) for _, result in found) > sample / 10


class TestEncryption:
    """A host proves who it is before it sees anything."""

    def test_a_gateway_over_tls(self):
        """With a certificate that is valid for the host."""
        assert with_host(lambda clients, origin: send(clients.polls(origin), origin), answering(), tls=True) == (200, b"ok")

    def test_a_certificate_that_is_not_trusted_gets_no_key(self):
        """An impostor sees neither the request nor the key, and nothing was sent."""
        seen = []

        async def spy(reader, writer):
            seen.append(await reader.read(100))

        with pytest.raises(NotSent, match="certificate") as refused:
            with_host(lambda clients, origin: send(clients.polls(origin), origin, Authorization=KEY), spy, tls=True, trusted=False)
        assert not any(seen)
        assert refused.value.hint is None  # this machine has certificates

    def test_a_certificate_for_another_host_is_refused(self, monkeypatch):
        """The name in the address must be the name in the certificate."""

        async def resolve(host, port):
            return ["127.0.0.1"]

        monkeypatch.setattr(transport, "_addresses", resolve)

        async def work(clients, origin):
            await send(clients.polls(""), origin.replace("localhost", "api.example.com"))

        with pytest.raises(NotSent, match=r"api\.example\.com"):
            with_host(work, answering(), tls=True)

    def test_without_certificates_of_the_system_the_error_names_the_package(self, tmp_path, monkeypatch):
        """The next step is to install it."""
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        with pytest.raises(NotSent, match="certificate") as refused:
            with_host(lambda clients, origin: send(clients.polls(origin), origin), answering(), tls=True, trusted=False)
        assert "apt install ca-certificates" in refused.value.hint

    @pytest.mark.parametrize("content", [None, "", "no certificate"])
    def test_a_file_of_certificates_that_cannot_be_read_is_named(self, content, tmp_path, monkeypatch):
        """Nothing was sent."""
        path = tmp_path / "own.pem"
        if content is not None:
            path.write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with pytest.raises(NotSent, match=r"^the certificates cannot be read") as refused:
            with_clients(lambda clients: send(clients.polls(""), "https://localhost:9/"))
        assert "SSL_CERT_FILE" in refused.value.hint

    def test_own_certificates_are_read_from_where_the_environment_names_them(self, monkeypatch):
        """As curl and requests users expect."""
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        found = with_host(lambda clients, origin: send(clients.polls(origin), origin), answering(), tls=True, trusted=False)
        assert found == (200, b"ok")

    def test_the_context_is_made_once(self):
        """Reading the certificates takes long, so all pools share one context."""

        async def both(clients):
            return await clients.tls() is await clients.tls()

        assert with_clients(both)


def _frames(error):
    while error is not None:
        step = error.__traceback__
        while step is not None:
            if Path(step.tb_frame.f_code.co_filename).parent != Path(__file__).parent:
                yield from (repr(value) for value in step.tb_frame.f_locals.values())
            step = step.tb_next
        error = error.__cause__ or error.__context__


class TestSecrets:
    """Neither a traceback nor a log shows a key or a signed address."""

    def test_headers_show_everything_but_the_key(self):
        """In a traceback with local values, too."""
        headers = Headers({"Authorization": f"Bearer {KEY}", "Host": "example.com"})
        assert KEY not in repr(headers)
        assert "example.com" in repr(headers)
        assert headers["Authorization"] == f"Bearer {KEY}"

    @pytest.mark.parametrize(
        "answer",
        [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"not HTTP\r\n\r\n", None, "refused", "handshake"],
        ids=["hung up", "cut", "not HTTP", "silence", "refused", "handshake"],
    )
    def test_no_frame_of_a_failed_request_holds_the_key(self, answer):
        """Not even one of the library's: IPython's verbose traceback and rich's show all local values."""

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            await (reader.read() if answer is None else asyncio.sleep(0))
            writer.write(answer or b"")

        async def work(clients, origin):
            url = "http://127.0.0.1:9" if answer == "refused" else origin.replace("http:", "https:") if answer == "handshake" else origin
            pool = clients.submits(url, timeout=0.5 if answer is None else 30)
            await clients.call(pool, url, Key(KEY), Call("POST", "/v1?signature=5eac0ffee", {"prompt": "x"}))

        with pytest.raises((NotSent, OutcomeUnknown)) as failed:
            with_host(work, serve)
        frames = list(_frames(failed.value))
        assert frames
        assert not [shown for shown in frames if KEY in shown or "5eac0ffee" in shown.replace("Call(", "").partition("?signature=")[0]]

    def test_with_every_logger_at_debug_neither_key_nor_signed_address_is_logged(self, caplog):
        """Requests, redirects, downloads, failures."""
        caplog.set_level(logging.DEBUG)

        def answer(seen):
            if seen.path.startswith("/signed"):
                return 302, {"Location": "/there?signature=5eac0ffee"}, b""
            return 200, {}, b"{}"

        with web(answer) as server:

            async def work(clients):
                await clients.call(clients.submits(server.origin), server.origin, Key(KEY), Call("POST", "/v1", {"prompt": "x"}))
                await fetched(clients, f"{server.origin}/signed?signature=5eac0ffee", server.origin)
                await outcome(clients.polls(""), "http://127.0.0.1:9/?signature=5eac0ffee", Authorization=f"Bearer {KEY}")

            with_clients(work)
        assert len(server.seen) == 3
        assert not re.search(rf"{KEY}|signature=", caplog.text)


IMPORTS = """
import asyncio, sys, threading
from imagegen_magic.engine.net.client import GatewayClients

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("httpcore2", "anyio._backends._asyncio", "httpx2", "imagegen_magic.sandbox.app"):
            print(name, threading.current_thread() is threading.main_thread())

async def main(url):
    clients = GatewayClients()
    async with clients.polls(url).stream("GET", url, headers={}) as response:
        print(response.status)
    await clients.close()

sys.meta_path.insert(0, Watch())
asyncio.run(main(sys.argv[1]))
"""


def test_what_takes_long_to_import_is_not_imported_on_the_loop():
    """The library and the sandbox are imported in a thread; a plain request needs the library's lower half, the sandbox none of it."""

    def imported(url, **environment):
        command = [sys.executable, "-c", IMPORTS, url]
        return subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True).stdout

    library = "httpcore2 False\nanyio._backends._asyncio False\n"
    with web(lambda seen: (200, {}, b"ok")) as server:
        assert imported(server.origin) == f"{library}200\n"
        assert imported("http://api.example.com", http_proxy=server.origin) == f"{library}200\n"
    assert imported("http://sandbox.invalid/nothing") == "imagegen_magic.sandbox.app False\n404\n"


class TestOwnTransport:
    """A user's own transport carries every request: for client certificates, or a proxy that needs more."""

    @pytest.fixture(autouse=True)
    def default_again(self):
        """Restore the default."""
        yield
        transport.use_transport(None)

    def test_it_carries_calls_and_downloads(self):
        """With a client certificate, for example: here one that trusts the host's."""
        made = []

        def make():
            made.append(threading.current_thread() is threading.main_thread())
            return httpx2.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=CERTIFICATE))

        transport.use_transport(make)

        async def work(clients, origin):
            return await send(clients.submits(origin), f"{origin}/?a=%2f", "POST", b"{}"), await fetched(clients, origin, origin)

        assert with_host(work, answering(), tls=True, trusted=False) == ((200, b"ok"), b"ok")
        assert made == [False, False]

    def test_only_a_failure_to_connect_counts_as_not_sent(self):
        """What else fails may have arrived: the transport need not report its steps."""
        errors = iter([httpx2.ConnectError("no route"), httpx2.ConnectTimeout(""), httpx2.ReadError("gone"), ValueError("a bug")])

        class Failing(httpx2.AsyncBaseTransport):
            async def handle_async_request(self, request):
                raise next(errors)

        transport.use_transport(Failing)

        async def work(clients):
            return [await outcome(clients.submits(""), "https://api.example.com/") for _ in range(4)]

        found = [(type(error), str(error)) for error in with_clients(work)]
        assert found == [
            (NotSent, "no route"),
            (NotSent, "no connection in time"),
            (OutcomeUnknown, "gone"),
            (OutcomeUnknown, "a bug"),
        ]

    def test_result_addresses_are_checked_by_name(self):
        """As behind a proxy: the transport resolves names by itself."""
        seen = []

        class Answering(httpx2.AsyncBaseTransport):
            async def handle_async_request(self, request):
                seen.append(str(request.url))
                return httpx2.Response(200, content=b"ok")

        transport.use_transport(Answering)
        assert download("https://cdn.public.example/a.png", "https://api.public.example") == b"ok"
        with pytest.raises(Exception, match="private network"):
            download("https://10.0.0.1/a.png", "https://api.public.example")
        assert seen == ["https://cdn.public.example/a.png"]
