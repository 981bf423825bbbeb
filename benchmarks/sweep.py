"""A sweep of 1,000 combinations against the bare script that most people would write, in one run, over a real socket.

    python benchmarks/sweep.py [--tasks 1000] [--rounds 3]

The bare script is the one of engine.py: it submits, polls every 50 ms, downloads and writes, without a ledger, checks or flushing.
Ours plans each combination, remembers all of it durably, and gives a result that knows each picture's place. Decoding is apart, as there.
Then the same sweep again with reuse, extended by one value: what is there is found, and only what is missing is sent.
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

import engine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

GOAL = 1.2  # of the bare script's wall time
ACROSS = 25


async def swept(tasks: int, folder: Path, *, reuse: bool = False, more: int = 0) -> int:
    """Sweep that many combinations of two slots (and `more` values of the first); returns how many pictures came."""
    from imagegen_magic.studies.sweeps.plan import sweep

    axes = {"a": range(tasks // ACROSS + more), "b": range(ACROSS)}
    made = await sweep(
        "benchmark {{a}} {{b}}", axes, provider="evolink", size="1:1", resolution="1k", quality="low", save_dir=folder, reuse=reuse
    )
    return len(made)


def measured(tasks: int, base_url: str, home: Path) -> dict[str, float]:
    """Run the sweep in this process, then again with reuse and one value more; returns seconds and MB."""
    os.environ |= {
        "EVOLINK_BASE_URL": base_url,
        "EVOLINK_API_KEY": "sandbox",
        "IMAGEGEN_HOME": str(home),
        "IMAGEGEN_POLL_SECONDS": str(engine.POLL),
        "IMAGEGEN_TIMEOUT": "300",
    }
    import imagegen_magic.studies.sweeps.plan  # noqa: F401  # both sides have their modules loaded

    engine.without_decoding()
    folder = home / "pictures"
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    made = asyncio.run(swept(tasks, folder))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert made == tasks, f"{made} of {tasks} pictures"
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024
    began = time.perf_counter()
    extended = asyncio.run(swept(tasks, folder, reuse=True, more=1))
    assert extended == tasks + ACROSS, f"{extended} of {tasks + ACROSS} pictures"
    return {"wall": wall, "cpu": cpu, "memory": memory, "extended": time.perf_counter() - began}


def in_fresh_process(tasks: int, place: Path) -> dict[str, float]:
    """Run our side against a fresh server; add how many submissions the server saw."""
    from servers import sandbox_server

    with sandbox_server(duration=engine.DURATION, latency=engine.LATENCY, plain=True) as server:
        home = Path(tempfile.mkdtemp(dir=place))
        asyncio.run(engine.bare(server.base_url("evolink"), 1, home))  # the server draws its one picture
        command = [sys.executable, __file__, "--base-url", server.base_url("evolink"), "--tasks", str(tasks), "--home", str(home)]
        answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        answer["sent"] = len(server.accepted()) - 1
        return answer


def compare(tasks: int, rounds: int) -> None:
    """Print both sides and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        pairs = [(engine.in_fresh_process("bare", tasks, place), in_fresh_process(tasks, place)) for _ in range(rounds)]

    def middle(at: int, figure: str) -> float:
        return statistics.median(pair[at][figure] for pair in pairs)

    wall, cpu = (statistics.median(ours[figure] / bare[figure] for bare, ours in pairs) for figure in ("wall", "cpu"))
    print(f"{tasks} combinations, median of {rounds}:")
    for at, side in enumerate(("bare script", "sweep")):
        print(f"  {side:12} wall {middle(at, 'wall'):7.3f} s   CPU {middle(at, 'cpu'):7.3f} s   memory +{middle(at, 'memory'):5.1f} MB")
    print(f"  sweep / bare: wall {wall:.3f}   CPU {cpu:.3f}   goal: wall ≤ {GOAL}")
    print(f"  again with reuse and {ACROSS} further combinations: {middle(1, 'extended'):.3f} s, {middle(1, 'sent') - tasks:.0f} sent")


def main() -> None:
    """Compare, or measure our side for ourselves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000, help=f"a multiple of {ACROSS}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.base_url:
        print(json.dumps(measured(given.tasks, given.base_url, given.home)))
        return
    compare(given.tasks, given.rounds)


if __name__ == "__main__":
    main()
