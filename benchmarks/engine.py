"""The engine against the bare script that most people would write, in one run, over a real socket.

    python benchmarks/engine.py [--tasks 1 100 1000] [--rounds 3]

Both sides submit, look every 50 ms, download and write the pictures of tasks that take 0.2 s on a server whose looks take
50 ms; the server is a process of its own and serves one cached picture. The bare script has one httpx client with a pool as
large as its concurrency and looks at each task alone; it has no ledger, no checks and no flushing. Decoding is apart: it is
switched off on our side, as the bare script has none. Each side runs in a fresh process, one after the other in turn; figures are
medians. Nothing is deleted before the end: ext4 passes over every inode that was freed in the last minutes, one by one, at each new file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

DURATION, LATENCY, LOOK = 0.2, 0.05, 0.05
GOALS = {1: (1.10, None), 100: (None, 0.7), 1000: (0.3, 0.3)}  # tasks -> (wall, CPU) against the bare script


async def bare(base_url: str, tasks: int, folder: Path) -> None:
    """Do it as most people would write it."""
    import httpx

    limits = httpx.Limits(max_connections=tasks, max_keepalive_connections=tasks)
    key = {"Authorization": "Bearer sandbox"}
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:

        async def one(number: int) -> None:
            body = {"model": "gpt-image-2", "prompt": f"benchmark {number}", "size": "1:1", "resolution": "1K", "quality": "low", "n": 1}
            task = (await client.post(f"{base_url}/v1/images/generations", json=body, headers=key)).json()
            while True:
                await asyncio.sleep(LOOK)
                state = (await client.get(f"{base_url}/v1/tasks/{task['id']}", headers=key)).json()
                if state["status"] in ("completed", "failed"):
                    break
            answer = await client.get(state["results"][0])
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


def measured(side: str, tasks: int, base_url: str, home: Path) -> dict[str, float]:
    """Run one side in this process and return wall and CPU seconds, and MB of memory above the start."""
    os.environ |= {
        "EVOLINK_BASE_URL": base_url,
        "EVOLINK_API_KEY": "sandbox",
        "IMAGEGEN_HOME": str(home),
        "IMAGEGEN_POLL_SECONDS": str(LOOK),
        "IMAGEGEN_TIMEOUT": "300",
    }
    folder = home / "pictures"
    folder.mkdir()
    if side == "ours":
        import imagegen_magic.engine.api  # noqa: F401  # both sides have their modules loaded

        without_decoding()
    else:
        import httpx  # noqa: F401
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    asyncio.run(bare(base_url, tasks, folder) if side == "bare" else ours(tasks, folder))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    made = len(list(folder.glob("*.png")))
    assert made == tasks, f"{made} of {tasks} pictures"
    return {"wall": wall, "cpu": cpu, "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024}


def in_fresh_process(side: str, tasks: int, place: Path) -> dict[str, float]:
    """Run one side against a fresh server; add how often it looked."""
    from servers import sandbox_server

    with sandbox_server(duration=DURATION, latency=LATENCY, plain=True) as server:
        home = Path(tempfile.mkdtemp(dir=place))
        asyncio.run(bare(server.base_url("evolink"), 1, home))  # the server draws its one picture
        before = server.log()
        command = [sys.executable, __file__, "--side", side, "--tasks", str(tasks), "--base-url", server.base_url("evolink")]
        command += ["--home", str(home)]
        answer: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        log = server.log()
        answer["looks"] = sum(log[kind] - before[kind] for kind in ("looks", "batch_looks"))
        return answer


def compare(tasks: int, rounds: int, place: Path) -> None:
    """Print both sides and the ratios for one number of tasks."""
    pairs = [(in_fresh_process("bare", tasks, place), in_fresh_process("ours", tasks, place)) for _ in range(rounds)]
    middle: dict[str, Any] = {
        (side, figure): statistics.median(pair[at][figure] for pair in pairs)
        for at, side in enumerate(("bare", "ours"))
        for figure in ("wall", "cpu", "memory", "looks")
    }
    wall, cpu = (statistics.median(b[figure] / a[figure] for a, b in pairs) for figure in ("wall", "cpu"))
    goals = [f"{name} ≤ {goal}" for name, goal in zip(("wall", "cpu"), GOALS.get(tasks, (None, None)), strict=True) if goal]
    print(f"{tasks} task{'s' if tasks > 1 else ''}, median of {rounds}:")
    for side in ("bare", "ours"):
        print(
            f"  {side}: wall {middle[side, 'wall']:7.3f} s   CPU {middle[side, 'cpu']:7.3f} s   "
            f"memory +{middle[side, 'memory']:5.1f} MB   looks {middle[side, 'looks']:.0f}"
        )
    looks = middle["ours", "looks"] / middle["bare", "looks"]
    print(f"  ours / bare: wall {wall:.3f}   CPU {cpu:.3f}   looks {looks:.3f}   goal: {', '.join(goals)}")


def main() -> None:
    """Compare for each number of tasks, or measure one side for ourselves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have every import compiled anew
    if given.side:
        print(json.dumps(measured(given.side, given.tasks[0], given.base_url, given.home)))
        return
    with tempfile.TemporaryDirectory() as place:
        for tasks in given.tasks:
            compare(tasks, given.rounds, Path(place))


if __name__ == "__main__":
    main()
