"""Making images from Python: one coroutine, one stream, one job, on any loop, with the same refusals as the magic."""

import asyncio
import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ledgers import a_png
from servers import sandbox_thread
from waiting import until
from webserver import web

from imagegen_magic import GeneratedImage, Generation, ImageRequest, generate, run, stream
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.jobs.job import Job
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.polling.poller import Poller
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ImageGenError, MissingKey, TaskTimeout, UnknownProvider, UnsupportedOption, WaitingStopped
from imagegen_magic.providers import registry
from imagegen_magic.result import Cost, Progress, total

pytestmark = pytest.mark.slow

QUICK = {"size": "1:1", "sandbox": True}


def test_generate_without_any_key_uses_the_sandbox():
    """A first picture needs nothing."""
    made = asyncio.run(generate("a red fox", size="1:1"))
    assert isinstance(made, Generation)
    assert made[0].sandbox
    assert made[0].open().size == (1024, 1024)
    assert made[0].data == made[0].path.read_bytes()
    assert str(made[0].path) in repr(made)


def test_run_waits_from_synchronous_code():
    """`run(generate(…))` is the whole bridge."""
    made = run(generate("a red fox", **QUICK, n=2))
    assert [image.path.exists() for image in made] == [True, True]
    assert (len(made), made[:1], made.request.n, made.cost.source) == (2, made.images[:1], 2, "sandbox")


def test_a_request_can_be_given_whole():
    """An ImageRequest is taken as it is, and options lie on top."""
    request = ImageRequest("a red fox", size="16:9")
    made = run(generate(request, sandbox=True, size="1:1"))
    assert (made.request.size, made[0].width, made[0].height) == ("1:1", 1024, 1024)


def test_the_returned_request_has_all_defaults():
    """So that it shows what was sent."""
    made = run(generate("a red fox", **QUICK))
    assert (made.request.model, made.request.quality, made.request.n) == ("gpt-image-2-official", "auto", 1)


def test_configured_defaults_fill_missing_options(monkeypatch):
    """The environment's quality holds unless the call has its own."""
    monkeypatch.setenv("IMAGEGEN_QUALITY", "medium")
    assert run(generate("a red fox", **QUICK)).request.quality == "medium"
    assert run(generate("a red fox", **QUICK, quality="low")).request.quality == "low"


def test_a_stream_yields_progress_and_pictures():
    """In order: submitting, waiting, fetching, the picture, saved."""

    async def main():
        return [event async for event in stream("a red fox", **QUICK)]

    events = asyncio.run(main())
    stages = [event.stage if isinstance(event, Progress) else "picture" for event in events]
    assert list(dict.fromkeys(stages)) == ["submitting", "waiting", "fetching", "picture", "saved"]
    assert sum(isinstance(event, GeneratedImage) for event in events) == 1


def test_a_stream_raises_the_error_that_ended_it():
    """After the last event, as `generate` would."""

    async def main():
        return [event async for event in stream("[[fault: failed]] a fox", **QUICK)]

    with pytest.raises(ImageGenError):
        asyncio.run(main())


def test_a_request_that_is_cancelled_before_it_began_sends_nothing(monkeypatch, tmp_path):
    """Its references are being loaded in a thread, which cannot be cancelled; the job is cancelled as soon as it starts."""
    picture = tmp_path / "a.png"
    picture.write_bytes(a_png())
    begin, jobs, going, on = api.start_batch, [], threading.Event(), threading.Event()

    def slowly(*args, **options):
        going.set()
        on.wait(30)
        jobs.append(begin(*args, **options))
        return jobs[-1]

    monkeypatch.setattr(api, "start_batch", slowly)

    async def main():
        waiting = asyncio.create_task(generate("a red fox", sandbox=True, provider="evolink", references=(picture,)))
        await asyncio.to_thread(going.wait, 30)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        on.set()
        while not (jobs and jobs[0].done):
            await asyncio.sleep(0.01)

    asyncio.run(main())
    with pytest.raises(WaitingStopped):
        jobs[0].wait()
    assert not jobs[0].submitted


def test_installed_packages_are_not_searched_on_the_callers_loop(monkeypatch):
    """That takes milliseconds for each hundred of them."""
    scan, where = importlib.metadata.entry_points, []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **what: where.append(threading.current_thread()) or scan(**what))
    registry._scan.cache_clear()
    asyncio.run(generate("a red fox", **QUICK))
    assert len(where) == 1
    assert where[0] is not threading.main_thread()
    registry._scan.cache_clear()
    asyncio.run(generate("a red fox", provider="evolink", **QUICK))
    assert len(where) == 1


def test_a_timeout_of_the_users_own_stops_the_waiting_alone():
    """`asyncio.timeout` around `generate`: the task stays in the ledger, and resume collects it."""

    async def end(patience):
        await asyncio.to_thread(until, lambda: [task.state for task in loop.run(api.ledger().tasks())] == ["submitted"])
        patience.reschedule(0)

    async def main():
        async with asyncio.timeout(None) as patience:
            ending = asyncio.create_task(end(patience))
            await generate("[[fault: never-finishes]] a fox", **QUICK)
        await ending

    with pytest.raises(TimeoutError) as error:
        asyncio.run(main())
    assert not isinstance(error.value, TaskTimeout)
    assert api.ledger().count_resumable() == 1


def test_refusals_come_before_anything_else():
    """Also if no key is set."""
    with pytest.raises(UnsupportedOption, match="4k"):
        run(generate("a fox", provider="apimart", size="1:1", resolution="4k"))
    with pytest.raises(MissingKey):
        run(generate("a fox", provider="apimart", size="1:1"))
    with pytest.raises(UnknownProvider):
        run(generate("a fox", provider="apimrt"))
    with pytest.raises(UnsupportedOption, match="no option colour"):
        run(generate("a fox", colour="red"))


def test_a_plan_needs_no_key_and_sends_nothing():
    """The JSON, the pixels and the price are known before a cent is spent."""
    plan = api.plan(ImageRequest("a fox", size="16:9", resolution="2k", n=6), provider="apimart")
    assert [call.json["n"] for call in plan.calls] == [4, 2]
    assert plan.pixels == ((2048, 1152),)
    assert api.plan(ImageRequest("a fox")).provider == "gccai"
    assert not (load().home / "ledger.sqlite").exists()


def test_a_job_is_at_once_and_can_be_waited_for():
    """`start` returns before anything came; `wait`, `await`, and its state."""
    job = api.start(ImageRequest("a red fox", size="1:1"), sandbox=True)
    assert job.generation is None
    assert "running" in repr(job)
    with pytest.raises(TimeoutError):
        job.wait(timeout=0.01)
    made = job.wait()
    assert (job.done, job.generation.images) == (True, made.images)
    assert "done: 1 of 1" in repr(job).replace(",", "").replace("done:", "done:")

    async def awaited():
        return await job

    assert asyncio.run(awaited()).images == made.images


def test_the_ui_waits_for_the_first_submission(monkeypatch):
    """At most for the given time, and not at all for a job that has ended."""
    job = api.start(ImageRequest("a red fox", size="1:1"), sandbox=True)
    job.wait_until_submitted(60.0)
    assert job.submitted
    job.wait()
    job.wait_until_submitted(60.0)
    waiting, now = Job((), load()), [0.0]
    passing = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr("imagegen_magic.engine.jobs.job.time", passing)
    waiting.wait_until_submitted(60.0)
    assert now[0] == pytest.approx(60.0, abs=0.01)


def test_a_job_cancelled_at_once_never_sent_anything():
    """Cancelled before it began: nothing was sent."""
    job = api.start(ImageRequest("a red fox", size="1:1"), sandbox=True)
    job.cancel()
    with pytest.raises(WaitingStopped):
        job.wait()
    assert job.done


def test_an_interrupted_wait_leaves_the_job_running():
    """Stopping to look is not stopping the job."""
    job = api.start(ImageRequest("a red fox", size="1:1"), sandbox=True)
    with pytest.raises(TimeoutError):
        job.wait(timeout=0.01)
    assert len(job.wait()) == 1


def test_resume_without_anything_waiting_is_empty():
    """Nothing to do is no error."""
    job = api.resume()
    assert (job.expecting, len(job.wait()), job.note) == (0, 0, "")


def test_resume_reports_a_gateway_without_a_key(monkeypatch):
    """Its tasks stay resumable."""
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://127.0.0.1:9")
    book = api.ledger()

    async def leave_one():
        from imagegen_magic.engine.ledger.ledger import NewJob, NewTask

        sent = {"method": "POST", "path": "/v1/images/generations", "json": {}}
        new = NewJob(
            provider="evolink", dialect="evolink", base_url="http://127.0.0.1:9", sandbox=False, model="gpt-image-2",
            quality="low", tier="1k", asked={"prompt": "x"}, resolved={"prompt": "x"}, price=Cost(),
            expected={"pixels": [], "mime_type": None, "alpha": None},
            save_dir=str(load().save_dir), name=None, tasks=[NewTask(sent=sent, pictures=1, idempotency_key="abcd-0")],
        )  # fmt: skip
        ((_, (row,)),) = await book.add([new])
        await book.set_state(row, "submitted", task_id="task-1")
        await book.release([row])

    loop.run(leave_one())
    monkeypatch.delenv("EVOLINK_API_KEY")
    with pytest.raises(MissingKey):
        api.resume().wait()
    assert book.count_resumable() == 1


def test_many_requests_share_one_process_and_end_with_it(own_world):
    """A script that ends in the middle of its waiting ends quickly and quietly, and what was accepted is in the ledger."""
    script = textwrap.dedent("""
        from imagegen_magic import ImageRequest
        from imagegen_magic.engine import api as generation
        import time
        job = generation.start(ImageRequest("[[fault: never-finishes]] a fox", size="1:1"), sandbox=True)
        while not (job.latest and job.latest[0].stage == "waiting"):
            time.sleep(0.01)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=own_world)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert api.ledger().count_resumable() == 1


def test_a_script_that_ends_right_after_starting_loses_nothing(own_world):
    """The submission is completed and recorded while the interpreter exits."""
    script = "from imagegen_magic import ImageRequest\nfrom imagegen_magic.engine import api as generation\n"
    script += 'generation.start(ImageRequest("a fox", size="1:1"), sandbox=True)\n'
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=own_world)
    assert (done.returncode, done.stderr) == (0, "")
    states = [task.state for task in loop.run(api.ledger().tasks())]
    assert states in ([], ["dropped"], ["submitted"])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_generates_on_its_own():
    """multiprocessing with fork: ledger, connections and loop are the child's own."""
    run(generate("before the fork", **QUICK))
    child = os.fork()
    if child == 0:
        try:
            os._exit(7 if len(run(generate("in the child", **QUICK))) == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(run(generate("after the fork", **QUICK))) == 1


def test_submissions_in_flight_are_bounded(monkeypatch):
    """Eight at once to one gateway, or as many as the settings allow."""
    flying, most, full, lock = [0], [0], [threading.Barrier(8)], threading.Lock()

    def answer(seen):
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
        full[0].wait(60)
        time.sleep(0.05)  # for one more, which must not come
        with lock:
            flying[0] -= 1
        return 400, {}, b'{"error": {"message": "no"}}'

    monkeypatch.setenv("XINGCHAO_API_KEY", "k")
    with web(answer) as server:
        monkeypatch.setenv("XINGCHAO_BASE_URL", server.origin)
        with pytest.raises(ImageGenError):
            run(generate("x", provider="xingchao", n=24))
        assert most[0] == 8
        most[0], full[0] = 0, threading.Barrier(3)
        loop.stop()
        monkeypatch.setenv("IMAGEGEN_SUBMITS_AT_ONCE", "3")
        with pytest.raises(ImageGenError):
            run(generate("x", provider="xingchao", n=12))
        assert most[0] == 3


def test_images_are_decoded_and_saved_in_threads(monkeypatch):
    """Pillow and the disk never block the engine's loop."""
    import threading

    from imagegen_magic.engine.storage import images
    from imagegen_magic.imaging import verify

    seen = []

    def watched(module, name):
        real = getattr(module, name)

        def call(*given, **more):
            seen.append((name, threading.current_thread().name))
            return real(*given, **more)

        monkeypatch.setattr(module, name, call)

    watched(verify, "verify")
    watched(images, "save")
    run(generate("a red fox", **QUICK))
    assert [name for name, _ in seen] == ["verify", "save"]
    assert all(thread != "imagegen-engine" for _, thread in seen)


def test_the_ledger_records_how_long_tasks_take(real_sandbox):
    """A new session shows the usual time, and polls accordingly."""

    async def usual():
        return [event.usual async for event in stream("a red fox", **QUICK, quality="low") if isinstance(event, Progress)]

    assert asyncio.run(usual())[0] is None
    for _ in range(2):
        run(generate("a red fox", **QUICK, quality="low"))
    loop.stop()
    low, high = asyncio.run(usual())[0]
    assert 0 < low <= high


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_many_open_tasks_in_one_await(monkeypatch, count):
    """A hundred or a thousand at once: every picture on disk, few polls, one transaction for many rows."""
    with sandbox_thread(duration=1.0, plain=True) as server:
        for name, value in server.environ("evolink").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.5")

        async def main():
            asked = (generate(f"one of many {i}", provider="evolink", size="1024x640") for i in range(count))
            return await asyncio.gather(*asked)

        made = asyncio.run(main())
        log = server.log()
    assert len({one[0].path for one in made}) == count
    assert all(one[0].path.stat().st_size for one in made)
    assert log["accepted"] == count
    assert log["looks"] + log["batch_looks"] < 0.5 * count
    assert api.ledger().transactions < 2.5 * count


def test_costs_add_within_a_unit_and_never_across():
    """Dollars and credits stay apart; unknown is counted, never 0."""
    from decimal import Decimal

    dollar, credit = Cost(Decimal("0.05"), "USD", "measured"), Cost(Decimal(3), "credits", "reserved")
    assert [str(one) for one in total([dollar, dollar, credit, Cost()])] == ["$0.10 + 1 unknown", "reserved 3 credits"]
    assert [str(one) for one in total([Cost(), Cost()])] == ["cost unknown"]
    assert total([]) == (Cost(),)
    play = Cost(Decimal("0.05"), "USD", "measured", "sandbox")
    assert [str(one) for one in total([play, Cost(), dollar, play, dollar])] == ["$0.10 + 1 unknown", "$0.10 of play money"]
    assert str(Cost(Decimal("0.1"), "USD", "estimated", "the page")) == "about $0.10"
    assert str(Cost(Decimal("0.790272"), "USD", "measured")) == "$0.7903"
    assert str(Cost(Decimal("0.00001234"), "USD", "measured")) == "$0.000012"
    assert str(Cost(Decimal("4.0"), "credits", "reserved")) == "reserved 4 credits"
    assert str(dollar.share(2)) == "$0.025"
    assert Cost().share(3) == Cost()


class Unequal:
    """apimart's dialect, whose answers say nothing of the cost: five pictures are a task of four and one of one."""

    def __init__(self):
        self.made, self.origin, self.expired, self.looks, self.instead = {}, "", set(), 0, {}

    def __call__(self, seen):
        """Answer a request."""
        if seen.path.endswith("/images/generations"):
            task = f"t{len(self.made) + 1}"
            self.made[task] = json.loads(seen.body)["n"]
            return 200, {}, json.dumps({"code": 200, "data": [{"status": "submitted", "task_id": task}]}).encode()
        if seen.path.endswith(".png"):
            return (403, {}, b"") if seen.path in self.expired else (200, {}, a_png(size=(1024, 1024)))
        self.looks += 1
        if self.looks in self.instead:
            return self.instead[self.looks]
        many = seen.method == "POST"
        tasks = json.loads(seen.body)["task_ids"] if many else [seen.path.split("/")[-1].split("?")[0]]
        answers = [self._done(task) for task in tasks]
        return 200, {}, json.dumps({"code": 200, "data": answers if many else answers[0]}).encode()

    def _done(self, task):
        pictures = [{"url": [f"{self.origin}/{task}-{place}-{self.looks}.png"]} for place in range(self.made[task])]
        return {"id": task, "status": "completed", "result": {"images": pictures}}


@pytest.fixture
def unequal(monkeypatch):
    """Such a gateway, reached as apimart."""
    answers = Unequal()
    with web(answers) as server:
        answers.origin = server.origin
        monkeypatch.setenv("APIMART_API_KEY", "k")
        monkeypatch.setenv("APIMART_BASE_URL", server.origin)
        monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
        yield answers


def test_an_estimate_is_shared_by_images_and_not_by_tasks(unequal):
    """Each of five images costs a fifth: in the caption, the sidecar, the ledger and when resumed."""
    asked = {"size": "1:1", "quality": "low"}
    price = api.plan(ImageRequest("fox", n=5, **asked), provider="apimart").price
    made = run(generate("fox", provider="apimart", n=5, **asked))
    assert {image.cost.amount for image in made} == {price.amount / 5}
    assert {json.loads(image.path.with_suffix(".json").read_text())["cost"]["amount"] for image in made} == {str(price.amount / 5)}
    rows = loop.run(api.ledger().tasks())
    assert [row.cost.amount for row in rows] == [price.amount / 5, price.amount / 5 * 4]
    assert generation_again(rows[1], price) == price.amount / 5 * 4


def generation_again(row, price):
    """Return what a resumed task is expected to cost, where nothing of its cost is known."""
    from imagegen_magic.engine.jobs.resume import price_of

    assert price_of(replace(row, expected={"tasks": 2})).amount == price.amount / 2  # as earlier versions wrote it
    return price_of(row).amount


def test_running_tasks_are_counted_by_images_too(unequal, monkeypatch):
    """A budget reserves a fifth for the task of one image."""
    from imagegen_magic.engine.ledger import spending

    rows = []
    counted_now = asyncio.Event()
    real = Ledger.set_state

    async def mark(self, row, *given, **more):
        rows.append(row)
        await counted_now.wait()
        await real(self, row, *given, **more)

    monkeypatch.setattr(Ledger, "set_state", mark)
    job = api.start(ImageRequest("fox", n=5, size="1:1", quality="low"), provider="apimart")
    until(lambda: len(rows) >= 2)
    pluralize = loop.run(api.ledger().run(lambda connection: list(spending.spending_groups(connection)), writes=False))
    shares = {account.pictures: account.price.amount for account in pluralize}
    assert shares[4] == 4 * shares[1]
    loop.call(counted_now.set)
    assert len(job.wait()) == 5


def test_an_expired_address_is_requested_again_after_the_minimum_interval(unequal, monkeypatch):
    """The poll that returned the address was just before."""
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.4")
    unequal.expired = {"/t1-0-1.png"}
    began, polled, real = CLOCK.time(), [], Poller.poll_once

    async def poll_once(self, task_id, *, last_poll=0.0):
        polled.append(last_poll)
        return await real(self, task_id, last_poll=last_poll)

    monkeypatch.setattr(Poller, "poll_once", poll_once)
    (image,) = run(generate("fox", provider="apimart", size="1:1"))
    assert image.data
    assert unequal.looks == 2
    assert began < polled[0]  # tests/test_polling.py shows that it waits for the interval after that


PAGE = {"content-type": "text/html"}, b"<!doctype html><title>One more step</title>"


@pytest.mark.parametrize("instead", [(200, *PAGE), (502, *PAGE), (429, {"retry-after": "0"}, b"")], ids=["page", "502", "429"])
def test_an_outage_while_a_new_address_is_requested_is_waited_for(unequal, instead):
    """The answer to that poll is a page, or says that it is too busy: it is asked again, and the picture comes with the same request."""
    unequal.expired = {"/t1-0-1.png"}
    unequal.instead = {2: instead}
    made = run(generate("fox", provider="apimart", size="1:1"))
    assert (len(made), made.errors, unequal.looks, len(unequal.made)) == (1, (), 3, 1)
