"""Failures on this machine: no task is lost, no message is wrong, no wait lasts for ever."""

import asyncio
import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from decimal import Decimal
from functools import partial

import pytest
from ledgers import a_png
from servers import sandbox_thread
from shells import a_shell
from waiting import until
from webserver import web

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.context import EngineContext
from imagegen_magic.engine.jobs.job import Job, Prepared
from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask
from imagegen_magic.engine.net import retry
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    DownloadError,
    ImageGenError,
    InsufficientBalance,
    LedgerError,
    MissingKey,
    NotFound,
    PictureMissing,
    RateLimited,
    SaveError,
    SubmissionUnknown,
    TaskFailed,
    TaskTimeout,
    UnsupportedOption,
    WaitingStopped,
)
from imagegen_magic.providers.gateways.evolink import EvoLink
from imagegen_magic.result import Cost, GeneratedImage, Progress

pytestmark = pytest.mark.slow

SIZE = {"provider": "evolink", "size": "1024x1024"}


@pytest.fixture(scope="module")
def server():
    """One gateway process."""
    with sandbox_thread(duration=0.15) as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(server, monkeypatch):
    """Every gateway is the server."""
    server.be_every_gateway(monkeypatch)
    return server


def _tasks():
    return loop.run(api.ledger(load()).tasks())


def _states():
    return [task.state for task in _tasks()]


@pytest.mark.parametrize("key", ["sk-live…4f9a1c77", "sk-live 4f9a1c77", "sk-live\n4f9a1c77", "“sk-live4f9a1c77”"])
def test_an_invalid_key_is_refused_and_never_shown(key, monkeypatch, server, capfd):
    """A smart quote, a blank or a line break from copying: nothing is sent, and the key is in no message."""
    monkeypatch.setenv("EVOLINK_API_KEY", key)
    with pytest.raises(MissingKey, match="EVOLINK_API_KEY") as error:
        run(generate("bad key", **SIZE))
    assert "4f9a1c77" not in str(error.value) + "".join(capfd.readouterr())
    assert server.submissions("bad key") == []


@pytest.mark.parametrize(
    "address", ["http://localhost:80010", "https://api..evolink.ai", "http://[::1", "api.evolink.ai", "ftp://x.y", "https://a b"]
)
def test_an_invalid_base_url_is_refused_before_anything_is_written(address, monkeypatch):
    """The error names EVOLINK_BASE_URL."""
    monkeypatch.setenv("EVOLINK_BASE_URL", address)
    with pytest.raises(UnsupportedOption, match="EVOLINK_BASE_URL"):
        run(generate("bad address", **SIZE))
    assert _tasks() == []


def test_an_extra_field_that_is_no_json_is_refused(server):
    """Before a row is recorded."""
    with pytest.raises(UnsupportedOption):
        run(generate("bad extra", **SIZE, extra={"seed": Decimal(1)}))
    assert server.submissions("bad extra") == []


def test_a_defect_in_a_plug_in_is_reported_and_its_task_recorded(monkeypatch, server):
    """Any exception of a plug-in's reader reaches the cell, with the charge."""

    def broken(self, answer):
        raise KeyError("typo")

    monkeypatch.setattr(EvoLink, "read_submission", broken)
    with pytest.raises(ImageGenError, match=r"KeyError.*typo") as error:
        run(generate("defect", **SIZE))
    assert error.value.charge == "unknown"
    assert _states() == ["unknown"]


def test_retry_after_zero_still_has_growing_pauses(monkeypatch):
    """Until the timeout."""
    with web(lambda seen: (429, {"Retry-After": "0"}, b'{"error": {"message": "slow down"}}')) as limited:
        monkeypatch.setenv("EVOLINK_BASE_URL", limited.origin)
        with pytest.raises(RateLimited):
            run(generate("hammer", **SIZE, timeout=2))
        assert len(limited.seen) < 30
    assert _states() == ["failed"]


def test_the_timeout_counts_from_the_first_attempt(monkeypatch):
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


def test_a_hanging_gateway_delays_no_other(monkeypatch, server):
    """Eight hanging submissions do not block another gateway."""
    hanging = threading.Event()

    def hang(seen):
        hanging.wait(20)
        return 400, {}, b"{}"

    with web(hang) as silent:
        monkeypatch.setenv("XINGCHAO_BASE_URL", silent.origin)
        job = api.start(ImageRequest("silence", n=12), provider="xingchao")
        until(lambda: len(silent.seen) >= 8)
        assert len(run(generate("not held up", **SIZE))) == 1
        assert len(silent.seen) == 8
        hanging.set()
        with pytest.raises(ImageGenError):
            job.wait()


@pytest.fixture
def other_program(monkeypatch):
    """Another program that can hold the ledger; ours loses patience with it quickly."""
    monkeypatch.setattr("imagegen_magic.engine.context.Ledger", partial(Ledger, patience=0.2))
    monkeypatch.setattr("imagegen_magic.engine.ledger.database._RETRY_AFTER", 0.3)
    loop.run(api.ledger(load()).check())
    with closing(sqlite3.connect(load().home / "ledger.sqlite", isolation_level=None, check_same_thread=False)) as other:
        yield other


def _holding(monkeypatch, program, at):
    """Let the program take the ledger when a submission is answered, or a task is looked at."""
    reader = "read_submission" if at == "submit" else "read_batch"
    real = getattr(EvoLink, reader)

    def read(self, answer):
        if not program.in_transaction:
            program.execute("BEGIN IMMEDIATE")
        return real(self, answer)

    monkeypatch.setattr(EvoLink, reader, read)

    def let_go():
        monkeypatch.setattr(EvoLink, reader, real)
        program.execute("ROLLBACK")

    return let_go


def test_a_ledger_that_is_held_just_after_acceptance_loses_no_task(monkeypatch, server, other_program):
    """The task goes on from memory, and the ledger learns of it as soon as it can."""
    let_go = _holding(monkeypatch, other_program, "submit")

    async def main():
        job = api.start(ImageRequest("locked", size="1024x1024"), provider="evolink")
        async for event in job.events():
            if isinstance(event, Progress) and "id of this task is task-" in event.note:
                let_go()
        return await job.result()

    (image,) = loop.run(main())
    assert image.path.exists()
    assert (_states(), _tasks()[0].task_id) == (["saved"], image.task_id)


@pytest.mark.parametrize("at", ["submit", "look"])
def test_a_ledger_that_stays_locked_after_acceptance_names_the_task(at, monkeypatch, server, other_program):
    """The id is in the message, for the gateway's support; no hint leads to paying again."""
    let_go = _holding(monkeypatch, other_program, at)
    with pytest.raises(LedgerError, match="id of this task is task-") as error:
        run(generate("locked for long", **SIZE))
    assert "It was charged. Close the other program that has it locked, then %imagegen resume" in str(error.value)
    assert "run the cell again" not in str(error.value).lower()
    let_go()
    assert len(api.resume().wait()) == 1
    assert _states() == ["saved"]


def test_a_cell_that_is_stopped_while_the_ledger_is_locked_sends_nothing_later(monkeypatch, server):
    """The row is not written once the ledger is free, and the request does not count as running."""
    monkeypatch.setattr(loop, "_GRACE", 1.2)
    loop.run(api.ledger(load()).check())
    with closing(sqlite3.connect(load().home / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        job = api.start(ImageRequest("held", size="1024x1024"), provider="evolink")
        time.sleep(0.2)
        job.cancel()
        with pytest.raises(WaitingStopped, match="before anything was sent"):
            job.wait()
        other.execute("ROLLBACK")
    assert len(run(generate("held", **SIZE, reuse=True))) == 1
    assert _states() == ["saved"]
    assert len(server.submissions("held")) == 1


def test_a_request_reported_as_not_sent_is_not_sent_later(monkeypatch, server):
    """It was cancelled while the ledger was slow to write "submitting"."""
    monkeypatch.setattr(loop, "_GRACE", 1.2)
    monkeypatch.setattr("imagegen_magic.engine.jobs.job._CLEANUP", 0.4)
    real, writing, written = Ledger.set_state, threading.Event(), asyncio.Event()

    async def mark(self, row, state, **columns):
        await real(self, row, state, **columns)
        if state == "submitting":
            writing.set()
            await written.wait()

    monkeypatch.setattr(Ledger, "set_state", mark)
    job = api.start(ImageRequest("slowly written", size="1024x1024"), provider="evolink")
    assert writing.wait(20)
    job.cancel()
    with pytest.raises(WaitingStopped, match="before anything was sent"):
        job.wait()
    loop.call(written.set)
    until(lambda: _states() == ["dropped"])
    assert server.submissions("slowly written") == []


def test_a_job_cancelled_during_its_preparation_releases_its_claims(monkeypatch, server):
    """Its rows were written too late to be sent: dropped; its claims can be resumed."""
    monkeypatch.setattr(loop, "_GRACE", 1.1)
    server.arm("never-finishes")
    with pytest.raises(TaskTimeout):
        run(generate("taken", **SIZE, timeout=0.3))
    (waiting,) = _tasks()
    settings = load()
    job = Job((), settings)

    preparing, left = threading.Event(), asyncio.Event()

    async def prepare(channel):
        preparing.set()
        await left.wait()
        book = api.ledger(settings)
        assert await book.claim(claims=channel.claims) == []
        new = NewJob(*waiting_job(waiting), tasks=[NewTask(waiting.sent, 1, "late")])
        await book.add([new], claims=channel.claims)
        return Prepared()

    job.begin(prepare)
    assert preparing.wait(60)
    job.cancel()
    with pytest.raises(WaitingStopped):
        job.wait()
    loop.call(left.set)
    until(lambda: _states() == ["dropped", "submitted"])
    assert [task.owner for task in _tasks()] == [None, None]


def waiting_job(task):
    """Return what a new request like a task's would be, but for its tasks."""
    where = task.provider, task.dialect, task.base_url, task.sandbox, task.model, task.quality, task.tier
    return *where, task.asked, task.resolved, task.expected, task.price, task.save_dir, task.name


def _interrupted_after(seconds):
    timer = threading.Timer(seconds, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()


def test_an_interrupted_resume_strands_nothing(server):
    """It waits for another program and is interrupted: what it might have claimed later, the next one collects."""
    server.arm("never-finishes")
    with pytest.raises(TaskTimeout):
        run(generate("stranded", **SIZE, timeout=0.3))
    server.disarm()
    with closing(sqlite3.connect(load().home / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        _interrupted_after(0.5)
        with pytest.raises(KeyboardInterrupt):
            api.resume()
        other.execute("ROLLBACK")
    assert len(_tasks()) == 1  # and with it whatever was asked before
    assert api.ledger(load()).count_resumable() == 1
    with closing(Ledger(load().home)) as another:
        assert len(loop.run(another.claim())) == 1


def test_a_resume_interrupted_right_after_its_claim_releases_it(server, monkeypatch):
    """The claim is in the ledger, and no caller has it yet."""
    server.arm("never-finishes")
    with pytest.raises(TaskTimeout):
        run(generate("claimed", **SIZE, timeout=0.3))
    real = loop.run

    def run_and_be_interrupted(awaitable):
        real(awaitable)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "run", run_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        api.resume()
    monkeypatch.setattr(loop, "run", real)
    until(lambda: not _tasks()[0].owner)
    with closing(Ledger(load().home)) as another:
        assert len(loop.run(another.claim())) == 1


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
    with pytest.raises(LedgerError, match="Nothing was charged"):
        run(generate("damaged", **SIZE))
    assert server.submissions("damaged") == []


def test_the_whole_ledger_is_read_after_the_first_request_left(server, monkeypatch):
    """A session's first cell waits for no reading of the file, which takes longer the larger it is."""
    given, connect, submit = [], sqlite3.connect, EngineContext.submit

    def traced(*args, **options):
        connection = connect(*args, **options)
        connection.set_trace_callback(given.append)
        return connection

    async def submitted(self, *args, **options):
        given.append("it leaves")
        return await submit(self, *args, **options)

    monkeypatch.setattr("imagegen_magic.engine.ledger.database.sqlite3.connect", traced)
    monkeypatch.setattr(EngineContext, "submit", submitted)
    run(generate("first", **SIZE))
    loop.stop()  # which waits for the reading
    reading = [number for number, words in enumerate(given) if "quick_check" in words]
    assert len(reading) == 1
    assert given.index("it leaves") < reading[0]


def test_damage_found_while_a_job_runs_is_one_line(server, monkeypatch):
    """The image is saved, and the line says so, in Python and in a cell."""
    run(generate("sound", **SIZE))
    loop.stop()
    monkeypatch.setattr(
        "imagegen_magic.engine.ledger.database.Database.quick_check", lambda self: "Tree 5 page 7: btreeInitPage() returns error code 11"
    )
    monkeypatch.setattr("imagegen_magic.engine.ledger.ledger.Ledger.inspect_in_background", Ledger.inspect)
    with pytest.warns(UserWarning, match="1 of 1 pictures were made. The ledger .* is damaged: Tree 5 page 7") as warned:
        (image,) = run(generate("while it is found", **SIZE))
    assert len(warned) == 1
    assert "the pictures above are saved. It was charged. Move the file away" in str(warned[0].message)
    assert image.path.exists()
    assert [task.state for task in _tasks()] == ["saved", "saved"]
    with a_shell() as shell:
        shell.run("%%imagegen -p evolink -s 1024x1024\nin a cell")
        assert [words for words in shell.shown() if "is damaged: Tree 5 page 7" in words]


@pytest.mark.parametrize(
    ("status", "kind", "step"),
    [
        (401, AuthenticationError, "Check the key (%imagegen login NAME), then %imagegen resume collects the picture"),
        (402, InsufficientBalance, "Top up the account at the service, then %imagegen resume collects the picture"),
        (403, APIError, "%imagegen resume"),
        (404, NotFound, "%imagegen resume polls it again"),
        (400, APIError, "%imagegen resume polls it again"),
    ],
)
def test_a_refused_poll_is_reported_as_charged_and_resumable(status, kind, step, monkeypatch):
    """After acceptance no message says that nothing was charged or leads to another submission, which would pay twice."""

    def answer(seen):
        if seen.path.endswith("generations"):
            return 200, {}, b'{"id": "task-1", "status": "pending"}'
        return status, {}, b'{"error": {"message": "no"}}'

    with web(answer) as picky:
        monkeypatch.setenv("EVOLINK_BASE_URL", picky.origin)
        with pytest.raises(kind) as error:
            run(generate("refused look", **SIZE))
    assert error.value.charge == "yes"
    assert step in str(error.value)
    assert "run the cell again" not in str(error.value).lower()
    assert "change the request" not in str(error.value).lower()
    assert _states() == ["submitted"]


def test_a_task_without_an_image_may_have_been_charged(monkeypatch):
    """It is completed and names no image: it may have been charged, and can be polled again."""

    def answer(seen):
        done = b'{"id": "task-1", "status": "completed", "results": []}'
        return 200, {}, b'{"id": "task-1", "status": "pending"}' if seen.path.endswith("generations") else done

    with web(answer) as empty:
        monkeypatch.setenv("EVOLINK_BASE_URL", empty.origin)
        with pytest.raises(PictureMissing, match=r"it may have been charged. %imagegen resume polls it again"):
            run(generate("no picture", **SIZE))
    assert _states() == ["submitted"]


def test_a_task_that_a_gateway_has_forgotten_fails_with_an_unknown_charge(monkeypatch):
    """After days it cannot be collected; the hint leads to the gateway's support."""

    def answer(seen):
        if seen.path.endswith("generations"):
            return 200, {}, b'{"id": "task-1", "status": "pending"}'
        return 404, {}, b'{"error": {"message": "no such task"}}'

    monkeypatch.setattr("imagegen_magic.engine.jobs.runner._FORGOTTEN", -1)
    with web(answer) as forgetful:
        monkeypatch.setenv("EVOLINK_BASE_URL", forgetful.origin)
        with pytest.raises(NotFound, match=r"it may have been charged. .*support"):
            run(generate("forgotten", **SIZE))
    assert _states() == ["failed"]


def test_a_resume_without_a_usable_folder_charges_nothing(monkeypatch, own_world):
    """It submits nothing."""
    (own_world / "a file").write_text("in the way")
    monkeypatch.setenv("IMAGEGEN_HOME", str(own_world / "a file"))
    with pytest.raises(LedgerError, match="Nothing was charged"):
        api.resume()


def test_a_short_pause_is_shown_as_one_second(monkeypatch):
    """Less than a second is a second, in words."""
    monkeypatch.setattr(retry, "backoff", lambda attempt: 0.01)
    answers = [(429, {"Retry-After": "0"}, b"{}"), (400, {}, b'{"error": {"message": "no"}}')]
    notes = []

    async def main():
        job = api.start(ImageRequest("pause", size="1024x1024"), provider="evolink")
        async for event in job.events():
            notes.append(event.note)

    with web(lambda seen: answers.pop(0)) as busy:
        monkeypatch.setenv("EVOLINK_BASE_URL", busy.origin)
        loop.run(main())
    assert [note for note in notes if "again in" in note] == ["EvoLink asks to wait (429), again in 1 s"]


def test_extra_tasks_of_a_submission_are_reported(monkeypatch):
    """Two tasks of one submission may both be charged: the second is in the message and in the ledger's answer."""
    png = a_png(size=(1024, 1024))

    def answer(seen):
        if seen.path.endswith("generations"):
            return 200, {}, b'{"code": 200, "data": [{"status": "submitted", "task_id": "t1"}, {"status": "submitted", "task_id": "t2"}]}'
        if seen.path.endswith(".png"):
            return 200, {}, png
        done = {"id": "t1", "status": "completed", "result": {"images": [{"url": [f"{gateway.origin}/p.png"]}]}}
        return 200, {}, json.dumps({"code": 200, "data": [done] if seen.method == "POST" else done}).encode()

    with web(answer) as gateway:
        monkeypatch.setenv("APIMART_BASE_URL", gateway.origin)
        with pytest.warns(UserWarning, match="2 tasks of one submission"):
            made = run(generate("twice", provider="apimart", size="1:1"))
    (error,) = made.errors
    assert (error.charge, "t1 is waited for, and not t2" in error.what) == ("unknown", True)
    assert "t2" in str(_tasks()[0].answer)


@pytest.mark.parametrize(
    "late",
    [
        (429, {"Retry-After": "0"}, b"{}"),
        (400, {}, b'{"error": {"message": "no"}}'),
        (500, {}, b"oops"),
    ],
    ids=["asked to wait", "refused", "open"],
)
def test_a_detached_submission_records_its_outcome(late, monkeypatch):
    """Its answer comes after the job's end: a refused one is not sent again and does not seem to run."""
    answered = threading.Event()

    def slow(seen):
        answered.wait(20)
        return late

    monkeypatch.setattr(loop, "_GRACE", 1.2)
    monkeypatch.setattr("imagegen_magic.engine.jobs.job._CLEANUP", 0.4)
    with web(slow) as gateway:
        monkeypatch.setenv("EVOLINK_BASE_URL", gateway.origin)
        job = api.start(ImageRequest("left alone", size="1024x1024"), provider="evolink")
        until(lambda: gateway.seen)
        job.cancel()
        with pytest.raises(WaitingStopped, match="without an answer"):
            job.wait()
        assert loop.run(api.ledger(load()).recover_orphans()) == []  # it is still on the wire
        answered.set()
        until(lambda: not _tasks()[0].owner)
        assert len(gateway.seen) == 1
    assert _states() == [{429: "dropped", 400: "failed", 500: "unknown"}[late[0]]]


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"code": 502, "message": "upstream"}'), (409, b'{"error": {"message": "conflict"}}'), (408, b"{}")]
)
def test_other_forms_of_an_outage_leave_the_outcome_unknown(status, body, monkeypatch):
    """HTTP 200 around a 502, a conflict, a timeout at the gateway: the charge is unknown."""
    with web(lambda seen: (status, {}, body)) as gateway:
        monkeypatch.setenv("APIMART_BASE_URL", gateway.origin)
        with pytest.raises(SubmissionUnknown):
            run(generate("in another dress", provider="apimart", size="1:1"))
        assert len(gateway.seen) == 1
    assert _states() == ["unknown"]


def test_cancelling_with_some_images_saved_keeps_the_rest_resumable(monkeypatch, server):
    """One of a task's images is saved, another in transfer: charged, and resume fetches it."""
    server.arm("slow", times=1)

    async def main():
        job = api.start(ImageRequest("partly", size="1024x1024", n=3), provider="evolink")
        events = job.events()
        while not isinstance(await loop.await_on_engine(anext(events)), GeneratedImage):
            pass
        job.cancel()
        return await job.result()

    made = asyncio.run(main())
    assert 1 <= len(made) < 3
    (stopped,) = [error for error in made.errors if isinstance(error, WaitingStopped)]
    assert stopped.charge == "yes"
    assert len(api.resume(load()).wait()) == 3 - len(made)
    assert _states() == ["saved"]


def test_cancelling_while_a_submission_hangs_leaves_the_charge_unknown(monkeypatch):
    """Its claim is kept while the answer may still come."""
    answered = threading.Event()

    def late(seen):
        answered.wait(20)
        return 200, {}, b'{"id": "task-late", "status": "pending"}'

    monkeypatch.setattr(loop, "_GRACE", 1.2)
    monkeypatch.setattr("imagegen_magic.engine.jobs.job._CLEANUP", 0.4)
    with web(late) as slow:
        monkeypatch.setenv("EVOLINK_BASE_URL", slow.origin)
        job = api.start(ImageRequest("hanging", size="1024x1024"), provider="evolink")
        until(lambda: slow.seen)
        job.cancel()
        with pytest.raises(WaitingStopped, match="without an answer") as error:
            job.wait()
        assert error.value.charge == "unknown"
        assert _states() == ["submitting"]
        answered.set()
        until(lambda: _states() == ["submitted"])
    until(lambda: api.ledger(load()).count_resumable() == 1)


def test_resume_can_save_to_another_folder(server, own_world, monkeypatch):
    """If the first folder cannot be written."""
    monkeypatch.setattr(retry, "backoff", lambda attempt: 0.01)
    server.arm("download-500", times=None)
    with pytest.raises(DownloadError):
        run(generate("elsewhere", **SIZE, save_dir="pics"))
    server.disarm()
    (own_world / "pics").write_text("in the way")
    with pytest.raises(SaveError, match="resume DIR"):
        api.resume(load()).wait()
    (image,) = api.resume(load(), save_dir="other").wait()
    assert image.path.parent == own_world / "other"


def test_resume_does_not_ask_another_gateway_of_the_same_name(monkeypatch, server):
    """A task belongs to the address that it was submitted to."""
    server.arm("never-finishes")
    with pytest.raises(ImageGenError):
        run(generate("moved", **SIZE, timeout=0.3))
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://127.0.0.1:9/evolink")
    with pytest.raises(NotFound, match="EVOLINK_BASE_URL"):
        api.resume(load()).wait()
    assert api.ledger(load()).count_resumable() == 1


def test_a_resume_that_is_cancelled_at_once_releases_its_claims(server):
    """Another resume finds the task again."""
    for _ in range(5):
        server.arm("never-finishes")
        with pytest.raises(ImageGenError):
            run(generate("back", **SIZE, timeout=0.3))
        for _ in range(4):
            job = api.resume(load())
            job.cancel()
            with pytest.raises(WaitingStopped):
                job.wait()
            assert api.ledger(load()).count_resumable() > 0


def test_an_estimate_is_not_counted_twice_when_resumed(monkeypatch, server):
    """Two tasks of one request, resumed: the price is that of the request, not twice that."""
    estimate = api.plan(ImageRequest("estimate", size="1:1", quality="high", n=8), provider="apimart").price
    monkeypatch.setattr("imagegen_magic.providers.gateways.apimart.APIMart.cost", lambda self, task: Cost())
    server.arm("never-finishes", times=0)
    job = api.start(ImageRequest("estimate", size="1:1", quality="high", n=8), provider="apimart")
    until(lambda: _states() == ["submitted", "submitted"])
    job.cancel()
    with pytest.raises(WaitingStopped):
        job.wait()
    assert api.resume(load()).wait().cost.amount == estimate.amount


def test_the_cost_of_an_unknown_outcome_is_unknown(server):
    """Of three tasks one has an unknown outcome: the sum shows it."""
    server.arm("drop-after-accept", times=1)
    with pytest.warns(UserWarning, match="8 of 12"):
        made = run(generate("partly unknown", provider="gccai", size="1:1", n=12))
    assert made.cost.unknown == 1
    assert "+ 1 unknown" in str(made.cost)


def test_a_failed_task_is_reported_as_failed_and_not_as_left(server):
    """Nothing remains at the gateway."""
    server.arm("failed")

    async def main():
        job = api.start(ImageRequest("failed", size="1024x1024"), provider="evolink")
        events, seen = job.events(), []
        while (event := await loop.await_on_engine(anext(events, None))) is not None:
            seen.append(event)
        with pytest.raises(TaskFailed):
            await job.result()
        return seen

    assert [event for event in asyncio.run(main()) if isinstance(event, Progress)][-1].stage == "failed"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_the_parents_job(server):
    """The job lives in the parent; the child gets an error."""
    job = api.start(ImageRequest("parent", size="1024x1024"), provider="evolink")
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
