"""The engine against the bare httpx2 script that most people would write, in one run, over a real socket.

    python benchmarks/engine.py [--tasks 1 100 400 1000] [--rounds 5] [--large-pool]

Both sides submit, poll every 50 ms, download and write the pictures of tasks that take 0.2 s on a server whose polls take 50 ms. The
server is a process of its own and serves one cached picture. The bare script has one client with the library's default pool (with
--large-pool one connection a task, which costs it more) and polls each task alone; it has no ledger, no checks and no flushing. It
repeats every request that fails, also a submission, which would be paid twice. Decoding is switched off on our side, as the bare script
has none; preview.py measures it. Each side runs in a fresh process, in turn; figures are medians. One more run of ours is sampled every
millisecond: how long the ledger, the files and HTTP are at work. Nothing is deleted before the end: ext4 passes over every inode that was
freed in the last minutes, one by one, at each new file.

Tasks of 0.2 s end before a hundred single polls have left, so that the bare script polls each once, however slow the machine is. The row
of polls is measured with tasks of 3 s and polls every 0.5 s: the ratio of real tasks, 20 s and 3 s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from imagegen_magic.engine.net import transport  # noqa: E402

DURATION, LATENCY, POLL = 0.2, 0.05, 0.05  # seconds
POLLED_DURATION, POLLED_INTERVAL = 3.0, 0.5  # seconds: for the row of polls
GOALS = {1: (1.3, None), 100: (1.4, None), 400: (0.7, None), 1000: (0.6, 0.6)}  # tasks -> (wall, CPU) against the bare script
GOAL_POLLS, GOAL_MB = 0.06, 100.0  # of the bare script's polls; MB above idle for 1,000 tasks
ATTEMPTS = 10  # of the bare script for each request
PARTS = {  # what a sampled frame belongs to, by its file
    "ledger": ("/engine/ledger/",),
    "files": ("/engine/storage/", "/engine/jobs/fetch.py"),
    "HTTP": ("/engine/net/", "/httpcore2/", "/httpx2/", "/anyio/", "/h11/"),
}
IDLE = {"select", "wait", "_worker", "_next_batch", "get", "_wait_for_tstate_lock", "sample"}  # functions that wait


async def bare(base_url: str, tasks: int, folder: Path, poll: float = POLL, *, large_pool: bool = False) -> None:
    """Do it as most people would write it; with `large_pool`, each task may have its own connection."""
    import httpx2

    limits = {"limits": httpx2.Limits(max_connections=tasks, max_keepalive_connections=tasks)} if large_pool else {}
    key = {"Authorization": "Bearer sandbox"}
    async with httpx2.AsyncClient(timeout=120, **limits) as client:

        async def ask(method: str, url: str, **options: Any) -> httpx2.Response:
            for attempt in range(ATTEMPTS):
                try:
                    return (await client.request(method, url, **options)).raise_for_status()
                except httpx2.TransportError:
                    if attempt == ATTEMPTS - 1:
                        raise
            raise AssertionError

        async def one(number: int) -> None:
            body = {"model": "gpt-image-2", "prompt": f"benchmark {number}", "size": "1:1", "resolution": "1K", "quality": "low", "n": 1}
            task = (await ask("POST", f"{base_url}/v1/images/generations", json=body, headers=key)).json()
            while True:
                await asyncio.sleep(poll)
                state = (await ask("GET", f"{base_url}/v1/tasks/{task['id']}", headers=key)).json()
                if state["status"] in ("completed", "failed"):
                    break
            answer = await ask("GET", state["results"][0])
            (folder / f"{number}.png").write_bytes(answer.content)

        await asyncio.gather(*(one(number) for number in range(tasks)))


async def ours(tasks: int, folder: Path) -> None:
    """Do it with the engine: ledger, files and checks included."""
    from imagegen_magic import generate

    await asyncio.gather(
        *(
            generate(f"benchmark {number}", provider="evolink", size="1:1", resolution="1k", quality="low", save_dir=folder)
            for number in range(tasks)
        )
    )


def without_decoding() -> None:
    """Leave the decoder out: what it costs is measured in preview.py."""
    from imagegen_magic.imaging import verify

    facts = verify.ImageInfo(1024, 1024, "image/png", ".png", False, None)
    verify.verify = lambda content, preview_edge=None: (facts, None)  # type: ignore[assignment]


@contextlib.contextmanager
def sampled() -> Iterator[Counter[str]]:
    """Count, every millisecond, which part of the engine each thread is at work in."""
    counts: Counter[str] = Counter()
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.001):
            for frame in sys._current_frames().values():
                if frame.f_code.co_name in IDLE:
                    continue
                step: Any = frame
                while step and not (part := part_of(step.f_code.co_filename)):
                    step = step.f_back
                counts[part if step else "other"] += 1
            counts["samples"] += 1

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield counts
    finally:
        ended.set()
        thread.join()


def part_of(path: str) -> str:
    """Return the part of the engine that a source file belongs to, "" for none."""
    return next((part for part, places in PARTS.items() if any(place in path for place in places)), "")


def measured(
    side: str, tasks: int, base_url: str, home: Path, poll: float, *, parts: bool = False, large_pool: bool = False
) -> dict[str, float]:
    """Run one side in this process and return wall and CPU seconds, and MB of memory above the start."""
    os.environ |= {
        "EVOLINK_BASE_URL": base_url,
        "EVOLINK_API_KEY": "sandbox",
        "IMAGEGEN_HOME": str(home),
        "IMAGEGEN_POLL_SECONDS": str(poll),
        "IMAGEGEN_TIMEOUT": "300",
    }
    folder = home / "pictures"
    folder.mkdir()
    transport.load()  # both sides have their modules loaded; load.py measures what that costs the first cell
    if side == "ours":
        importlib.import_module("imagegen_magic.engine.api")
        without_decoding()
    else:
        importlib.import_module("httpx2")
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    with sampled() if parts else contextlib.nullcontext(Counter[str]()) as counts:
        asyncio.run(bare(base_url, tasks, folder, poll, large_pool=large_pool) if side == "bare" else ours(tasks, folder))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    made = len(list(folder.glob("*.png")))
    assert made == tasks, f"{made} of {tasks} pictures"
    seconds = {part: wall * counts[part] / max(1, counts["samples"]) for part in (*PARTS, "other")}
    return seconds | {"wall": wall, "cpu": cpu, "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024}


def in_fresh_process(side: str, tasks: int, place: Path, *flags: str, duration: float = DURATION, poll: float = POLL) -> dict[str, float]:
    """Run one side against a fresh server; add how often it polled. It runs in an empty folder, as in a new project."""
    from servers import sandbox_server

    with sandbox_server(duration=duration, latency=LATENCY, plain=True) as server:
        home = Path(tempfile.mkdtemp(dir=place))
        asyncio.run(bare(server.base_url("evolink"), 1, home))  # the server draws its one picture
        before = server.log()
        command = [sys.executable, __file__, "--side", side, "--tasks", str(tasks), "--base-url", server.base_url("evolink")]
        command += ["--home", str(home), "--poll", str(poll), *flags]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=home)
        answer: dict[str, float] = json.loads(done.stdout)
        log = server.log()
        answer["polls"] = sum(log[kind] - before[kind] for kind in ("looks", "batch_looks"))
        return answer


def medians(pairs: list[tuple[dict[str, float], dict[str, float]]], figure: str) -> tuple[float, float, float]:
    """Return a figure of the bare script, of ours, and the ratio: each the median of all rounds."""
    ratios = [ours[figure] / bare[figure] for bare, ours in pairs if bare[figure]]
    return statistics.median(a[figure] for a, _ in pairs), statistics.median(b[figure] for _, b in pairs), statistics.median(ratios or [0])


def row(what: str, figure: str, goals: list[tuple[str, float, float]]) -> None:
    """Print a row of the table in README.md; `goals` are (name, value, largest value that reaches the goal)."""
    missed = [name for name, value, goal in goals if value > goal]
    result = f"missed: {', '.join(missed)}" if missed else "reached" if goals else ""
    print(f"| {what} | {figure} | {', '.join(f'{name} ≤ {goal:g}' for name, _, goal in goals)} | {result} |", flush=True)


def compare(tasks: int, rounds: int, place: Path, *flags: str) -> None:
    """Print a row for one number of tasks, and one with what the parts of ours cost; `flags` are for the bare script."""
    pairs = [(in_fresh_process("bare", tasks, place, *flags), in_fresh_process("ours", tasks, place)) for _ in range(rounds)]
    wall, cpu, memory, polls = (medians(pairs, figure) for figure in ("wall", "cpu", "memory", "polls"))
    goals = [
        (name, got[2], goal) for name, got, goal in zip(("wall", "CPU"), (wall, cpu), GOALS.get(tasks, (None, None)), strict=True) if goal
    ]
    goals += [("MB", memory[1], GOAL_MB)] if tasks == 1000 else []
    what = f"{tasks:,} task{'s' if tasks > 1 else ''} against the bare script, median of {rounds}"
    figure = f"wall {wall[2]:.2f} ({wall[1]:.2f} s and {wall[0]:.2f} s), CPU {cpu[2]:.2f} ({cpu[1]:.2f} s and {cpu[0]:.2f} s)"
    row(what, f"{figure}; {polls[1]:.0f} polls and {polls[0]:.0f}; {memory[1]:.0f} MB above idle and {memory[0]:.0f}", goals)
    parts = in_fresh_process("ours", tasks, place, "--parts")
    costs = ", ".join(f"{part} {parts[part]:.2f} s" for part in (*PARTS, "other"))
    row(f"{tasks:,} task{'s' if tasks > 1 else ''}: seconds at work, sampled, of a run of {parts['wall']:.2f} s", costs, [])


def compare_polls(tasks: int, rounds: int, place: Path) -> None:
    """Print the row of polls, with tasks that take several poll intervals."""
    times = {"duration": POLLED_DURATION, "poll": POLLED_INTERVAL}
    pairs = [(in_fresh_process("bare", tasks, place, **times), in_fresh_process("ours", tasks, place, **times)) for _ in range(rounds)]
    polls = medians(pairs, "polls")
    what = f"polls of {tasks} tasks of {POLLED_DURATION:g} s at an interval of {POLLED_INTERVAL:g} s, median of {rounds}"
    row(what, f"{polls[2]:.3f} ({polls[1]:.0f} and {polls[0]:.0f})", [("polls", polls[2], GOAL_POLLS)])


def main(arguments: list[str] | None = None) -> None:
    """Print the table: a comparison for each number of tasks, and the polls. Or measure one side, for the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 100, 400, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large-pool", action="store_true", help="give each task of the bare script its own connection")
    parser.add_argument("--side", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--poll", type=float, default=POLL, help=argparse.SUPPRESS)
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have every import compiled again
    if given.side:
        print(
            json.dumps(
                measured(given.side, given.tasks[0], given.base_url, given.home, given.poll, parts=given.parts, large_pool=given.large_pool)
            )
        )
        return
    print("| what | figure | goal | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for tasks in given.tasks:
            compare(tasks, given.rounds, Path(place), *(["--large-pool"] if given.large_pool else []))
        compare_polls(100, given.rounds, Path(place))


if __name__ == "__main__":
    main()
