"""The rates of one key: submissions in flight, submissions a minute, open tasks, and a Retry-After that pauses all of them."""

import asyncio
import contextlib
import math
import threading
import time

import pytest
from servers import sandbox_thread
from waiting import JumpingClock, until
from webserver import web

from imagegen_magic import ImageRequest
from imagegen_magic.engine import api, clock, loop
from imagegen_magic.engine.context import context_of
from imagegen_magic.engine.endpoints import endpoint_for
from imagegen_magic.engine.jobs import fetch
from imagegen_magic.engine.net.client import GatewayClients
from imagegen_magic.engine.net.retry import Retryable
from imagegen_magic.engine.rates import Limits, SubmissionLimiter, limits_of
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.slots import Slots
from imagegen_magic.errors import ContentRejected, RateLimited
from imagegen_magic.providers import registry

DURATION = 0.1  # seconds of a task at the server


@pytest.fixture(scope="module")
def server():
    """A server whose tasks take a tenth of a second."""
    with sandbox_thread(duration=DURATION) as running:
        yield running


@pytest.fixture
def gateway(server, monkeypatch):
    """Point every gateway at the server."""
    server.be_every_gateway(monkeypatch)
    return server


@pytest.fixture
def quick_clock():
    """Let a minute of the engine pass in half a second."""
    clock.set_testing(120.0)
    yield
    clock.set_testing(None)


def start(prompt, n, **settings):
    """Begin `n` tasks of one picture each."""
    chosen = load().replace("a test", **settings)
    return api.start_batch([api.prepare(ImageRequest(prompt, size="1024x1024"), chosen, "evolink")] * n, chosen)


def arrivals(server, prompt):
    """Return when each submission of a prompt arrived, in epoch seconds."""
    return sorted(entry["at"] for entry in server.submissions(prompt))


class Service:
    """A service in jumping time: when each submission arrived, and how many were in flight."""

    def __init__(self, jumping, latency=1.0):
        self.clock, self.latency = jumping, latency
        self.limiter = SubmissionLimiter(jumping)
        self.arrived, self.notes, self.in_flight, self.most = [], [], 0, 0

    async def submit(self, limits, *, patience=math.inf, pauses=()):
        """Submit once; `pauses` are the Retry-After values of the first answers."""
        async with self.limiter.in_flight(limits.at_once):
            for pause in (*pauses, None):
                with contextlib.suppress(_Busy):
                    async with self.limiter.turn(limits.per_minute, patience, self.notes.append):
                        self.in_flight += 1
                        self.most = max(self.most, self.in_flight)
                        await self.clock.sleep(self.latency * 0.4)
                        self.arrived.append(self.clock.now)
                        await self.clock.sleep(self.latency * 0.6)
                        self.in_flight -= 1
                        if pause is not None:
                            raise _Busy(pause)


class _Busy(Retryable):
    def __init__(self, pause):
        super().__init__(RateLimited("slow down"), "the service asks to wait (429)", pause)


@pytest.mark.parametrize("latency", [0.1, 1.0, 20.0])
def test_never_more_in_flight_and_never_more_a_minute(latency):
    """Of 65 submissions at 20 a minute, no minute of the service has 21, at any latency; and all go out as fast as that allows."""
    jumping = JumpingClock()
    service = Service(jumping, latency)

    async def all_of_them():
        await asyncio.gather(*(service.submit(Limits(7, 20)) for _ in range(65)))

    jumping.run(all_of_them())
    assert service.most == 7
    assert all(later - earlier >= 60 for earlier, later in zip(service.arrived, service.arrived[20:], strict=False))
    assert jumping.now < 3 * 60 + 15 + 65 / 7 * latency


def test_a_retry_after_pauses_every_submission_of_the_key():
    """One of twelve is refused for 30 seconds: none arrives until then but those that were out, and the others show why they wait."""
    jumping = JumpingClock()
    service = Service(jumping)

    async def all_of_them():
        await asyncio.gather(*(service.submit(Limits(3), pauses=[30.0] if number == 0 else []) for number in range(12)))

    jumping.run(all_of_them())
    first = service.arrived[:3]
    assert max(first) < 1
    assert min(service.arrived[3:]) >= 1 + 30
    assert len(service.arrived) == 13
    assert "the service asks to wait (429), again in 30 s" in service.notes


def test_a_pause_beyond_the_patience_is_the_refusal_itself():
    """What would wait for longer than its timeout ends at once, with the error of the refusal that began the pause."""
    jumping = JumpingClock()
    service = Service(jumping)

    async def refused_then_another():
        with pytest.raises(_Busy):
            async with service.limiter.turn(None, 600, service.notes.append):
                raise _Busy(3600)
        with pytest.raises(Retryable) as second:
            async with service.limiter.turn(None, 600, service.notes.append):
                raise AssertionError("it went out")
        return second.value

    refusal = jumping.run(refused_then_another())
    assert isinstance(refusal.error, RateLimited)
    assert (refusal.pause, jumping.now) == (3600, 0)


def test_slots_go_to_the_lowest_rank_and_then_to_the_first():
    """Also past waiters that were cancelled; a slot without a limit is there at once."""
    order = []

    async def use(slots, name, rank):
        async with slots.slot(1, rank):
            order.append(name)
            await asyncio.sleep(0)

    async def contend():
        slots = Slots()
        async with slots.slot(1):
            waiting = {name: asyncio.create_task(use(slots, name, rank)) for name, rank in [("c", 3), ("a", 1), ("b", 2), ("a2", 1)]}
            await asyncio.sleep(0)
            waiting["b"].cancel()
            await slots.acquire(None)
            slots.release()
        await asyncio.wait(waiting.values())
        return slots.taken

    assert asyncio.run(contend()) == 0
    assert order == ["a", "a2", "c"]


def test_the_submissions_of_a_minute_as_the_server_logs_them(gateway, quick_clock):
    """Seven tasks at three a minute, two at once: no minute of the server's log has four."""
    job = start("three a minute", 7, submits_per_minute=3, submits_at_once=2)
    assert len(job.wait()) == 7
    times = arrivals(gateway, "three a minute")
    assert len(times) == 7
    assert min(later - earlier for earlier, later in zip(times, times[3:], strict=False)) >= 60 / 120 - 0.001  # two clocks


def test_all_jobs_of_a_key_share_its_rate(gateway, quick_clock):
    """Two jobs at once, with different bounds in flight: the minute is one."""
    jobs = [start(f"shared rate {number}", 3, submits_per_minute=3, submits_at_once=number + 1) for number in range(2)]
    assert [len(job.wait()) for job in jobs] == [3, 3]
    times = sorted(arrivals(gateway, "shared rate 0") + arrivals(gateway, "shared rate 1"))
    assert min(later - earlier for earlier, later in zip(times, times[3:], strict=False)) >= 60 / 120 - 0.001


def test_never_more_submissions_in_flight_than_configured(monkeypatch):
    """Real requests at a server that counts them; each is refused, so that nothing follows."""
    lock, now, most = threading.Lock(), 0, 0

    def refuse(seen):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return 400, {}, b'{"error": {"message": "blocked", "code": "content_policy_violation"}}'

    with web(refuse) as host:
        monkeypatch.setenv("EVOLINK_BASE_URL", host.origin)
        monkeypatch.setenv("EVOLINK_API_KEY", "k")
        with pytest.raises(ContentRejected):
            start("two at once", 8, submits_at_once=2).wait()
        assert sum(each.method == "POST" for each in host.seen) == 8
    assert most == 2


def test_open_tasks_are_bounded(gateway):
    """Two open tasks of a tenth of a second: the third is submitted only after the first has ended there."""
    assert len(start("two open", 5, open_tasks=2).wait()) == 5
    times = arrivals(gateway, "two open")
    assert len(times) == 5
    assert min(later - earlier for earlier, later in zip(times, times[2:], strict=False)) >= DURATION


def test_a_pause_holds_for_the_next_job_too(gateway):
    """429 with Retry-After 1 for one cell: what another cell sends waits for that second as well, and nothing is sent twice."""
    gateway.arm("rate-limited", match="first cell")
    first = start("first cell", 1)
    until(lambda: any("again in" in progress.note for progress in first.latest.values()))
    second = start("second cell", 3)
    assert (len(first.wait()), len(second.wait())) == (1, 3)
    refused = arrivals(gateway, "first cell")[0]
    assert min(arrivals(gateway, "second cell")) >= refused + 1
    assert len(gateway.accepted("first cell") + gateway.accepted("second cell")) == 4


def test_a_small_job_does_not_wait_for_a_large_one(gateway):
    """A cell of one picture is submitted before what a job of twenty has not begun to submit."""
    gateway.arm("rate-limited", times=None, match="large job")
    large = start("large job", 12, submits_at_once=1)
    until(lambda: any("again in" in progress.note for progress in large.latest.values()))  # its first task keeps the slot
    small = start("small job", 1, submits_at_once=1)
    until(lambda: small.runners)
    gateway.disarm()
    assert (len(large.wait()), len(small.wait())) == (12, 1)
    accepted = [entry["at"] for entry in gateway.accepted("large job")]
    assert gateway.accepted("small job")[0]["at"] < sorted(accepted)[1]


def test_what_dies_first_is_fetched_first(tmp_path, monkeypatch):
    """With one download at once, the address that the service keeps for the shortest time is next."""
    monkeypatch.setattr(fetch, "_PER_GATEWAY", 1)

    async def fetch_all(origin):
        clients = GatewayClients()
        fetcher = fetch.Fetcher(clients, tmp_path)
        ends = {"/first": 900.0, "/day": 86_400.0, "/hour": 3_600.0, "/unknown": math.inf, "/minutes": 600.0}
        done = await asyncio.gather(*(fetcher.fetch(origin + path, origin, tmp_path, kept_until=end) for path, end in ends.items()))
        for download in done:
            download.close()
        await clients.close()

    with web(lambda seen: (200, {"Content-Type": "image/png"}, b"bytes")) as host:
        asyncio.run(fetch_all(host.origin))
        assert [each.path for each in host.seen] == ["/first", "/minutes", "/hour", "/day", "/unknown"]


@pytest.mark.parametrize(("provider", "life"), [("evolink", 86_400.0), ("replicate", 3_600.0)])
def test_how_long_a_service_keeps_pictures_is_a_fact_of_its_provider(provider, life, monkeypatch):
    """A download knows until when its picture can be fetched: a day at a gateway, an hour at Replicate."""
    ends = []
    fetched = fetch.Fetcher.fetch

    def noted(self, *args, kept_until):
        ends.append(kept_until)
        return fetched(self, *args, kept_until=kept_until)

    monkeypatch.setattr(fetch.Fetcher, "fetch", noted)
    before = time.time()
    job = api.start(ImageRequest("kept for a while"), provider=provider, sandbox=True)
    assert len(job.wait()) == 1
    assert before + life - 60 <= ends[0] <= time.time() + life + 60
    assert registry.get_provider(provider).keeps_seconds == life


def test_a_bound_that_the_page_states_holds_unless_the_settings_name_another(monkeypatch):
    """Replicate's page states 600 a minute; no other service of today has a bound of its own, and the sandbox has none."""
    settings = load()
    monkeypatch.setenv("REPLICATE_API_TOKEN", "k")
    replicate = registry.get_provider("replicate")
    own, played = endpoint_for(replicate, settings), endpoint_for(replicate, settings, sandbox=True)
    assert limits_of(own, settings) == Limits(8, 600, None)
    assert limits_of(played, settings) == Limits(8, None, None)
    chosen = settings.replace("a test", submits_per_minute=6, open_tasks=4, submits_at_once=2)
    assert limits_of(own, chosen) == limits_of(played, chosen) == Limits(2, 6, 4)
    stated = {each.name: (each.submits_per_minute, each.open_tasks) for each in registry.built_in()}
    assert {name for name, bounds in stated.items() if any(bounds)} == {"replicate"}


def test_each_key_has_its_own_limiter(gateway, monkeypatch):
    """The same service with another key or at another address is another account."""

    async def limiters():
        context, found = context_of(load()), []
        for key in ("one", "two", "one"):
            monkeypatch.setenv("EVOLINK_API_KEY", key)
            found.append(context.limiter(endpoint_for(registry.get_provider("evolink"), load())))
        return found

    first, second, again = loop.run(limiters())
    assert first is again
    assert first is not second
