"""Workers against one process, in one run: a pool of processes and a Dask cluster on this machine, over a real socket.

    python benchmarks/scale.py [--tasks 1000] [--rounds 3]

Each side makes the same pictures through the same sandbox server in a fresh process, in turn: this process alone, a pool of two
processes, a Dask cluster of two workers. The pictures are decoded, checked and saved by all of them. What the client costs, what the
workers cost (the kernel's sum for child processes that ended), the memory of the client above its start, and whether as many tasks were
accepted as were asked for. Figures are medians of the rounds.
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

SIDES = ("one process", "pool", "dask")
WORKERS = 2
DURATION = 0.2  # seconds of a task
GOALS = {"client": 0.15, "all": 1.25}  # CPU seconds against those of one process


def cluster(stack: ExitStack) -> str:
    """Start a Dask cluster on the loopback address, and return the address of its scheduler."""
    from distributed import LocalCluster

    started = LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None)
    stack.callback(started.close)
    return str(started.scheduler_address)


def measured(side: str, tasks: int, folder: Path) -> dict[str, float]:
    """Make the pictures in this process with the workers of a side, and return what that took."""
    from imagegen_magic import generate_all

    with ExitStack() as stack:
        workers: Any = {"one process": None, "pool": WORKERS}.get(side) if side != "dask" else cluster(stack)
        warm = [f"warm {number}" for number in range(2 * WORKERS)]
        asyncio.run(generate_all(warm, provider="evolink", workers=workers, save_dir=folder))  # processes start, modules load
        idle, children = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, child_seconds()
        began, cpu = time.perf_counter(), time.process_time()
        made = asyncio.run(
            generate_all([f"picture {number}" for number in range(tasks)], provider="evolink", workers=workers, save_dir=folder)
        )
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert len(made) == tasks, f"{len(made)} of {tasks} pictures"
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024
        return {"wall": wall, "client": cpu, "workers": child_seconds() - children, "memory": memory}


def child_seconds() -> float:
    """Return the CPU seconds of this process's descendants that run, from /proc."""
    parents, seconds = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            seconds[int(entry.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    own, found = os.getpid(), 0.0
    for process in parents:
        ancestor = parents[process]
        while ancestor and ancestor != own:
            ancestor = parents.get(ancestor, 0)
        found += seconds[process] if ancestor == own else 0.0
    return found


def in_fresh_process(side: str, tasks: int, place: Path) -> dict[str, float]:
    """Run one side against a fresh server, and add how many tasks that accepted for each one asked."""
    from servers import sandbox_server

    with sandbox_server(duration=DURATION, plain=True) as server:
        home = Path(tempfile.mkdtemp(dir=place))
        settings = {"IMAGEGEN_HOME": str(home), "IMAGEGEN_POLL_SECONDS": "0.05", "IMAGEGEN_TIMEOUT": "600", "IMAGEGEN_SIZE": "1:1"}
        command = [sys.executable, __file__, "--side", side, "--tasks", str(tasks), "--home", str(home)]
        environment = {**os.environ, **server.environ("evolink"), **settings}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=home, env=environment)
        answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        accepted = len(server.log()["submissions"])
        return answer | {"accepted": accepted / (tasks + 2 * WORKERS), "all": answer["client"] + answer["workers"]}


def row(side: str, tasks: int, runs: list[dict[str, float]], bare: list[dict[str, float]]) -> str:
    """Return the row of a side for the table in README.md."""
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    ratios = {name: statistics.median(run[name] / base[name] for run, base in zip(runs, bare, strict=True)) for name in ("wall", *GOALS)}
    missed = [name for name, goal in GOALS.items() if side != SIDES[0] and ratios[name] > goal]
    client, everything = (1000 * middle[name] / tasks for name in GOALS)
    figure = (
        f"{tasks / middle['wall']:.0f} pictures/s, wall {ratios['wall']:.2f}; CPU of the client {client:.1f} ms a picture "
        f"({ratios['client']:.2f}), of all {everything:.1f} ms ({ratios['all']:.2f}); {middle['memory']:.0f} MB above idle; "
        f"accepted/asked {middle['accepted']:.3f}"
    )
    goals = "" if side == SIDES[0] else "client ≤ 0.15, all ≤ 1.25"
    result = "" if side == SIDES[0] else f"missed: {', '.join(missed)}" if missed else "reached"
    return f"| {tasks:,} tasks, {side} | {figure} | {goals} | {result} |"


def main() -> None:
    """Print the table, or measure one side for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have every import compiled again
    if given.side:
        print(json.dumps(measured(given.side, given.tasks, given.home / "pictures")))
        return
    print("| what | figure | goal | |\n|---|---|---|---|")
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as place:
        for _ in range(given.rounds):
            for side in SIDES:
                runs[side].append(in_fresh_process(side, given.tasks, Path(place)))
    for side in SIDES:
        print(row(side, given.tasks, runs[side], runs[SIDES[0]]), flush=True)


if __name__ == "__main__":
    main()
