"""The sandbox as a process of its own on a real socket: command line, broken connections, tasks that outlive it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from gateway_table import GATEWAYS
from servers import SandboxServer, sandbox_server, start_sandbox

from imagegen_magic.sandbox.__main__ import main

pytestmark = pytest.mark.slow

KEY = {"authorization": "Bearer sk-test"}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that the server's stderr goes to."""
    return tmp_path_factory.mktemp("sandbox") / "stderr.txt"


@pytest.fixture(scope="module")
def shared(complaints: Path) -> Iterator[SandboxServer]:
    """Run one server for the whole file; its tasks are finished at once."""
    with sandbox_server(duration=0, stderr=complaints) as server:
        yield server


@pytest.fixture
def server(shared: SandboxServer) -> SandboxServer:
    """Return the server with no fault armed."""
    shared.disarm()
    return shared


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    """Return a client that asks no proxy."""
    with httpx2.Client(trust_env=False, timeout=10) as client:
        yield client


def submit(client: httpx2.Client, server: SandboxServer, prompt: str, **more: object) -> httpx2.Response:
    """Submit to evolink's dialect."""
    return client.post(f"{server.base_url('evolink')}/v1/images/generations", json={"prompt": prompt, "size": "1:1", **more}, headers=KEY)


def address(client: httpx2.Client, server: SandboxServer, prompt: str) -> str:
    """Submit and return the picture's address."""
    task = submit(client, server, prompt).json()["id"]
    url: str = client.get(f"{server.base_url('evolink')}/v1/tasks/{task}", headers=KEY).json()["results"][0]
    return url


def test_it_serves_pictures_from_its_own_origin(server: SandboxServer, client: httpx2.Client) -> None:
    """Submit, look and download over the socket; no key goes with the download."""
    url = address(client, server, "over a socket")
    assert url.startswith(f"{server.origin}/files/evolink/")
    assert client.get(url).content[:8] == b"\x89PNG\r\n\x1a\n"
    assert client.get(url, headers=KEY).status_code == 400
    assert server.log()["downloads_with_key"] >= 1


def test_port_0_is_told_with_every_export(server: SandboxServer) -> None:
    """It prints the origin that it listens on, and one export line a gateway."""
    assert f"listening on {server.origin} " in server.greeting
    for name, base_url in ((name, server.base_url(name)) for name in GATEWAYS):
        assert f"export {name.upper()}_BASE_URL={base_url} {name.upper()}_API_KEY=sandbox" in server.greeting
    assert server.environ("evolink") == {"EVOLINK_BASE_URL": server.base_url("evolink"), "EVOLINK_API_KEY": "sandbox"}


def test_a_dropped_submission_is_one_accepted_task(server: SandboxServer, client: httpx2.Client) -> None:
    """The client sees a broken connection, the log one task."""
    server.arm("drop-after-accept", match="dropped submission")
    with pytest.raises(httpx2.RemoteProtocolError):
        submit(client, server, "dropped submission")
    assert [entry["fault"] for entry in server.accepted("dropped submission")] == ["drop-after-accept"]


def test_a_hanging_submission_is_one_accepted_task(server: SandboxServer) -> None:
    """The client's patience ends, and the server goes on serving."""
    server.arm("hang-after-accept", match="hanging")
    with httpx2.Client(trust_env=False, timeout=0.3) as impatient, pytest.raises(httpx2.ReadTimeout):
        submit(impatient, server, "hanging")
    assert len(server.accepted("hanging")) == 1


@pytest.mark.parametrize("kind", ["truncated", "dropped-download"])
def test_a_broken_download_is_seen_as_one(server: SandboxServer, client: httpx2.Client, kind: str) -> None:
    """The connection closes before the promised bytes; the next download is whole."""
    url = address(client, server, f"broken by {kind}")
    server.arm(kind)
    with pytest.raises(httpx2.RemoteProtocolError):
        client.get(url)
    assert client.get(url).status_code == 200


def test_a_truncated_jpeg_looks_whole_on_the_wire(server: SandboxServer, client: httpx2.Client) -> None:
    """Chunked and properly ended: only its bytes show it."""
    url = address(client, server, "cut jpeg")
    server.arm("truncated-jpeg")
    response = client.get(url)
    assert (response.headers.get("transfer-encoding"), response.content[-2:] == b"\xff\xd9") == ("chunked", False)


@pytest.mark.parametrize("kind", ["oversized", "oversized-undeclared"])
def test_an_oversized_download_can_be_left_early(server: SandboxServer, client: httpx2.Client, kind: str) -> None:
    """Whoever closes the connection leaves a living server behind."""
    url = address(client, server, kind)
    server.arm(kind)
    with client.stream("GET", url) as response:
        next(response.iter_bytes())
    assert server.log()["downloads"] >= 1


def test_the_console_shows_no_traceback_of_faults(server: SandboxServer, client: httpx2.Client, complaints: Path) -> None:
    """Connections that break on purpose are no news."""
    for kind in ("truncated", "dropped-download"):
        url = address(client, server, f"quiet {kind}")
        server.arm(kind)
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get(url)
    assert complaints.read_text() == ""


def test_a_killed_server_leaves_its_tasks_to_the_next(tmp_path: Path, client: httpx2.Client) -> None:
    """With --home, a new process on another port knows the task and draws the same picture."""
    first = start_sandbox(duration=0, home=tmp_path)
    try:
        url = address(client, first, "left behind")
        picture = client.get(url).content
    finally:
        first.kill()
    with sandbox_server(duration=0, home=tmp_path) as second:
        task = url.split("/")[5]
        again = client.get(f"{second.base_url('evolink')}/v1/tasks/{task}", headers=KEY).json()["results"][0]
        assert client.get(again).content == picture


def test_faults_and_waiting_come_from_the_command_line(client: httpx2.Client) -> None:
    """`--fault KIND:TIMES`, repeatable, `--duration` and `--plain`."""
    with sandbox_server(duration=30, plain=True, fault=["unavailable:2", "failed"]) as server:
        statuses = [submit(client, server, "x").status_code for _ in range(3)]
        task = server.accepted("x")[0]["task_id"]
        answer = client.get(f"{server.base_url('evolink')}/v1/tasks/{task}", headers=KEY).json()
        assert (statuses, answer["status"]) == ([503, 503, 200], "pending")


def test_the_app_gets_the_seconds_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--latency`, `--duration`, `--scale` and `--lifetime`; tests/test_sandbox.py shows what each does."""
    given: dict[str, object] = {}

    def create(**options: object) -> None:
        given.update(options)
        raise ValueError("no server is needed")

    monkeypatch.setattr("imagegen_magic.sandbox.__main__.create_app", create)
    with pytest.raises(SystemExit):
        main(["--latency", "0.3", "--duration", "4", "--scale", "0.5", "--lifetime", "200"])
    assert [given[name] for name in ("latency", "duration", "scale", "lifetime")] == [0.3, 4, 0.5, 200]


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, *(("-c", code) if code else ("-m", "imagegen_magic.sandbox")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_unknown_fault_on_the_command_line_is_one_line() -> None:
    """It names the faults there are."""
    done = run("--fault", "nope")
    assert (done.returncode, "no fault is called 'nope'" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--port", "99999", "'99999' is no port"),
        ("--port", "-1", "'-1' is no port"),
        ("--lifetime", "0", "lifetime must be at least"),
        ("--scale", "nan", "must be numbers of 0 and more"),
        ("--fault", "failed:" + "9" * 5000, "digits"),
    ],
)
def test_a_number_that_cannot_be_is_one_line(option: str, value: str, words: str) -> None:
    """It says what can be, and ends without a traceback."""
    done = run(f"{option}={value}")
    assert (done.returncode, words in done.stderr.splitlines()[-1], "Traceback" in done.stderr) == (2, True, False)


def test_a_busy_port_is_one_line(server: SandboxServer) -> None:
    """It says which, and ends."""
    port = server.origin.rsplit(":", 1)[1]
    done = run("--port", port)
    assert (done.returncode, done.stderr) == (1, f"cannot listen on 127.0.0.1:{port}: Address already in use\n")


def test_without_uvicorn_one_line_says_what_to_install() -> None:
    """No traceback."""
    done = run(code="import sys; sys.modules['uvicorn'] = None; from imagegen_magic.sandbox.__main__ import main; sys.exit(main([]))")
    assert (done.returncode, done.stderr) == (1, "the sandbox on a socket needs uvicorn: pip install 'imagegen-magic[sandbox]'\n")


def test_the_helper_says_when_a_server_does_not_start() -> None:
    """A wrong option is an error of the test, at once."""
    with pytest.raises(RuntimeError, match="did not start"):
        start_sandbox(fault="nope", stderr=Path("complaints.txt"))
