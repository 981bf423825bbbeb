"""What goes wrong beside the gateway, here on this machine: nothing vanishes, nothing is told wrongly, nothing waits for ever."""

import asyncio
import os
import sqlite3
import threading
import time
from decimal import Decimal

import pytest
from servers import sandbox_server
from webserver import web

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import delivery, generation, loop
from imagegen_magic.engine.ledger import Ledger
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ImageGenError,
    LedgerError,
    MissingKey,
    NotFound,
    RateLimited,
    SaveError,
    SubmissionUnknown,
    TaskFailed,
    UnsupportedOption,
    WaitingStopped,
)
from imagegen_magic.providers.evolink import EvoLink
from imagegen_magic.result import GeneratedImage, Progress

SIZE = {"provider": "evolink", "size": "1024x1024"}


@pytest.fixture(scope="module")
def server():
    """One gateway process."""
    with sandbox_server(duration=0.15) as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(server, monkeypatch):
    """Every gateway is the server."""
    server.disarm()
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
    return server


def _tasks():
    return loop.run(generation.ledger(load()).tasks())


def _states():
    return [task.state for task in _tasks()]


@pytest.mark.parametrize("key", ["sk-live…4f9a1c77", "sk-live 4f9a1c77", "sk-live\n4f9a1c77", "“sk-live4f9a1c77”"])
def test_a_key_that_can_be_none_is_told_and_never_shown(key, monkeypatch, server, capfd):
    """A smart quote, a blank or a line break from copying: nothing is sent, and the key is in no message."""
    monkeypatch.setenv("EVOLINK_API_KEY", key)
    with pytest.raises(MissingKey, match="EVOLINK_API_KEY") as error:
        run(generate("bad key", **SIZE))
    assert "4f9a1c77" not in str(error.value) + "".join(capfd.readouterr())
    assert server.submissions("bad key") == []


@pytest.mark.parametrize(
    "address", ["http://localhost:80010", "https://api..evolink.ai", "http://[::1", "api.evolink.ai", "ftp://x.y", "https://a b"]
)
def test_a_base_url_that_is_none_is_told_before_anything_is_written(address, monkeypatch):
    """A slip in EVOLINK_BASE_URL names the variable."""
    monkeypatch.setenv("EVOLINK_BASE_URL", address)
    with pytest.raises(UnsupportedOption, match="EVOLINK_BASE_URL"):
        run(generate("bad address", **SIZE))
    assert _tasks() == []


def test_an_extra_field_that_is_no_json_is_refused(server):
    """Before a row says that something was sent."""
    with pytest.raises(UnsupportedOption):
        run(generate("bad extra", **SIZE, extra={"seed": Decimal(1)}))
    assert server.submissions("bad extra") == []


def test_a_defect_in_a_plug_in_is_told_and_its_task_put_in_order(monkeypatch, server):
    """Whatever a stranger's reader raises reaches the cell, with what it means for the money."""

    def broken(self, answer):
        raise KeyError("typo")

    monkeypatch.setattr(EvoLink, "read_submission", broken)
    with pytest.raises(ImageGenError, match=r"KeyError.*typo") as error:
        run(generate("defect", **SIZE))
    assert error.value.charged == "unknown"
    assert _states() == ["unknown"]


def test_a_wish_of_no_pause_is_no_leave_to_hammer(monkeypatch):
    """Retry-After: 0 again and again is met with growing pauses, and our patience ends it."""
    with web(lambda seen: (429, {"Retry-After": "0"}, b'{"error": {"message": "slow down"}}')) as limited:
        monkeypatch.setenv("EVOLINK_BASE_URL", limited.origin)
        with pytest.raises(RateLimited):
            run(generate("hammer", **SIZE, timeout=2))
        assert len(limited.seen) < 30
    assert _states() == ["failed"]


def test_patience_counts_from_the_first_try(monkeypatch):
    """Each try is not a new beginning."""
    with web(lambda seen: (503, {"Retry-After": "0.3"}, b"{}")) as busy:
        monkeypatch.setenv("EVOLINK_BASE_URL", busy.origin)
        with pytest.raises(ImageGenError):
            run(generate("for ever", **SIZE, timeout=1))
        assert len(busy.seen) <= 5


def test_a_gateway_that_trickles_its_answer_is_left(monkeypatch):
    """One byte now and then is no answer: the whole call is bounded."""

    def trickle(seen):
        return 200, {"Content-Length": "100000"}, b"{"

    monkeypatch.setenv("IMAGEGEN_SUBMIT_TIMEOUT", "0.5")
    with web(trickle) as slow:
        monkeypatch.setenv("EVOLINK_BASE_URL", slow.origin)
        with pytest.raises(SubmissionUnknown):
            run(generate("trickle", **SIZE))


def test_one_gateways_silence_holds_up_no_other(monkeypatch, server):
    """Eight submissions hanging at one gateway leave the way to another free."""
    hanging = threading.Event()

    def hang(seen):
        hanging.wait(20)
        return 400, {}, b"{}"

    with web(hang) as silent:
        monkeypatch.setenv("XINGCHAO_BASE_URL", silent.origin)
        job = generation.start(ImageRequest("silence", n=12), provider="xingchao")
        while len(silent.seen) < 8:
            time.sleep(0.01)
        assert len(run(generate("not held up", **SIZE))) == 1
        assert len(silent.seen) == 8
        hanging.set()
        with pytest.raises(ImageGenError):
            job.wait()


def test_a_ledger_that_fails_just_after_acceptance_loses_no_task(monkeypatch, server):
    """The task goes on from memory, and the ledger learns of it as soon as it can."""
    real, failing = Ledger.mark, [True]

    async def mark(self, row, state, **columns):
        if state == "submitted" and failing.pop() if failing else False:
            raise LedgerError("The ledger is locked")
        return await real(self, row, state, **columns)

    monkeypatch.setattr(Ledger, "mark", mark)
    (image,) = run(generate("locked", **SIZE))
    assert image.path.exists()
    assert (_states(), _tasks()[0].task_id) == (["saved"], image.task_id)


def test_a_ledger_that_stays_broken_after_acceptance_names_the_task(monkeypatch, server):
    """Then the id is in the message: it is what the gateway's support asks for."""
    real = Ledger.mark

    async def mark(self, row, state, **columns):
        if state in ("submitted", "unknown"):
            raise LedgerError("The ledger is locked")
        return await real(self, row, state, **columns)

    monkeypatch.setattr(Ledger, "mark", mark)
    with pytest.raises(LedgerError, match="id of this task is task-") as error:
        run(generate("locked for good", **SIZE))
    assert error.value.charged == "yes"


def test_a_damaged_ledger_is_found_before_anything_is_paid(server):
    """A damaged page is not discovered after the submit."""
    run(generate("sound", **SIZE))
    path = load().home / "ledger.sqlite"
    loop.stop()
    with sqlite3.connect(path) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    damaged = bytearray(path.read_bytes())
    for page in range(2, pages):
        damaged[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(bytes(damaged))
    with pytest.raises(LedgerError, match="nothing was charged"):
        run(generate("damaged", **SIZE))
    assert server.submissions("damaged") == []


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (404, NotFound), (400, APIError)])
def test_a_look_that_is_refused_says_charged_and_collectable(status, kind, monkeypatch):
    """After acceptance no message says that nothing was charged."""

    def answer(seen):
        if seen.path.endswith("generations"):
            return 200, {}, b'{"id": "task-1", "status": "pending"}'
        return status, {}, b'{"error": {"message": "no"}}'

    with web(answer) as picky:
        monkeypatch.setenv("EVOLINK_BASE_URL", picky.origin)
        with pytest.raises(kind) as error:
            run(generate("refused look", **SIZE))
    assert "it was charged" in str(error.value)
    assert "%imagegen resume" in str(error.value)
    assert _states() == ["submitted"]


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"code": 502, "message": "upstream"}'), (409, b'{"error": {"message": "conflict"}}'), (408, b"{}")]
)
def test_an_outage_in_another_dress_is_an_unknown_fate(status, body, monkeypatch):
    """HTTP 200 around a 502, a conflict, a timeout on their side: nobody here knows, so it is not said that nothing was charged."""
    with web(lambda seen: (status, {}, body)) as gateway:
        monkeypatch.setenv("APIMART_BASE_URL", gateway.origin)
        with pytest.raises(SubmissionUnknown):
            run(generate("in another dress", provider="apimart", size="1:1"))
        assert len(gateway.seen) == 1
    assert _states() == ["unknown"]


def test_cancelling_with_some_pictures_saved_keeps_the_rest_collectable(monkeypatch, server):
    """One of a task's pictures is home, another on its way: told as charged, and resume brings it."""
    server.arm("slow", times=1)

    async def main():
        job = generation.start(ImageRequest("partly", size="1024x1024", n=3), provider="evolink")
        events = job.events()
        while not isinstance(await loop.bridge(anext(events)), GeneratedImage):
            pass
        job.cancel()
        return await job.result()

    made = asyncio.run(main())
    assert 1 <= len(made) < 3
    (stopped,) = [error for error in made.errors if isinstance(error, WaitingStopped)]
    assert stopped.charged == "yes"
    assert len(generation.resume(load()).wait()) == 3 - len(made)
    assert _states() == ["saved"]


def test_cancelling_while_a_submission_hangs_says_that_its_fate_is_open(monkeypatch):
    """Neither charged nor not charged, and nothing is given away while the answer may still come."""
    answered = threading.Event()

    def late(seen):
        answered.wait(20)
        return 200, {}, b'{"id": "task-late", "status": "pending"}'

    monkeypatch.setattr(loop, "_GRACE", 1.2)
    monkeypatch.setattr("imagegen_magic.engine.job._LETTING_GO", 0.4)
    with web(late) as slow:
        monkeypatch.setenv("EVOLINK_BASE_URL", slow.origin)
        job = generation.start(ImageRequest("hanging", size="1024x1024"), provider="evolink")
        while not slow.seen:
            time.sleep(0.01)
        job.cancel()
        with pytest.raises(WaitingStopped, match="without an answer") as error:
            job.wait()
        assert error.value.charged == "unknown"
        assert _states() == ["submitting"]
        answered.set()
        while _states() != ["submitted"]:
            time.sleep(0.02)
    assert generation.ledger(load()).waiting() == 1


def test_resume_can_save_elsewhere(server, own_world):
    """Where the first folder cannot be written, another is named, and the picture comes home."""
    (own_world / "pics").write_text("in the way")
    with pytest.raises(SaveError, match="resume DIR"):
        run(generate("elsewhere", **SIZE, save_dir="pics"))
    (image,) = generation.resume(load(), save_dir="other").wait()
    assert image.path.parent == own_world / "other"


def test_resume_does_not_ask_another_gateway_of_the_same_name(monkeypatch, server):
    """A task belongs to the address it was submitted to; elsewhere it would only be unknown."""
    server.arm("never-finishes")
    with pytest.raises(ImageGenError):
        run(generate("moved", **SIZE, timeout=0.3))
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://127.0.0.1:9/evolink")
    with pytest.raises(NotFound, match="EVOLINK_BASE_URL"):
        generation.resume(load()).wait()
    assert generation.ledger(load()).waiting() == 1


def test_a_resume_that_is_cancelled_at_once_gives_back_what_it_took(server):
    """Claimed is not collected: another resume finds it again."""
    for _ in range(5):
        server.arm("never-finishes")
        with pytest.raises(ImageGenError):
            run(generate("back", **SIZE, timeout=0.3))
        for _ in range(4):
            job = generation.resume(load())
            job.cancel()
            with pytest.raises(WaitingStopped):
                job.wait()
            assert generation.ledger(load()).waiting() > 0


def test_an_estimate_is_not_counted_twice_when_resumed(monkeypatch, server):
    """Two tasks of one request, resumed: the price is that of the request, not twice that."""
    estimate = generation.plan(ImageRequest("estimate", size="1:1", quality="high", n=8), provider="apimart").price
    monkeypatch.setattr("imagegen_magic.providers.apimart.APIMart.cost", lambda self, task: delivery.Cost())
    server.arm("never-finishes", times=0)
    job = generation.start(ImageRequest("estimate", size="1:1", quality="high", n=8), provider="apimart")
    while _states() != ["submitted", "submitted"]:
        time.sleep(0.01)
    job.cancel()
    with pytest.raises(WaitingStopped):
        job.wait()
    assert generation.resume(load()).wait().cost.amount == estimate.amount


def test_what_a_failure_may_have_cost_is_counted_as_unknown(server):
    """Of three tasks one is of unknown fate: the sum says so."""
    server.arm("drop-after-accept", times=1)
    with pytest.warns(UserWarning, match="5 of 9"):
        made = run(generate("partly unknown", provider="gccai", size="1:1", n=9))
    assert made.cost.unknown == 1
    assert "+ 1 unknown" in str(made.cost)


def test_a_failed_task_is_told_as_failed_and_not_as_left(server):
    """Nothing is left at the gateway where it said that it failed."""
    server.arm("failed")

    async def main():
        job = generation.start(ImageRequest("failed", size="1024x1024"), provider="evolink")
        events, seen = job.events(), []
        while (event := await loop.bridge(anext(events, None))) is not None:
            seen.append(event)
        with pytest.raises(TaskFailed):
            await job.result()
        return seen

    assert [event for event in asyncio.run(main()) if isinstance(event, Progress)][-1].stage == "failed"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_the_parents_job(server):
    """The job lives in the parent; the child is told instead of waiting for ever."""
    job = generation.start(ImageRequest("parent", size="1024x1024"), provider="evolink")
    child = os.fork()
    if child == 0:
        try:
            job.wait()
        except RuntimeError:
            os._exit(7)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(job.wait()) == 1
