"""What the ledger costs a task, against a bare sqlite3 that commits every write by itself, in the same run on the same disk.

A task of one picture makes five writes: planned, submitting, submitted, made, saved. Both sides write the same columns into a file of the
same format, WAL and synchronous=FULL. Goals: at most 1 ms a task with all its writes, and under load at most one transaction for ten rows.
Run: `python benchmarks/ledger.py`
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask
from imagegen_magic.engine.ledger.schema import FUNCTIONS, MIGRATIONS
from imagegen_magic.result import Cost

TASKS = 1000
WRITES = 5
ROUNDS = 5
PROMPT = "An ancient castle beneath a starry sky, painted in oil, with a fox in the foreground"
ANSWER = {"id": "task_1", "status": "completed", "results": ["https://cdn.example.com/1.png"]}
SENT = {"method": "POST", "path": "/v1/images/generations", "json": {"prompt": PROMPT, "size": "16:9", "n": 1}}
JOB = NewJob(
    provider="evolink",
    dialect="evolink",
    base_url="https://api.evolink.ai",
    sandbox=False,
    model="gpt-image-2",
    quality="high",
    tier="2k",
    asked={"prompt": PROMPT},
    resolved={"prompt": PROMPT, "size": "16:9", "n": 1},
    expected={"pixels": [[2048, 1152]], "mime_type": "image/png", "alpha": False},
    price=Cost(),
    save_dir="imagegen",
    name=None,
    tasks=[NewTask(SENT, 1, "key")],
)


def bare_file(path: Path) -> sqlite3.Connection:
    """Return a connection to a new file of the ledger's format, as durable as the ledger's own."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    for name, function in FUNCTIONS.items():
        connection.create_function(name, 1, function, deterministic=True)
    for statement in (statement for migration in MIGRATIONS for statement in migration):
        connection.execute(statement)
    return connection


def bare(connection: sqlite3.Connection, tasks: int) -> float:
    """Return the seconds a task takes where each write is a transaction of its own in the calling thread."""
    begun = time.perf_counter()
    for _ in range(tasks):
        bare_task(connection)
    return (time.perf_counter() - begun) / tasks


def bare_task(connection: sqlite3.Connection) -> None:
    """Write one task's way in five transactions."""
    now, resolved, sent = time.strftime("%Y-%m-%dT%H:%M:%S"), json.dumps(JOB.resolved), json.dumps(SENT)
    connection.execute("BEGIN")
    job = connection.execute(
        "INSERT INTO jobs (created, provider, dialect, base_url, sandbox, model, quality, tier, prompt, asked, resolved, expected, price,"
        " save_dir)"
        " VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, '{}', ?)",
        (
            now,
            JOB.provider,
            JOB.dialect,
            JOB.base_url,
            JOB.model,
            JOB.quality,
            JOB.tier,
            PROMPT,
            sent,
            resolved,
            json.dumps(JOB.expected),
            "x",
        ),
    ).lastrowid
    task = connection.execute(
        "INSERT INTO tasks (job, position, first, count, state, owner, cost, planned_at, idempotency_key, sent)"
        " VALUES (?, 0, 0, 1, 'planned', 'me', '{}', ?, 'key', ?)",
        (job, now, sent),
    ).lastrowid
    connection.execute("COMMIT")
    connection.execute("UPDATE tasks SET state = 'submitting', submitting_at = ? WHERE row = ?", (now, task))
    connection.execute("UPDATE tasks SET state = 'submitted', submitted_at = ?, task_id = 'task_1' WHERE row = ?", (now, task))
    connection.execute("BEGIN")
    connection.execute(
        "UPDATE tasks SET state = 'made', made_at = ?, seconds = 40, answer = ? WHERE row = ?", (now, json.dumps(ANSWER), task)
    )
    picture = connection.execute("INSERT INTO pictures (task, position, url) VALUES (?, 0, ?)", (task, ANSWER["results"][0])).lastrowid
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    connection.execute("UPDATE pictures SET path = 'x', sha256 = 'x', size = 1, saved_at = ? WHERE id = ?", (now, picture))
    connection.execute("UPDATE tasks SET state = 'saved', saved_at = ?, owner = NULL WHERE row = ?", (now, task))
    connection.execute("COMMIT")


async def ledger_task(ledger: Ledger) -> None:
    """Write one task's way as the engine does."""
    [(_, [row])] = await ledger.add([JOB])
    await ledger.set_state(row, "submitting")
    await ledger.set_state(row, "submitted", task_id="task_1")
    [picture] = await ledger.record_result(row, ANSWER["results"], expires_at=None, cost=Cost(), seconds=40, answer=ANSWER)
    await ledger.record_saved(picture, path="x", sha256="x", size=1, width=2048, height=1152, mime_type="image/png")


async def together(ledger: Ledger, tasks: int) -> float:
    """Return the seconds a task takes where so many run at once."""
    begun = time.perf_counter()
    await asyncio.gather(*(ledger_task(ledger) for _ in range(tasks)))
    return (time.perf_counter() - begun) / tasks


async def one_by_one(ledger: Ledger, tasks: int) -> float:
    """Return the seconds a task takes where they run one after another."""
    begun = time.perf_counter()
    for _ in range(tasks):
        await ledger_task(ledger)
    return (time.perf_counter() - begun) / tasks


def median_of(question: Callable[[], object], times: int = 300) -> float:
    """Return the median seconds of a question."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        question()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def bare_count(path: Path) -> int:
    """Open a file of this format, ask one question that reads no rows, and close it."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM tasks WHERE row < 0").fetchone()[0])


def main() -> int:
    """Measure in turn, so that the disk's moods meet both sides alike; print medians, and return 0 where the goals are met."""
    crowds, singles, bares, transactions = [], [], [], 0
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Ledger(Path(folder))) as ledger,
        closing(bare_file(Path(folder, "bare"))) as other,
    ):
        asyncio.run(ledger.check())
        for _ in range(ROUNDS):
            bares.append(bare(other, TASKS // 5))
            singles.append(asyncio.run(one_by_one(ledger, TASKS // 5)))
            before = ledger.transactions
            crowds.append(asyncio.run(together(ledger, TASKS)))
            transactions += ledger.transactions - before
        ledger.close()
        asked, counted = median_of(ledger.count_resumable), median_of(lambda: bare_count(ledger.path))
    every, alone, crowd = (statistics.median(figures) for figures in (bares, singles, crowds))
    rows = TASKS * WRITES * ROUNDS
    print(f"bare, one commit a write      {every * 1e3:6.3f} ms a task")
    print(f"ledger, one after another     {alone * 1e3:6.3f} ms a task: {alone / every:.2f} of bare")
    print(f"ledger, {TASKS} tasks at once    {crowd * 1e3:6.3f} ms a task: {crowd / every:.2f} of bare (goal: <= 1 ms)")
    print(f"        transactions          {transactions} for {rows} rows: 1 for {rows / transactions:.0f} (goal: 1 for >= 10)")
    print(f"'what waits' at a cold file   {asked * 1e3:6.3f} ms: {asked / counted:.2f} of opening it with one empty question")
    return 0 if crowd <= 1e-3 and transactions * 10 <= rows else 1


if __name__ == "__main__":
    sys.exit(main())
