"""A job of many tasks: recorded in lots, run in a window, with its budget reserved; nothing is lost and nothing is paid twice.

The lots have eight tasks here and the window five, in place of 2,000.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from servers import sandbox_thread
from waiting import until

from imagegen_magic import ImageRequest
from imagegen_magic.engine import api, loop, rates
from imagegen_magic.engine.jobs import builder
from imagegen_magic.engine.jobs import job as jobs
from imagegen_magic.engine.ledger import budget
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import folders
from imagegen_magic.errors import AuthenticationError, BudgetExceeded, SaveError, WaitingStopped
from imagegen_magic.providers import registry
from imagegen_magic.result import GeneratedImage, Progress
from imagegen_magic.studies.sweeps.plan import load as load_sweep
from imagegen_magic.studies.sweeps.plan import plan, start

TASKS = 25
LOT, LIVE = 8, 5


@pytest.fixture(scope="module")
def server():
    """A server that has one picture for all."""
    with sandbox_thread(duration=0.02, plain=True) as running:
        yield running


@pytest.fixture
def gateway(server, monkeypatch):
    """Point every gateway at the server; lots and window are small."""
    server.be_every_gateway(monkeypatch)
    monkeypatch.setattr(builder, "LOT", LOT)
    monkeypatch.setattr(rates, "LIVE", LIVE)
    monkeypatch.setattr(jobs, "_LISTENED", LOT)
    return server


def planned(prompt, tasks=TASKS, provider="evolink", **settings):
    """Plan a sweep with a prompt for each task; returns the plan and its settings."""
    chosen = load().replace("a test", **settings)
    request = ImageRequest(f"{prompt} {{{{number}}}}", size="1:1", resolution="1k", quality="low")
    return plan(request, {"number": [f"no {number}" for number in range(tasks)]}, settings=chosen, provider=provider), chosen


def sweep_of(prompt, tasks=TASKS, provider="evolink", **settings):
    """Start a sweep with a prompt for each task."""
    return start(*planned(prompt, tasks, provider, **settings))


def price_of_one():
    """Return the estimate of one task at a service with known prices."""
    return planned("a price", 1, "apimart")[0].requests[0].plan.price.amount


def accepted(server, name):
    """Return how often each prompt of a sweep was accepted."""
    return Counter(entry["prompt"] for entry in server.accepted() if entry["prompt"].startswith(f"{name} "))


def once_each(name, tasks=TASKS):
    """Return what `accepted` is if each task of a sweep was accepted once."""
    return Counter(f"{name} no {number}" for number in range(tasks))


def states():
    """Return how many tasks of the ledger are in each state."""
    return Counter(task.state for task in loop.run(api.ledger(load()).tasks()))


def reservations():
    """Return how many lots are reserved."""
    return loop.run(api.ledger(load()).fetch("SELECT count(*) FROM reservations"))[0][0]


def held(server, name, **settings):
    """Start a sweep whose tasks stay at the service, and return when the window is full of them."""
    server.arm("held", times=None, match=name)
    job = sweep_of(name, **settings)
    until(lambda: accepted(server, name).total() == LIVE and states()["submitted"] == LIVE)
    return job


def test_runners_and_rows_are_made_as_others_end(gateway, monkeypatch):
    """Never more runners than the window, nor more than a lot of recorded tasks without one; all pictures come, in their order."""
    most_runners, most_planned = 0, 0
    made = builder.TaskRunner

    def runner(context, channel, spec, task):
        nonlocal most_runners, most_planned
        planned = [each for each in job.claims.rows if each not in {running.task.row for running in job.runners}]
        most_runners, most_planned = max(most_runners, 1 + len(job.runners)), max(most_planned, len(planned))
        return made(context, channel, spec, task)

    def begin(self, prepare):
        nonlocal job
        job = self
        return begun(self, prepare)

    job, begun = None, jobs.Job.begin
    monkeypatch.setattr(builder, "TaskRunner", runner)
    monkeypatch.setattr(jobs.Job, "begin", begin)
    gateway.arm("held", times=None, match="one by one")
    sweep_of("one by one")
    until(lambda: accepted(gateway, "one by one").total() == LIVE)
    gateway.disarm()
    result = job.wait()
    assert (most_runners, most_planned) == (LIVE, LOT)
    assert accepted(gateway, "one by one") == once_each("one by one")
    assert [place["number"] for place in (result.place(image) for image in result)] == [f"no {number}" for number in range(TASKS)]
    assert (len(result.tasks), job.runners, len(job.rows)) == (TASKS, [], TASKS)
    assert result.costs[0].amount == sum(image.cost.amount for image in result)
    assert len(load_sweep(result.study)) == TASKS
    assert states() == {"saved": TASKS}


def test_files_are_called_by_their_row_in_folders_of_a_thousand(gateway):
    """Only for a job of more than one lot: others keep their names and their folder."""
    loop.run(api.ledger(load()).run(lambda connection: connection.execute("INSERT INTO sqlite_sequence VALUES ('tasks', 985)")))
    many = sweep_of("by row", name="fox").wait()
    names = {f"{image.path.parent.name}/{image.path.name}" for image in many}
    assert names == {f"{row - row % 1000}-{row - row % 1000 + 999}/fox-{row}-1.png" for row in range(986, 986 + TASKS)}
    assert {image.path.parent.parent.name for image in many} == {"imagegen"}
    few = sweep_of("by token", LOT, name="fox").wait()
    assert {image.path.parent.name for image in few} == {"imagegen"}
    assert all(re.fullmatch(r"fox-[0-9a-f]{4}-1(-\d)?\.png", image.path.name) for image in few)


def test_the_budget_is_asked_once_for_all_lots(gateway):
    """A budget of less than the sum refuses before anything is recorded or sent."""
    price = price_of_one()
    loop.run(budget.set_budget(api.ledger(load()), price * TASKS - price / 2))
    with pytest.raises(BudgetExceeded) as refused:
        sweep_of("too dear", provider="apimart").wait()
    assert refused.value.asked == price * TASKS
    assert (accepted(gateway, "too dear"), reservations(), states()) == ({}, 0, {})


def test_no_other_request_can_spend_what_later_lots_need(gateway):
    """The first lot reserves the others, so a request that fits beside the first lot alone is refused; the end gives all back."""
    price, ledger = price_of_one(), api.ledger(load())
    loop.run(budget.set_budget(ledger, price * (TASKS + 3)))
    job = held(gateway, "reserved", provider="apimart")
    (status,) = loop.run(budget.budget_statuses(ledger))
    assert (status.reserved, status.spent) == (price * TASKS, 0)
    with pytest.raises(BudgetExceeded):
        sweep_of("in between", 5, "apimart").wait()
    assert len(sweep_of("just fits", 2, "apimart").wait()) == 2
    gateway.disarm()
    assert len(job.wait()) == TASKS
    assert (accepted(gateway, "reserved"), accepted(gateway, "in between")) == (once_each("reserved"), {})
    assert reservations() == 0


def test_cancel_says_what_was_not_sent_and_reuse_sends_it(gateway):
    """What the window holds goes on at the service, the rest costs nothing; the same with reuse collects the first and sends the rest."""
    job = held(gateway, "cancelled")
    job.cancel()
    with pytest.raises(WaitingStopped) as stopped:
        job.wait()
    assert f"{LIVE} tasks go on at the service" in stopped.value.what
    assert f"{TASKS - LIVE} tasks of the job were not sent, and nothing is charged for them" in stopped.value.what
    assert "--reuse" in stopped.value.hint
    assert (states(), reservations(), job.claims.rows) == ({"submitted": LIVE, "dropped": LOT - LIVE}, 0, [])
    gateway.disarm()
    assert len(sweep_of("cancelled", reuse=True).wait()) == TASKS
    assert accepted(gateway, "cancelled") == once_each("cancelled")


def test_reuse_of_a_finished_sweep_sends_nothing(gateway):
    """All lots are read from the ledger, also those that repeat a combination."""
    assert len(sweep_of("again", 15).wait()) == 15
    result = sweep_of("again", 17, reuse=True).wait()
    assert (len(result), sum(image.reused for image in result)) == (17, 15)
    assert accepted(gateway, "again") == once_each("again", 17)


def test_two_jobs_with_the_same_tasks_send_each_once(gateway):
    """Lots that another job recorded meanwhile are not sent again, and are named as running."""
    first = held(gateway, "shared", reuse=True)
    second = sweep_of("shared", reuse=True)
    until(lambda: second.id)
    gateway.disarm()
    made = [image.request.prompt for job in (first, second) for image in job.wait()]
    assert accepted(gateway, "shared") == once_each("shared")
    assert set(made) == set(once_each("shared"))
    assert any("already running" in error.what for error in [*first.errors, *second.errors])


def test_resume_collects_through_the_window_too(gateway, monkeypatch):
    """More tasks than the window are collected, at most so many at once."""
    job = held(gateway, "collected")
    job.cancel()
    with pytest.raises(WaitingStopped):
        job.wait()
    gateway.disarm()
    monkeypatch.setattr(rates, "LIVE", 2)
    again = api.resume(load())
    assert (again.window, len(again.wait())) == (2, LIVE)
    assert accepted(gateway, "collected").total() == LIVE


def test_an_error_of_a_later_lot_sends_nothing_further(gateway, monkeypatch):
    """What was sent is collected; the error says how many tasks were not sent, and the rest is not even recorded."""
    ready, calls = folders.make_ready, []

    def full_at_the_third_lot(*given, **named):
        calls.append(given)
        if len(calls) > 2:
            raise SaveError("The disk is full", charge="no")
        return ready(*given, **named)

    monkeypatch.setattr(folders, "make_ready", full_at_the_third_lot)
    result = sweep_of("disk full").wait()
    assert len(result) == 2 * LOT
    assert f"The disk is full; {TASKS - 2 * LOT} tasks of the job were not sent, and nothing is charged for them" in result.errors[0].what
    assert (states(), reservations()) == ({"saved": 2 * LOT}, 0)
    assert Counter(result.words) == {"": 2 * LOT, "not made": TASKS - 2 * LOT}


def test_the_error_that_ended_a_job_follows_those_of_its_tasks(gateway, monkeypatch):
    """The tasks in the window fail after the error of the next lot, which stays the last one."""
    ready, calls = folders.make_ready, []

    def full_at_the_second_lot(*given, **named):
        calls.append(given)
        if len(calls) > 1:
            raise SaveError("The disk is full", charge="no")
        return ready(*given, **named)

    monkeypatch.setattr(folders, "make_ready", full_at_the_second_lot)
    for number in range(LOT - LIVE + 1, LOT):
        gateway.arm("failed", times=None, match=f"fails late no {number}")
    result = sweep_of("fails late").wait()
    assert (len(result), len(result.errors)) == (LOT - LIVE + 1, LIVE)
    assert "The disk is full" in result.errors[-1].what


def test_a_refused_key_ends_the_job_at_its_first_lot(gateway):
    """A handful of refusals, one lot of rows, and an error that says how many tasks were not sent."""
    gateway.arm("unauthorized", times=None, match="bad key")
    with pytest.raises(AuthenticationError):
        (job := sweep_of("bad key")).wait()
    assert len([entry for entry in gateway.submissions() if entry["prompt"].startswith("bad key")]) <= 8
    assert f"{TASKS - LOT} tasks of the job were not sent" in job.errors[-1].what
    assert sum(states().values()) == LOT


def test_a_late_listener_gets_the_latest_progress(gateway):
    """Events of a large job are not kept for a listener that never comes."""
    job = sweep_of("unheard")
    assert len(job.wait()) == TASKS
    assert job._queue.qsize() == 1  # its end

    async def listen():
        return [event async for event in job.events()]

    events = loop.run(listen())
    assert [event.stage for event in events if isinstance(event, Progress)] == ["saved"] * TASKS
    assert sum(isinstance(event, GeneratedImage) for event in events) == TASKS


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from imagegen_magic.engine import rates
from imagegen_magic.engine.jobs import builder
from imagegen_magic.engine.storage import images
builder.LOT, rates.LIVE = {lot}, {live}
save, saved = images.save, []
def save_some(*given, **named):
    done = save(*given, **named)
    saved.append(done)
    if len(saved) == {most}:
        os.kill(os.getpid(), 9)
    return done
images.save = save_some
from test_many_tasks import sweep_of
sweep_of("killed").wait()
"""


def test_a_kill_in_the_middle_loses_nothing_and_pays_nothing_twice(gateway, tmp_path):
    """kill -9 after 11 saved files: resume says what was not sent and collects the rest; reuse sends what is missing, once."""
    script = KILLED.format(tests=str(Path(__file__).parent), lot=LOT, live=LIVE, most=11)
    done = subprocess.run([sys.executable, "-c", script], env=os.environ, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    sent = accepted(gateway, "killed")
    assert LIVE < sent.total() < TASKS
    job = api.resume(load(), ask_again=True)
    unsent = int(re.search(r"(\d+) tasks were not sent before their process ended, and nothing is charged for them", job.note)[1])
    job.wait()
    assert accepted(gateway, "killed").total() == TASKS - unsent
    assert reservations() == 0
    result = sweep_of("killed", reuse=True).wait()
    assert (len(result), states()["saved"]) == (TASKS, TASKS)
    assert accepted(gateway, "killed") == once_each("killed")
    assert len(list(Path("imagegen").rglob("*.png"))) == TASKS


def test_the_window_follows_the_life_of_the_results():
    """2,000 live tasks at a gateway that keeps pictures for a day, 900 at Replicate, which keeps them for an hour."""
    evolink, replicate = registry.get_provider("evolink"), registry.get_provider("replicate")
    assert [rates.window_of(each) for each in ((), [evolink], [replicate], [evolink, replicate])] == [2_000, 2_000, 900, 900]


def test_nothing_here_needs_a_running_loop_of_the_caller(gateway):
    """`await job` works on a loop of the caller's, for a job of several lots."""

    async def awaited():
        return await sweep_of("awaited", 12)

    assert len(asyncio.run(awaited())) == 12
