"""A lane: its own small pool, addresses as they are, packed answers, and the one thing a submitter must know of a failure."""

import asyncio
import contextlib
import gzip
import os
import socket
import subprocess
import sys
import threading
import zlib

import pytest
from webserver import web

from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.net.client import GatewayClients, HTTPStatusError
from imagegen_magic.engine.net.exchange import Headers, Lost, NotSent, ProxyFailed
from imagegen_magic.errors import ImageInvalid
from imagegen_magic.providers.base import Call

BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def _host(answer=BODY, seen=None):
    """A server that answers every request of a connection alike; `seen` gets a list of request heads for each connection."""
    seen = [] if seen is None else seen
    over = []

    async def serve(reader, writer):
        heads = []
        seen.append(heads)
        over.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(answer)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            await asyncio.sleep(0.02)  # a connection that only just came is let in
            await asyncio.wait_for(asyncio.gather(*over), 5)


def _with_clients(work, **host):
    async def main():
        async with _host(**host) as origin:
            clients = GatewayClients()
            try:
                return await work(clients, origin)
            finally:
                await clients.close()

    return asyncio.run(main())


def _download(url, base):
    async def work():
        clients = GatewayClients()
        try:
            return await clients.download(url, base)
        finally:
            await clients.close()

    return asyncio.run(work())


def test_connections_are_kept_and_no_more_are_open_than_a_lane_is_wide():
    """Forty requests at once share eight connections."""
    seen = []

    async def work(clients, origin):
        return await asyncio.gather(*(clients.download(f"{origin}/{number}", origin) for number in range(40)))

    assert _with_clients(work, seen=seen) == [b"ok"] * 40
    assert len(seen) <= 8
    assert sum(map(len, seen)) == 40


def test_a_connection_that_was_idle_for_long_is_not_submitted_on(monkeypatch):
    """The other side may be closing it just then; a new one is opened instead."""
    monkeypatch.setattr("imagegen_magic.engine.net.wire.IDLE_SECONDS", 0.0)
    seen = []

    async def work(clients, origin):
        for _ in range(2):
            await clients.download(origin, origin)
            await asyncio.sleep(0.01)

    _with_clients(work, seen=seen)
    assert [len(heads) for heads in seen] == [1, 1]


def test_a_connection_that_the_other_side_closed_is_not_used_again():
    """An answer and a farewell; the next request goes out on a connection that is alive."""
    closing = BODY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    async def work(clients, origin):
        return [await clients.download(origin, origin) for _ in range(3)]

    assert _with_clients(work, answer=closing) == [b"ok"] * 3


def test_a_cancelled_request_leaves_its_place_and_no_half_read_connection():
    """The next one in the queue goes on, on a connection where no old answer is waiting."""
    slow = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"

    async def work(clients, origin):
        waiting = [asyncio.create_task(clients.download(origin, origin)) for _ in range(8)]
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clients.download(origin, origin), 0.2)
        return clients.downloads._idle

    seen = []
    assert _with_clients(work, answer=slow, seen=seen) == []
    assert len(seen) == 9


@pytest.mark.parametrize("packed", [gzip.compress(b"a picture" * 999), zlib.compress(b"a picture" * 999)], ids=["gzip", "deflate"])
def test_an_answer_that_was_packed_unasked_is_unpacked(packed):
    """Some hosts compress whatever the request says."""
    kind = "gzip" if packed[:2] == b"\x1f\x8b" else "deflate"
    with web(lambda seen: (200, {"Content-Encoding": kind}, packed)) as server:
        assert _download(server.origin, server.origin) == b"a picture" * 999
        assert server.seen[0].headers["accept-encoding"] == "identity"


def test_a_packed_bomb_is_given_up_before_it_is_large(monkeypatch):
    """What counts is what it unpacks to."""
    monkeypatch.setattr("imagegen_magic.engine.net.client.MOST_BYTES", 2**20)
    with web(lambda seen: (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(2**26)))) as server, pytest.raises(ImageInvalid):
        _download(server.origin, server.origin)


@pytest.mark.parametrize(
    ("packed", "words"),
    [(b"no gzip", "compression is broken"), (gzip.compress(b"a picture" * 999)[:-12], "cut off")],
    ids=["broken", "cut"],
)
def test_broken_packing_is_a_lost_answer(packed, words):
    """Told as what it is, and asked for again by whoever may."""
    with web(lambda seen: (200, {"Content-Encoding": "gzip"}, packed)) as server, pytest.raises(Lost, match=words):
        _download(server.origin, server.origin)


def test_packed_parts_one_after_another_are_one_answer():
    """As gzip has it; and an answer without a body has nothing to unpack."""
    with web(lambda seen: (200, {"Content-Encoding": "gzip"}, gzip.compress(b"one" * 99_999) + gzip.compress(b"other"))) as server:
        assert _download(server.origin, server.origin) == b"one" * 99_999 + b"other"
    with web(lambda seen: (200, {"Content-Encoding": "gzip"}, b"")) as server:
        assert _download(server.origin, server.origin) == b""


def test_what_an_answer_says_of_its_length_is_read_as_http_has_it():
    """Chunks go before a length that stands beside them."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"

    async def work(clients, origin):
        return await clients.download(origin, origin)

    assert _with_clients(work, answer=answer) == b"ok"


def test_a_redirect_to_an_address_in_raw_letters_is_followed():
    """Some hosts do not quote what they send."""

    def answer(seen):
        return (302, {"Location": "/ü.png".encode().decode("latin-1")}, b"") if seen.path == "/" else (200, {}, b"ok")

    with web(answer) as server:
        assert _download(server.origin, server.origin) == b"ok"
    assert server.seen[-1].path == "/%C3%BC.png"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("/a.png?sig=a%2Fb;c=1&d", "/a.png?sig=a%2Fb;c=1&d"),
        ("/a;b=1/c.png", "/a;b=1/c.png"),
        ("/im Bild ü.png?q=ü", "/im%20Bild%20%C3%BC.png?q=%C3%BC"),
        ("?only=query", "/?only=query"),
        ("/a.png#part", "/a.png"),
        ("/already%20quoted%C3%BC", "/already%20quoted%C3%BC"),
    ],
)
def test_an_address_is_asked_for_as_it_came(asked, sent):
    """A signature in an address must arrive letter by letter; only what HTTP cannot carry is quoted."""
    with web(lambda seen: (200, {}, b"ok")) as server:
        _download(server.origin + asked, server.origin)
    assert [seen.path for seen in server.seen] == [sent]


@pytest.mark.parametrize(
    "url", ["http://[::1/a", "ftp://x/a", "http://x:99999/", "http://exa mple\r\n/", "http://x/\ud800", "http://a..b/"]
)
def test_what_is_no_address_was_certainly_not_sent(url):
    """Told in words, without a traceback of a parser."""

    async def work(clients, origin):
        async with clients.looks(origin).stream("GET", url, headers={}):
            pass

    with pytest.raises(NotSent):
        _with_clients(work)


def test_time_that_runs_out_before_the_connection_is_there_means_not_sent(monkeypatch):
    """Nothing can have been accepted by a host that was never reached."""

    async def nowhere(*args, **options):
        await asyncio.sleep(60)

    monkeypatch.setattr("imagegen_magic.engine.net.lane.connect", nowhere)

    async def work(clients, origin):
        lane = clients.submits(origin, timeout=0.1)
        await clients.call(lane, origin, Key("a-key-of-some-length"), Call("POST", "/v1", {"prompt": "x"}))

    with pytest.raises(NotSent, match="no connection in time"):
        _with_clients(work)


def test_a_gateways_address_that_is_none_was_certainly_not_sent_to():
    """A host name may be too long for any resolver."""

    async def work(clients, origin):
        base_url = f"https://{'ü' * 80}.example"
        await clients.call(clients.looks(base_url), base_url, Key("a-key-of-some-length"), Call("GET", "/v1"))

    with pytest.raises(NotSent):
        _with_clients(work)


def test_headers_show_everything_but_the_key():
    """In a traceback with local values, too."""
    headers = Headers({"Authorization": "Bearer a-key-of-some-length", "Host": "example.com"})
    assert "a-key" not in repr(headers)
    assert "example.com" in repr(headers)
    assert headers["Authorization"] == "Bearer a-key-of-some-length"


def test_a_proxy_with_a_password_is_spoken_to(monkeypatch):
    """User and password of the proxy's address are its own credentials, and stay out of the request line."""
    with web(lambda seen: (404, {}, b"")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin.replace("http://", "http://me:p%40ss@"))
        with pytest.raises(HTTPStatusError):
            _download("http://cdn.example.com:8080/a.png?b=1", "http://api.example.com")
    assert proxy.seen[0].path == "http://cdn.example.com:8080/a.png?b=1"
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize("scheme", ["", "HTTP://"])
def test_a_proxy_named_without_a_scheme_is_one_of_http(monkeypatch, scheme):
    """As curl understands it, which takes it in any case too."""
    with web(lambda seen: (200, {}, b"ok")) as proxy:
        monkeypatch.setenv("http_proxy", scheme + proxy.origin.removeprefix("http://"))
        assert _download("http://cdn.example.com/a.png", "http://api.example.com") == b"ok"


def _behind_a_proxy(monkeypatch, answer, requests=1):
    """Return what became of requests to a public host, one beside the other, through a proxy that writes `answer` to each."""
    seen = []

    async def work(clients, origin):
        monkeypatch.setenv("http_proxy", origin)
        monkeypatch.setenv("https_proxy", origin)
        asked = (_asked(clients) for _ in range(requests))
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _asked(clients):
        async with clients.looks("").stream("GET", "http://api.example.com/", headers={}) as reply:
            return reply.status, b"".join([piece async for piece in reply.pieces])

    return _with_clients(work, answer=answer, seen=seen), seen


def test_requests_beside_one_another_share_the_connections_of_one_proxy(monkeypatch):
    """Whoever came first made the way; the others go along."""
    ended, seen = _behind_a_proxy(monkeypatch, BODY, requests=20)
    assert ended == [(200, b"ok")] * 20
    assert len(seen) <= 8


def test_an_answer_that_breaks_behind_a_proxy_is_lost(monkeypatch):
    """The gateway may have accepted by then."""
    [ended], _ = _behind_a_proxy(monkeypatch, b"no HTTP at all\r\n\r\n")
    assert isinstance(ended, Lost)


@pytest.mark.parametrize(
    ("proxy", "url"),
    [
        ("http://127.0.0.1:9", "http://api.example.com/"),
        ("http://127.0.0.1:9", "https://api.example.com/"),
        ("", "https://api.example.com/"),
    ],
    ids=["not there", "not there for a tunnel", "refuses a tunnel"],
)
def test_a_proxy_that_is_not_there_or_refuses_a_tunnel_sent_nothing(monkeypatch, proxy, url):
    """Nothing can have been accepted."""

    async def work(clients, origin):
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy or origin)
        async with clients.looks(url).stream("POST", url, headers={}, content=b"{}"):
            pass

    with pytest.raises(ProxyFailed, match=r"^the proxy 127\.0\.0\.1:\d+ of https?_proxy (refused: 403 No|does not answer)"):
        _with_clients(work, answer=b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")


ASKED = """
import asyncio, sys
from imagegen_magic.engine.net.exchange import NotSent
from imagegen_magic.engine.net.client import Clients

async def main():
    try:
        async with Clients().submits("", timeout=float(sys.argv[1])).stream("POST", sys.argv[2], headers={}, content=b"{}"):
            pass
    except NotSent as error:
        print(error)

asyncio.run(main())
"""


def _not_sent(proxy, patience=60.0, before=""):
    """Return why a request through a proxy was not sent, in a process of its own: httpcore leaves broken SOCKS connections lying about."""
    environment = {**os.environ, "https_proxy": proxy}
    command = [sys.executable, "-c", before + ASKED, str(patience), "https://api.example.com/"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("kind", ["http", "socks5", "socks"])
@pytest.mark.parametrize("say", [b"", b"what?\r\n\r\n", None], ids=["nothing", "nonsense", "silence"])
def test_a_proxy_that_opens_no_way_sent_nothing(kind, say):
    """Neither the request nor the key ever left this machine."""
    with socket.create_server(("127.0.0.1", 0)) as host:

        def serve():
            with contextlib.suppress(OSError):
                caller, _ = host.accept()
                with caller:
                    while caller.recv(10_000) and say is None:
                        pass
                    caller.sendall(say or b"")

        thread = threading.Thread(target=serve)
        thread.start()
        proxy = f"127.0.0.1:{host.getsockname()[1]}"
        said = _not_sent(f"{kind}://me:p%C3%A4ssword@{proxy}", 0.5 if say is None else 60.0)
        host.shutdown(socket.SHUT_RDWR)  # on a busy machine the time may have been over before the proxy was called
        thread.join()
    assert f"the proxy {proxy} of https_proxy" in said
    assert "ssword" not in said


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks4://127.0.0.1:9", r"socks4://, which is not known"),
        ("ftp://127.0.0.1:9", r"ftp://, which is not known"),
        ("http://me:secret@[bad:9", r"cannot be read"),
        ("http://me:secret@127.0.0.1:99999", r"cannot be (read|used)"),
        ("http://me:secret@127.0.0.1:x", r"cannot be read"),
    ],
)
def test_a_proxy_that_is_none_is_told_without_its_password(monkeypatch, proxy, words):
    """In words, and nothing was sent."""
    monkeypatch.setenv("http_proxy", proxy)

    async def work(clients, origin):
        async with clients.looks("").stream("GET", "http://api.example.com/", headers={}):
            pass

    with pytest.raises(NotSent, match=words) as refused:
        _with_clients(work)
    assert "secret" not in str(refused.value)


def test_what_needs_no_proxy_may_name_its_port(monkeypatch):
    """As curl and Python's own libraries understand it."""
    with web(lambda seen: (200, {}, b"ok")) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", server.origin.removeprefix("http://"))
        assert _download(server.origin, server.origin) == b"ok"


def test_a_request_goes_through_a_socks_proxy(monkeypatch):
    """The proxy gets the name, and resolves it itself."""
    asked, over = [], asyncio.Event()

    async def serve(reader, writer):
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        assert kind == 3
        name = await reader.readexactly((await reader.readexactly(1))[0])
        asked.append((name, int.from_bytes(await reader.readexactly(2), "big")))
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(BODY)
        await reader.read()
        writer.close()
        over.set()

    async def main():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            monkeypatch.setenv("http_proxy", f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            clients = GatewayClients()
            try:
                return await clients.download("http://cdn.example.com/a.png", "http://api.example.com")
            finally:
                await clients.close()
                await asyncio.wait_for(over.wait(), 30)

    assert asyncio.run(main()) == b"ok"
    assert asked == [(b"cdn.example.com", 80)]


def test_a_proxy_of_a_kind_that_needs_another_library_says_which():
    """In words, and nothing was sent."""
    said = _not_sent("socks5://127.0.0.1:9", before="import sys\nsys.modules['socksio'] = None\n")
    assert said == "the proxy 127.0.0.1:9 of https_proxy speaks SOCKS, which needs: pip install socksio\n"


@pytest.mark.parametrize("proxied", [False, True])
@pytest.mark.parametrize("value", ["a\r\nb", "ключ"], ids=["two lines", "no ASCII"])
def test_a_header_that_cannot_be_sent_is_not_shown(monkeypatch, proxied, value):
    """It may be the key; and nothing was sent."""

    async def work(clients, origin):
        if proxied:
            monkeypatch.setenv("http_proxy", origin)
        async with clients.looks(origin).stream("GET", "http://api.example.com/" if proxied else origin, headers={"Authorization": value}):
            pass

    with pytest.raises(NotSent, match=r"^the request cannot be formed$") as refused:
        _with_clients(work)
    assert value not in str(refused.value)


WHERE = """
import asyncio, sys, threading
from imagegen_magic.engine.net.client import Clients

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("httpcore", "anyio._backends._asyncio", "imagegen_magic.sandbox.app"):
            print(name, threading.current_thread() is threading.main_thread())

async def main(url):
    clients = Clients()
    async with clients.looks(url).stream("GET", url, headers={}) as reply:
        print(reply.status)
    await clients.close()

sys.meta_path.insert(0, Watch())
asyncio.run(main(sys.argv[1]))
"""


def test_what_takes_long_to_import_is_not_imported_on_the_loop():
    """A plain request needs none of it; a proxy's connections and the sandbox are imported in a thread."""

    def said(url, **environment):
        command = [sys.executable, "-c", WHERE, url]
        return subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True).stdout

    with web(lambda seen: (200, {}, b"ok")) as server:
        assert said(server.origin) == "200\n"
        assert said("http://api.example.com", http_proxy=server.origin) == "httpcore False\nanyio._backends._asyncio False\n200\n"
    assert said("http://sandbox.invalid/nothing") == "imagegen_magic.sandbox.app False\n404\n"
