"""The engine against the bare httpx2 script that most people would write, in one run, over a real socket.

    python benchmarks/engine.py [--tasks 1 100 400 1000] [--rounds 5]

Both sides submit, poll every 50 ms, download and write the pictures of tasks that take 0.2 s on a server whose polls take 50 ms. The
server is a process of its own and serves one cached picture. The bare script has one client with a pool as large as its concurrency and
polls each task alone; it has no ledger, no checks and no flushing. It repeats polls and downloads that fail, as many at once do.
Decoding is switched off on our side, as the bare script has none; preview.py measures it. Each side runs in a fresh process, in turn;
figures are medians. One more run of ours is sampled every millisecond: how long the ledger, the files and HTTP are at work. Nothing is
deleted before the end: ext4 passes over every inode that was freed in the last minutes, one by one, at each new file.
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

DURATION, LATENCY, POLL = 0.2, 0.05, 0.05
GOALS = {1: (1.3, None), 100: (1.4, None), 400: (0.7, None), 1000: (0.6, 0.6)}  # tasks -> (wall, CPU) against the bare script
GOAL_POLLS, GOAL_MB = 0.06, 100.0  # of the bare script's polls with 100 tasks and more; MB above idle for 1,000 tasks
PARTS = {  # what a sampled frame belongs to, by its file
    "ledger": ("/engine/ledger/",),
    "files": ("/engine/storage/", "/engine/jobs/fetch.py"),
    "HTTP": ("/engine/net/", "/httpcore2/", "/httpx2/", "/anyio/", "/h11/"),
}
IDLE = {"select", "wait", "_worker", "_next_batch", "get", "_wait_for_tstate_lock", "sample"}  # functions that wait


async def bare(base_url: str, tasks: int, folder: Path) -> None:
    """Do it as most people would write it."""
    import httpx2

    limits = httpx2.Limits(max_connections=tasks, max_keepalive_connections=tasks)
    key = {"Authorization": "Bearer sandbox"}
    connections = httpx2.AsyncHTTPTransport(limits=limits, retries=5)
    async with httpx2.AsyncClient(transport=connections, timeout=120) as client:

        async def get(url: str, **options: Any) -> httpx2.Response:
            for _ in range(9):
                with contextlib.suppress(httpx2.TransportError):
                    return await client.get(url, **options)
            return await client.get(url, **options)

        async def one(number: int) -> None:
            body = {"model": "gpt-image-2", "prompt": f"benchmark {number}", "size": "1:1", "resolution": "1K", "quality": "low", "n": 1}
            task = (await client.post(f"{base_url}/v1/images/generations", json=body, headers=key)).json()
            while True:
                await asyncio.sleep(POLL)
                state = (await get(f"{base_url}/v1/tasks/{task['id']}", headers=key)).json()
                if state["status"] in ("completed", "failed"):
                    break
            answer = await get(state["results"][0])
            answer.raise_for_status()
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


def measured(side: str, tasks: int, base_url: str, home: Path, *, parts: bool = False) -> dict[str, float]:
    """Run one side in this process and return wall and CPU seconds, and MB of memory above the start."""
    os.environ |= {
        "EVOLINK_BASE_URL": base_url,
        "EVOLINK_API_KEY": "sandbox",
        "IMAGEGEN_HOME": str(home),
        "IMAGEGEN_POLL_SECONDS": str(POLL),
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
        asyncio.run(bare(base_url, tasks, folder) if side == "bare" else ours(tasks, folder))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    made = len(list(folder.glob("*.png")))
    assert made == tasks, f"{made} of {tasks} pictures"
    seconds = {part: wall * counts[part] / max(1, counts["samples"]) for part in (*PARTS, "other")}
    return seconds | {"wall": wall, "cpu": cpu, "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024}


def in_fresh_process(side: str, tasks: int, place: Path, *flags: str) -> dict[str, float]:
    """Run one side against a fresh server; add how often it polled."""
    from servers import sandbox_server

    with sandbox_server(duration=DURATION, latency=LATENCY, plain=True) as server:
        home = Path(tempfile.mkdtemp(dir=place))
        asyncio.run(bare(server.base_url("evolink"), 1, home))  # the server draws its one picture
        before = server.log()
        command = [sys.executable, __file__, "--side", side, "--tasks", str(tasks), "--base-url", server.base_url("evolink")]
        command += ["--home", str(home), *flags]
        answer: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        log = server.log()
        answer["polls"] = sum(log[kind] - before[kind] for kind in ("looks", "batch_looks"))
        return answer


def compare(tasks: int, rounds: int, place: Path) -> None:
    """Print both sides and the ratios for one number of tasks."""
    pairs = [(in_fresh_process("bare", tasks, place), in_fresh_process("ours", tasks, place)) for _ in range(rounds)]
    middle: dict[str, Any] = {
        (side, figure): statistics.median(pair[at][figure] for pair in pairs)
        for at, side in enumerate(("bare", "ours"))
        for figure in ("wall", "cpu", "memory", "polls")
    }
    wall, cpu = (statistics.median(b[figure] / a[figure] for a, b in pairs) for figure in ("wall", "cpu"))
    goals = [f"{name} ≤ {goal}" for name, goal in zip(("wall", "cpu"), GOALS.get(tasks, (None, None)), strict=True) if goal]
    print(f"{tasks} task{'s' if tasks > 1 else ''}, median of {rounds}:")
    for side in ("bare", "ours"):
        print(
            f"  {side}: wall {middle[side, 'wall']:7.3f} s   CPU {middle[side, 'cpu']:7.3f} s   "
            f"memory +{middle[side, 'memory']:5.1f} MB   polls {middle[side, 'polls']:.0f}"
        )
    goals += [f"polls ≤ {GOAL_POLLS}"] if tasks >= 100 else []
    goals += [f"memory ≤ {GOAL_MB:.0f} MB"] if tasks == 1000 else []
    polls = middle["ours", "polls"] / middle["bare", "polls"]
    print(f"  ours / bare: wall {wall:.3f}   CPU {cpu:.3f}   polls {polls:.3f}   goal: {', '.join(goals)}")
    parts = in_fresh_process("ours", tasks, place, "--parts")
    print(
        "  ours at work, sampled: "
        + "   ".join(f"{part} {parts[part]:.3f} s" for part in (*PARTS, "other"))
        + f"   of {parts['wall']:.3f} s"
    )


def main() -> None:
    """Compare for each number of tasks, or measure one side for ourselves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 100, 400, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have every import compiled again
    if given.side:
        print(json.dumps(measured(given.side, given.tasks[0], given.base_url, given.home, parts=given.parts)))
        return
    with tempfile.TemporaryDirectory() as place:
        for tasks in given.tasks:
            compare(tasks, given.rounds, Path(place))


if __name__ == "__main__":
    main()
