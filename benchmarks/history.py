"""How long a search of the history takes in a ledger of 100,000 pictures, against the same words sought with LIKE.

The prompts are of 4 to 12 words out of 2,000, the frequent ones frequent as in a language; a tenth has Chinese beside them. Each search is
what `%imagegen history` does, from the question to the rows with stars and tags, in a warm file. Goal: the median below 50 ms.
Run: `python benchmarks/history.py`
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.ledger.schema import searchable
from imagegen_magic.studies.history import search

PICTURES = 100_000
ROUNDS = 15
BEGINNINGS = ("fox", "castle", "river", "night", "snow", "paper", "glass", "amber", "velvet", "copper")
WORDS = [f"{begin}{end}" for begin in BEGINNINGS for end in range(200)]
CHINESE = "红狐狸在雪地里睡觉"
JOBS = """INSERT INTO jobs (id, created, provider, dialect, base_url, sandbox, model, quality, tier, prompt, asked, resolved, expected,
    price, save_dir) VALUES (?, ?, ?, ?, '', 0, ?, 'high', '2k', ?, ?, ?, '{}', '{}', 'imagegen')"""
TASKS = """INSERT INTO tasks (row, job, position, first, count, state, cost, planned_at, saved_at, idempotency_key, sent, answer)
    VALUES (?, ?, 0, 0, 1, 'saved', '{}', ?, ?, 'key', ?, ?)"""
PICTURE_ROWS = """INSERT INTO pictures (id, task, position, url, path, sha256, size, width, height, mime_type, saved_at)
    VALUES (?, ?, 0, 'https://cdn.example.com/1.png', 'imagegen/1.png', ?, 900000, 2048, 1152, 'image/png', ?)"""


def a_prompt(chance: random.Random) -> str:
    """Return a prompt as people write them."""
    words = [WORDS[min(int(chance.paretovariate(0.6)) - 1, len(WORDS) - 1)] for _ in range(chance.randint(4, 12))]
    return " ".join([*words, CHINESE] if chance.random() < 0.1 else words)


def fill(connection: sqlite3.Connection) -> None:
    """Put 100,000 saved pictures into a ledger, one a job, over two years; every fiftieth has stars, every hundredth a tag."""
    chance, now = random.Random(4), time.time()
    jobs, tasks, pictures, prompts = [], [], [], []
    for number in range(1, PICTURES + 1):
        made = datetime.fromtimestamp(now - (PICTURES - number) * 630, UTC).isoformat(timespec="milliseconds")
        prompt = a_prompt(chance)
        asked = f'{{"prompt": "{prompt}", "size": "16:9"}}'
        provider, model = chance.choice((("evolink", "gpt-image-2"), ("apimart", "gpt-image-2-official"), ("xingchao", "rare-model")))
        jobs.append((number, made, provider, provider, model, prompt, asked, asked))
        tasks.append((number, number, made, made, asked * 3, asked * 4))
        pictures.append((number, number, f"{number:064x}", made))
        prompts.append((number, searchable(prompt)))
    for query, rows in ((JOBS, jobs), (TASKS, tasks), (PICTURE_ROWS, pictures)):
        connection.executemany(query, rows)
    connection.executemany("INSERT INTO prompts (rowid, words) VALUES (?, ?)", prompts)
    connection.executemany("INSERT INTO marks VALUES (?, ?, NULL)", [(number, number % 5 + 1) for number in range(50, PICTURES, 50)])
    connection.executemany("INSERT INTO tags VALUES (?, 'chosen')", [(number,) for number in range(100, PICTURES, 100)])


async def bare(ledger: Ledger) -> None:
    """Ask for the same words without an index of words."""
    query = """SELECT * FROM pictures JOIN tasks ON tasks.row = pictures.task JOIN jobs ON jobs.id = tasks.job
        WHERE jobs.prompt LIKE '%copper150%' AND jobs.prompt LIKE '%fox0%' ORDER BY pictures.id DESC LIMIT 20"""
    await ledger.run(lambda connection: connection.execute(query).fetchall(), writes=False)


def questions(ledger: Ledger) -> dict[str, Callable[[], Coroutine[Any, Any, Any]]]:
    """Return what is asked, by what it is called."""
    return {
        "no words": lambda: search.search(ledger),
        "a word in most prompts": lambda: search.search(ledger, "fox0"),
        "a rare word": lambda: search.search(ledger, "copper150"),
        "two words, the last only begun": lambda: search.search(ledger, "fox0 cop"),
        "a phrase": lambda: search.search(ledger, '"fox0 fox1"'),
        "Chinese": lambda: search.search(ledger, "狐狸在雪"),
        "a word that is nowhere": lambda: search.search(ledger, "zeppelin"),
        "a word, since 7 days": lambda: search.search(ledger, "fox1", since="7d"),
        "a word, of one gateway": lambda: search.search(ledger, "fox2", model="xingchao"),
        "a word, 5 stars": lambda: search.search(ledger, "fox0", stars=5),
        "a tag": lambda: search.search(ledger, tag="chosen"),
        "a model that is nowhere": lambda: search.search(ledger, model="none"),
    }


async def median_of(question: Callable[[], Coroutine[Any, Any, Any]]) -> float:
    """Return the median milliseconds of a question."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await question()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e3


async def measure(ledger: Ledger) -> tuple[dict[str, float], float]:
    """Return the median milliseconds of each question, and of LIKE."""
    await ledger.check()
    await ledger.run(fill)
    medians = {name: await median_of(question) for name, question in questions(ledger).items()}
    return medians, await median_of(lambda: bare(ledger))


def main() -> int:
    """Print the medians, and return 0 where their median and each of them is below 50 ms."""
    with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder))) as ledger:
        medians, like = asyncio.run(measure(ledger))
    for name, each in medians.items():
        print(f"{name:32} {each:7.1f} ms: {each / like:.2f} of LIKE")
    middle = statistics.median(medians.values())
    print(f"median of all                    {middle:7.1f} ms, worst {max(medians.values()):.1f} ms (goal: < 50 ms); LIKE {like:.1f} ms")
    return 0 if max(medians.values()) < 50 else 1


if __name__ == "__main__":
    sys.exit(main())
