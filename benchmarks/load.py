"""What it costs to begin: `%load_ext imagegen_magic`, and the way from a cell's start to its submission at the server.

    python benchmarks/load.py [--rounds 15]

Loading is timed once in each fresh IPython process with ipykernel imported, beside an empty extension and `import httpx2`. The way to
the wire is timed in fresh kernels against a server process, from the execute request to the arrival of the submission, beside a cell
that does the same with bare httpx2. Medians, and ratios within the run. Goals: load at most 3 ms and 12 new modules; the first
submission at most 150 ms after the cell, the next ones 15 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "tests"))

from engine import row  # noqa: E402
from frontend import Frontend  # noqa: E402  # the tests' own front end and server
from servers import SandboxServer, sandbox_server  # noqa: E402

GOAL_MS, GOAL_MODULES = 3.0, 12
GOAL_FIRST_MS, GOAL_NEXT_MS = 150.0, 15.0
EMPTY = "def load_ipython_extension(shell):\n    pass\n"

MEASURE = """
import json, sys, time
import ipykernel.ipkernel, ipykernel.zmqshell
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
shell.run_cell("%who")  # what every session has run by then
before, start = set(sys.modules), time.perf_counter()
if sys.argv[1] == "import httpx2":
    import httpx2
else:
    shell.extension_manager.load_extension(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps([seconds * 1000, len(set(sys.modules) - before)]))
import os; sys.stdout.flush(); os._exit(0)
"""
CASES = {"empty extension": "empty_extension", "imagegen_magic": "imagegen_magic", "import httpx2": "import httpx2"}


def measure(what: str, folder: str) -> tuple[float, int]:
    """Return milliseconds and new modules of loading one thing in a fresh process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), folder]), "IPYTHONDIR": folder}
    done = subprocess.run([sys.executable, "-c", MEASURE, what], env=environment, check=True, capture_output=True, text=True)
    milliseconds, modules = json.loads(done.stdout.splitlines()[-1])
    return milliseconds, modules


BARE = """import httpx2
httpx2.post({url!r}, headers={{"Authorization": "Bearer x"}}, json={{"model": "gpt-image-2", "prompt": "bare"}})"""
OURS = "%imagegen -p evolink ours"


def to_the_wire(code: str, prompt: str, server: SandboxServer) -> list[float]:
    """Return the milliseconds from a cell to its submission: in a fresh kernel, and the median of the next four runs there."""
    with tempfile.TemporaryDirectory() as folder, Frontend(Path(folder), **server.environ()) as kernel:
        kernel.run("%load_ext imagegen_magic")
        sent = []
        before = len(server.submissions(prompt))
        for _ in range(5):
            sent.append(time.time())
            cell = kernel.run(code)
            if cell.status != "ok":
                raise RuntimeError(cell.text)
        arrived = [entry["at"] for entry in server.submissions(prompt)[before:]]
        first, *following = [(there - here) * 1000 for there, here in zip(arrived, sent, strict=True)]
        return [first, statistics.median(following)]


def print_loading(rounds: int) -> None:
    """Print the row of loading the extension."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty_extension.py").write_text(EMPTY)
        for what in CASES.values():
            measure(what, folder)  # once for the disk and the compiled files
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in CASES}
        for _ in range(rounds):
            for name, what in CASES.items():
                found[name].append(measure(what, folder))
    ms = {name: statistics.median(ms for ms, _ in runs) for name, runs in found.items()}
    modules = {name: runs[0][1] for name, runs in found.items()}
    ours, empty, library = ((f"{ms[name]:.2f} ms", modules[name]) for name in ("imagegen_magic", "empty extension", "import httpx2"))
    figure = f"{ours[0]}, {ours[1]} new modules"
    others = f"an empty extension {empty[0]}, `import httpx2` {library[0]} and {library[1]} modules"
    goals = [("ms", ms["imagegen_magic"], GOAL_MS), ("modules", modules["imagegen_magic"], GOAL_MODULES)]
    row(f"`%load_ext`, median of {rounds}", f"{figure}; {others}", goals)


def print_submissions(rounds: int) -> None:
    """Print the row of the time from a cell's start to its submission."""
    with sandbox_server(duration=0.05, plain=True) as server:
        bare = BARE.format(url=f"{server.base_url('evolink')}/v1/images/generations")
        to_the_wire(OURS, "ours", server)  # once for the disk and the compiled files
        runs = [(to_the_wire(OURS, "ours", server), to_the_wire(bare, "bare", server)) for _ in range(rounds)]
    first, following = ([statistics.median(run[side][turn] for run in runs) for side in (0, 1)] for turn in (0, 1))
    figure = f"{first[0]:.0f} ms, then {following[0]:.1f} ms; bare `httpx2.post` {first[1]:.0f} ms, then {following[1]:.1f} ms"
    goals = [("first ms", first[0], GOAL_FIRST_MS), ("next ms", following[0], GOAL_NEXT_MS)]
    row(f"cell to submission, first and next, median of {rounds}", figure, goals)


def main(arguments: list[str] | None = None) -> None:
    """Print both rows of the table in README.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args(arguments).rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have every import compiled again
    print_loading(rounds)
    print_submissions(max(3, rounds // 3))


if __name__ == "__main__":
    main()
