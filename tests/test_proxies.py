"""A proxy that opens no tunnel is named with its variable and without its password: in errors and by `%imagegen doctor`."""

import asyncio
import contextlib
import socket
import ssl
import sys
import threading

import pytest
from forks import forks_of
from gateway_table import PROVIDERS
from rawhosts import CERTIFICATE, OK, answering, download, outcome, raw_host, tls_server, with_host
from shells import a_shell
from webserver import web

from imagegen_magic import generate, run
from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.net.client import GatewayClients, HTTPStatusError
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown, proxy_for
from imagegen_magic.errors import DownloadError, GatewayUnreachable
from imagegen_magic.providers.base import Call

pytestmark = pytest.mark.slow

SECRET = "p4ssword"
BASE = "https://api.public.example"


@pytest.fixture(autouse=True)
def gateway(monkeypatch):
    """A gateway that is reached through a proxy alone, tried again at once."""
    monkeypatch.setenv("EVOLINK_API_KEY", "sk-very-secret-key-123456")
    monkeypatch.setenv("EVOLINK_BASE_URL", BASE)
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
    monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda attempt: 0.01)


@pytest.fixture
def dead():
    """The address of a proxy without a listener: the port stays ours."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


@contextlib.contextmanager
def _saying(words):
    """A proxy that gives each client the same answer, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as host:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = host.accept()
                    with caller:
                        caller.recv(10_000)
                        caller.sendall(words)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{host.getsockname()[1]}"
        finally:
            host.shutdown(socket.SHUT_RDWR)
            thread.join()


def _refusal():
    with pytest.raises(GatewayUnreachable) as refused:
        run(generate("a fox", provider="evolink", size="1024x1024"))
    assert SECRET not in str(refused.value)
    assert refused.value.charge == "no"
    return str(refused.value)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("kind", ["http", "https", "socks5", "socks5h"])
def test_a_dead_proxy_is_named_with_its_variable(kind, variable, dead, monkeypatch):
    """Nothing was charged, and the hint names that variable."""
    monkeypatch.setenv(variable, f"{kind}://me:{SECRET}@{dead}")
    given = _refusal()
    assert f"EvoLink cannot be reached (the proxy {dead} of {variable} does not answer" in given
    assert f"Network problem; nothing was charged. Check that proxy, or change {variable}, then run the cell again" in given


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "refused: 407 Proxy Authentication Required"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "refused: 502 Bad Gateway"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "refused: 503 Service Unavailable"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "opened no tunnel"),
        (b"", "opened no tunnel"),
    ],
)
def test_a_proxy_that_refuses_a_tunnel_is_named(answer, words, monkeypatch):
    """The gateway has not seen the request."""
    with _saying(answer) as place:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@{place}")
        assert f"(the proxy {place} of HTTPS_PROXY {words}" in _refusal()


def test_a_proxy_that_wants_a_password_for_plain_http_is_named(monkeypatch):
    """The proxy answers 407, not the gateway: the request was not sent on."""
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://api.public.example")
    with web(lambda seen: (407, {}, b"")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        place = proxy.origin.removeprefix("http://")
        assert f"(the proxy {place} of http_proxy refused: 407 Proxy Authentication Required)" in _refusal()


def test_an_image_behind_a_dead_proxy_stays_resumable(dead, monkeypatch):
    """The gateway is reached without the proxy, the images' host is not: paid, named, and resumed later."""
    done = b'{"id": "t1", "status": "completed", "results": ["https://public.cdn.example/p.png"]}'
    with web(lambda seen: (200, {}, b'{"id": "t1", "status": "pending"}' if seen.method == "POST" else done)) as gateway:
        monkeypatch.setenv("EVOLINK_BASE_URL", gateway.origin)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{dead}")
        with pytest.raises(DownloadError, match=f"the proxy {dead} of HTTPS_PROXY does not answer") as refused:
            run(generate("a fox", provider="evolink", size="1024x1024"))
    assert "it was charged. %imagegen resume" in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}, "a:1 https_proxy"),
        ({"HTTPS_PROXY": "b:2", "ALL_PROXY": "socks5://c:3"}, "b:2 HTTPS_PROXY"),
        ({"ALL_PROXY": "socks5://me:x@c:3/"}, "c:3 ALL_PROXY"),
        ({"HTTP_PROXY": "http://a:1"}, ""),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": ".public.example"}, ""),
        ({"HTTPS_PROXY": "http://a:1", "no_proxy": "*"}, ""),
        ({"HTTPS_PROXY": f"http://me:{SECRET}/with@a@a:1/x"}, "a:1 HTTPS_PROXY"),
    ],
)
def test_the_proxy_and_its_variable(environment, named, monkeypatch):
    """Lower case first, as in curl and Python; neither text nor repr shows a password."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(f"{BASE}/v1")
    assert (f"{found.host} {found.named_by}" if found else "") == named
    assert SECRET not in f"{found} {found!r} {[found]}"


def _doctor(line="%imagegen doctor"):
    with a_shell() as shell:
        shell.run(line)
        return shell.shown()[0], shell.shown("text/html")[0]


def _with_every_key(monkeypatch):
    """Give every gateway a key: doctor reports on those that can be used."""
    for provider in PROVIDERS.values():
        monkeypatch.setenv(provider.key_variable, "a-key-of-a-gateway")


def test_doctor_shows_the_proxy_to_each_gateway(monkeypatch):
    """Host, port and variable, without a password; `no_proxy` is respected."""
    _with_every_key(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "api.apimart.ai")
    text, html = _doctor()
    assert text.count("proxy.example:3128 (HTTPS_PROXY)") == 3
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "none" in lines["proxy to apimart"]
    assert "proxy.example:3128 (HTTPS_PROXY)" in lines["proxy to evolink"]
    assert SECRET not in text + html


def test_doctor_reports_that_there_is_no_proxy():
    """In one line for all gateways."""
    lines = [line.split() for line in _doctor()[0].splitlines() if line.startswith("proxy")]
    assert lines == [["proxy", "none"]]


def test_doctor_connects_through_the_proxy_and_reports_that_it_does_not_answer(dead, monkeypatch):
    """With the variable to change."""
    _with_every_key(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@{dead}")
    text, html = _doctor("%imagegen doctor --network")
    assert text.count(f"not reached: the proxy {dead} of HTTPS_PROXY does not answer") == 4
    assert "check that proxy, or change HTTPS_PROXY" in text
    assert "then run the cell again" not in text
    assert SECRET not in text + html


@pytest.mark.parametrize(("folder", "found"), [(None, "found"), ("empty", "apt install ca-certificates")])
def test_doctor_names_the_package_with_certificates(folder, found, tmp_path, monkeypatch):
    """Without certificates no gateway can be verified over https."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    if folder:
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    (line,) = [line for line in _doctor()[0].splitlines() if line.startswith("certificates")]
    assert found in line


def test_doctor_hides_the_password_of_a_base_url(monkeypatch):
    """It names the variable that has one; the other gateways are reported too."""
    _with_every_key(monkeypatch)
    monkeypatch.setenv("EVOLINK_BASE_URL", f"https://me:{SECRET}@api.public.example")
    text, html = _doctor("%imagegen doctor")
    assert "EVOLINK_BASE_URL = '[hidden]@api.public.example' holds a user name or a password" in text
    assert "https://api.apimart.ai" in text
    assert SECRET not in text + html


def test_a_proxy_with_a_password_is_used(monkeypatch):
    """User and password of its address are its own credentials, and are not in the request line."""
    with web(lambda seen: (404, {}, b"")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin.replace("http://", "http://me:p%40ss@"))
        with pytest.raises(HTTPStatusError):
            download("http://cdn.example.com:8080/a.png?b=1", "http://api.example.com")
    assert proxy.seen[0].path == "http://cdn.example.com:8080/a.png?b=1"
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize("scheme", ["", "HTTP://"])
def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch, scheme):
    """As in curl."""
    with web(lambda seen: (200, {}, b"ok")) as proxy:
        monkeypatch.setenv("http_proxy", scheme + proxy.origin.removeprefix("http://"))
        assert download("http://cdn.example.com/a.png", "http://api.example.com") == b"ok"


def _behind_a_proxy(monkeypatch, answer, requests=1):
    """Return the outcomes of requests to a public host at once, through a proxy that answers each alike, and what the proxy saw."""
    seen = []

    async def work(clients, origin):
        monkeypatch.setenv("http_proxy", origin)
        monkeypatch.setenv("https_proxy", origin)
        return await asyncio.gather(*(outcome(clients.polls(""), "http://api.example.com/") for _ in range(requests)))

    return with_host(work, answering(answer, seen)), seen


def test_concurrent_requests_share_the_connections_of_a_proxy(monkeypatch):
    """The first one makes the pool, the others wait for it."""
    ended, seen = _behind_a_proxy(monkeypatch, OK, requests=20)
    assert ended == [(200, b"ok")] * 20
    assert len(seen) <= 8


def test_a_response_that_breaks_behind_a_proxy_leaves_the_outcome_unknown(monkeypatch):
    """The gateway may have accepted by then."""
    [ended], _ = _behind_a_proxy(monkeypatch, b"no HTTP at all\r\n\r\n")
    assert isinstance(ended, OutcomeUnknown)


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
        async with clients.polls(url).stream("POST", url, headers={}, content=b"{}"):
            pass

    with pytest.raises(NotSent, match=r"^the proxy 127\.0\.0\.1:\d+ of https?_proxy (refused: 403 No|does not answer)"):
        with_host(work, answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))


async def _refused(patience):
    try:
        async with GatewayClients().submits("", timeout=patience).stream("POST", "https://api.example.com/", headers={}, content=b"{}"):
            pass
    except NotSent as error:
        print(error)


def print_reason(patience):
    """Print why a request was not sent, in a process of its own: httpcore2 leaves broken SOCKS connections lying about."""
    asyncio.run(_refused(patience))


def print_reason_without_socks():
    """Print it where socksio is not installed."""
    sys.modules["socksio"] = None
    print_reason(60.0)


@pytest.fixture(scope="module")
def forks():
    """Processes with this file imported."""
    with forks_of("test_proxies") as call:
        yield call


@pytest.mark.parametrize("kind", ["http", "socks5", "socks"])
@pytest.mark.parametrize("answer", [b"", b"what?\r\n\r\n", None], ids=["nothing", "nonsense", "silence"])
def test_a_proxy_that_opens_no_tunnel_sent_nothing(forks, kind, answer):
    """Neither the request nor the key left this machine."""
    with socket.create_server(("127.0.0.1", 0)) as host:

        def serve():
            with contextlib.suppress(OSError):
                caller, _ = host.accept()
                with caller:
                    while caller.recv(10_000) and answer is None:
                        pass
                    caller.sendall(answer or b"")

        thread = threading.Thread(target=serve)
        thread.start()
        proxy = f"127.0.0.1:{host.getsockname()[1]}"
        patience = 0.5 if answer is None else 60.0
        code, reason = forks("print_reason", patience, https_proxy=f"{kind}://me:p%C3%A4ssword@{proxy}")
        host.shutdown(socket.SHUT_RDWR)  # on a busy machine the time may have been over before the proxy was called
        thread.join()
    assert code == 0
    assert f"the proxy {proxy} of https_proxy" in reason
    assert "ssword" not in reason


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks4://127.0.0.1:9", r"socks4://, which is not supported"),
        ("ftp://127.0.0.1:9", r"ftp://, which is not supported"),
        ("http://me:secret@[bad:9", r"cannot be read"),
        ("http://me:secret@127.0.0.1:99999", r"cannot be (read|used)"),
        ("http://me:secret@127.0.0.1:x", r"cannot be read"),
    ],
)
def test_an_invalid_proxy_is_reported_without_its_password(monkeypatch, proxy, words):
    """Nothing was sent."""
    monkeypatch.setenv("http_proxy", proxy)

    async def work(clients, origin):
        async with clients.polls("").stream("GET", "http://api.example.com/", headers={}):
            pass

    with pytest.raises(NotSent, match=words) as refused:
        with_host(work, answering())
    assert "secret" not in str(refused.value)


def test_no_proxy_may_name_a_port(monkeypatch):
    """As in curl and Python's libraries."""
    with web(lambda seen: (200, {}, b"ok")) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", server.origin.removeprefix("http://"))
        assert download(server.origin, server.origin) == b"ok"


OWN_407 = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(OK, (200, b"ok")), (b"", OutcomeUnknown), (OWN_407, (407, b"no"))],
    ids=["answered", "cut", "407 of the gateway itself"],
)
def test_a_request_goes_through_a_socks_proxy(answer, expected, monkeypatch):
    """The proxy gets the name and resolves it. A request that fails after it was sent may have arrived."""
    names = []

    async def serve(reader, writer):
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x00")
        assert (await reader.readexactly(4))[3] == 3
        name = await reader.readexactly((await reader.readexactly(1))[0])
        names.append((name, int.from_bytes(await reader.readexactly(2), "big")))
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async def work(clients, origin):
        monkeypatch.setenv("http_proxy", origin.replace("http:", "socks5:"))
        return await outcome(clients.submits(""), "http://api.example.com/", "POST", b"{}")

    found = with_host(work, serve)
    assert (found if expected is not OutcomeUnknown else type(found)) == expected
    assert names == [(b"api.example.com", 80)]


def test_a_proxy_that_needs_another_library_names_it(forks):
    """Nothing was sent."""
    _, reason = forks("print_reason_without_socks", https_proxy="socks5://127.0.0.1:9")
    assert reason == "the proxy 127.0.0.1:9 of https_proxy speaks SOCKS, which needs: pip install socksio\n"


@contextlib.asynccontextmanager
async def _tunnel(requests, *, tls=None):
    """A proxy that opens tunnels; `requests` gets the head of each request for one."""

    async def pipe(reader, writer):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        requests.append(head)
        host, _, port = head.split()[1].rpartition(":")
        there, onwards = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pipe(reader, onwards), pipe(there, writer))

    async with raw_host(serve, tls=tls) as port:
        yield f"http{'s' if tls else ''}://me:secret@{'localhost' if tls else '127.0.0.1'}:{port}"


async def _call(port):
    clients, base_url = GatewayClients(), f"https://localhost:{port}"
    clients._tls = ssl.create_default_context(cafile=CERTIFICATE)
    try:
        return await clients.call(clients.submits(base_url), base_url, Key("a-key"), Call("POST", "/v1", {"prompt": "x"}))
    finally:
        await clients.close()


async def _gateway(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"authorization: bearer a-key" in head.lower()
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\n{"id": "task-1"}')


@pytest.mark.parametrize("encrypted", [False, True], ids=["http proxy", "https proxy"])
def test_an_encrypted_gateway_is_reached_through_a_proxy(encrypted, monkeypatch):
    """The proxy sees host, port and its own password, never the key: the gateway's certificate is checked through the tunnel."""
    requests = []

    async def main():
        async with raw_host(_gateway, tls=tls_server()) as port, _tunnel(requests, tls=tls_server() if encrypted else None) as proxy:
            monkeypatch.setenv("https_proxy", proxy)
            return port, await _call(port)

    port, response = asyncio.run(main())
    assert response.content == {"id": "task-1"}
    assert requests[0].startswith(f"CONNECT localhost:{port} HTTP/1.1")
    assert "authorization: basic" in requests[0].lower()
    assert "a-key" not in requests[0]


@pytest.mark.parametrize(
    ("tls", "error"), [(True, OutcomeUnknown), (False, NotSent)], ids=["after the request was sent", "before the handshake is done"]
)
def test_behind_a_tunnel_the_inner_request_counts(tls, error, monkeypatch):
    """A CONNECT carries nothing of the request: only what follows in the tunnel may have arrived."""

    async def gateway(reader, writer):
        await reader.read(10)

    async def main():
        async with raw_host(gateway, tls=tls_server() if tls else None) as port, _tunnel([]) as proxy:
            monkeypatch.setenv("https_proxy", proxy)
            await _call(port)

    with pytest.raises(error) as failed:
        asyncio.run(main())
    assert type(failed.value) is error
    assert "the proxy 127.0.0.1:" in str(failed.value)
