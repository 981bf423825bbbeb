"""Result addresses are untrusted input, and the key goes to the gateway's own origin only."""

import asyncio
import socket

import pytest
from rawhosts import download, with_clients
from webserver import web

from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.net import client
from imagegen_magic.engine.net.client import HTTPStatusError, authorization, retry_after
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.errors import DownloadError, ImageInvalid
from imagegen_magic.providers.base import Call
from imagegen_magic.providers.urls import is_public

SECRET = "sk-very-secret-key-123456"


def _call(origin, call, base=None):
    return with_clients(lambda c: c.call(c.submits(origin), base or origin, Key(SECRET), call))


def test_the_key_goes_to_the_gateway_and_not_to_the_result_address():
    """A submission has the key, a download has none, even on the same host."""
    with web(lambda seen: (200, {}, b"{}")) as server:
        _call(server.origin, Call("POST", "/v1/images/generations", {"prompt": "x"}))
        download(server.origin + "/picture.png", server.origin)
    submit, fetched = server.seen
    assert submit.headers["authorization"] == f"Bearer {SECRET}"
    assert "authorization" not in fetched.headers
    assert not any(SECRET in value for value in fetched.headers.values())


def test_the_key_does_not_cross_a_redirect():
    """A redirect is returned as an answer; the other origin is not contacted."""
    with web(lambda seen: (200, {}, b"{}")) as other, web(lambda seen: (307, {"Location": other.origin + "/steal"}, b"")) as gateway:
        answer = _call(gateway.origin, Call("POST", "/v1", {}))
    assert answer.status == 307
    assert other.seen == []


def test_a_call_to_an_absolute_other_origin_carries_no_key():
    """The key is bound to the configured origin: scheme, host and port."""
    base = "https://api.example.com"
    for url in ("https://api.example.com:8443/v1", "http://api.example.com/v1", "https://api.example.com.evil.org/v1"):
        assert authorization(Key(SECRET), base, url) == {}
    assert authorization(Key(SECRET), base, "https://API.example.com:443/v1") == {"Authorization": f"Bearer {SECRET}"}


def test_a_key_in_an_answer_is_redacted():
    """A gateway that repeats the key in its error puts it into no message of ours."""
    with web(lambda seen: (401, {}, f'{{"error":"bad key {SECRET}"}}'.encode())) as server:
        answer = _call(server.origin, Call("GET", "/v1"))
    assert answer.content == {"error": "bad key [key]"}


@pytest.mark.parametrize(
    "url", ["http://cdn.example.com/a.png", "ftp://cdn.example.com/a.png", "file:///etc/passwd", "a.png", "https:///a.png"]
)
def test_only_https(url):
    """With a gateway on https, a result address is https or it is refused."""
    with pytest.raises(DownloadError, match="result address"):
        download(url, "https://api.example.com")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.1.2.3",
        "192.168.0.9",
        "172.16.0.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "0.0.0.0",
        "metadata.internal",
    ],
)
def test_no_private_address(host):
    """Loopback and private hosts are refused before anything is sent there."""
    with pytest.raises(DownloadError, match="private network"):
        download(f"https://{host}/a.png", "https://api.example.com")


def test_a_public_name_with_a_private_address_is_refused(monkeypatch):
    """The address is checked, not only the name."""
    with web(lambda seen: (200, {}, b"secret")) as server:
        port = int(server.origin.rsplit(":", 1)[1])
        monkeypatch.setattr(socket, "getaddrinfo", _resolve_to("127.0.0.1", {"api.example.com": "93.184.215.14"}))
        with pytest.raises(DownloadError, match="private network"):
            download(f"http://cdn.example.com:{port}/a.png", "http://api.example.com")
    assert server.seen == []


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch):
    """A name that would resolve differently later is resolved once, and that address is used."""
    asked, connected = [], []

    async def rebinding(self, host, port, **options):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14" if len(asked) == 1 else "127.0.0.1", port))]

    async def connect(self, protocol, host, port, **options):
        connected.append(host)
        raise ConnectionRefusedError("no network in tests")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", rebinding)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connect)
    with pytest.raises(NotSent):
        download("https://cdn.example.com/a.png", "https://api.example.com")
    assert (asked, connected) == (["cdn.example.com"], ["93.184.215.14"])


def _resolve_to(address, but={}):  # noqa: B006  # never written to
    def resolve(host, port, *more, **options):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (but.get(host, address), port))]

    return resolve


def test_a_redirect_into_a_private_network_is_refused():
    """Every hop is checked."""
    with (
        web(lambda seen: (302, {"Location": "http://169.254.169.254/latest/meta-data"}, b"")) as server,
        pytest.raises(DownloadError, match=r"leads to 169\.254\.169\.254: link-local"),
    ):
        download(server.origin + "/a.png", server.origin)


def test_a_few_redirects_are_followed_and_many_are_not():
    """A file host may move an image; a loop ends."""

    def answer(seen):
        step = int(seen.path.rsplit("/", 1)[1])
        return (200, {}, b"picture") if step == 0 else (302, {"Location": f"/{step - 1}"}, b"")

    with web(answer) as server:
        assert download(server.origin + "/5", server.origin) == b"picture"
        with pytest.raises(DownloadError, match="more than 5 times"):
            download(server.origin + "/6", server.origin)


def test_an_answer_with_too_large_a_length_is_not_read():
    """64 MiB at most: the header is enough."""
    with (
        web(lambda seen: (200, {"Content-Length": str(65 * 2**20), "X-Cut": "1"}, b"x")) as server,
        pytest.raises(ImageInvalid, match="64 MiB"),
    ):
        download(server.origin + "/a.png", server.origin)


def test_an_answer_that_grows_too_large_is_stopped(monkeypatch):
    """Without a length, the bytes are counted as they arrive."""
    monkeypatch.setattr(client, "MAX_BYTES", 1000)

    def chunked(seen):
        pieces = b"".join(b"190\r\n" + b"x" * 400 + b"\r\n" for _ in range(9))
        return 200, {"Transfer-Encoding": "chunked"}, pieces + b"0\r\n\r\n"

    with web(chunked) as server, pytest.raises(ImageInvalid, match="more than"):
        download(server.origin + "/a.png", server.origin)


def test_fewer_bytes_than_the_length_is_a_broken_connection():
    """A truncated answer is never taken for a complete image."""
    with web(lambda seen: (200, {"Content-Length": "5000", "X-Cut": "1"}, b"x" * 100)) as server, pytest.raises(OutcomeUnknown):
        download(server.origin + "/a.png", server.origin)


def test_an_expired_address_is_an_error_of_its_own():
    """404, 403, 410: the gateway may give a new address."""
    with web(lambda seen: (410, {}, b"")) as server, pytest.raises(HTTPStatusError) as refusal:
        download(server.origin + "/a.png", server.origin)
    assert refusal.value.status == 410


def test_no_connection_is_certainly_not_sent():
    """No listener: nothing was sent, so it may be repeated."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(NotSent):
            _call(origin, Call("POST", "/v1", {}))


def test_a_connection_dropped_after_sending_leaves_the_outcome_unknown():
    """The request arrived and no answer came."""
    with web(lambda seen: (200, {"Content-Length": "50", "X-Cut": "1"}, b'{"id"')) as server, pytest.raises(OutcomeUnknown):
        _call(server.origin, Call("POST", "/v1", {"prompt": "x"}))
    assert len(server.seen) == 1


def test_text_that_is_no_json_is_returned_as_text():
    """An HTML page of a proxy is kept for the message."""
    with web(lambda seen: (502, {"X-Request-Id": "r-1", "Retry-After": "7"}, b"<html>Bad gateway</html>")) as server:
        answer = _call(server.origin, Call("GET", "/v1"))
    assert (answer.status, answer.content, answer.request_id, answer.retry_after) == (502, "<html>Bad gateway</html>", "r-1", 7.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("12", 12),
        ("1.5", 1.5),
        ("-3", 0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 2015 07:28:00 +999999999999", None),
    ],
)
def test_retry_after(header, seconds):
    """Seconds are read, invalid text is None."""
    assert retry_after(header) == seconds


def test_retry_after_as_a_date():
    """A date in the past is 0 seconds."""
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize(
    ("address", "public"),
    [("93.184.215.14", True), ("2606:2800::1", True), ("224.0.0.1", False), ("::ffff:127.0.0.1", False), ("fe80::1%eth0", False)],
)
def test_which_addresses_are_public(address, public):
    """Multicast, mapped and scoped addresses too."""
    assert is_public(address) is public


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    """The proxy resolves names, so peers cannot be checked here; literal private hosts stay refused."""
    with web(lambda seen: (200, {}, b"picture")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        assert download("http://cdn.example.com/a.png", "http://api.example.com") == b"picture"
        for host in ("10.0.0.1", "10.0.0.①", "169.254.169。254", "localhost。"):
            with pytest.raises(DownloadError):
                download(f"http://{host}/a.png", "http://api.example.com")
    assert [seen.path for seen in proxy.seen] == ["http://cdn.example.com/a.png"]


ESCAPED = [
    b'{"error": ' + b"[" * 100_000 + b'"bad key pl4t/Ab9+xyz/0123"' + b"]" * 100_000 + b"}",
    rb'{"error": {"message": "bad key pl4t\/Ab9+xyz\/0123"}}',
    rb'{"error": ["bad key pl4t\u002fAb9+xyz\u002f0123"]}',
    rb'{"pl4t\/Ab9+xyz\/0123": "is bad"}',
    b"bad key pl4t/Ab9+xyz/0123",
]


@pytest.mark.parametrize("body", ESCAPED)
def test_a_key_that_comes_back_escaped_is_redacted(body):
    """The decoded text is searched: JSON has many ways to write one key."""
    with web(lambda seen: (401, {}, body)) as server:
        content = with_clients(lambda c: c.call(c.polls(""), server.origin, Key("pl4t/Ab9+xyz/0123"), Call("GET", "/"))).content
    assert "[key]" in str(content) or "nested too deeply" in content
    assert "xyz" not in str(content)
