"""A proxy that opens no way is named, with the variable that names it and without its password: in errors and by `%imagegen doctor`."""

import contextlib
import socket
import threading

import pytest
from shells import a_shell
from webserver import web

from imagegen_magic import generate, run
from imagegen_magic.engine.net.proxies import proxy_of
from imagegen_magic.errors import DownloadError, GatewayUnreachable

SECRET = "p4ssword"
BASE = "https://api.public.example"


@pytest.fixture(autouse=True)
def gateway(monkeypatch):
    """A gateway that is reached through a proxy alone, tried again at once."""
    monkeypatch.setenv("EVOLINK_API_KEY", "sk-very-secret-key-123456")
    monkeypatch.setenv("EVOLINK_BASE_URL", BASE)
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
    monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda state: 0.01)


@pytest.fixture
def dead():
    """The place of a proxy where nobody listens: the port stays ours."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


@contextlib.contextmanager
def _saying(words):
    """A proxy that says the same to whoever calls, and hangs up."""
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
    """Nothing was charged, and the next step is about that variable."""
    monkeypatch.setenv(variable, f"{kind}://me:{SECRET}@{dead}")
    said = _refusal()
    assert f"EvoLink cannot be reached (the proxy {dead} of {variable} does not answer" in said
    assert f"Network problem; nothing was charged. Check that proxy, or change {variable}, then run the cell again" in said


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "refused: 407 Proxy Authentication Required"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "refused: 502 Bad Gateway"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "refused: 503 Service Unavailable"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "opened no way"),
        (b"", "opened no way"),
    ],
)
def test_a_proxy_that_refuses_a_tunnel_is_named(answer, words, monkeypatch):
    """The gateway has not seen the request."""
    with _saying(answer) as place:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@{place}")
        assert f"(the proxy {place} of HTTPS_PROXY {words}" in _refusal()


def test_a_proxy_that_wants_a_password_for_plain_http_is_named(monkeypatch):
    """It is the proxy that answers 407, not the gateway: the request was not sent on."""
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://api.public.example")
    with web(lambda seen: (407, {}, b"")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        place = proxy.origin.removeprefix("http://")
        assert f"(the proxy {place} of http_proxy refused: 407 Proxy Authentication Required)" in _refusal()


def test_a_picture_that_a_dead_proxy_holds_back_stays_collectable(dead, monkeypatch):
    """The gateway is reached without it, the pictures' host is not: paid, named, and resumed later."""
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
def test_which_proxy_and_who_names_it(environment, named, monkeypatch):
    """Small letters first, as curl and Python read them; neither words nor repr show a password."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_of(f"{BASE}/v1")
    assert (f"{found.place} {found.origin}" if found else "") == named
    assert SECRET not in f"{found} {found!r} {[found]}"


def _doctor(line="%imagegen doctor"):
    with a_shell() as shell:
        shell.run(line)
        return shell.shown()[0], shell.shown("text/html")[0]


def test_doctor_shows_the_proxy_to_each_gateway(monkeypatch):
    """Host, port and variable, without a password; `no_proxy` is respected."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "api.apimart.ai")
    text, html = _doctor()
    assert text.count("proxy.example:3128 (HTTPS_PROXY)") == 3
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "none" in lines["proxy to apimart"]
    assert "proxy.example:3128 (HTTPS_PROXY)" in lines["proxy to evolink"]
    assert SECRET not in text + html


def test_doctor_says_that_there_is_no_proxy():
    """In one line for all gateways."""
    lines = [line.split() for line in _doctor()[0].splitlines() if line.startswith("proxy")]
    assert lines == [["proxy", "none"]]


def test_doctor_asks_through_the_proxy_and_says_that_it_does_not_answer(dead, monkeypatch):
    """Which proxy, and what to change."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@{dead}")
    text, html = _doctor("%imagegen doctor --network")
    assert text.count(f"not reached: the proxy {dead} of HTTPS_PROXY does not answer") == 4
    assert "check that proxy, or change HTTPS_PROXY" in text
    assert "then run the cell again" not in text
    assert SECRET not in text + html


def test_doctor_hides_the_password_of_a_base_url(monkeypatch):
    """It says which variable holds one; the other gateways are reported all the same."""
    monkeypatch.setenv("EVOLINK_BASE_URL", f"https://me:{SECRET}@api.public.example")
    text, html = _doctor("%imagegen doctor")
    assert "EVOLINK_BASE_URL = '[hidden]@api.public.example' holds a user name or a password" in text
    assert "https://api.apimart.ai" in text
    assert SECRET not in text + html
