"""What `%load_ext imagegen_magic` costs on top of a running kernel, beside an empty extension and beside `import httpx`.

    python benchmarks/load.py [--rounds 15]

Each measurement is the first one of a fresh IPython process with ipykernel imported; the median of all rounds is printed, and the
ratio to an empty extension of the same run. Goal: at most 3 ms on the machine of benchmarks/README.md, and at most 12 new modules.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL_MS, GOAL_MODULES = 3.0, 12
PROJECT = Path(__file__).resolve().parent.parent
EMPTY = "def load_ipython_extension(shell):\n    pass\n"

MEASURE = """
import json, sys, time
import ipykernel.ipkernel, ipykernel.zmqshell
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
shell.run_cell("%who")  # what every session has run by then
before, start = set(sys.modules), time.perf_counter()
if sys.argv[1] == "import httpx":
    import httpx
else:
    shell.extension_manager.load_extension(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps([seconds * 1000, len(set(sys.modules) - before)]))
import os; sys.stdout.flush(); os._exit(0)
"""
CASES = {"empty extension": "empty_extension", "imagegen_magic": "imagegen_magic", "import httpx": "import httpx"}


def measure(what: str, folder: str) -> tuple[float, int]:
    """Return milliseconds and new modules of loading one thing in a fresh process."""
    kept = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }  # it would have every import compiled anew
    environment = {**kept, "PYTHONPATH": os.pathsep.join([str(PROJECT), folder]), "IPYTHONDIR": folder}
    done = subprocess.run([sys.executable, "-c", MEASURE, what], env=environment, check=True, capture_output=True, text=True)
    milliseconds, modules = json.loads(done.stdout.splitlines()[-1])
    return milliseconds, modules


def main() -> int:
    """Print the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty_extension.py").write_text(EMPTY)
        for what in CASES.values():
            measure(what, folder)  # once for the disk and the compiled files
        found = {name: [] for name in CASES}
        for _ in range(rounds):
            for name, what in CASES.items():
                found[name].append(measure(what, folder))
    medians = {name: statistics.median(ms for ms, _ in runs) for name, runs in found.items()}
    print(f"{'':<18} {'ms':>7} {'ratio to empty':>15} {'new modules':>12}")
    for name, runs in found.items():
        print(f"{name:<18} {medians[name]:>7.2f} {medians[name] / medians['empty extension']:>15.1f} {runs[0][1]:>12}")
    ours, modules = medians["imagegen_magic"], found["imagegen_magic"][0][1]
    reached = ours <= GOAL_MS and modules <= GOAL_MODULES
    print(f"goal: at most {GOAL_MS:g} ms and {GOAL_MODULES} modules: {'reached' if reached else 'missed'}")
    return not reached


if __name__ == "__main__":
    sys.exit(main())
