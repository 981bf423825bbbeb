"""A public gateway leads to public addresses only, a private one into its own network; link-local addresses are never reached."""

import asyncio
import contextlib
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError
from ledgers import a_png
from rawhosts import download, fetched
from shells import a_shell
from webserver import web

from imagegen_magic import generate, run, sweep
from imagegen_magic.engine import api, endpoints, loop
from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.net.client import GatewayClients, GatewayResponse, NotTrusted
from imagegen_magic.engine.net.transport import NotSent, origin_of
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.uploads import routes
from imagegen_magic.errors import DownloadError, UnknownProvider, UnsupportedOption, UploadFailed
from imagegen_magic.providers.base import PollingPolicy
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.providers.urls import Zone, has_user, is_public, split, without_user, zone_of
from imagegen_magic.request import ImageRequest, LocalImage

pytestmark = pytest.mark.slow

SECRET = "sk-very-secret-key-123456"

ZONES = {
    Zone.PUBLIC: ["93.184.215.14", "2606:2800::1", "010.0.0.1", "api.example.com", "münchen.example", "1e1.com", "64:ff9b::5db8:d70e"],
    Zone.FAKE_IP: ["198.18.0.7", "198.19.255.255"],
    Zone.PRIVATE: [
        *("10.99.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.7", "fd12::1", "fc00::1"),
        *("100.64.0.1", "100.127.9.9"),  # carriers and Tailscale
        *("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "10.0.0.1."),
        *("imagegen", "gpu.local", "gpu.lan", "files.internal", "nas.home.arpa", "NAS.Local."),
        *("10.0.0.①", "１０.0.0.1", "10。0。0。1", "167772161", "0xa.1", "012.0.0.1"),
    ],
    Zone.LOOPBACK: [
        *("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "localhost", "LOCALHOST.", "a.localhost", "localhost。"),
        *("127.1", "0177.0.0.1", "0x7f000001", "2130706433", "2002:7f00:1::", "0"),
    ],
    Zone.REFUSED: [
        *("169.254.0.1", "169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1", "::ffff:169.254.169.254", "0xa9fea9fe"),  # link-local
        *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "metadata.google.internal"),  # metadata
        *("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"),  # documentation
        *("224.0.0.1", "ff02::1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "0.1.2.3"),
        *("::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::1", "fec0::1", "2001::1", "5f00::1", "100::1"),
        *("256.1.1.1", "08.1.1.1", "1.2.3.4.5", "a..b", "1.2.3.0x"),
    ],
}


@pytest.mark.parametrize(("zone", "host"), [(zone, host) for zone, hosts in ZONES.items() for host in hosts])
def test_each_host_has_its_zone(zone, host):
    """Numbers are read as resolvers read them, and mapped addresses as those that they stand for."""
    assert zone_of(host) is zone
    assert is_public(host) is (zone is Zone.PUBLIC)


@pytest.mark.parametrize(
    "address",
    [
        *("https://a b.example/", "https://a\tb.example/", "https://good.example\\@10.0.0.1/", "https://x:99999/", "https://x:0/"),
        *("https:///a.png", "//x.example/", "https://[::1/", "https://x\n.example/", "https://x:port/", ""),
    ],
)
def test_ambiguous_text_is_no_address(address):
    """Blanks, backslashes, invalid ports."""
    found = split(address)
    assert found is None or found.scheme == ""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@x.example/a", "https://[hidden]@x.example/a"),
        ("https://secret@x.example", "https://[hidden]@x.example"),
        ("https://:secret@x.example/", "https://[hidden]@x.example/"),
        ("https://me:sec@secret@x.example/", "https://[hidden]@x.example/"),
        ("https://me:a secret'@x.example/", "https://[hidden]@x.example/"),
        ("https://x.example/a@b?c=@d", "https://x.example/a@b?c=@d"),
    ],
)
def test_a_password_in_an_address_is_not_shown(address, shown):
    """With any characters; an @ after the host is no password."""
    assert without_user(address) == shown
    assert " " in address or has_user(address) is (address != shown)


_PARTS = st.one_of(
    st.sampled_from(["0", "1", "10", "127", "0177", "0x7f", "0XA", "169", "254", "256", "08", "2130706433", "4294967296", ""]),
    st.text("0123456789xabf①１٣。．\u00ad-%:", max_size=4),
)
_HOSTS = st.lists(_PARTS, min_size=1, max_size=5).map(".".join) | st.text("abo.0-:%[]@\\/?#①。 lcht", min_size=1, max_size=12)


@given(_HOSTS)
def test_a_host_is_checked_as_it_is_connected_to(host):
    """However it is written: numbers are read as the resolver does."""
    with contextlib.suppress(OSError, ValueError):
        found = socket.getaddrinfo(host.encode("idna").decode(), 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        assert zone_of(host) in {Zone.REFUSED, *(zone_of(entry[4][0]) for entry in found)}
    for address in (f"https://{host}/a.png", f"https://x.example:80@{host}", f"https://{host}\\@x.example/", f"http://[{host}]:80/"):
        parts = split(address)
        with contextlib.suppress(ValueError):
            assert parts is None or zone_of(parts.hostname) is zone_of(origin_of(address).host)


# results

NAMES = {
    "api.public.example": ["93.184.215.14"],
    "imagegen": ["10.99.0.1"],  # a container
    "gpu.lab.example": ["10.99.0.1"],  # a name that only this network resolves so
    "here.example": ["127.0.0.3"],  # of a hosts file
    "behind.vpn.example": ["198.18.0.7"],
    "dual.example": ["93.184.215.14", "10.99.0.1"],
    "public.cdn.example": ["93.184.215.15"],
    "private.cdn.example": ["10.99.0.9"],
    "loop.cdn.example": ["127.0.0.9"],
    "link.cdn.example": ["169.254.169.254"],
    "mixed.cdn.example": ["93.184.215.15", "10.99.0.9"],
    "fake.cdn.example": ["198.18.0.9"],
    "files": ["10.99.0.9"],
    "nas.local": ["fe80::9%1", "10.99.0.9"],
    "hostname": ["127.0.1.1"],
    "localhost": ["127.0.0.1"],
    "0xa.1": ["10.0.0.1"],
    "127.1": ["127.0.0.1"],
}


@pytest.fixture
def network(monkeypatch):
    """A network of names whose hosts refuse every connection: returned is the list of addresses that were connected to."""
    connected = []

    def resolve(host, port, *more, **options):
        found = NAMES.get(host) or ([host] if ":" in host or host.replace(".", "").isdigit() else [])
        if not found:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    async def connect(self, protocol, host, port, **options):
        connected.append(host)
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connect)
    return connected


PUBLIC = ["http://93.184.215.14", "http://api.public.example", "http://[2606:2800::1]", "http://dual.example", "http://unknown.example"]
PRIVATE = ["http://10.99.0.1:8000", "http://imagegen:8000", "http://gpu.lab.example:8000", "http://[fd12::1]:8000", "http://100.64.0.5"]
LOOPBACK = ["http://127.0.0.3:8000", "http://localhost:8000", "http://here.example:8000", "http://[::1]:8000", "http://0.0.0.0:8000"]

TO_PUBLIC = ["93.184.215.15", "public.cdn.example", "[2606:2800::9]", "[::ffff:93.184.215.15]"]
TO_PRIVATE = ["10.99.0.9:9000", "files:9000", "private.cdn.example", "nas.local", "[fd12::9]", "[::ffff:10.99.0.9]", "100.64.0.9", "0xa.1"]
TO_MIXED = ["mixed.cdn.example"]
TO_LOOPBACK = ["127.0.0.9:8000", "localhost:8000", "loop.cdn.example", "[::1]", "[::ffff:127.0.0.9]", "0.0.0.0:8000", "hostname", "127.1"]
NEVER = ["169.254.1.1", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "link.cdn.example", "[::ffff:169.254.1.1]"]
NEVER += ["224.0.0.1", "192.0.0.192", "203.0.113.1", "[2001:db8::1]", "[::127.0.0.1]", "255.255.255.255", "metadata.google.internal"]
LEADS = [
    *((base, host, base in PRIVATE + LOOPBACK) for base in PUBLIC + PRIVATE + LOOPBACK for host in TO_PRIVATE + TO_MIXED),
    *((base, host, base in LOOPBACK) for base in PUBLIC + PRIVATE + LOOPBACK for host in TO_LOOPBACK),
    *((base, host, True) for base in PUBLIC + PRIVATE + LOOPBACK for host in TO_PUBLIC),
    *((base, host, False) for base in PUBLIC + PRIVATE + LOOPBACK for host in NEVER),
]


@pytest.mark.parametrize("base", PUBLIC + PRIVATE + LOOPBACK)
def test_a_gateway_leads_as_far_as_its_own_network(base, network):
    """Base public, private and loopback, by number and by name, with results in every zone, over http and https."""
    wrong = []
    for host, allowed in [(host, allowed) for at, host, allowed in LEADS if at == base]:
        for address in (f"http://{host}/a.png", f"https://{host}/a.png"):
            network.clear()
            with pytest.raises((NotTrusted, NotSent)) as refused:
                download(address, base)
            if allowed is isinstance(refused.value, NotTrusted) or allowed is not bool(network):
                wrong.append((address, refused.value, list(network)))
    assert wrong == []


@pytest.mark.parametrize(
    ("base", "url", "allowed"),
    [
        ("https://api.public.example", "http://public.cdn.example/a.png", False),
        ("https://api.public.example", "http://10.99.0.9/a.png", False),
        ("https://10.99.0.1", "http://10.99.0.9/a.png", True),
        ("https://gpu.lab.example", "http://private.cdn.example/a.png", True),
        ("https://gpu.lab.example", "http://public.cdn.example/a.png", False),
        ("https://gpu.lab.example", "http://mixed.cdn.example/a.png", False),
        ("https://gpu.lab.example", "https://public.cdn.example/a.png", True),
        ("https://here.example", "http://127.0.0.9/a.png", True),
        ("http://api.public.example", "http://public.cdn.example/a.png", True),
    ],
)
def test_plain_http_stays_in_the_gateways_network(base, url, allowed, network):
    """A gateway on https may name http addresses of its private network alone; one on http may name any."""
    with pytest.raises((NotTrusted, NotSent)) as refused:
        download(url, base)
    assert (isinstance(refused.value, NotSent), bool(network)) == (allowed, allowed), refused.value


@pytest.mark.parametrize(
    ("base", "result", "words"),
    [
        ("http://10.99.0.1", "http://localhost:8000", "the server names itself localhost: set its public address there"),
        ("http://imagegen:8000", "http://127.0.0.1:8000", "the server names itself 127.0.0.1: set its public address there"),
        ("http://imagegen:8000", "http://0.0.0.0:8000", "the server names itself 0.0.0.0: set its public address there"),
        ("http://imagegen:8000", "http://hostname:8000", "the server names itself hostname: set its public address there"),
        ("https://api.public.example", "https://localhost", r"leads into a private network \(localhost\)"),
        ("https://api.public.example", "https://private.cdn.example", r"private network \(private.cdn.example is 10.99.0.9\)"),
        ("http://imagegen:8000", "http://link.cdn.example", "link.cdn.example is 169.254.169.254: link-local"),
    ],
)
def test_a_refused_address_names_who_has_to_act(base, result, words, network):
    """One line: the address, the charge, and that resume fetches it."""
    with pytest.raises(NotTrusted, match=words) as refused:
        download(f"{result}/a.png", base)
    assert (refused.value.charge, "resume" in refused.value.hint, network) == ("yes", True, [])


def test_a_name_with_an_extra_link_local_address_uses_the_other_one(network):
    """Names of a local network often have both."""
    with pytest.raises(NotSent):
        download("http://nas.local/a.png", "http://imagegen:8000")
    assert network == ["10.99.0.9"]


def test_images_are_fetched_behind_a_vpn_that_resolves_names(network):
    """If the gateway's own name resolves into 198.18.0.0/15, its images' names may too; elsewhere that is no public address."""
    with pytest.raises(NotSent):
        download("https://fake.cdn.example/a.png", "https://behind.vpn.example")
    for url in ("https://private.cdn.example/a.png", "https://10.99.0.9/a.png"):
        with pytest.raises(NotTrusted):
            download(url, "https://behind.vpn.example")
    with pytest.raises(NotTrusted):
        download("https://fake.cdn.example/a.png", "https://api.public.example")
    assert network == ["198.18.0.9"]


def test_a_gateway_does_not_become_private_by_resolving_differently_later(network, monkeypatch):
    """Its first zone counts: later its name leads into this network, and none of its addresses may."""

    async def main():
        clients = GatewayClients()
        try:
            with pytest.raises(NotSent):
                async with clients.polls("https://rebind.example").stream("GET", "https://rebind.example/", headers={}):
                    pass
            monkeypatch.setitem(NAMES, "rebind.example", ["10.99.0.1"])
            for url in ("https://10.99.0.9/a.png", "https://rebind.example/a.png", "https://private.cdn.example/a.png"):
                with pytest.raises(NotTrusted):
                    await fetched(clients, url, "https://rebind.example")
        finally:
            await clients.close()

    monkeypatch.setitem(NAMES, "rebind.example", ["93.184.215.14"])
    asyncio.run(main())
    assert network == ["93.184.215.14"]


def test_a_gateway_with_a_public_and_a_private_address_leads_to_itself(network):
    """Its own name is allowed as it was resolved for the gateway, other private hosts are not."""
    with pytest.raises(NotSent):
        download("http://dual.example/a.png", "http://dual.example")
    assert set(network) == {"93.184.215.14", "10.99.0.1"}


def test_behind_a_proxy_the_name_itself_is_checked(network, monkeypatch):
    """The proxy resolves names: a refused one is not requested from it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for base, url, allowed in (
        ("https://api.public.example", "https://public.cdn.example/a.png", True),
        ("https://api.public.example", "https://private.cdn.example/a.png", True),  # what the proxy makes of it is its own affair
        ("https://api.public.example", "https://files/a.png", False),
        ("https://api.public.example", "https://10.0.0.①/a.png", False),
        ("https://gpu.lab.example", "https://10.99.0.9/a.png", False),  # nothing but its name is known, which is a public one
        ("http://imagegen:8000", "http://10.99.0.9/a.png", True),
        ("http://imagegen:8000", "http://files/a.png", True),
        ("http://imagegen:8000", "http://localhost/a.png", False),
        ("http://imagegen:8000", "http://169.254.169.254/a.png", False),
        ("http://imagegen:8000", "http://metadata.google.internal/a.png", False),
        ("https://imagegen:8000", "http://public.cdn.example/a.png", False),
    ):
        with pytest.raises((NotSent, NotTrusted)) as refused:
            download(url, base)
        assert isinstance(refused.value, NotSent) is allowed, (base, url, refused.value)


def test_every_hop_of_a_redirect_is_checked():
    """From the gateway's network to another host of it, and no further."""
    with (
        web(lambda seen: (200, {}, b"picture"), "127.0.0.9") as files,
        web(lambda seen: (302, {"Location": files.origin + "/a.png"}, b""), "127.0.0.3") as gateway,
        web(lambda seen: (302, {"Location": "http://169.254.169.254/latest"}, b""), "127.0.0.3") as metadata,
    ):
        assert download(gateway.origin + "/a.png", gateway.origin) == b"picture"
        with pytest.raises(NotTrusted, match="link-local"):
            download(metadata.origin + "/a.png", metadata.origin)


def test_a_redirect_from_a_public_host_into_a_network_is_refused(monkeypatch):
    """The first hop is allowed and answers; the second is not contacted."""
    connected, connect = [], asyncio.BaseEventLoop.create_connection

    with web(lambda seen: (302, {"Location": f"http://{seen.headers['host'].replace('cdn', 'private')}/"}, b"")) as server:
        port = int(server.origin.rpartition(":")[2])

        def resolve(host, port, *more, **options):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.99.0.9" if "private" in host else "93.184.215.14", port))]

        async def far(self, protocol, host, port, **options):
            connected.append(host)
            return await connect(self, protocol, "127.0.0.1", port, **options)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", far)
        with pytest.raises(NotTrusted, match=r"private\.example is 10\.99\.0\.9"):
            download(f"http://cdn.example:{port}/a.png", "http://api.example")
    assert (connected, len(server.seen)) == (["93.184.215.14"], 1)


# whole requests


def _gateway(pictures, png=b""):
    """Return what answers as APIMart, whose pictures are at the address that `pictures()` returns."""

    def answer(seen):
        if seen.path.endswith("/uploads/images"):
            return 200, {}, json.dumps({"url": pictures() + "/up.png"}).encode()
        if seen.path.endswith("generations"):
            return 200, {}, b'{"code": 200, "data": [{"status": "submitted", "task_id": "t1"}]}'
        if seen.path.endswith(".png"):
            return 200, {}, png
        done = {"id": "t1", "status": "completed", "result": {"images": [{"url": [pictures() + "/p.png"]}]}}
        return 200, {}, json.dumps({"code": 200, "data": [done] if seen.method == "POST" else done}).encode()

    return answer


@pytest.fixture
def lab(monkeypatch):
    """A gateway at 127.0.0.3 whose pictures are at 127.0.0.9."""
    png = a_png(size=(1024, 1024))
    with web(lambda seen: (200, {}, png), "127.0.0.9") as files, web(_gateway(lambda: files.origin), "127.0.0.3") as gateway:
        monkeypatch.setenv("APIMART_BASE_URL", gateway.origin)
        monkeypatch.setenv("APIMART_API_KEY", SECRET)
        monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
        yield gateway, files


def test_a_gateway_whose_images_are_on_another_host_of_its_network(lab):
    """The image is fetched, an upload's address is used, and the key goes to the gateway alone."""
    gateway, files = lab
    made = run(generate("a fox", provider="apimart", size="1:1", references=[a_png()]))
    assert (len(made), made.errors) == (1, ())
    assert {seen.headers.get("authorization") for seen in gateway.seen} == {f"Bearer {SECRET}"}
    assert [("authorization" in seen.headers, seen.path) for seen in files.seen] == [(False, "/p.png")]
    (submitted,) = [json.loads(seen.body) for seen in gateway.seen if seen.path.endswith("generations")]
    assert submitted["image_urls"] == [files.origin + "/up.png"]


def test_a_server_that_names_itself_localhost_is_resumed_once_it_names_its_address(lab, monkeypatch):
    """The refused address is requested again from the gateway, without another submission."""
    _, files = lab
    at = ["http://169.254.1.1"]
    with web(_gateway(lambda: at[0]), "127.0.0.3") as wrong:
        monkeypatch.setenv("APIMART_BASE_URL", wrong.origin)
        with pytest.raises(DownloadError, match="link-local"):
            run(generate("a fox", provider="apimart", size="1:1"))
        at[0] = files.origin
        (made,) = api.resume().wait()
    assert made.path.exists()
    assert [seen.path for seen in wrong.seen if seen.method == "POST" and seen.path.endswith("generations")] == ["/v1/images/generations"]


# references by address


def test_a_task_of_a_base_url_with_a_password_is_still_collected(lab, monkeypatch):
    """An earlier version accepted such an address and did not send the password; the task is collected with the address without it."""
    at = ["http://169.254.1.1"]
    with web(_gateway(lambda: at[0]), "127.0.0.3") as older:
        monkeypatch.setenv("APIMART_BASE_URL", older.origin)
        with pytest.raises(DownloadError):
            run(generate("a fox", provider="apimart", size="1:1"))
        written = older.origin.replace("http://", "http://me:secret@")
        loop.run(api.ledger().run(lambda connection: connection.execute("UPDATE jobs SET base_url = ?", (written,))))
        monkeypatch.setenv("APIMART_BASE_URL", written)
        with pytest.raises(UnsupportedOption, match="a user name or a password"):
            api.resume().wait()
        monkeypatch.setenv("APIMART_BASE_URL", older.origin)
        at[0] = lab[1].origin
        (made,) = api.resume().wait()
    assert made.path.exists()


def _at(base, provider_tables=None):
    provider = get_provider("apimart", provider_tables or {})
    return Endpoint(provider, base, False, Key(SECRET), PollingPolicy())


@pytest.mark.parametrize(
    ("base", "address", "words"),
    [
        ("https://api.public.example", "https://public.cdn.example/a.png", None),
        ("https://api.public.example", "http://public.cdn.example/a.png", "it is http"),
        ("https://api.public.example", "http://10.99.0.9/a.png", "10.99.0.9 is in a private network"),
        ("https://api.public.example", "https://192.168.0.9:8443/a.png", "is in a private network"),
        ("https://api.public.example", "https://nas.local/a.png", "nas.local is in a private network"),
        ("https://api.public.example", "https://files/a.png", "files is in a private network"),
        ("https://api.public.example", "http://localhost/a.png", "localhost is this machine"),
        ("http://imagegen:8000", "http://10.99.0.9/a.png", None),
        ("http://imagegen:8000", "http://files:9000/a.png", None),
        ("http://10.99.0.1", "https://nas.local/a.png", None),
        ("http://gpu.lab.example", "http://private.cdn.example/a.png", None),
        ("http://gpu.lab.example", "http://public.cdn.example/a.png", "it is http"),
        ("http://gpu.lab.example", "https://public.cdn.example/a.png", None),
        ("http://imagegen:8000", "http://127.0.0.1/a.png", "127.0.0.1 is this machine"),
        ("http://localhost:8000", "http://127.0.0.9:9000/a.png", None),
        ("http://localhost:8000", "http://10.99.0.9/a.png", None),
    ],
)
@pytest.mark.parametrize("option", ["references", "mask"])
def test_a_reference_may_be_in_the_gateways_network(base, address, words, option, network):
    """A private address for a gateway in a private network, over http too; else it is refused before anything is sent."""
    at = _at(base)
    requested = (
        {"references": (address,)} if option == "references" else {"references": ("https://public.cdn.example/1.png",), "mask": address}
    )
    planned = at.provider.plan(ImageRequest("a fox", **requested))
    if words is None:
        routes.check(planned, at, load())
        return
    with pytest.raises(UnsupportedOption) as refused:
        routes.check(planned, at, load())
    assert (words in refused.value.what, refused.value.option, "uploaded" in refused.value.hint) == (True, option, True)


@pytest.mark.parametrize(("base", "fails"), [("http://10.99.0.1:8000", False), ("", True)])
def test_a_plan_checks_whether_a_reference_can_be_fetched(base, fails, network, monkeypatch):
    """`plan()` and --dry-run need no key for it."""
    if base:
        monkeypatch.setenv("EVOLINK_BASE_URL", base)
    request = ImageRequest("a fox", references=("http://10.99.0.9/a.png",))
    if fails:
        with pytest.raises(UnsupportedOption, match=r"10\.99\.0\.9 is in a private network"):
            api.plan(request, provider="evolink")
    else:
        assert api.plan(request, provider="evolink").calls[0].json["image_urls"] == ["http://10.99.0.9/a.png"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_sandbox_in_this_process_knows_its_own_images_by_both_schemes(scheme, monkeypatch):
    """The panel gives them as https, as every gateway requires; no other gateway can fetch one."""
    monkeypatch.setenv("GCCAI_API_KEY", "key-0123456789")
    address = f"{scheme}://sandbox.invalid/files/gccai/x/0.png"
    assert routes.fetchable(address, endpoints.endpoint_for(get_provider("gccai"), load(), sandbox=True))
    assert not routes.fetchable(address, endpoints.endpoint_for(get_provider("gccai"), load(), sandbox=False))


def test_the_sandbox_in_this_process_leads_into_no_network():
    """It stands for a public gateway."""
    at = endpoints.endpoint_for(get_provider("apimart"), load(), sandbox=True)
    planned = at.provider.plan(ImageRequest("a fox", references=("http://10.99.0.9/a.png",)))
    with pytest.raises(UnsupportedOption, match="is in a private network"):
        routes.check(planned, at, load())
    with pytest.raises(NotTrusted):
        download("http://10.99.0.9/a.png", at.base_url)


# where a gateway may be


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://me:secret@api.example.com", "'[hidden]@api.example.com' holds a user name or a password"),
        ("https://secret@api.example.com/v1", "holds a user name or a password"),
        ("me:secret@api.example.com", "is no address"),
        ("ftp://me:secret@api.example.com", "is no address"),
        ("http://169.254.1.1:8000", "link-local"),
        ("http://[fe80::1]:8000", "link-local"),
        ("https://api.example.com\\@10.0.0.1", "is no address"),
    ],
)
def test_an_invalid_base_url_is_refused_before_anything_is_sent(address, words, monkeypatch):
    """Its password is not shown. Images of a refused zone would be paid for and never fetched."""
    monkeypatch.setenv("EVOLINK_BASE_URL", address)
    monkeypatch.setenv("EVOLINK_API_KEY", SECRET)
    with pytest.raises(UnsupportedOption) as refused:
        run(generate("a fox", provider="evolink", size="1024x1024"))
    assert (words in refused.value.what, refused.value.charge) == (True, "no"), refused.value.what
    assert "secret" not in f"{refused.value} {refused.value.value} {refused.value.args}"


@pytest.mark.parametrize(
    "address", ["http://10.0.0.5:8000", "http://imagegen:8000", "http://gpu.lan", "http://[fd12::1]:8000", "http://localhost:8000"]
)
def test_a_configured_gateway_may_be_in_a_private_network_over_http(address):
    """A lab's server is configured as any other gateway."""
    tables = {"mine": {"like": "apimart", "base_url": address}}
    assert get_provider("mine", tables).base_url == address
    at = Endpoint(get_provider("mine", tables), address, False, Key(SECRET), PollingPolicy())
    assert routes._upload_url(at, "/v1/uploads/images", moved=True) == f"{address}/v1/uploads/images"


@pytest.mark.parametrize(
    "address", ["http://api.example.com", "http://169.254.1.1", "https://:secret@api.example.com", "https://me@api.example.com"]
)
def test_a_configured_gateway_elsewhere_needs_https_and_no_password(address):
    """As before."""
    with pytest.raises(UnknownProvider, match="no plain https address") as refused:
        get_provider("mine", {"mine": {"like": "apimart", "base_url": address}})
    assert "secret" not in str(refused.value)


def test_a_configured_gateway_takes_files_at_its_upload_url():
    """On another port, over http in a private network: the key goes to that origin, which the configuration names."""
    from imagegen_magic.engine.net.client import authorization

    table = {"like": "evolink", "base_url": "http://10.0.0.5:8000", "upload_url": "http://10.0.0.5:9000/up"}
    provider = get_provider("mine", {"mine": table})
    at = Endpoint(provider, provider.base_url, False, Key(SECRET), PollingPolicy())
    assert routes._upload_url(at, provider.upload.address, moved=True) == "http://10.0.0.5:9000/up"
    for url, goes in {"http://10.0.0.5:9000/up": True, "http://10.0.0.5:9001/up": False, "https://10.0.0.5:9000/up": False}.items():
        assert bool(authorization(Key(SECRET), provider.base_url, url, provider.key_hosts)) is goes


def test_uploads_move_with_a_base_url_into_a_private_network(network):
    """The gateway's own file host is not contacted, and a public base URL keeps the key from it."""
    provider = get_provider("evolink")
    for base, door in {
        "http://10.99.0.1:8000": "http://10.99.0.1:8000/api/v1/files/upload/stream",
        "http://gpu.lab.example": "http://gpu.lab.example/api/v1/files/upload/stream",
        "https://api.public.example": "",
    }.items():
        at = Endpoint(provider, base, False, Key(SECRET), PollingPolicy())
        assert routes._upload_url(at, provider.upload.address, moved=True) == door


@pytest.mark.parametrize("given", ["--ref {0}/a.png", "--mask {0}/a.png --ref https://x.example/a.png", "--callback-url {0}/hook"])
@pytest.mark.parametrize("cell", ["%%imagegen -p evolink {0}\na fox", "%%imagegen -p evolink --dry-run {0}\na fox"])
def test_a_password_in_an_address_of_a_cell_is_refused_and_not_stored(cell, given, tmp_path, monkeypatch):
    """One line, which does not show it; neither the ledger nor any other file has it."""
    _refused_in(cell.format(given.format("https://me:S3CR3T@x.example")), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "given",
    [
        "--set hook=https://me:S3CR3T@x.example/",
        '--set \'hook={"at": ["https://S3CR3T@x.example/"]}\'',
        "https://me:S3CR3T@x.example/a.png",
    ],
)
def test_a_password_in_an_extra_field_or_a_stray_word_is_refused_too(given, tmp_path, monkeypatch):
    """Also deep within JSON; the error of an invalid line does not show it either."""
    _refused_in(f"%%imagegen -p evolink {given}\na fox", tmp_path, monkeypatch)


def _refused_in(cell, folder, monkeypatch):
    monkeypatch.setenv("EVOLINK_API_KEY", SECRET)
    with a_shell() as shell:
        with pytest.raises((UnsupportedOption, UsageError)) as refused:
            shell.run(cell)
        assert "S3CR3T" not in f"{refused.value} {shell.shown()} {shell.shown('text/html')}"
    loop.stop()
    assert [path for path in folder.rglob("*") if path.is_file() and b"S3CR3T" in path.read_bytes()] == []


def test_a_password_in_an_address_of_a_call_is_refused(monkeypatch):
    """In Python as in a cell, before anything is sent."""
    monkeypatch.setenv("EVOLINK_API_KEY", SECRET)
    address = "https://me:S3CR3T@x.example/a.png"
    for requested in ({"references": [address]}, {"callback_url": address}, {"extra": {"hook": address}}):
        with pytest.raises(UnsupportedOption, match="a user name or a password") as refused:
            run(generate("a fox", provider="evolink", size="1:1", **requested))
        assert "S3CR3T" not in f"{refused.value} {refused.value.value}"
    with pytest.raises(UnsupportedOption, match="a user name or a password"):
        run(sweep("a fox", {"references": [[address], []]}, provider="evolink", size="1:1"))


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000/up.png", "http://localhost/up.png"])
def test_a_private_server_whose_upload_names_localhost_is_reported(address, network):
    """As for results: who has to act, and on which server."""
    from imagegen_magic.engine.uploads.uploader import _read

    picture = LocalImage(a_png(), "image/png", 48, 32, "fox.png")
    with pytest.raises(UploadFailed, match=r"the server names itself .*: set its public address there"):
        _read(_at("http://imagegen:8000"), GatewayResponse(200, {"url": address}), picture)
