"""Downloads are bounded: images in memory and in transfer, queues, and saves during a timeout or a cancellation."""

import asyncio
import contextlib
import socket
import threading
import weakref
from pathlib import Path

import pytest
from filehost import PNG, STRANGE, FileHost, file_host
from ledgers import a_png
from waiting import until
from webserver import web

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import api, loop, threads
from imagegen_magic.engine import context as session_module
from imagegen_magic.engine.clock import Clock
from imagegen_magic.engine.jobs import fetch
from imagegen_magic.engine.net.transport import Pool
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import images
from imagegen_magic.engine.storage.parts import Part
from imagegen_magic.errors import DownloadError, ImageInvalid, TaskTimeout, WaitingStopped
from imagegen_magic.imaging import verify as verifying
from imagegen_magic.imaging.decode import DECODERS
from imagegen_magic.result import Progress

pytestmark = pytest.mark.slow

ONE = {"provider": "apimart", "size": "1:1"}
LARGE = PNG + bytes(600_000)  # of more than one piece: it goes over the disk


@pytest.fixture
def host(monkeypatch):
    """A gateway whose files are the test's."""
    with file_host(monkeypatch) as running:
        yield running


@pytest.fixture
def other(monkeypatch):
    """Another gateway, on a host of its own."""
    second = FileHost()
    with web(second, host="127.0.0.2") as server:
        second.server = server
        for name, value in {"GCCAI_BASE_URL": server.origin, "GCCAI_API_KEY": "k"}.items():
            monkeypatch.setenv(name, value)
        yield second


def start(prompt="a fox", provider="apimart", **options):
    """Begin a request for pictures."""
    settings = load().replace("a test", timeout=options.pop("timeout", 600.0))
    return api.start(ImageRequest(prompt, size="1:1", **options), provider=provider, timeout=settings.get("timeout"))


def states():
    """Return the states of the ledger's tasks, newest first."""
    return [task.state for task in loop.run(api.ledger(load()).tasks())]


class Count:
    """How many are within at once, and the most there ever were."""

    def __init__(self):
        self.now = self.most = self.all = 0
        self._lock = threading.Lock()

    def __enter__(self):
        with self._lock:
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self._lock:
            self.now -= 1


# --- what is bounded


@pytest.mark.slow
def test_images_in_memory_and_in_transfer_are_bounded(host, monkeypatch):
    """Of sixty images at most four are in memory and two dozen are in transfer or wait on the disk; the others are not requested yet."""
    parts, within, open_, held = weakref.WeakSet(), Count(), [], []
    real_verify, real_close, real_init = verifying.verify, fetch.Download.close, Part.__init__

    def verify(data, **options):
        with within:
            held.append(sum(sum(map(len, part._pending)) for part in list(parts)))
            return real_verify(data, **options)

    def init(part, *given):
        real_init(part, *given)
        parts.add(part)

    def close(download):
        real_close(download)
        host.closed += 1

    def file(number, path):
        open_.append(number - host.closed)
        return LARGE

    host.closed, host.pictures, host.file = 0, 4, file
    monkeypatch.setattr(verifying, "verify", verify)
    monkeypatch.setattr(fetch.Download, "close", close)
    monkeypatch.setattr(Part, "__init__", init)
    made = start(n=60).wait()
    assert (len(made), within.all) == (60, 60)
    assert within.most <= threads.IN_MEMORY == 4
    assert max(open_) <= fetch._READY + 8 + threads.IN_MEMORY
    assert max(held) <= (fetch._READY + 8) * fetch._PIECE  # what has come waits on the disk
    assert all(image.data == LARGE for image in made)


def test_a_large_body_is_written_as_it_arrives(host, monkeypatch):
    """Little of it is in memory at once."""
    written = []
    real = Part.write

    def write(part, data):
        written.append(len(data))
        real(part, data)

    monkeypatch.setattr(Part, "write", write)
    host.file = lambda number, path: PNG + bytes(8 * 2**20)
    made = run(generate("a fox", **ONE))
    assert made[0].path.stat().st_size == len(PNG) + 8 * 2**20
    assert max(written) < 2 * 2**20  # a piece, and what a connection lets in before it is read
    assert sum(written) > 7 * 2**20


def test_a_small_body_touches_the_disk_only_when_it_is_saved(host, monkeypatch):
    """Thousands of small images cost one write each."""
    monkeypatch.setattr(Part, "write", lambda part, data: pytest.fail("written as it came"))
    assert run(generate("a fox", **ONE))[0].data == PNG


def test_only_four_large_answers_are_fetched_at_once(host, monkeypatch):
    """Each has a slot before it is requested."""
    within, parts = Count(), []
    monkeypatch.setattr(fetch, "MAX_BYTES", len(LARGE) - 1)
    monkeypatch.setattr("imagegen_magic.engine.jobs.download.MAX_BYTES", len(LARGE) - 1)
    monkeypatch.setattr(fetch, "SPARE", 0)
    real_close, real_read = fetch.Download.close, fetch._read

    async def read(reply, part, most):
        if most == fetch.LARGEST:
            within.__enter__()
            parts.append(part)
        await real_read(reply, part, most)

    def close(download):
        if download.part in parts:
            within.__exit__()
        real_close(download)

    monkeypatch.setattr(fetch, "_read", read)
    monkeypatch.setattr(fetch.Download, "close", close)
    host.pictures, host.file = 4, lambda number, path: LARGE + path.encode()
    with pytest.raises(Exception, match="more than the"):
        start(n=12).wait()
    assert (within.all, within.most <= 4) == (12, True)


# --- who waits for whom


@pytest.mark.slow
def test_a_poll_does_not_wait_for_decoders(host, other, monkeypatch):
    """Name resolution has its own threads: while all decoders are busy, another gateway is resolved, polled and fetched from."""
    origin = other.server.origin.replace("127.0.0.2", "localhost")
    monkeypatch.setenv("GCCAI_BASE_URL", origin)
    resolved = []
    real = socket.getaddrinfo

    def getaddrinfo(name, port, *more, **options):
        resolved.append(name)
        return real("127.0.0.2" if name == "localhost" else name, port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    DECODERS.acquire()
    DECODERS.acquire()
    try:
        host.pictures = 4
        job = start(n=40)
        until(lambda: host.downloads >= 20)
        second = start("an owl", "gccai")
        until(lambda: other.downloads == 1)
        assert "localhost" in resolved
        assert not job.images
    finally:
        DECODERS.release()
        DECODERS.release()
    assert (len(job.wait()), len(second.wait())) == (40, 1)


@pytest.mark.slow
def test_hanging_downloads_of_one_host_delay_no_other_host(host, other):
    """Eight of one gateway hang: another's images are saved, and the first gateway is still polled and submitted to."""
    hanging = threading.Event()

    def hang(number, path):
        hanging.wait(60)
        return PNG

    host.pictures, host.file = 4, hang
    job = start(n=12)
    until(lambda: host.downloads == 8)
    assert len(start("an owl", "gccai").wait()) == 1
    third = start("a cat")
    until(lambda: states()[0] == "made")
    assert host.downloads == 8
    hanging.set()
    assert (len(job.wait()), len(third.wait())) == (12, 4)


def test_hosts_of_one_gateway_have_separate_slots(host, other):
    """Two file hosts: downloads that hang at one do not block the other."""
    hanging = threading.Event()
    host.pictures, host.file = 4, lambda number, path: hanging.wait(60) and PNG
    job = start(n=8)
    until(lambda: host.downloads == 8)
    host.host, host.pictures = other.server.origin, 1
    assert len(start("an owl").wait()) == 1
    assert (other.downloads, other.submissions) == (1, 0)
    hanging.set()
    assert len(job.wait()) == 8


# --- what is temporary


@pytest.mark.parametrize("status", [429, 502, 503, 408])
def test_a_renewed_address_that_is_busy_is_retried(status, host):
    """Expired, renewed, and the file host is busy: it is retried until the image comes."""
    host.renews = True
    answers = {1: (410, {}, b""), 2: (status, {}, b""), 3: (status, {}, b"")}
    host.file = lambda number, path: answers.get(number, PNG)
    notes = []

    async def main():
        job = start()
        async for event in job.events():
            if isinstance(event, Progress):
                notes.append(event.note)
        return await job.result()

    assert loop.run(main())[0].data == PNG
    assert f"the file host answered {status}, again in 1 s" in notes
    assert (host.submissions, host.downloads) == (1, 4)


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_renewed_address_that_stays_busy_is_not_reported_as_expired(status, host):
    """The error says that the file host is busy; the image stays resumable."""
    host.renews = True
    host.file = lambda number, path: (410, {}, b"") if number == 1 else (status, {}, b"")
    with pytest.raises(DownloadError, match=rf"just now \(the file host answered {status}\).*it was charged. %imagegen resume") as error:
        run(generate("a fox", **ONE))
    assert "expired" not in str(error.value)
    assert (states(), api.ledger(load()).count_resumable()) == (["made"], 1)
    host.file = lambda number, path: PNG
    assert len(api.resume(load()).wait()) == 1


def test_a_gateway_that_cannot_renew_an_address_now_is_retried(host):
    """The poll for a new address is answered 503: as temporary as the file host's own."""
    host.renews = True
    host.file = lambda number, path: PNG if path.endswith("look=4") else (410, {}, b"")
    host.at_look = lambda: (503, {}, b"{}") if host.looks in (2, 3) else None
    assert run(generate("a fox", **ONE))[0].data == PNG


def test_a_pause_beyond_the_timeout_is_not_begun(host):
    """Retry-After of an hour with a timeout of ten minutes: the error comes at once."""
    host.file = lambda number, path: (503, {"Retry-After": "3600"}, b"")
    with pytest.raises(DownloadError, match="answered 503"):
        run(generate("a fox", **ONE))
    assert (host.downloads, api.ledger(load()).count_resumable()) == (1, 1)


def test_a_timeout_during_a_pause_names_the_obstacle(host):
    """The file host was busy; the gateway had finished."""
    host.file = lambda number, path: (503, {"Retry-After": "1"}, b"")
    with pytest.raises(DownloadError, match="answered 503"):
        run(generate("a fox", **ONE, timeout=1.5))
    assert states() == ["made"]


def test_a_poll_that_names_fewer_images_loses_none_in_transfer(host):
    """One address has expired, and the gateway's next answer lacks the other image; it is saved all the same."""
    renewed = threading.Event()
    host.pictures, host.renews = 2, True

    def file(number, path):
        if "/1.png" in path:
            assert renewed.wait(60)
            return PNG + b"second"
        if path.endswith("?look=1"):
            host.pictures = 1
            return 404, {}, b""
        renewed.set()
        return PNG + b"first"

    host.file = file
    made = start(n=2).wait()
    assert [image.data for image in made] == [PNG + b"first", PNG + b"second"]
    assert (made.errors, [image.differences for image in made], states()) == ((), [(), ()], ["saved"])


# --- what ends in the middle of a saving


@pytest.fixture
def slow_save(monkeypatch):
    """Saving begins, and continues when the test lets it."""
    monkeypatch.setattr(loop, "_GRACE", 1.2)
    monkeypatch.setattr("imagegen_magic.engine.jobs.job._CLEANUP", 0.4)
    began, go_on, real = threading.Event(), threading.Event(), images.save

    def save(*given, **more):
        began.set()
        assert go_on.wait(60)
        return real(*given, **more)

    monkeypatch.setattr(images, "save", save)
    return began, go_on


class Deadline:
    """The deadline of every request, which comes when a test says so."""

    def __init__(self):
        self._running = []

    def timeout_at(self, clock, moment):
        """Stand for `Clock.timeout_at`."""
        self._running.append(asyncio.timeout(None))
        return self._running[-1]

    def come(self):
        """End what still waits, and return when nothing does."""
        loop.run(self._come())

    async def _come(self):
        for timeout in self._running:
            with contextlib.suppress(RuntimeError):  # it has ended
                timeout.reschedule(asyncio.get_running_loop().time())
                while not timeout.expired():
                    await asyncio.sleep(0)


@pytest.fixture
def deadline(monkeypatch):
    """A deadline that a test lets come."""
    chosen = Deadline()
    monkeypatch.setattr(Clock, "timeout_at", lambda clock, moment: chosen.timeout_at(clock, moment))
    return chosen


def test_a_timeout_does_not_interrupt_a_save(host, slow_save, deadline):
    """An image that has arrived is saved and is in the Generation, without an error."""
    began, go_on = slow_save
    job = start()
    assert began.wait(60)
    deadline.come()
    assert not job.done
    go_on.set()
    made = job.wait()
    assert (len(made), made.errors, states()) == (1, (), ["saved"])


def test_a_timeout_keeps_what_has_arrived(host, slow_save, deadline):
    """Of two images one is being saved and the other hangs at its host."""
    began, go_on = slow_save
    hanging = threading.Event()
    host.pictures = 2
    host.file = lambda number, path: PNG if path.endswith("/0.png") else (hanging.wait(60) and PNG)
    job = start(n=2)
    assert began.wait(60)
    deadline.come()
    go_on.set()
    made = job.wait()
    assert ([type(error) for error in made.errors], len(made)) == ([TaskTimeout], 1)
    assert api.ledger(load()).count_resumable() == 1
    hanging.set()


def test_a_timeout_while_fetching_says_that_the_image_was_made(host, deadline):
    """Our patience ended while it was fetched."""
    hanging = threading.Event()
    host.file = lambda number, path: hanging.wait(60) and PNG
    job = start(timeout=1)
    until(lambda: host.downloads)
    deadline.come()
    with pytest.raises(TaskTimeout, match="was made, and was not fetched within 1 s") as caught:
        job.wait()
    assert (caught.value.charge, api.ledger(load()).count_resumable()) == ("yes", 1)
    hanging.set()


def test_cancel_waits_for_a_save_that_ends_soon(host, slow_save, monkeypatch):
    """The image is in the Generation, and no message says that the task goes on at the gateway."""
    monkeypatch.setattr(loop, "_GRACE", 30.0)
    monkeypatch.setattr("imagegen_magic.engine.jobs.job._CLEANUP", 30.0)
    began, go_on = slow_save
    job = start()
    assert began.wait(60)
    job.cancel()
    until(lambda: job._stopping)
    go_on.set()
    made = job.wait()
    assert (len(made), made.errors, states()) == (1, (), ["saved"])


def test_cancel_while_an_unreadable_file_is_settled_names_it(host, monkeypatch):
    """It came for the second time when the job was cancelled: settled, and reported with the cancellation."""
    real, jobs = images.keep_unreadable, []

    def keep(*given, **more):
        path, settled = real(*given, **more)
        if settled:
            jobs[0].cancel()
            until(lambda: jobs[0]._stopping)
        return path, settled

    monkeypatch.setattr(images, "keep_unreadable", keep)
    host.file = lambda number, path: STRANGE
    jobs.append(start())
    with pytest.raises(ImageInvalid, match="kept as"):
        jobs[0].wait()
    assert (states(), api.ledger(load()).count_resumable()) == (["saved"], 0)


def test_an_image_that_is_saved_after_its_cancelled_job_is_in_the_ledger(host, slow_save):
    """The job has ended without it; no other process takes the task meanwhile; then the ledger has the image."""
    began, go_on = slow_save
    job = start()
    assert began.wait(60)
    job.cancel()
    with pytest.raises(WaitingStopped, match="%imagegen resume"):
        job.wait()
    assert api.resume(load()).expecting == 0  # it is still being saved
    go_on.set()
    until(lambda: states() == ["saved"])
    until(lambda: loop.run(api.ledger(load()).tasks())[0].owner is None)
    assert (job.images, job.generation) == ([], None)
    assert len(loop.run(api.ledger(load()).pictures())) == 1
    assert host.downloads == 1


def test_interrupting_a_wait_does_not_lose_an_image_that_is_being_saved(host, slow_save):
    """The caller's task is cancelled: the image is in the ledger all the same."""
    began, go_on = slow_save

    async def main():
        task = asyncio.create_task(generate("a fox", **ONE))
        while not began.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until(lambda: states() == ["saved"])


def test_a_discarded_part_is_not_written_to(tmp_path):
    """Its descriptor may be another file's by then."""
    part = Part(tmp_path / "here")
    part.write(a_png())
    (hidden,) = (tmp_path / "here").iterdir()
    part.discard()
    part.write(b"more")
    assert (hidden.exists(), list((tmp_path / "here").iterdir())) == (False, [])


def test_a_complete_answer_frees_its_slot_when_it_is_cancelled_late(host, monkeypatch):
    """While its connection returns to the pool: neither its slot nor its hidden file remains."""
    real = Pool.stream

    @contextlib.asynccontextmanager
    async def slow_to_end(self, method, url, **more):
        async with real(self, method, url, **more) as reply:
            yield reply
        if "/files/" in url:
            ending.set()
            await asyncio.sleep(60)

    ending = threading.Event()
    monkeypatch.setattr(Pool, "stream", slow_to_end)
    host.file = lambda number, path: LARGE
    job = start()
    assert ending.wait(60)
    job.cancel()
    with pytest.raises(WaitingStopped):
        job.wait()
    (session,) = session_module._contexts.values()
    assert session.fetcher._ready.taken == 0
    assert list(Path("imagegen").glob(".*.part")) == []
