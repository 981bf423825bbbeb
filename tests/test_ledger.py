"""Nothing that was paid for is lost: each step is on the disk before the next one, through any kill, and no task is claimed twice."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from imagegen_magic.engine.ledger import database, process_locks
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.ledger.ledger import ANSWER_BYTES, STATES, Ledger, NewJob, NewTask, TaskRow
from imagegen_magic.engine.ledger.reuse import latest_row
from imagegen_magic.engine.ledger.schema import MIGRATIONS, MIN_READER
from imagegen_magic.errors import LedgerError
from imagegen_magic.result import Cost

PRICE = Cost(Decimal("0.040"), "USD", "estimated", "price list", "2025-01-01")
JOB = NewJob(
    provider="evolink",
    dialect="evolink",
    base_url="https://api.evolink.ai",
    sandbox=False,
    model="gpt-image-2",
    quality="high",
    tier="2k",
    asked={"prompt": "A red fox", "n": 2},
    resolved={"prompt": "A red fox", "n": 2, "size": "1:1"},
    expected={"pixels": [[1024, 1024]], "mime_type": "image/png", "alpha": None},
    price=PRICE,
    save_dir="imagegen",
    name=None,
    tasks=[NewTask({"method": "POST", "path": "/v1/images/generations", "json": {"n": 2}}, 2, "key-1")],
)
FILE: dict[str, Any] = {
    "path": "/x/fox-1.png",
    "sha256": "ab",
    "size": 9,
    "width": 4,
    "height": 3,
    "mime_type": "image/png",
    "differences": (),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a ledger that is not there yet."""
    return tmp_path / "a" / "home"


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    """A ledger of its own."""
    with closing(Ledger(home)) as opened:
        yield opened


@contextmanager
def another(home: Path, **options: float) -> Iterator[Ledger]:
    """A second ledger on the same file, as another process has one."""
    with closing(Ledger(home, **options)) as opened:
        yield opened


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a loop of its own."""
    return asyncio.run(coroutine)


async def submitted(ledger: Ledger, job: NewJob = JOB, *, claims: Claims | None = None, **columns: Any) -> list[int]:
    """Add a job and bring its tasks to `submitted`."""
    [(_, rows)] = await ledger.add([job], claims=claims)
    for row in rows:
        await ledger.set_state(row, "submitting")
        await ledger.set_state(row, "submitted", task_id=f"task_{row}", **columns)
    return rows


async def finished(ledger: Ledger, job: NewJob = JOB, seconds: float | None = 40.0, **file: Any) -> list[int]:
    """Bring a job of one task to `saved` and return its pictures' ids."""
    [row] = await submitted(ledger, job)
    urls = [f"https://cdn/{row}/{index}" for index in range(job.tasks[0].pictures)]
    ids = await ledger.record_result(row, urls, expires_at=None, cost=Cost(), seconds=seconds, answer={})
    for number in ids:
        await ledger.record_saved(number, **{**FILE, **file})
    return ids


async def one(ledger: Ledger, row: int) -> TaskRow:
    """Return one task."""
    return next(task for task in await ledger.tasks() if task.row == row)


def python(script: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a script in a real process, its output in a pipe."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def output(process: subprocess.Popen[str]) -> str:
    """Return what a process printed, once it ended well."""
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return printed


# on the disk, readable


def test_nothing_is_written_before_the_first_query(home: Path) -> None:
    """Creating a Ledger and counting resumable images creates no file and no folder."""
    with another(home) as ledger:
        assert ledger.count_resumable() == 0
    assert not home.parent.exists()


def test_it_is_durable_at_every_commit(ledger: Ledger) -> None:
    """WAL, synchronous=FULL, foreign keys: a power cut loses no committed write."""

    def settings(connection: sqlite3.Connection) -> list[Any]:
        return [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]

    assert run(ledger.run(settings)) == ["wal", 2, 1, 10_000]


def test_a_person_can_read_it(ledger: Ledger, home: Path) -> None:
    """Plain tables and an overview: states, ISO times, JSON as text, costs with their source."""
    cost = Cost(Decimal("0.1"), "USD", "measured", "the gateway's answer", "")

    async def work() -> None:
        [row] = await submitted(ledger, cost=cost)
        [first, _] = await ledger.record_result(
            row, ["https://cdn/1", "https://cdn/2"], expires_at=1.5e9, cost=Cost(), seconds=41, answer={"ok": 1}
        )
        await ledger.record_saved(first, **FILE)

    run(work())
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        job, task, *_ = (dict(connection.execute(f"SELECT * FROM {table}").fetchone()) for table in ("jobs", "tasks"))
        pictures = [dict(row) for row in connection.execute("SELECT * FROM pictures")]
        overview = dict(connection.execute("SELECT * FROM overview").fetchone())
    assert (job["prompt"], json.loads(job["asked"]), json.loads(job["resolved"])) == ("A red fox", JOB.asked, JOB.resolved)
    assert json.loads(task["sent"]) == JOB.tasks[0].sent
    assert json.loads(task["cost"]) == {"amount": "0.1", "unit": "USD", "kind": "measured", "source": "the gateway's answer"}
    times = [datetime.fromisoformat(task[f"{state}_at"]) for state in ("planned", "submitting", "submitted", "made")]
    assert times == sorted(times)
    assert all(moment.utcoffset() is not None for moment in times)
    assert [picture["url"] for picture in pictures] == ["https://cdn/1", "https://cdn/2"]
    assert pictures[0]["expires_at"] == "2017-07-14T02:40:00.000+00:00"
    assert (pictures[0]["path"], pictures[0]["sha256"]) == ("/x/fox-1.png", "ab")
    expected = {
        "state": "made",
        "prompt": "A red fox",
        "pictures": 2,
        "saved": 1,
        "files": "/x/fox-1.png",
        "seconds": 41.0,
        "task_id": "task_1",
    }
    assert {name: overview[name] for name in expected} == expected


# the way of a task


def test_a_task_passes_through_all_states(ledger: Ledger) -> None:
    """All columns of job, task and images are read back decoded, with the time of each state."""

    async def work() -> tuple[TaskRow, TaskRow, TaskRow]:
        begun = time.time() - 0.001
        job = JOB._replace(tasks=[NewTask({"a": 1}, 4, "k1"), NewTask({"a": 2}, 1, "k2")], sandbox=True, name="fox")
        [(number, rows)] = await ledger.add([job])
        first, second = await one(ledger, rows[0]), await one(ledger, rows[1])
        assert [(task.job, task.position, task.first, task.count) for task in (first, second)] == [(number, 0, 0, 4), (number, 1, 4, 1)]
        await ledger.set_state(second.row, "submitting")
        await ledger.set_state(second.row, "submitted", task_id="t", cost=PRICE, estimated_seconds=50, answer={"id": "t"})
        [picture] = await ledger.record_result(second.row, ["https://cdn/1"], expires_at=2e9, cost=Cost(), seconds=41.5, answer=None)
        middle = await one(ledger, second.row)
        await ledger.record_saved(picture, **{**FILE, "path": Path("/x/fox-5.png"), "differences": ["asked 3:1, got 2:1"]})
        assert begun <= first.planned_at <= time.time()
        return first, middle, await one(ledger, second.row)

    first, middle, last = run(work())
    assert (first.state, first.owner, first.idempotency_key, first.sent, first.name) == (
        "planned",
        ledger.owner,
        "k1",
        {"a": 1},
        "fox",
    )
    assert (first.sandbox, first.price, first.expected, first.cost, first.pictures) == (True, PRICE, JOB.expected, Cost(), ())
    assert (middle.state, middle.task_id, middle.cost, middle.estimated_seconds, middle.seconds) == ("made", "t", PRICE, 50, 41.5)
    assert (middle.answer, middle.pictures[0].url, middle.pictures[0].expires_at) == ({"id": "t"}, "https://cdn/1", 2e9)
    assert (last.state, last.owner, last.pictures[0].path) == ("saved", None, "/x/fox-5.png")
    assert last.pictures[0].differences == ("asked 3:1, got 2:1",)
    times = [last.planned_at, last.submitting_at, last.submitted_at, last.made_at, last.saved_at]
    assert times == sorted(time for time in times if time is not None)
    assert (last.failed_at, last.unknown_at, last.dropped_at) == (None, None, None)


def test_a_state_keeps_the_time_it_was_first_reached(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of a submitted task keeps its time."""

    async def work() -> TaskRow:
        monkeypatch.setattr("time.time", lambda: 1000.0)
        [row] = await submitted(ledger)
        monkeypatch.setattr("time.time", lambda: 2000.0)
        await ledger.set_state(row, "submitted", error="no connection")
        return await one(ledger, row)

    task = run(work())
    assert (task.submitted_at, task.error) == (1000.0, "no connection")


def test_an_unknown_cost_never_replaces_a_known_one(ledger: Ledger) -> None:
    """A known cost is read back exactly."""

    async def work() -> tuple[Cost, Cost]:
        [row] = await submitted(ledger, cost=PRICE)
        await ledger.record_result(row, ["u"], expires_at=None, cost=Cost(), seconds=None, answer={})
        before = (await one(ledger, row)).cost
        measured = Cost(Decimal("12.3400"), "credits", "measured", "answer", "2025-02-02", unknown=1)
        await ledger.set_state(row, "made", cost=measured)
        assert (await one(ledger, row)).cost == measured
        return before, PRICE

    before, expected = run(work())
    assert before == expected
    assert str(before.amount) == "0.040"


def test_new_urls_keep_the_ids_of_their_images(ledger: Ledger) -> None:
    """Images that are not saved get the new URLs under the same ids; saved ones keep theirs, and an extra one is added."""

    async def work() -> None:
        [row] = await submitted(ledger)
        first = await ledger.record_result(row, ["a1", "a2"], expires_at=1e9, cost=Cost(), seconds=40, answer={"poll": 1})
        await ledger.record_saved(first[0], **FILE)
        again = await ledger.record_result(row, ["b1", "b2", "b3"], expires_at=2e9, cost=Cost(), seconds=None, answer={"poll": 2})
        assert again[:2] == first
        task = await one(ledger, row)
        assert [(picture.id, picture.url, picture.expires_at) for picture in task.pictures] == [
            (first[0], "a1", 1e9),
            (first[1], "b2", 2e9),
            (again[2], "b3", 2e9),
        ]
        assert (task.state, task.seconds, task.answer) == ("made", 40, {"poll": 2})

    run(work())


def test_a_task_is_saved_with_its_last_image(ledger: Ledger) -> None:
    """Not before; then it has no owner and no error."""

    async def work() -> None:
        [row] = await submitted(ledger)
        first, second = await ledger.record_result(row, ["a", "b"], expires_at=None, cost=Cost(), seconds=40, answer={})
        await ledger.set_state(row, "made", error="truncated")
        await ledger.record_saved(second, **FILE)
        assert ((await one(ledger, row)).state, (await one(ledger, row)).error) == ("made", "truncated")
        await ledger.record_saved(first, **FILE)
        task = await one(ledger, row)
        assert (task.state, task.owner, task.error) == ("saved", None, None)
        await ledger.record_result(row, ["a", "b"], expires_at=None, cost=Cost(), seconds=40, answer={})
        assert (await one(ledger, row)).state == "saved"

    run(work())


ODD = ["", 'it\'s "quoted"; DROP TABLE tasks;--', "星 🦊 \u202e", "a\0b", "line\nbreak\ttab", "sk-looks-like-something", "{{x}} %s ?"]


@pytest.mark.parametrize("text", ODD)
def test_text_is_stored_unchanged(ledger: Ledger, text: str) -> None:
    """Any text is read back exactly."""

    async def work() -> None:
        job = JOB._replace(
            asked={"prompt": text}, resolved={"prompt": text}, name=text, save_dir=text, tasks=[NewTask({"json": text}, 1, "k")]
        )
        [row] = await submitted(ledger, job)
        await ledger.set_state(row, "submitted", task_id=text, error=text, answer={"text": text})
        task = await one(ledger, row)
        assert [task.prompt, task.name, task.save_dir, task.task_id, task.error] == [text] * 5
        assert (task.asked, task.sent, task.answer) == ({"prompt": text}, {"json": text}, {"text": text})

    run(work())


def test_half_a_surrogate_pair_does_not_stop_the_ledger(ledger: Ledger) -> None:
    """SQLite cannot keep it as text; JSON keeps it exactly, plain columns in escapes."""

    async def work() -> None:
        [row] = await submitted(ledger, JOB._replace(asked={"prompt": "\ud83d!"}))
        task = await one(ledger, row)
        assert (task.asked, task.prompt) == ({"prompt": "\ud83d!"}, "\\ud83d!")

    run(work())


def test_an_answer_is_bounded(ledger: Ledger) -> None:
    """A small one is stored unchanged, a huge one as JSON with its beginning; a value that is not JSON is stored as text."""

    async def work(answer: Any) -> Any:
        [row] = await submitted(ledger, answer=answer)
        return (await one(ledger, row)).answer

    assert run(work([1, None, "x"])) == [1, None, "x"]
    longest_kept = "x" * (ANSWER_BYTES - 2)
    assert run(work(longest_kept)) == longest_kept
    for letter in ("x", "星", '"', "\x01"):
        cut = run(work({"data": letter * 200_000}))
        assert cut["cut"] > 200_000
        assert cut["start"].startswith('{"data": "')
    assert run(work({"path": Path("/x")})) == {"path": "/x"}
    with closing(sqlite3.connect(ledger.path)) as connection:
        longest = connection.execute("SELECT max(length(CAST(answer AS BLOB))) FROM tasks").fetchone()[0]
    assert longest <= ANSWER_BYTES


def test_an_unknown_state_column_task_or_image_is_refused(ledger: Ledger) -> None:
    """A mistake of the caller is an error and never ignored."""

    async def work() -> None:
        [row] = await submitted(ledger)
        with pytest.raises(ValueError, match="'done' is not one of"):
            await ledger.set_state(row, "done")
        with pytest.raises(TypeError, match="'owner' is not one of"):
            await ledger.set_state(row, "made", owner="me")
        with pytest.raises(LedgerError, match="has no task 99"):
            await ledger.set_state(99, "made")
        with pytest.raises(LedgerError, match="has no picture 99"):
            await ledger.record_saved(99, **FILE)

    run(work())


# one thread, many writers


def test_no_work_is_done_in_the_loops_thread(ledger: Ledger) -> None:
    """The disk never blocks the event loop, and one thread serves all loops."""
    threads = {run(ledger.run(lambda connection: threading.get_ident())) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_waiting_writes_share_one_transaction(ledger: Ledger, home: Path) -> None:
    """200 writes that wait for another program need at most two transactions."""

    async def work() -> int:
        [(_, rows)] = await ledger.add([JOB._replace(tasks=list(JOB.tasks) * 200)])
        before = ledger.transactions
        with closing(sqlite3.connect(home / "ledger.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            marks = [asyncio.ensure_future(ledger.set_state(row, "submitting")) for row in rows]
            await asyncio.sleep(0.05)
            assert not any(mark.done() for mark in marks)
            other.execute("COMMIT")
            await asyncio.gather(*marks)
        return ledger.transactions - before

    assert run(work()) <= 2
    assert {task.state for task in run(ledger.tasks())} == {"submitting"}


def test_transactions_have_a_bounded_size(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of many writes does not wait for the last."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.database._MAX_BATCH", 10)

    async def work() -> int:
        [(_, rows)] = await ledger.add([JOB._replace(tasks=list(JOB.tasks) * 30)])
        before = ledger.transactions
        await asyncio.gather(*(ledger.set_state(row, "submitting") for row in rows))
        return ledger.transactions - before

    assert run(work()) >= 3


def test_many_jobs_are_added_in_one_transaction(ledger: Ledger) -> None:
    """A thousand requests need one commit, and are returned in order."""
    run(ledger.check())
    before = ledger.transactions
    added = run(ledger.add([JOB._replace(name=str(number)) for number in range(1000)]))
    assert ledger.transactions - before == 1
    tasks = run(ledger.tasks())
    assert [(task.job, [task.row], task.name) for task in reversed(tasks)] == [(*each, str(number)) for number, each in enumerate(added)]


def test_one_failed_write_affects_no_other(ledger: Ledger) -> None:
    """Other writes of its transaction succeed."""

    async def work() -> list[Any]:
        [(_, rows)] = await ledger.add([JOB._replace(tasks=list(JOB.tasks) * 3)])
        return await asyncio.gather(*(ledger.set_state(row, "submitting") for row in [rows[0], 99, *rows[1:]]), return_exceptions=True)

    first, failed, *others = run(work())
    assert (first, others) == (None, [None, None])
    assert isinstance(failed, LedgerError)
    assert [task.state for task in run(ledger.tasks())] == ["submitting"] * 3


def test_a_programming_error_reaches_its_caller_unchanged(ledger: Ledger) -> None:
    """It is not a LedgerError, and the thread continues."""
    with pytest.raises(ZeroDivisionError):
        run(ledger.run(lambda connection: 1 / 0))
    with pytest.raises(LedgerError, match="no such table"):
        run(ledger.run(lambda connection: connection.execute("SELECT * FROM nowhere")))
    run(ledger.check())


def test_a_broken_connection_is_replaced(ledger: Ledger, home: Path) -> None:
    """The caller of the broken query gets the error; the other writes of its transaction are done on a new connection."""

    def broken(connection: sqlite3.Connection) -> None:
        connection.close()
        raise OSError("broken")

    async def work() -> list[Any]:
        orders = [ledger.run(broken), *(ledger.add([JOB]) for _ in range(3))]
        return await asyncio.gather(*orders, return_exceptions=True)

    failed, *added = run(work())
    assert isinstance(failed, LedgerError)
    assert f"{home / 'ledger.sqlite'} cannot be written: broken" in failed.what
    assert added == [[(number, [number])] for number in (1, 2, 3)]


def test_a_write_whose_caller_is_cancelled_is_still_done(ledger: Ledger, home: Path) -> None:
    """An interrupt right after the gateway accepted a task does not lose its id."""

    async def work() -> int:
        [(_, [row])] = await ledger.add([JOB])
        with closing(sqlite3.connect(home / "ledger.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            mark = asyncio.ensure_future(ledger.set_state(row, "submitted", task_id="task_7"))
            await asyncio.sleep(0.02)
            mark.cancel()
            other.execute("COMMIT")
        await ledger.check()
        return row

    row = run(work())
    assert run(one(ledger, row)).task_id == "task_7"


def test_a_write_whose_loop_is_closed_is_still_done(ledger: Ledger, home: Path) -> None:
    """The thread continues to serve others."""
    [(_, [row])] = run(ledger.add([JOB]))
    loop = asyncio.new_event_loop()
    with closing(sqlite3.connect(home / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        mark = loop.create_task(ledger.set_state(row, "submitted", task_id="task_7"))
        loop.run_until_complete(asyncio.sleep(0.01))
        mark.cancel()
        loop.run_until_complete(asyncio.gather(mark, return_exceptions=True))
        loop.close()
        other.execute("COMMIT")
    assert run(one(ledger, row)).task_id == "task_7"


def test_many_loops_in_many_threads_share_it(ledger: Ledger) -> None:
    """Each gets its own results."""
    answers: dict[str, list[int]] = {}

    def serve(name: str) -> None:
        async def work() -> None:
            added = await asyncio.gather(*(ledger.add([JOB._replace(name=name)]) for _ in range(40)))
            answers[name] = [row for [(_, [row])] in added]

        run(work())

    threads = [threading.Thread(target=serve, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {task.row: task.name for task in run(ledger.tasks())}
    assert {name: {names[row] for row in rows} for name, rows in answers.items()} == {name: {name} for name in answers}
    assert len(names) == 160


def test_closed_it_leaves_no_thread_and_opens_again(ledger: Ledger) -> None:
    """Earlier queries are finished, and a later one works."""
    run(ledger.add([JOB]))
    ledger.close()
    assert "imagegen ledger" not in [thread.name for thread in threading.enumerate()]
    ledger.close()
    assert len(run(ledger.tasks())) == 1


def test_closing_finishes_all_writes(ledger: Ledger, home: Path) -> None:
    """Those requested before the end are done, in one batch with it."""

    async def work() -> None:
        [(_, rows)] = await ledger.add([JOB._replace(tasks=list(JOB.tasks) * 5)])
        with closing(sqlite3.connect(home / "ledger.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            marks = [asyncio.ensure_future(ledger.set_state(rows[0], "submitting"))]
            await asyncio.sleep(0.02)
            marks += [asyncio.ensure_future(ledger.set_state(row, "submitting")) for row in rows[1:]]
            await asyncio.sleep(0)
            closer = threading.Thread(target=ledger.close)
            closer.start()
            while ledger._thread is not None:
                await asyncio.sleep(0.001)
            other.execute("COMMIT")
        await asyncio.gather(*marks)
        closer.join()

    run(work())
    assert [task.state for task in run(ledger.tasks())] == ["submitting"] * 5


# several processes


def test_two_ledgers_on_one_file_leave_each_others_tasks_alone(ledger: Ledger, home: Path) -> None:
    """A living process keeps its tasks; after it closes its ledger, others may claim them."""
    rows = run(submitted(ledger))
    with another(home) as second:
        assert run(second.claim()) == []
        assert second.count_resumable() == 0
        assert run(ledger.claim()) == []
        ledger.close()
        assert second.count_resumable() == 2
        [task] = run(second.claim())
        assert (task.row, task.owner, task.task_id) == (rows[0], second.owner, f"task_{rows[0]}")
        assert second.count_resumable() == 0
        assert run(second.claim()) == []


def test_released_tasks_can_be_claimed(ledger: Ledger, home: Path) -> None:
    """The state and the note stay, and only our own tasks are released."""
    [row, other] = run(submitted(ledger, JOB._replace(tasks=list(JOB.tasks) * 2)))
    with another(home) as second:
        run(second.release([row, other], "not yours"))
        assert run(second.claim()) == []
        run(ledger.release([row], "interrupted"))
        assert second.count_resumable() == ledger.count_resumable() == 2
        [task] = run(second.claim(rows=[row, other, 99]))
        assert (task.row, task.state, task.note) == (row, "submitted", "interrupted")
        run(second.release([row]))
        assert run(one(ledger, row)).note == "interrupted"


def test_a_task_that_no_job_claims_can_be_claimed_by_the_same_process(ledger: Ledger, home: Path) -> None:
    """A claimed task is left alone although nothing was written; a released one waits, and the next job has it alone."""
    first, second = Claims(), Claims()
    [row, other] = run(submitted(ledger, JOB._replace(tasks=list(JOB.tasks) * 2), claims=first))
    assert (ledger.count_resumable(), run(ledger.claim(claims=second)), run(ledger.recover_orphans())) == (0, [], [])
    first.release(row)
    assert ledger.count_resumable() == 2
    assert [task.row for task in run(ledger.claim(claims=second))] == [row]
    first.end()
    assert [task.row for task in run(ledger.claim(claims=second))] == [other]
    assert (ledger.count_resumable(), run(ledger.claim(claims=Claims()))) == (0, [])
    with another(home) as elsewhere:
        assert (elsewhere.count_resumable(), run(elsewhere.claim())) == (0, [])


def test_the_planned_tasks_of_a_vanished_job_are_dropped(ledger: Ledger) -> None:
    """What it was submitting is unknown; a job that vanished without an end counts as ended."""
    claims: Claims | None = Claims()
    [(_, [planned, submitting])] = run(ledger.add([JOB._replace(tasks=list(JOB.tasks) * 2)], claims=claims))
    run(ledger.set_state(submitting, "submitting"))
    assert run(ledger.recover_orphans()) == []
    claims = None
    gc.collect()
    assert [task.row for task in run(ledger.recover_orphans())] == [submitting]
    assert run(one(ledger, planned)).state == "dropped"


def test_a_claim_of_an_ended_job_takes_nothing(ledger: Ledger) -> None:
    """A task that it claimed just before is free; a submission that is being sent stays claimed."""
    claims = Claims()
    [row, wire] = run(submitted(ledger, JOB._replace(tasks=list(JOB.tasks) * 2), claims=claims))
    claims.end(keep=[wire])
    assert run(ledger.claim(claims=claims)) == []
    assert [task.row for task in run(ledger.claim(claims=Claims()))] == [row]
    claims.release(wire)
    assert sorted(task.row for task in run(ledger.claim(claims=Claims()))) == [row, wire]


def test_a_task_that_is_released_before_it_was_sent_is_dropped(ledger: Ledger) -> None:
    """It is neither running nor pending."""
    [(_, rows)] = run(ledger.add([JOB]))
    run(ledger.release(rows, "stopped"))
    dropped = run(one(ledger, rows[0]))
    assert (dropped.state, dropped.owner, dropped.note, dropped.dropped_at is None) == ("dropped", None, "stopped", False)


def test_only_the_chosen_rows_are_claimed(ledger: Ledger) -> None:
    """Resuming one task leaves the others."""
    rows = run(submitted(ledger, JOB._replace(tasks=list(JOB.tasks) * 3)))
    run(ledger.release(rows))
    assert [task.row for task in run(ledger.claim(rows=[rows[1]]))] == [rows[1]]
    assert [task.row for task in run(ledger.claim())] == [rows[2], rows[0]]


def test_only_submitted_and_made_tasks_are_resumable(ledger: Ledger) -> None:
    """No other state is."""

    async def work() -> list[str]:
        [(_, rows)] = await ledger.add([JOB._replace(tasks=list(JOB.tasks) * len(STATES))])
        for row, state in zip(rows, STATES, strict=True):
            await ledger.set_state(row, state)
        await ledger.release(rows)
        return sorted(task.state for task in await ledger.claim())

    assert run(work()) == ["made", "submitted"]


def test_resumable_images_are_counted_not_tasks(ledger: Ledger) -> None:
    """A submitted task counts with all its images, a made one with those that are not saved."""

    async def work() -> None:
        [row, other] = await submitted(ledger, JOB._replace(tasks=[NewTask({}, 4, "a"), NewTask({}, 3, "b")]))
        first, *_ = await ledger.record_result(row, ["1", "2", "3", "4"], expires_at=None, cost=Cost(), seconds=1, answer={})
        await ledger.record_saved(first, **FILE)
        assert ledger.count_resumable() == 0
        await ledger.release([row, other])
        assert ledger.count_resumable() == 3 + 3

    run(work())


CLAIMER = """
    import asyncio, sys
    from pathlib import Path
    from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask
    from imagegen_magic.result import Cost

    async def main():
        ledger = Ledger(Path(sys.argv[1]))
        job = NewJob("evolink", "evolink", "", False, "m", "q", "t", {}, {}, {}, Cost(), "", None, [NewTask({}, 1, "k")])
        mine = [rows[0] for _, rows in await ledger.add([job] * 15)]
        await asyncio.gather(*(ledger.set_state(row, "submitted", task_id=str(row)) for row in mine))
        print("ready", flush=True)
        sys.stdin.readline()
        for row in mine:
            await ledger.release([row])
            print(*(task.row for task in await ledger.claim()), flush=True)
        print("done", flush=True)
        sys.stdin.readline()
        ledger.close()

    asyncio.run(main())
"""


def test_several_processes_claim_each_task_exactly_once(home: Path) -> None:
    """All write, release and claim at once in one new file; no task is lost or claimed twice."""
    processes = [python(CLAIMER, home) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    claims: list[list[int]] = []
    for process in processes:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "done\n")
        claims.append([int(row) for line in lines for row in line.split()])
    with another(home) as ledger:
        owner_of = {task.row: task.owner for task in run(ledger.tasks())}
    for process in processes:
        process.communicate("\n", timeout=60)
    assert len(owner_of) == 45
    assert None not in owner_of.values()
    # a task goes from hand to hand only through a release: the last who claimed it has it, and each was claimed after each release
    assert sum(map(len, claims)) == 45
    for process, claimed in zip(processes, claims, strict=True):
        held = {row for row, owner in owner_of.items() if str(owner).startswith(f"{process.pid}-")}
        assert held <= set(claimed)


def test_several_processes_may_create_it_at_once(home: Path) -> None:
    """The first creates the tables, the others find them."""
    script = """
        import asyncio, sys
        from pathlib import Path
        from imagegen_magic.engine.ledger.ledger import Ledger
        ledger = Ledger(Path(sys.argv[1]))
        sys.stdin.readline()
        asyncio.run(ledger.check())
        ledger.close()
    """
    processes = [python(script, home) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        output(process)


KILLED = """
    import asyncio, sys, time
    from pathlib import Path
    from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask
    from imagegen_magic.result import Cost

    async def main():
        ledger = Ledger(Path(sys.argv[1]))
        tasks = [NewTask({"n": n}, 2, f"key-{n}") for n in range(5)]
        job = NewJob("evolink", "evolink", "https://x", False, "m", "q", "t", {"prompt": "fox"}, {}, {}, Cost(), "d", None, tasks)
        [(_, (planned, submitting, submitted, made, half))] = await ledger.add([job])
        for row in (submitting, submitted, made, half):
            await ledger.set_state(row, "submitting")
        for row in (submitted, made, half):
            await ledger.set_state(row, "submitted", task_id=f"task_{row}")
        for row in (made, half):
            ids = await ledger.record_result(row, ["u1", "u2"], expires_at=None, cost=Cost(), seconds=3, answer={})
        await ledger.record_saved(ids[0], path="/x", sha256="", size=1, width=1, height=1, mime_type="image/png", differences=())
        print("ready", flush=True)
        time.sleep(60)

    asyncio.run(main())
"""


def test_after_a_kill_between_states_nothing_is_lost(home: Path) -> None:
    """After kill -9 another process finds what is resumable and what is unknown, and drops what was never sent."""
    process = python(KILLED, home)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with another(home) as ledger:
        assert (ledger.count_resumable(), run(ledger.claim()), run(ledger.recover_orphans())) == (0, [], [])
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert ledger.count_resumable() == 2 + 2 + 1
        [unknown] = run(ledger.recover_orphans())
        assert (unknown.row, unknown.state, unknown.sent) == (2, "unknown", {"n": 1})
        assert "process ended" in (unknown.error or "")
        assert unknown.unknown_at is not None
        claimed = run(ledger.claim())
        assert [(task.row, task.state, task.task_id) for task in claimed] == [
            (5, "made", "task_5"),
            (4, "made", "task_4"),
            (3, "submitted", "task_3"),
        ]
        assert [[bool(picture.path) for picture in task.pictures] for task in claimed] == [[True, False], [False, False], []]
        assert run(one(ledger, 1)).state == "dropped"
        assert run(ledger.recover_orphans()) == []
        assert ledger.count_resumable() == 0


def test_the_tasks_of_a_living_process_are_no_orphans(ledger: Ledger, home: Path) -> None:
    """Only after it released its lock is a submission unknown and a planned task dropped."""
    [(_, [planned, submitting])] = run(ledger.add([JOB._replace(tasks=list(JOB.tasks) * 2)]))
    run(ledger.set_state(submitting, "submitting"))
    with another(home) as second:
        assert run(second.recover_orphans()) == []
        run(ledger.release([planned, submitting]))
        assert [task.row for task in run(second.recover_orphans())] == [submitting]
        assert run(one(second, planned)).state == "dropped"


FORKED = """
    import asyncio, os, signal, sys, time
    from pathlib import Path
    from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask
    from imagegen_magic.result import Cost

    ledger = Ledger(Path(sys.argv[1]))
    def job(name):
        return NewJob("evolink", "evolink", "", False, "m", "q", "t", {}, {}, {}, Cost(), "", name, [NewTask({}, 1, "k")])

    def submit(name):
        [(_, [row])] = asyncio.run(ledger.add([job(name)]))
        asyncio.run(ledger.set_state(row, "submitted", task_id=name))
        return row

    row = submit("parent")
    child = os.fork()
    if child == 0:
        submit("child")
        print("child", ledger.owner, flush=True)
        sys.stdin.readline()
        submit("child again")
        print("child", ledger.owner, flush=True)
        time.sleep(60)
    print("parent", ledger.owner, flush=True)
    asyncio.run(ledger.set_state(row, "submitted", error="after the fork"))
    if sys.argv[2] == "closes":
        ledger.close()
        os._exit(0)
    time.sleep(60)
"""


@pytest.mark.parametrize("parent", ["closes", "is killed"])
def test_after_a_fork_the_child_has_a_lock_of_its_own(home: Path, parent: str) -> None:
    """The child writes safely in parallel, keeps its tasks when the parent ends, and does not keep the parent's lock."""
    process = python(FORKED, home, parent)
    assert process.stdin is not None
    assert process.stdout is not None
    names = dict(sorted(process.stdout.readline().split() for _ in range(2)))
    assert names["child"] != names["parent"]
    if parent == "is killed":
        process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    child = int(names["child"].split("-")[0])
    try:
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().split() == ["child", names["child"]]
        with another(home) as ledger:
            assert [task.name for task in run(ledger.claim())] == ["parent"]
            tasks = {task.name: task.owner for task in run(ledger.tasks())}
        assert tasks["child"] == tasks["child again"] == names["child"]
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()
    with another(home) as ledger:
        assert sorted(str(task.name) for task in run(ledger.claim())) == ["child", "child again", "parent"]
        assert run(ledger.run(lambda connection: connection.execute("PRAGMA integrity_check").fetchone()[0])) == "ok"


def test_a_fork_waits_for_a_transaction_and_the_parent_continues(ledger: Ledger) -> None:
    """The parent's ledger works as before, with any queue at the fork."""
    from imagegen_magic.engine.ledger import database

    async def work() -> None:
        [(_, rows)] = await ledger.add([JOB._replace(tasks=list(JOB.tasks) * 50)])
        marks = [asyncio.ensure_future(ledger.set_state(row, "submitting")) for row in rows]
        await asyncio.sleep(0)
        database._before_fork()
        assert ledger._connection is None
        database._after_fork_in_parent()
        await asyncio.gather(*marks)

    run(work())
    assert {task.state for task in run(ledger.tasks())} == {"submitting"}


# owners


def test_a_process_lock_lasts_until_it_is_released(tmp_path: Path) -> None:
    """Others see its lock file, which is removed afterwards."""
    owner = process_locks.ProcessLock(tmp_path / "owners")
    name = owner.name
    assert owner.name == name
    assert name.startswith(f"{os.getpid()}-")
    assert process_locks.is_alive(tmp_path / "owners", name)
    owner.release()
    owner.release()
    assert not process_locks.is_alive(tmp_path / "owners", name)
    assert not process_locks.is_alive(tmp_path / "owners", None)
    assert list((tmp_path / "owners").iterdir()) == []
    assert owner.name != name
    owner.release()


def test_the_lock_files_of_ended_processes_are_removed(ledger: Ledger, home: Path) -> None:
    """A new process removes those of killed ones and leaves those of living ones."""
    process = python(KILLED, home)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    [theirs] = (home / "owners").iterdir()
    run(ledger.add([JOB]))
    assert theirs.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    with another(home) as second:
        run(second.check())
        assert {path.stem for path in (home / "owners").iterdir()} == {ledger.owner, second.owner}


def test_a_lock_file_removed_before_it_is_locked_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between creating and locking, another process may take it for a stale one."""
    lock, swept = process_locks.lock, []

    def late(descriptor: int) -> None:
        if not swept:
            process_locks.remove_stale(tmp_path)
            swept.append(list(tmp_path.iterdir()))
        lock(descriptor)

    (tmp_path / "work").rmdir()
    monkeypatch.setattr(process_locks, "lock", late)
    owner = process_locks.ProcessLock(tmp_path)
    assert process_locks.is_alive(tmp_path, owner.name)
    assert swept == [[]]
    owner.release()


# asking


def test_tasks_are_found_by_state_and_job_newest_first(ledger: Ledger) -> None:
    """Also more than a thousand."""

    async def work() -> None:
        [(first, rows)] = await ledger.add([JOB._replace(tasks=list(JOB.tasks) * 1200)])
        [(second, [last])] = await ledger.add([JOB])
        await ledger.set_state(rows[7], "submitted", task_id="seven")
        assert [task.row for task in await ledger.tasks()] == [last, *reversed(rows)]
        assert [task.row for task in await ledger.tasks(limit=2)] == [last, rows[-1]]
        assert [task.row for task in await ledger.tasks(job=second)] == [last]
        assert [task.row for task in await ledger.tasks(states=["submitted", "made"])] == [rows[7]]
        assert [task.row for task in await ledger.tasks(states=["planned"], job=first, limit=1)] == [rows[-1]]
        assert await ledger.tasks(states=[]) == []

    run(work())


def test_durations_are_recorded_by_class(ledger: Ledger) -> None:
    """Of made and saved tasks, newest first; the sandbox's are separate."""

    async def work() -> None:
        for seconds in (40.0, None, 50.0):
            await finished(ledger, seconds=seconds)
        await finished(ledger, JOB._replace(quality="low"), seconds=10)
        await finished(ledger, JOB._replace(sandbox=True), seconds=0.1)
        [row] = await submitted(ledger)
        await ledger.set_state(row, "failed", seconds=99)
        assert await ledger.durations("evolink", "gpt-image-2", "high", "2k") == [50.0, 40.0]
        assert await ledger.durations("evolink", "gpt-image-2", "high", "2k", limit=1) == [50.0]
        assert await ledger.durations("evolink", "gpt-image-2", "high", "2k", sandbox=True) == [0.1]
        assert await ledger.durations("evolink", "gpt-image-2", "low", "2k") == [10.0]
        assert await ledger.durations("xingchao", "gpt-image-2", "high", "2k") == []

    run(work())


def test_images_are_found_newest_first_and_by_id(ledger: Ledger) -> None:
    """Only saved ones."""

    async def work() -> None:
        foxes, owls = await finished(ledger), await finished(ledger)
        [row] = await submitted(ledger)
        unsaved = await ledger.record_result(row, ["u"], expires_at=None, cost=Cost(), seconds=1, answer={})

        async def found(**question: Any) -> list[int]:
            return [picture.id for picture in await ledger.pictures(**question)]

        newest = [*reversed(owls), *reversed(foxes)]
        assert await found() == newest
        assert await found(limit=3) == newest[:3]
        assert await found(limit=None) == newest
        assert await found(ids=[foxes[0], owls[1], unsaved[0]]) == [owls[1], foxes[0]]

    run(work())


def test_an_image_has_what_its_caption_needs(ledger: Ledger) -> None:
    """Gateway, model, request, task, cost, times and path."""
    job = JOB._replace(tasks=[NewTask({}, 3, "a")])
    [*_, last] = run(finished(ledger, job, differences=["asked 3:1, got 2:1"]))
    [picture] = run(ledger.pictures(ids=[last]))
    assert (picture.provider, picture.model, picture.sandbox, picture.task_id) == ("evolink", "gpt-image-2", False, "task_1")
    assert (picture.asked, picture.resolved) == (JOB.asked, JOB.resolved)
    assert (picture.task, picture.task_position, picture.first, picture.position, picture.count) == (1, 0, 0, 2, 3)
    assert (picture.path, picture.width, picture.height, picture.seconds) == ("/x/fox-1.png", 4, 3, 40.0)
    assert picture.differences == ("asked 3:1, got 2:1",)
    assert picture.saved_at is not None
    assert picture.created <= picture.saved_at


# what can be wrong with the file


VERSION_1 = """
    CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, created TEXT NOT NULL, provider TEXT NOT NULL, dialect TEXT NOT NULL,
        base_url TEXT NOT NULL, sandbox INTEGER NOT NULL, model TEXT NOT NULL, quality TEXT NOT NULL, tier TEXT NOT NULL,
        prompt TEXT NOT NULL, asked TEXT NOT NULL, resolved TEXT NOT NULL, expected TEXT NOT NULL, price TEXT NOT NULL,
        save_dir TEXT NOT NULL, name TEXT);
    CREATE TABLE tasks (row INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL REFERENCES jobs (id), position INTEGER NOT NULL,
        first INTEGER NOT NULL, count INTEGER NOT NULL, state TEXT NOT NULL
            CHECK (state IN ('planned', 'submitting', 'submitted', 'made', 'saved', 'failed', 'unknown', 'dropped')),
        owner TEXT, task_id TEXT, cost TEXT NOT NULL, error TEXT, note TEXT, estimated_seconds REAL, seconds REAL,
        planned_at TEXT NOT NULL, submitting_at TEXT, submitted_at TEXT, made_at TEXT, saved_at TEXT, failed_at TEXT, unknown_at TEXT,
        dropped_at TEXT, idempotency_key TEXT NOT NULL, sent TEXT NOT NULL, answer TEXT);
    CREATE TABLE pictures (id INTEGER PRIMARY KEY AUTOINCREMENT, task INTEGER NOT NULL REFERENCES tasks (row), position INTEGER NOT NULL,
        url TEXT NOT NULL, expires_at TEXT, path TEXT, sha256 TEXT, size INTEGER, width INTEGER, height INTEGER, mime_type TEXT,
        differences TEXT NOT NULL DEFAULT '[]', saved_at TEXT, UNIQUE (task, position));
    PRAGMA application_id = 1229801265;
    PRAGMA user_version = 1;
    INSERT INTO jobs VALUES (1, '2025-01-01T10:00:00.000+00:00', 'evolink', 'evolink', 'https://x', 0, 'gpt-image-2', 'high', '2k',
        'fox', '{"prompt": "fox"}', '{}', '{}', '{}', 'imagegen', NULL);
    INSERT INTO tasks (row, job, position, first, count, state, owner, task_id, cost, planned_at, idempotency_key, sent)
        VALUES (1, 1, 0, 0, 2, 'submitted', 'another', 'task_old', '{"amount": "3", "unit": "credits"}',
            '2025-01-01T10:00:00.000+00:00', 'k', '{}');
"""


@pytest.fixture
def old(home: Path) -> Path:
    """A ledger of format 1 with a task that waits."""
    home.mkdir(parents=True)
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        connection.executescript(VERSION_1)
    return home


def version(home: Path) -> int:
    """Return the format of a ledger's file."""
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_an_old_ledger_is_migrated(old: Path) -> None:
    """The pending tasks of a file of format 1 can be resumed, and later columns exist."""
    with another(old) as ledger:
        [task] = run(ledger.claim())
        assert (task.task_id, task.cost) == ("task_old", Cost(Decimal(3), "credits"))
    assert version(old) == MIN_READER > 1
    with closing(sqlite3.connect(old / "ledger.sqlite")) as connection:
        assert connection.execute("SELECT task_id FROM overview").fetchall() == [("task_old",)]


def test_an_old_ledger_and_a_new_one_have_the_same_tables(old: Path, tmp_path: Path) -> None:
    """A migrated file equals a new one."""

    def schema(home: Path) -> list[str]:
        with another(home) as ledger:
            run(ledger.check())
        with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
            found = connection.execute("SELECT type || name || coalesce(sql, '') FROM sqlite_master ORDER BY 1")
            return ["".join(text.split()) for (text,) in found]

    assert schema(old) == schema(tmp_path / "new")


def test_a_migration_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one transaction."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.migration.MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (x)", "nonsense")))
    with another(old) as ledger, pytest.raises(LedgerError, match="syntax error"):
        run(ledger.check())
    assert version(old) == 1
    monkeypatch.undo()
    with another(old) as ledger:
        assert len(run(ledger.tasks())) == 1


def check_error(home: Path, **options: float) -> LedgerError:
    """Return the error that a check of the ledger raises."""
    with another(home, **options) as ledger:
        with pytest.raises(LedgerError) as caught:
            run(ledger.check())
        assert ledger.count_resumable() == 0
    assert caught.value.charge == "no"
    assert str(home) in str(caught.value)
    assert "IMAGEGEN_HOME" in str(caught.value) or "Close the other program" in str(caught.value)
    return caught.value


def test_a_newer_ledger_is_left_alone(old: Path) -> None:
    """Its format is unknown; the next step is an update."""
    with closing(sqlite3.connect(old / "ledger.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with another(old) as ledger, pytest.raises(LedgerError, match=r"newer imagegen_magic \(format 99") as caught:
        run(ledger.check())
    assert "pip install -U imagegen-magic" in caught.value.hint
    assert version(old) == 99


def test_another_programs_database_is_left_alone(home: Path) -> None:
    """A file that is not a ledger gets no tables."""
    home.mkdir(parents=True)
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert "another program's database" in check_error(home).what
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_corrupt_ledger_is_reported_and_kept(home: Path) -> None:
    """A file that is not a database stays as it is."""
    home.mkdir(parents=True)
    (home / "ledger.sqlite").write_bytes(b"not a database at all" * 500)
    error = check_error(home)
    assert "file is not a database" in error.what
    assert "move the file away" in error.hint
    assert (home / "ledger.sqlite").read_bytes() == b"not a database at all" * 500


def damage(home: Path) -> None:
    """Make a ledger of 500 tasks with some damaged pages in the middle."""
    with another(home) as ledger:
        run(ledger.add([JOB._replace(tasks=list(JOB.tasks) * 500)]))
    path = home / "ledger.sqlite"
    content = bytearray(path.read_bytes())
    content[20 * 4096 : 24 * 4096] = b"\xa5" * (4 * 4096)
    path.write_bytes(content)


def test_a_damaged_page_is_found_when_the_whole_file_is_read(home: Path) -> None:
    """Opening it reads only the tables; after damage was found, each check raises it before anything is sent."""
    damage(home)
    with another(home) as ledger:
        run(ledger.check())
        found = ledger.inspect()
        assert found is not None
        assert "is damaged: " in found.what
        with pytest.raises(LedgerError, match="damaged") as caught:
            run(ledger.check())
    assert caught.value.charge == "no"
    assert "move the file away" in caught.value.hint


def test_a_damaged_ledger_that_was_moved_away_is_forgotten(home: Path) -> None:
    """A new one is created in its place, as the message proposes."""
    damage(home)
    with another(home) as ledger:
        assert ledger.inspect() is not None
        for path in home.glob("ledger.sqlite*"):
            path.rename(home / f"old-{path.name}")
        run(ledger.check())
        assert ledger.damage is None


@pytest.mark.parametrize("statement", ["DROP TABLE pictures", "ALTER TABLE tasks RENAME COLUMN note TO remark"])
def test_a_missing_table_or_column_is_reported_at_once(ledger: Ledger, home: Path, statement: str) -> None:
    """The first check finds it."""
    run(ledger.check())
    ledger.close()
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DROP VIEW overview")
        connection.execute(statement)
    with pytest.raises(LedgerError, match="is damaged: no such"):
        run(ledger.check())


def test_reading_the_whole_file_delays_neither_work_nor_a_fork_nor_the_end(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a thread and a connection of its own, and is interrupted if the file must be closed."""
    run(ledger.add([JOB]))
    at_work, real = threading.Event(), sqlite3.connect

    def slow(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*args, **options)
        if "mode=ro" in str(args[0]):
            connection.set_progress_handler(lambda: at_work.set() or (not time.sleep(0.001) and 0), 1)
        return connection

    monkeypatch.setattr("imagegen_magic.engine.ledger.database.sqlite3.connect", slow)
    ledger.inspect_in_background()
    assert at_work.wait(20)
    assert len(run(ledger.tasks())) == 1
    run(ledger.add([JOB]))
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    ledger.inspect_in_background()
    ledger.close()
    assert ledger.damage is None


def test_a_file_in_place_of_the_folder_is_reported(home: Path) -> None:
    """IMAGEGEN_HOME is a file."""
    home.parent.mkdir()
    home.write_text("a file")
    with another(home) as ledger, pytest.raises(LedgerError, match="cannot be written") as caught:
        run(ledger.check())
    assert str(home) in caught.value.what


def test_a_folder_in_place_of_the_file_is_reported(home: Path) -> None:
    """SQLite cannot open it."""
    (home / "ledger.sqlite").mkdir(parents=True)
    assert "unable to open database file" in check_error(home).what


def test_a_lock_folder_that_cannot_be_created_is_reported(home: Path) -> None:
    """Without a lock, others would claim our tasks."""
    home.mkdir(parents=True)
    (home / "owners").write_text("a file")
    assert "File exists" in check_error(home).what


READ_ONLY = """
    import asyncio, os, sys, urllib.parse  # while the standard library can still be read
    from pathlib import Path
    from imagegen_magic.engine.ledger.ledger import Ledger
    from imagegen_magic.errors import LedgerError
    if os.geteuid() == 0:
        os.seteuid(65534)
    ledger = Ledger(Path(sys.argv[1]))
    try:
        asyncio.run(ledger.check())
    except LedgerError as error:
        print(error)
    print(ledger.count_resumable())
    ledger.close()
"""


def test_a_read_only_folder_is_reported(tmp_path: Path) -> None:
    """With a ledger in it, and without."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with another(home) as ledger:
            run(ledger.check())
        shutil.rmtree(home / "owners")
        (home / "ledger.sqlite").chmod(0o444)
        home.chmod(0o555)
        try:
            readable = output(python(READ_ONLY, home))
            nothing = output(python(READ_ONLY, home / "further"))
        finally:
            home.chmod(0o755)
    for text, path in ((readable, home), (nothing, home / "further")):
        assert f"The ledger {path / 'ledger.sqlite'} cannot be written: " in text
        assert "Nothing was charged" in text
        assert "Make the folder writable, or set IMAGEGEN_HOME" in text
        assert text.endswith("\n0\n")


def test_a_ledger_that_is_locked_for_too_long_is_reported(home: Path) -> None:
    """Waiting ends with an error; after the lock is released it works."""
    with another(home, patience=0.05) as ledger:
        run(ledger.check())
        with closing(sqlite3.connect(home / "ledger.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert "database is locked" in check_error(home, patience=0.05).what
            with pytest.raises(LedgerError, match="locked"):
                run(ledger.add([JOB]))
        run(ledger.add([JOB]))


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Have another program hold the file."""
    with closing(sqlite3.connect(home / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_deferred_writes_come_later_and_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, before any newer write, each once; a write that can be repeated is not deferred."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.database._RETRY_AFTER", 600.0)
    with another(home, patience=0.05) as ledger:
        [row, other] = run(submitted(ledger, JOB._replace(tasks=list(JOB.tasks) * 2)))
        with held(home):
            for write in (
                ledger.set_state(row, "unknown", error="first"),
                ledger.set_state(row, "failed", error="second"),
                ledger.release([other], "third"),
                ledger.set_state(other, "submitting"),
            ):
                with pytest.raises(LedgerError, match="locked"):
                    run(write)
            assert [task.state for task in run(ledger.tasks())] == ["submitted", "submitted"]  # queries are answered meanwhile
        assert [task.row for task in run(ledger.claim())] == [other]
        assert [(task.state, task.error, task.note) for task in run(ledger.tasks())] == [
            ("submitted", None, "third"),
            ("failed", "second", None),
        ]


def test_a_deferred_write_is_retried_without_another_query(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The retries do not wait for the other program; a write for a caller does."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.database._RETRY_AFTER", 0.02)
    patience: list[int] = []
    with another(home, patience=0.05) as ledger:
        [row] = run(submitted(ledger))
        assert ledger._connection is not None
        ledger._connection.set_trace_callback(lambda sql: patience.append(int(sql.split()[-1])) if "busy_timeout" in sql else None)
        with held(home):
            with pytest.raises(LedgerError):
                run(ledger.set_state(row, "unknown"))
            until(lambda: len(patience) >= 4)
        assert patience[:4] == [50, 0, 0, 0]
        until(lambda: not ledger._deferred)
        assert ledger.read("SELECT state FROM tasks", wait=False) == [("unknown",)]


def test_a_deferred_write_is_retried_at_the_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing tries it again."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.database._RETRY_AFTER", 600.0)
    with another(home, patience=0.05) as ledger:
        [row] = run(submitted(ledger))
        with held(home), pytest.raises(LedgerError):
            run(ledger.set_state(row, "unknown"))
    with another(home) as later:
        assert run(one(later, row)).state == "unknown"


def test_a_deferred_write_never_goes_into_another_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the file was moved away, the same row is another task."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.database._RETRY_AFTER", 600.0)
    with another(home, patience=0.05) as ledger:
        [row] = run(submitted(ledger))
        with held(home), pytest.raises(LedgerError):
            run(ledger.set_state(row, "failed"))
        for path in home.glob("ledger.sqlite*"):
            path.rename(home / f"old-{path.name}")
        with another(home) as second:
            assert run(submitted(second)) == [row]
            run(ledger.check())
            assert run(one(second, row)).state == "submitted"


def test_nothing_newer_is_written_while_a_write_is_deferred(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer one waits even if only the older one cannot be written, so no state is reverted. Queries are answered."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.database._RETRY_AFTER", 600.0)

    async def work(ledger: Ledger) -> list[Any]:
        [row] = await submitted(ledger)
        full = [True]

        def older(connection: sqlite3.Connection) -> None:
            if full[0]:
                raise sqlite3.OperationalError("database or disk is full")
            connection.execute("UPDATE tasks SET state = 'unknown' WHERE row = ?", (row,))

        with pytest.raises(LedgerError, match="full"):
            await ledger.run(older, deferrable=True)
        outcomes = await asyncio.gather(ledger.set_state(row, "failed"), ledger.tasks(), ledger.add([JOB]), return_exceptions=True)
        full[0] = False
        await ledger.check()
        return [*outcomes, (await one(ledger, row)).state]

    with another(home) as ledger:
        marked, read, added, state = run(work(ledger))
    assert isinstance(marked, LedgerError)
    assert isinstance(added, LedgerError)
    assert [task.state for task in read] == ["submitted"]
    assert state == "failed"


def test_a_write_that_can_never_succeed_is_not_deferred(home: Path) -> None:
    """A programming error delays nothing."""
    with another(home) as ledger:
        run(ledger.check())
        with pytest.raises(LedgerError, match="no task 7"):
            run(ledger.set_state(7, "unknown"))
        assert ledger._deferred == []
        assert len(run(ledger.add([JOB]))) == 1


@pytest.mark.parametrize(("charged", "step"), [("no", "then run the cell again"), ("yes", "then %imagegen resume"), ("unknown", "resume")])
@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT"])
def test_once_something_may_be_charged_no_hint_leads_to_paying_again(name: str, charged: Any, step: str) -> None:
    """Nor to another ledger, which does not know the task."""
    message = str(LedgerError("It cannot be written", charge=charged, **database._next_step(name, charged)))
    assert step in message or (name, charged) == ("SQLITE_CANTOPEN", "no") or name == "SQLITE_CORRUPT"
    if charged != "no":
        assert "run the cell" not in message.lower()
        assert "IMAGEGEN_HOME" not in message or name == "SQLITE_CORRUPT"


def test_a_failed_query_or_claim_was_not_charged(home: Path) -> None:
    """They send nothing."""
    home.parent.mkdir()
    home.write_text("a file")
    with another(home) as ledger:
        for ask in (ledger.tasks(), ledger.claim(), ledger.recover_orphans(), ledger.pictures(), latest_row(ledger)):
            with pytest.raises(LedgerError) as caught:
                run(ask)
            assert caught.value.charge == "no"


def test_a_new_file_that_stays_locked_is_reported(home: Path) -> None:
    """The wait for a process that creates the file and hangs is bounded."""
    home.mkdir(parents=True)
    with closing(sqlite3.connect(home / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in check_error(home, patience=0.05).what


def test_a_reader_of_an_old_file_is_no_error(old: Path) -> None:
    """Changing to WAL needs exclusive access for a moment and waits for the reader."""

    async def work(ledger: Ledger) -> None:
        with closing(sqlite3.connect(old / "ledger.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM tasks").fetchone()
            check = asyncio.ensure_future(ledger.check())
            await asyncio.sleep(0.05)
            assert not check.done()
            other.execute("COMMIT")
            await check

    with another(old) as ledger:
        run(work(ledger))


FULL = """
    import asyncio, resource, sys
    from pathlib import Path
    from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask
    from imagegen_magic.errors import LedgerError
    from imagegen_magic.result import Cost

    ledger = Ledger(Path(sys.argv[1]))
    job = NewJob("evolink", "evolink", "", False, "m", "q", "t", {"prompt": "x" * 300_000}, {}, {}, Cost(), "", None, [NewTask({}, 1, "k")])
    asyncio.run(ledger.check())
    [(_, [row])] = asyncio.run(ledger.add([job]))
    asyncio.run(ledger.set_state(row, "submitting"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))

    async def both():
        added = ledger.add([job] * 2)
        small = ledger.set_state(row, "submitted", task_id="t", error="x" * 300_000)
        for error in await asyncio.gather(added, small, return_exceptions=True):
            print(isinstance(error, LedgerError), error)

    asyncio.run(both())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    asyncio.run(ledger.set_state(row, "submitted", task_id="t"))
    print([(task.state, task.task_id) for task in asyncio.run(ledger.tasks())])
    ledger.close()
"""


def test_a_full_disk_is_reported_and_survived(home: Path) -> None:
    """Before sending nothing was charged; afterwards it may have been; with free space the ledger continues without damage."""
    added, marked, tasks = output(python(FULL, home)).splitlines()
    for line in (added, marked):
        assert line.startswith(f"True The ledger {home / 'ledger.sqlite'} cannot be written: ")
        assert "Make room on that disk" in line
    assert "Nothing was charged" in added
    assert "It may have been charged" in marked
    assert tasks == "[('submitted', 't')]"


def test_a_ledger_that_was_moved_away_is_noticed(ledger: Ledger, home: Path) -> None:
    """A new one is created, without the tasks of the old one."""
    [(_, [row])] = run(ledger.add([JOB]))
    for path in home.glob("ledger.sqlite*"):
        path.rename(home / f"old-{path.name}")
    with pytest.raises(LedgerError, match=f"has no task {row}"):
        run(ledger.set_state(row, "submitting"))
    run(ledger.add([JOB]))
    assert [task.state for task in run(ledger.tasks())] == ["planned"]


# cheap


def test_it_imports_little() -> None:
    """Counting resumable images at the first cell imports no HTTP library, Pillow, widgets or sandbox."""
    script = """
        import sys
        from imagegen_magic.engine.ledger.ledger import Ledger
        print(*sorted({"httpx2", "PIL", "ipywidgets", "starlette", "tomllib", "platformdirs", "IPython", "hashlib"} & set(sys.modules)))
    """
    assert output(python(script)) == "\n"
